//! Takes out of a text what must differ between two agents: random ids, times, keys, their ports and folders.
//!
//! What is taken out leaves a placeholder, and is not forgotten: [`Relations`] checks that two agents use their random
//! values the same way, so that an id that appears twice on one side appears twice on the other.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::process::{Agent, NODE_ID};

/// Kinds of values that differ from agent to agent and from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opaque {
    /// An identifier both sides drew at random.
    Uuid,
    /// A point in time; only its form is compared.
    Time,
    /// A certificate or key; only its kind is compared.
    Pem,
    /// Bytes as hexadecimal pairs with colons: key ids, serial numbers.
    Octets,
    /// A replicated index.
    Index,
    /// A hash over contents that hold other opaque values.
    Hash,
}

static OPAQUE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        (?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)
        |(?P<time>\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))
        |(?P<pem>-----BEGIN\ (?P<label>[A-Z\ ]+)-----[^-]+-----END\ [A-Z\ ]+-----)
        |(?P<octets>\b(?:[0-9a-f]{2}:){7,}[0-9a-f]{2}\b)
        ",
    )
    .expect("a fixed expression")
});

/// A time that means none; it is the same everywhere.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// What is an agent's own and gets a name: ports, folder.
#[derive(Clone, Debug, Default)]
pub struct Scrub {
    folder: Option<String>,
    ports: BTreeMap<String, &'static str>,
    /// The replicated index when the agent became ready. What it does by itself before, in an order left to chance, is
    /// one thing to whoever compares.
    start_index: u64,
}

impl Scrub {
    pub fn of(agent: &Agent) -> Scrub {
        let ports =
            agent.ports.own().into_iter().map(|(name, port)| (port.to_string(), name)).collect();
        let folder = Some(agent.dir().to_string_lossy().into_owned());
        Scrub { folder, ports, start_index: agent.start_index() }
    }

    /// The text with placeholders, and what they stand for in order of appearance.
    pub fn text(&self, text: &str) -> (String, Vec<(Opaque, String)>) {
        let mut found = Vec::new();
        let text = match &self.folder {
            Some(folder) => text.replace(folder.as_str(), "<folder>"),
            None => text.to_owned(),
        };
        let text = OPAQUE.replace_all(&text, |caught: &regex::Captures<'_>| {
            let whole = caught[0].to_owned();
            if whole == NO_TIME || whole == NODE_ID {
                return whole;
            }
            let (kind, placeholder) = if caught.name("uuid").is_some() {
                (Opaque::Uuid, "<uuid>".to_owned())
            } else if caught.name("time").is_some() {
                (Opaque::Time, "<time>".to_owned())
            } else if caught.name("pem").is_some() {
                (Opaque::Pem, format!("<pem {}>", &caught["label"]))
            } else {
                (Opaque::Octets, "<octets>".to_owned())
            };
            found.push((kind, whole));
            placeholder
        });
        (self.ports_named(&text), found)
    }

    /// The number with its name in place of one of the agent's ports.
    pub fn number(&self, digits: &str) -> String {
        match self.ports.get(digits) {
            Some(name) => format!("<port {name}>"),
            None => digits.to_owned(),
        }
    }

    /// Whether an index is of the time before the agent became ready.
    pub fn is_start(&self, index: u64) -> bool {
        index <= self.start_index
    }

    /// Replaces ports where they stand as whole numbers.
    fn ports_named(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let digits = &rest[start..];
            let digits =
                &digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())];
            out.push_str(&rest[..start]);
            out.push_str(&self.number(digits));
            rest = &rest[start + digits.len()..];
        }
        out + rest
    }
}

/// Which value of one agent stands for which of the other.
#[derive(Debug, Default)]
pub struct Relations {
    left: BTreeMap<(Opaque, String), String>,
    right: BTreeMap<(Opaque, String), String>,
}

impl Relations {
    /// Whether the two may stand for one another; if not, what stood for either before still does.
    pub fn relate(&mut self, kind: Opaque, left: &str, right: &str) -> bool {
        if matches!(kind, Opaque::Time | Opaque::Pem) {
            return true;
        }
        let (left_key, right_key) = ((kind, left.to_owned()), (kind, right.to_owned()));
        let fits = self.left.get(&left_key).is_none_or(|known| known == right)
            && self.right.get(&right_key).is_none_or(|known| known == left);
        if fits {
            self.left.insert(left_key, right.to_owned());
            self.right.insert(right_key, left.to_owned());
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_values_leave_placeholders() {
        let mut scrub =
            Scrub { folder: Some("/tmp/x".into()), ports: BTreeMap::new(), start_index: 0 };
        scrub.ports.insert("8500".into(), "http");
        let check = |text: &str, want: &str| assert_eq!(scrub.text(text).0, want);
        check("no session 5ab0a3b4-0c1e-4c3c-9c55-0d4f1e6a9b11 here", "no session <uuid> here");
        check("127.0.0.1:8500 and 18500 and 85000", "127.0.0.1:<port http> and 18500 and 85000");
        check("/tmp/x/data 2020-01-02T03:04:05.678Z", "<folder>/data <time>");
        check("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z");
        check(
            r"-----BEGIN CERTIFICATE-----\nAA+/=\n-----END CERTIFICATE-----\n",
            r"<pem CERTIFICATE>\n",
        );
        check("0a:1b:2c:3d:4e:5f:60:71", "<octets>");
    }

    #[test]
    fn relations_hold_both_ways() {
        let mut relations = Relations::default();
        assert!(relations.relate(Opaque::Uuid, "a", "x"));
        assert!(relations.relate(Opaque::Uuid, "a", "x"));
        assert!(!relations.relate(Opaque::Uuid, "a", "y"));
        assert!(!relations.relate(Opaque::Uuid, "b", "x"));
        // A slip is not remembered.
        assert!(relations.relate(Opaque::Uuid, "a", "x"));
        assert!(relations.relate(Opaque::Uuid, "b", "y"));
        assert!(relations.relate(Opaque::Index, "a", "y"));
    }
}
