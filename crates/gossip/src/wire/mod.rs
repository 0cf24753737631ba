//! Bytes: what peers send one another, read and written without any knowledge of the pool.
//!
//! From the inside out: [`msgpack`] values, [`message`] bodies, [`lzw`] and [`seal`] around them, [`packet`]
//! for datagrams and [`stream`] for connections. Everything read here comes from strangers: a reader returns an
//! error and never panics, and every length is checked before memory is taken.

pub mod msgpack;

pub mod message;

pub mod lzw;

pub mod keyring;

pub mod seal;

pub mod packet;

pub mod stream;

pub mod address;

/// Why bytes could not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// More bytes may complete it: on a stream, wait.
    #[error("message ends early")]
    Short,
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    #[error("message of unknown type {0}")]
    UnknownType(u8),
    #[error("message larger than allowed")]
    TooLarge,
    #[error("checksum differs")]
    Checksum,
    #[error("no gossip key (encrypt) known here opens the message")]
    NoKey,
    #[error("message is not encrypted with a gossip key (encrypt)")]
    NotEncrypted,
    #[error("message carries a label, none is configured")]
    Label,
}
