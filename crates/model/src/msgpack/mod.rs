//! The binary form of every record: msgpack as Consul's servers and agents write and read it.
//!
//! Written in the old specification, which all of them read: text and bytes are one kind, `raw`.
//! Read by Go's rules: `nil` is the default of every type, a number of any width fits where it
//! fits, unknown keys are passed over, keys are compared exactly. Bytes come from strangers, so
//! depth, lengths and the memory a value may unfold into are bounded before anything is made.
//!
//! Start with [`to_vec`] and [`from_slice`]; [`Scanner`] finds where a value ends on a stream.
//! Source: the msgpack specification; `docs` of Consul's agents' dialect are its records.

mod head;
mod merge;
mod raw;
mod read;
mod scan;
mod write;

pub use merge::MergedMap;
pub use raw::Raw;
pub use read::{Decoder, from_slice, front};
pub use scan::Scanner;
pub use write::{Encoder, append, to_vec};

/// Deepest nesting read. Records of the catalog nest to eight; opaque settings are the rest.
pub const DEPTH_MAX: usize = 64;

/// Why bytes were not read. Nothing of the value is used then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The value goes on after the end of the bytes.
    #[error("the value is cut off")]
    Incomplete,
    #[error("values are nested deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("the value is longer than {0} bytes")]
    TooLong(usize),
    #[error("the value would unfold into more memory than its length warrants")]
    TooLarge,
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    #[error("byte {0:#04x} begins no value")]
    Reserved(u8),
    /// The value is not of the kind asked for.
    #[error("{0}")]
    Mismatch(String),
}

/// A value that has no form here: a map without keys known beforehand, or a refusing `Serialize`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EncodeError(String);

impl serde::de::Error for DecodeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Mismatch(message.to_string())
    }
}

impl serde::ser::Error for EncodeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

#[cfg(test)]
mod tests;
