//! The state as the records of Consul's snapshot archives: what stands in their `state.bin`.
//!
//! A header, then records of one type byte and one msgpack value to the end. Records of nouns that
//! exist here become rows, all others are kept as they are and written back ([`OpaqueRecord`]), so
//! that nothing of a cluster is lost on its way through this one. Written is what 1.8 reads. The
//! container around the records, its checksums and compression are not made here.
//!
//! Source: snapshots of 1.8.7, read and restored.

mod read;
mod write;

mod config_entry;
mod kind;
mod record;
mod scan;

pub use kind::Kind;
pub use record::{Counted, count};

use std::io;

use serde::{Deserialize, Serialize};

/// Why an archive's records were not read. Nothing of them is used then.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("read the records")]
    Io(#[from] io::Error),
    #[error("the records do not begin with an index: {0}")]
    Header(String),
    #[error("record {number}, {kind}: {reason}")]
    Record { number: u64, kind: Kind, reason: String },
    #[error(
        "record {number} has type {kind}, which only Consul Enterprise writes; take the snapshot \
         from a cluster without its features"
    )]
    Enterprise { number: u64, kind: u8 },
    #[error(
        "record {number} is a {kind} of the access control before 1.4; migrate the tokens of the \
         old cluster first (consul acl translate-rules and acl token update -upgrade-legacy), then \
         take another snapshot"
    )]
    Legacy { number: u64, kind: Kind },
}

/// What comes before the records.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Header {
    last_index: u64,
}

/// The last record. Pieces of large commands under way belong to the log they came from.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Chunking {
    chunk_map: std::collections::BTreeMap<String, ()>,
}
