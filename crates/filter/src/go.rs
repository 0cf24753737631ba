//! Readings of numbers, truth values and quoted strings exactly as Go's `strconv` does them.
//!
//! Source: the documentation of Go's `strconv` package; the error texts appear in Consul's answers.

/// Why a text is no number; the texts are Go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberError {
    Syntax,
    Range,
}

impl NumberError {
    pub(crate) fn text(self) -> &'static str {
        match self {
            NumberError::Syntax => "invalid syntax",
            NumberError::Range => "value out of range",
        }
    }
}

/// Reads an integer with optional sign, base prefix (`0x`, `0b`, `0o`, `0`) and underscores between
/// digits.
pub(crate) fn parse_int(text: &str) -> Result<i64, NumberError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    let magnitude = parse_uint(digits)?;
    let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    i64::try_from(value).map_err(|_| NumberError::Range)
}

/// Like [`parse_int`] without sign.
pub(crate) fn parse_uint(text: &str) -> Result<u64, NumberError> {
    let lower = text.to_ascii_lowercase();
    let (base, digits, prefixed) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest, true)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest, true)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest, true)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..).unwrap_or_default(), true)
    } else {
        (10, lower.as_str(), false)
    };
    let plain = strip_underscores(digits, prefixed).ok_or(NumberError::Syntax)?;
    if plain.is_empty() || !plain.chars().all(|c| c.is_digit(base)) {
        return Err(NumberError::Syntax);
    }
    u64::from_str_radix(&plain, base).map_err(|_| NumberError::Range)
}

/// An underscore must stand between two digits, or between the base prefix and a digit.
fn strip_underscores(digits: &str, prefixed: bool) -> Option<String> {
    let mut previous_is_digit = prefixed;
    let mut plain = String::with_capacity(digits.len());
    for c in digits.chars() {
        if c == '_' {
            if !previous_is_digit {
                return None;
            }
            previous_is_digit = false;
        } else {
            plain.push(c);
            previous_is_digit = true;
        }
    }
    (previous_is_digit || digits.is_empty()).then_some(plain)
}

/// Reads a decimal floating point number.
pub(crate) fn parse_float(text: &str) -> Result<f64, NumberError> {
    text.parse().map_err(|_| NumberError::Syntax)
}

/// Reads one of the twelve texts Go takes for a truth value.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Removes the quotes of a literal and resolves its escapes; `None` where Go says "invalid syntax".
///
/// Shape: `literal` includes its quotes, either kind. Bytes given by escape that are no UTF-8
/// become U+FFFD.
pub(crate) fn unquote(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('`') {
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '"' => return None,
            '\\' => unescape(&mut chars, &mut out)?,
            c => push_char(&mut out, c),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn unescape(chars: &mut std::str::Chars<'_>, out: &mut Vec<u8>) -> Option<()> {
    match chars.next()? {
        'a' => out.push(0x07),
        'b' => out.push(0x08),
        'f' => out.push(0x0c),
        'n' => out.push(b'\n'),
        'r' => out.push(b'\r'),
        't' => out.push(b'\t'),
        'v' => out.push(0x0b),
        '\\' => out.push(b'\\'),
        '"' => out.push(b'"'),
        'x' => out.push(u8::try_from(digits(chars, 0, 2, 16)?).ok()?),
        'u' => push_char(out, char::from_u32(digits(chars, 0, 4, 16)?)?),
        'U' => push_char(out, char::from_u32(digits(chars, 0, 8, 16)?)?),
        first @ '0'..='7' => out.push(u8::try_from(digits(chars, first.to_digit(8)?, 2, 8)?).ok()?),
        _ => return None,
    }
    Some(())
}

fn digits(chars: &mut std::str::Chars<'_>, start: u32, count: usize, base: u32) -> Option<u32> {
    let mut value = start;
    for _ in 0..count {
        value = value.checked_mul(base)?.checked_add(chars.next()?.to_digit(base)?)?;
    }
    Some(value)
}

/// `text` between double quotes as Go's `%q` prints it.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c if c < ' ' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            // Rust escapes what has no printed form, as Go does, in another notation.
            c if c != '\'' && c.escape_debug().len() > 1 => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
