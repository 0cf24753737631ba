//! Query parameters of a request, and how paths and values are written into a URL.

use std::time::Duration;

use model::duration::GoDuration;
use model::query::Consistency;

/// Longest wait an agent grants a blocking query that names none, before its jitter.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(300);
/// Longest wait an agent grants at all, before its jitter.
pub const WAIT_MAX: Duration = Duration::from_secs(600);

/// Options most reads understand. Default: answer at once, from the leader, unfiltered.
#[derive(Clone, Debug, Default)]
pub struct QueryParams {
    /// Wait until the answer's index is greater; 0 answers at once.
    pub index: u64,
    /// Wait until the answer's content hash differs; empty answers at once.
    pub hash: String,
    /// How long to wait with `index` or `hash`; `None` leaves it to the agent (five minutes).
    pub wait: Option<Duration>,
    /// `None` takes the client's.
    pub consistency: Option<Consistency>,
    /// Empty takes the client's.
    pub datacenter: String,
    pub filter: String,
    /// Sort by round trip from this node.
    pub near: String,
    pub node_meta: Vec<(String, String)>,
    /// Answer from the agent's cache if it has the type.
    pub cached: bool,
    /// Anything else, by name. An empty value is sent as a bare name.
    pub extra: Vec<(String, String)>,
}

impl QueryParams {
    /// These parameters and one more by name.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.extra.push((name.to_owned(), value.into()));
        self
    }

    pub fn is_blocking(&self) -> bool {
        self.index > 0 || !self.hash.is_empty()
    }

    /// How long the agent may take before it answers: nothing, or the wait with the sixteenth of
    /// jitter agents add.
    pub(crate) fn wait_granted(&self) -> Duration {
        if !self.is_blocking() {
            return Duration::ZERO;
        }
        let wait = match self.wait {
            Some(wait) if !wait.is_zero() => wait.min(WAIT_MAX),
            _ => WAIT_DEFAULT,
        };
        wait + wait / 16
    }

    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let mut add = |name: &str, value: String| pairs.push((name.to_owned(), value));
        if self.index > 0 {
            add("index", self.index.to_string());
        }
        if !self.hash.is_empty() {
            add("hash", self.hash.clone());
        }
        if let Some(wait) = self.wait {
            add("wait", GoDuration::from(wait).to_string());
        }
        match self.consistency {
            None | Some(Consistency::Default) => {}
            Some(Consistency::Consistent) => add("consistent", String::new()),
            Some(Consistency::Stale) => add("stale", String::new()),
        }
        for (name, value) in
            [("dc", &self.datacenter), ("filter", &self.filter), ("near", &self.near)]
        {
            if !value.is_empty() {
                add(name, value.clone());
            }
        }
        for (key, value) in &self.node_meta {
            add("node-meta", format!("{key}:{value}"));
        }
        if self.cached {
            add("cached", String::new());
        }
        pairs.extend(self.extra.iter().cloned());
        pairs
    }
}

/// Joins a path, whose segments are escaped here, with its parameters.
pub(crate) fn target(path: &str, pairs: &[(String, String)]) -> String {
    let mut out = String::with_capacity(path.len() + 32);
    escape_into(&mut out, path, |b| {
        matches!(b, b'/' | b'$' | b'&' | b'+' | b',' | b':' | b';' | b'=' | b'@')
    });
    for (at, (name, value)) in pairs.iter().enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        escape_into(&mut out, name, |_| false);
        if !value.is_empty() {
            out.push('=');
            escape_into(&mut out, value, |_| false);
        }
    }
    out
}

fn escape_into(out: &mut String, text: &str, is_kept: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~')
            || is_kept(byte)
        {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_escaped() {
        let check = |path: &str, params: QueryParams, want: &str| {
            assert_eq!(target(path, &params.pairs()), want);
        };
        check("/v1/kv/a b/ü?x", QueryParams::default(), "/v1/kv/a%20b/%C3%BC%3Fx");
        check(
            "/v1/kv/a",
            QueryParams {
                index: 7,
                wait: Some(Duration::from_millis(1500)),
                consistency: Some(Consistency::Stale),
                filter: "A == \"b&c\"".into(),
                node_meta: vec![("k".into(), "v".into())],
                ..QueryParams::default()
            }
            .with("recurse", ""),
            "/v1/kv/a?index=7&wait=1.5s&stale&filter=A%20%3D%3D%20%22b%26c%22&node-meta=k%3Av&recurse",
        );
    }

    #[test]
    fn waits_count_only_when_blocking() {
        let wait =
            |index, wait| QueryParams { index, wait, ..QueryParams::default() }.wait_granted();
        assert_eq!(wait(0, Some(Duration::from_secs(16))), Duration::ZERO);
        assert_eq!(wait(1, Some(Duration::from_secs(16))), Duration::from_secs(17));
        assert_eq!(wait(1, None), WAIT_DEFAULT + WAIT_DEFAULT / 16);
        assert_eq!(wait(1, Some(Duration::from_secs(9000))), WAIT_MAX + WAIT_MAX / 16);
    }
}
