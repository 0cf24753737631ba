//! The first bytes of a value: its kind, and its number or how long it is.

use super::DecodeError;

/// What a value begins with. Lengths count bytes of `Raw` and `Other`, elements of the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Head {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// Text or bytes; the old specification does not tell them apart.
    Raw(usize),
    List(usize),
    /// Length in pairs.
    Map(usize),
    /// An extension, its type byte included.
    Other(usize),
}

impl Head {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a bool",
            Self::Unsigned(_) | Self::Signed(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Raw(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Other(_) => "an extension",
        }
    }
}

/// The head at the front of `bytes` and its own length; what a `Raw` counts is not included.
///
/// Errors: `Incomplete`, `Reserved`.
pub(super) fn head(bytes: &[u8]) -> Result<(Head, usize), DecodeError> {
    let first = *bytes.first().ok_or(DecodeError::Incomplete)?;
    let after = &bytes[1..];
    Ok(match first {
        0x00..=0x7f => (Head::Unsigned(u64::from(first)), 1),
        0x80..=0x8f => (Head::Map(usize::from(first & 0x0f)), 1),
        0x90..=0x9f => (Head::List(usize::from(first & 0x0f)), 1),
        0xa0..=0xbf => (Head::Raw(usize::from(first & 0x1f)), 1),
        0xc0 => (Head::Nil, 1),
        0xc1 => return Err(DecodeError::Reserved(first)),
        0xc2 => (Head::Bool(false), 1),
        0xc3 => (Head::Bool(true), 1),
        0xc4 | 0xd9 => (Head::Raw(length(after, 1)?), 2),
        0xc5 | 0xda => (Head::Raw(length(after, 2)?), 3),
        0xc6 | 0xdb => (Head::Raw(length(after, 4)?), 5),
        0xc7 => (Head::Other(length(after, 1)? + 1), 2),
        0xc8 => (Head::Other(length(after, 2)? + 1), 3),
        0xc9 => (Head::Other(length(after, 4)? + 1), 5),
        0xca => {
            let bits = number(after, 4)? as u32;
            (Head::Float(f64::from(f32::from_bits(bits))), 5)
        }
        0xcb => (Head::Float(f64::from_bits(number(after, 8)?)), 9),
        0xcc => (Head::Unsigned(number(after, 1)?), 2),
        0xcd => (Head::Unsigned(number(after, 2)?), 3),
        0xce => (Head::Unsigned(number(after, 4)?), 5),
        0xcf => (Head::Unsigned(number(after, 8)?), 9),
        0xd0 => (signed(i64::from(number(after, 1)? as i8)), 2),
        0xd1 => (signed(i64::from(number(after, 2)? as i16)), 3),
        0xd2 => (signed(i64::from(number(after, 4)? as i32)), 5),
        0xd3 => (signed(number(after, 8)? as i64), 9),
        0xd4..=0xd8 => (Head::Other((1 << (first - 0xd4)) + 1), 1),
        0xdc => (Head::List(length(after, 2)?), 3),
        0xdd => (Head::List(length(after, 4)?), 5),
        0xde => (Head::Map(length(after, 2)?), 3),
        0xdf => (Head::Map(length(after, 4)?), 5),
        0xe0..=0xff => (Head::Signed(i64::from(first as i8)), 1),
    })
}

/// Some writers mark numbers as signed that are not negative.
fn signed(number: i64) -> Head {
    match u64::try_from(number) {
        Ok(number) => Head::Unsigned(number),
        Err(_) => Head::Signed(number),
    }
}

fn number(bytes: &[u8], width: usize) -> Result<u64, DecodeError> {
    let digits = bytes.get(..width).ok_or(DecodeError::Incomplete)?;
    Ok(digits.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn length(bytes: &[u8], width: usize) -> Result<usize, DecodeError> {
    number(bytes, width).map(|length| length as usize)
}
