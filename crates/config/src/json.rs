//! JSON to the value tree, with positions, and with the error texts of Go's `encoding/json`.
//!
//! The HTTP API answers a bad body with such a text, and tools show it to people; a general reader
//! gives neither them nor positions inside the value, which errors about settings need.

use std::borrow::Cow;

use crate::tree::{
    DEPTH_MAX, INPUT_BYTES_MAX, Node, Object, Position, Scanner, SyntaxError, Value,
};

/// Reads a whole input: one value and nothing after it.
pub fn parse(input: &[u8]) -> Result<Node, SyntaxError> {
    let text = decode(input)?;
    let mut reader = Reader::new(&text, "unexpected end of JSON input");
    let node = reader.value()?;
    reader.skip_space();
    match reader.scanner.peek() {
        None => Ok(node),
        Some(_) => reader.unexpected("after top-level value"),
    }
}

/// Reads the first value of a request body; what follows it is ignored, as Consul does.
pub fn parse_body(input: &[u8]) -> Result<Node, SyntaxError> {
    let text = decode(input)?;
    let mut reader = Reader::new(&text, "unexpected EOF");
    reader.skip_space();
    if reader.scanner.peek().is_none() {
        return reader.scanner.error("EOF");
    }
    reader.value()
}

/// Checks the size; bytes that are no UTF-8 become U+FFFD, as in Go.
pub(crate) fn decode(input: &[u8]) -> Result<Cow<'_, str>, SyntaxError> {
    if input.len() > INPUT_BYTES_MAX {
        let message = format!("the input is longer than {INPUT_BYTES_MAX} bytes");
        return Err(SyntaxError { at: Position { line: 1, column: 1 }, message });
    }
    Ok(String::from_utf8_lossy(input))
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    at_end: &'static str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, at_end: &'static str) -> Reader<'a> {
        Reader { scanner: Scanner::new(text), at_end, depth: 0 }
    }

    fn value(&mut self) -> Result<Node, SyntaxError> {
        self.skip_space();
        let at = self.scanner.at();
        let value = match self.scanner.peek() {
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::list)?,
            Some('"') => Value::Text(self.string()?),
            Some('-' | '0'..='9') => self.number()?,
            Some('t') => self.word("true", Value::Bool(true))?,
            Some('f') => self.word("false", Value::Bool(false))?,
            Some('n') => self.word("null", Value::Null)?,
            _ => return self.unexpected("looking for beginning of value"),
        };
        Ok(Node { value, at })
    }

    fn nested(
        &mut self,
        form: fn(&mut Self) -> Result<Value, SyntaxError>,
    ) -> Result<Value, SyntaxError> {
        if self.depth == DEPTH_MAX {
            return self.scanner.error(format!("nested deeper than {DEPTH_MAX} levels"));
        }
        self.depth += 1;
        let value = form(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, SyntaxError> {
        self.scanner.bump();
        let mut object = Object::default();
        self.skip_space();
        if self.scanner.eat('}') {
            return Ok(Value::Object(object));
        }
        loop {
            self.skip_space();
            if self.scanner.peek() != Some('"') {
                return self.unexpected("looking for beginning of object key string");
            }
            let name = self.string()?;
            self.skip_space();
            if !self.scanner.eat(':') {
                return self.unexpected("after object key");
            }
            let node = self.value()?;
            object.insert(name, node);
            self.skip_space();
            if self.scanner.eat('}') {
                return Ok(Value::Object(object));
            }
            if !self.scanner.eat(',') {
                return self.unexpected("after object key:value pair");
            }
        }
    }

    fn list(&mut self) -> Result<Value, SyntaxError> {
        self.scanner.bump();
        let mut list = Vec::new();
        self.skip_space();
        if self.scanner.eat(']') {
            return Ok(Value::List(list));
        }
        loop {
            list.push(self.value()?);
            self.skip_space();
            if self.scanner.eat(']') {
                return Ok(Value::List(list));
            }
            if !self.scanner.eat(',') {
                return self.unexpected("after array element");
            }
        }
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        self.scanner.bump();
        let mut out = String::new();
        loop {
            match self.scanner.peek() {
                Some('"') => {
                    self.scanner.bump();
                    return Ok(out);
                }
                Some('\\') => {
                    self.scanner.bump();
                    out.push(self.escape()?);
                }
                Some(c) if c >= ' ' => {
                    self.scanner.bump();
                    out.push(c);
                }
                _ => return self.unexpected("in string literal"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let escaped = match self.scanner.peek() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                self.scanner.bump();
                return self.unicode_escape();
            }
            _ => return self.unexpected("in string escape code"),
        };
        self.scanner.bump();
        Ok(escaped)
    }

    /// Four hexadecimal digits, or two such groups that are a surrogate pair. Half a pair becomes
    /// U+FFFD.
    fn unicode_escape(&mut self) -> Result<char, SyntaxError> {
        let high = self.hex_digits()?;
        if let 0xd800..0xdc00 = high
            && let Some(rest) = self.scanner.rest().strip_prefix("\\u")
            && let Some(low) = rest.get(..4).and_then(|low| u32::from_str_radix(low, 16).ok())
            && let 0xdc00..0xe000 = low
        {
            for _ in 0..6 {
                self.scanner.bump();
            }
            let c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return Ok(char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex_digits(&mut self) -> Result<u32, SyntaxError> {
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.scanner.peek().and_then(|c| c.to_digit(16)) else {
                return self.unexpected("in \\u hexadecimal character escape");
            };
            self.scanner.bump();
            value = value * 16 + digit;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, SyntaxError> {
        let start = self.scanner.rest();
        self.scanner.eat('-');
        if !self.scanner.eat('0') && !self.digits() {
            return self.unexpected("in numeric literal");
        }
        let mut is_integer = true;
        if self.scanner.eat('.') {
            is_integer = false;
            if !self.digits() {
                return self.unexpected("after decimal point in numeric literal");
            }
        }
        if self.scanner.eat('e') || self.scanner.eat('E') {
            is_integer = false;
            let _ = self.scanner.eat('+') || self.scanner.eat('-');
            if !self.digits() {
                return self.unexpected("in exponent of numeric literal");
            }
        }
        let text = start.get(..start.len() - self.scanner.rest().len()).unwrap_or_default();
        if is_integer && let Ok(number) = text.parse() {
            return Ok(Value::Int(number));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => self.scanner.error(format!("number {text} is out of range")),
        }
    }

    fn digits(&mut self) -> bool {
        !self.scanner.take_while(|c| c.is_ascii_digit()).is_empty()
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, SyntaxError> {
        for expected in word.chars() {
            if !self.scanner.eat(expected) {
                return self.unexpected(&format!("in literal {word} (expecting {expected:?})"));
            }
        }
        Ok(value)
    }

    fn skip_space(&mut self) {
        self.scanner.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
    }

    fn unexpected<T>(&self, context: &str) -> Result<T, SyntaxError> {
        match self.scanner.peek() {
            None => self.scanner.error(self.at_end),
            Some(c) => self.scanner.error(format!("invalid character {} {context}", quote(c))),
        }
    }
}

/// A character between single quotes as Go shows it in these errors.
fn quote(c: char) -> String {
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        '\n' => "'\\n'".to_owned(),
        '\r' => "'\\r'".to_owned(),
        '\t' => "'\\t'".to_owned(),
        c if c < ' ' => format!("'\\x{:02x}'", u32::from(c)),
        c => format!("'{c}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value printed by another JSON writer, or the error with its position.
    fn check(text: &str, expected: &str) {
        let answer = match parse(text.as_bytes()) {
            Ok(node) => node.to_json().to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(answer, expected, "{text}");
    }

    #[test]
    fn values_and_errors() {
        check(r#" {"a": [1, -2.5, true, null], "b": {}} "#, r#"{"a":[1,-2.5,true,null],"b":{}}"#);
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
        check(r#""\u00e9\n\ud83d\ude00\ud800x""#, "\"é\\n😀\u{fffd}x\"");
        check("18446744073709551616", "1.8446744073709552e+19");
        check("", "line 1, column 1: unexpected end of JSON input");
        check("{", "line 1, column 2: unexpected end of JSON input");
        check(
            "{\"a\":1,\n}",
            "line 2, column 1: invalid character '}' looking for beginning of object key string",
        );
        check(
            "{'a':1}",
            r"line 1, column 2: invalid character '\'' looking for beginning of object key string",
        );
        check(r#"{"a" 1}"#, "line 1, column 6: invalid character '1' after object key");
        check(
            r#"{"a":1 "b"}"#,
            "line 1, column 8: invalid character '\"' after object key:value pair",
        );
        check("[1 2]", "line 1, column 4: invalid character '2' after array element");
        check("{} x", "line 1, column 4: invalid character 'x' after top-level value");
        check("// x", "line 1, column 1: invalid character '/' looking for beginning of value");
        check("tru", "line 1, column 4: unexpected end of JSON input");
        check("trux", "line 1, column 4: invalid character 'x' in literal true (expecting 'e')");
        check("1.", "line 1, column 3: unexpected end of JSON input");
        check("1e999", "line 1, column 6: number 1e999 is out of range");
        check("\"a\nb\"", r"line 1, column 3: invalid character '\n' in string literal");
        check(&"[".repeat(100), "line 1, column 65: nested deeper than 64 levels");
    }

    #[test]
    fn bodies_may_be_followed_by_anything() {
        assert_eq!(parse_body(b"{} x").unwrap().to_json(), serde_json::json!({}));
        assert_eq!(parse_body(b" ").unwrap_err().message, "EOF");
        assert_eq!(parse_body(b"{").unwrap_err().message, "unexpected EOF");
    }

    proptest::proptest! {
        #[test]
        fn any_input_is_answered(input in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = parse(&input);
        }

        #[test]
        fn agrees_with_another_reader(text in "[\\[\\]{}\",:0-9a-z.e\\\\ -]{0,12}") {
            let ours = parse(text.as_bytes()).map(|node| node.to_json());
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            proptest::prop_assert_eq!(ours.is_ok(), theirs.is_ok());
        }
    }
}
