//! The query of a request, split and unescaped as Go 1.15 does.

/// Names and values in their order; a name may stand without a value or several times.
#[derive(Debug, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

/// The query has a broken percent escape.
#[derive(Debug)]
pub(crate) struct BadQuery;

impl Parameters {
    pub(crate) fn parse(query: &str) -> Result<Self, BadQuery> {
        let mut all = Vec::new();
        if query.is_empty() {
            return Ok(Self(all));
        }
        for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = unescape(name, true).ok_or(BadQuery)?;
            all.push((name, unescape(value, true).ok_or(BadQuery)?));
        }
        Ok(Self(all))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found == name)
    }

    /// The first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The first value of `name`, unless it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The query again, sorted by name, as Go's `Values.Encode` writes it.
    pub(crate) fn encode(&self) -> String {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let pairs: Vec<_> =
            sorted.iter().map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect();
        pairs.join("&")
    }
}

/// Undoes percent escapes, and with `plus` the plus for a space. `None` for a broken escape. Bytes
/// that are no UTF-8 become U+FFFD.
pub(crate) fn unescape(text: &str, plus: bool) -> Option<String> {
    if !text.bytes().any(|byte| byte == b'%' || (plus && byte == b'+')) {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let query = Parameters::parse("keys&separator=%2F;a=b+c&a=&d=1%202").unwrap();
        assert!(query.has("keys"));
        assert_eq!(query.get("separator"), Some("/"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["b c", ""]);
        assert_eq!(query.text("keys"), None);
        assert_eq!(query.encode(), "a=b+c&a=&d=1+2&keys=&separator=%2F");
        assert!(Parameters::parse("a=%zz").is_err());
        assert!(Parameters::parse("a=%e").is_err());
        assert_eq!(unescape("%FF+x", false).as_deref(), Some("\u{fffd}+x"));
    }
}
