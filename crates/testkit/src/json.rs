//! JSON as it was written: order of keys, spelling of numbers and escapes, indentation.
//!
//! Clients in the field read answers with all kinds of parsers, some of them regular expressions. So the comparing of two
//! agents looks at more than the value, and the usual parsers forget the rest.

/// Deepest nesting read, so that a hostile answer cannot exhaust the stack.
const DEPTH_MAX: usize = 128;

/// One value; texts and numbers as spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    Null,
    Bool(bool),
    /// The digits as written.
    Number(String),
    /// What stands between the quotes, escapes and all.
    Text(String),
    List(Vec<Json>),
    /// In the order written.
    Object(Vec<(String, Json)>),
}

/// How a document is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// No space at all.
    Compact,
    /// Four spaces a level, one space after the colon.
    Indented,
    /// Anything else.
    Other,
}

impl Json {
    /// Reads one document, spaces around it allowed.
    pub fn parse(text: &str) -> Option<Json> {
        let mut reader = Reader { bytes: text.as_bytes(), text, at: 0 };
        let value = reader.value(0)?;
        reader.space();
        (reader.at == reader.bytes.len()).then_some(value)
    }

    /// The name of its kind, for reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a bool",
            Json::Number(_) => "a number",
            Json::Text(_) => "a text",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        }
    }

    /// The value of a key, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(rows) => rows.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The value at a pointer such as `/0/ID`; the empty pointer is the whole.
    pub fn pointer(&self, pointer: &str) -> Option<&Json> {
        let mut value = self;
        for part in pointer.split('/').skip(1) {
            value = match value {
                Json::List(rows) => rows.get(part.parse::<usize>().ok()?)?,
                _ => value.get(part)?,
            };
        }
        Some(value)
    }

    /// Written without any space.
    pub fn compact(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, None);
        out
    }

    /// Written with four spaces a level.
    pub fn indented(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(0));
        out
    }

    fn write(&self, out: &mut String, level: Option<usize>) {
        let line = |out: &mut String, level: Option<usize>| {
            if let Some(level) = level {
                out.push('\n');
                out.push_str(&"    ".repeat(level));
            }
        };
        let inner = level.map(|level| level + 1);
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(digits) => out.push_str(digits),
            Json::Text(raw) => {
                out.push('"');
                out.push_str(raw);
                out.push('"');
            }
            Json::List(rows) if rows.is_empty() => out.push_str("[]"),
            Json::List(rows) => {
                out.push('[');
                for (n, row) in rows.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    line(out, inner);
                    row.write(out, inner);
                }
                line(out, level);
                out.push(']');
            }
            Json::Object(rows) if rows.is_empty() => out.push_str("{}"),
            Json::Object(rows) => {
                out.push('{');
                for (n, (key, value)) in rows.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    line(out, inner);
                    out.push('"');
                    out.push_str(key);
                    out.push_str(if level.is_some() { "\": " } else { "\":" });
                    value.write(out, inner);
                }
                line(out, level);
                out.push('}');
            }
        }
    }
}

/// The layout of a document that parses as `value`, and whether a line feed ends it.
pub fn form(text: &str, value: &Json) -> (Form, bool) {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let feed = body.len() != text.len();
    // Scalars and empty containers look the same in both forms.
    if body == value.compact() {
        (Form::Compact, feed)
    } else if body == value.indented() {
        (Form::Indented, feed)
    } else {
        (Form::Other, feed)
    }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        self.text.get(self.at..)?.starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.space();
        if depth > DEPTH_MAX {
            return None;
        }
        match self.bytes.get(self.at)? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' => self.list(depth),
            b'{' => self.object(depth),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<Json> {
        let rest = self.text.get(self.at..)?;
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        let digits = &rest[..end.unwrap_or(rest.len())];
        digits.parse::<f64>().ok()?;
        self.at += digits.len();
        Some(Json::Number(digits.to_owned()))
    }

    fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(self.text.get(start..self.at - 1)?.to_owned());
                }
                b'\\' => self.at += 2,
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        self.take(b'[')?;
        let mut rows = Vec::new();
        if self.take(b']').is_some() {
            return Some(Json::List(rows));
        }
        loop {
            rows.push(self.value(depth + 1)?);
            if self.take(b',').is_none() {
                self.take(b']')?;
                return Some(Json::List(rows));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.take(b'{')?;
        let mut rows = Vec::new();
        if self.take(b'}').is_some() {
            return Some(Json::Object(rows));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.take(b':')?;
            rows.push((key, self.value(depth + 1)?));
            if self.take(b',').is_none() {
                self.take(b'}')?;
                return Some(Json::Object(rows));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_and_order_survive() {
        let text = r#"{"b":[1.50,-2e3,"\u003c\n\""],"a":{},"c":[null,true,false]}"#;
        let value = Json::parse(text).expect("valid");
        assert_eq!(value.compact(), text);
        assert_eq!(value.pointer("/b/2"), Some(&Json::Text(r#"\u003c\n\""#.into())));
        assert_eq!(value.pointer("/b/7"), None);
    }

    #[test]
    fn the_form_is_told_apart() {
        let check = |text: &str, want: (Form, bool)| {
            let value = Json::parse(text).expect("valid");
            assert_eq!(form(text, &value), want, "{text:?}");
        };
        check(r#"{"a":[1,2]}"#, (Form::Compact, false));
        check("{\n    \"a\": [\n        1\n    ]\n}\n", (Form::Indented, true));
        check("{ \"a\": 1}", (Form::Other, false));
        check("true\n", (Form::Compact, true));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in
            ["", "{", "[1,]", "{\"a\"}", "nul", "1 2", "\"", "\"\\", "{\"a\":1,}", "[\u{1}]"]
        {
            assert_eq!(Json::parse(text), None, "{text:?}");
        }
        assert_eq!(Json::parse(&"[".repeat(100_000)), None);
    }
}
