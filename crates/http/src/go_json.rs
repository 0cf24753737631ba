//! JSON to the letter as Go's `encoding/json` writes it: characters special to HTML escaped,
//! numbers without needless fractions, four spaces of indentation.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};

/// Encodes `value`; `pretty` indents it and ends it with a line break.
///
/// Errors: a map key that is not text, which none of our records has.
pub(crate) fn encode(value: &impl Serialize, pretty: bool) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    if pretty {
        let formatter = Indented(PrettyFormatter::with_indent(b"    "));
        value.serialize(&mut Serializer::with_formatter(&mut out, formatter))?;
        out.push(b'\n');
    } else {
        value.serialize(&mut Serializer::with_formatter(&mut out, Compact))?;
    }
    Ok(out)
}

struct Compact;

struct Indented<'a>(PrettyFormatter<'a>);

macro_rules! as_go_writes {
    () => {
        fn write_f64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
            write_float(out, value)
        }

        fn write_string_fragment<W: ?Sized + io::Write>(
            &mut self,
            out: &mut W,
            fragment: &str,
        ) -> io::Result<()> {
            write_fragment(out, fragment)
        }

        fn write_char_escape<W: ?Sized + io::Write>(
            &mut self,
            out: &mut W,
            escape: CharEscape,
        ) -> io::Result<()> {
            write_escape(out, escape)
        }
    };
}

impl Formatter for Compact {
    as_go_writes!();
}

impl Formatter for Indented<'_> {
    as_go_writes!();

    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

fn write_fragment<W: ?Sized + io::Write>(out: &mut W, fragment: &str) -> io::Result<()> {
    let bytes = fragment.as_bytes();
    let mut written = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let (escape, length): (&[u8], usize) = match byte {
            b'<' => (b"\\u003c", 1),
            b'>' => (b"\\u003e", 1),
            b'&' => (b"\\u0026", 1),
            // Line and paragraph separators, which scripts take for line ends.
            0xe2 if bytes[at..].starts_with(&[0xe2, 0x80, 0xa8]) => (b"\\u2028", 3),
            0xe2 if bytes[at..].starts_with(&[0xe2, 0x80, 0xa9]) => (b"\\u2029", 3),
            // What stands for bytes that are no text, which Go spells out.
            0xef if bytes[at..].starts_with(&[0xef, 0xbf, 0xbd]) => (b"\\ufffd", 3),
            _ => continue,
        };
        out.write_all(&bytes[written..at])?;
        out.write_all(escape)?;
        written = at + length;
    }
    out.write_all(&bytes[written..])
}

fn write_escape<W: ?Sized + io::Write>(out: &mut W, escape: CharEscape) -> io::Result<()> {
    let text: &[u8] = match escape {
        CharEscape::Quote => b"\\\"",
        CharEscape::ReverseSolidus => b"\\\\",
        CharEscape::Solidus => b"/",
        CharEscape::LineFeed => b"\\n",
        CharEscape::CarriageReturn => b"\\r",
        CharEscape::Tab => b"\\t",
        CharEscape::Backspace => b"\\u0008",
        CharEscape::FormFeed => b"\\u000c",
        CharEscape::AsciiControl(byte) => return write!(out, "\\u{byte:04x}"),
    };
    out.write_all(text)
}

/// Shortest digits that read back the same; an exponent only for the very large and very small.
fn write_float<W: ?Sized + io::Write>(out: &mut W, value: f64) -> io::Result<()> {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        let text = match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        };
        return out.write_all(text.as_bytes());
    }
    write!(out, "{value}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn compact_form() {
        let check = |value: serde_json::Value, want: &str| {
            assert_eq!(String::from_utf8(encode(&value, false).unwrap()).unwrap(), want);
        };
        check(json!({"a": "<&>"}), r#"{"a":"\u003c\u0026\u003e"}"#);
        check(json!("x\u{2028}y\u{2029}z\u{20ac}"), "\"x\\u2028y\\u2029z\u{20ac}\"");
        check(json!("a\u{fffd}"), r#""a\ufffd""#);
        check(
            json!("\u{8}\u{c}\n\r\t\"\\/\u{1}\u{7f}"),
            "\"\\u0008\\u000c\\n\\r\\t\\\"\\\\/\\u0001\u{7f}\"",
        );
        check(
            json!([1.0, 0.5, 1e21, 1e-7, 100000.0, -0.25, 12345678.9]),
            "[1,0.5,1e+21,1e-7,100000,-0.25,12345678.9]",
        );
    }

    #[test]
    fn indented_form() {
        let value = json!({"a": [], "b": {}, "c": [1, {"d": "<"}]});
        let want = "{\n    \"a\": [],\n    \"b\": {},\n    \"c\": [\n        1,\n        {\n            \"d\": \"\\u003c\"\n        }\n    ]\n}\n";
        assert_eq!(String::from_utf8(encode(&value, true).unwrap()).unwrap(), want);
    }
}
