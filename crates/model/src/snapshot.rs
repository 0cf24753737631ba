//! Snapshots: the whole state on its way into the servers, piece by piece through the log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest piece: as large as the largest value a key may have, so that no log entry grows beyond
/// what the log carries anyway. Unit: bytes.
pub const RESTORE_CHUNK_BYTES_MAX: usize = 512 * 1024;
/// Longest state that may be restored, all pieces together. It stands in memory twice while it is
/// taken in, beside the state it replaces. Unit: bytes.
pub const RESTORE_BYTES_MAX: u64 = 4 << 30;

/// One piece of a state stream. Pieces of one restore follow one another by `sequence` from 0 on;
/// the last one replaces the state. A piece of another restore, or one out of sequence, discards
/// what came before.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RestoreChunk {
    /// Names the restore; drawn by whoever begins it.
    #[serde(rename = "ID")]
    pub id: String,
    pub sequence: u64,
    #[serde(with = "crate::wire::bytes")]
    pub bytes: Vec<u8>,
    pub is_last: bool,
}

impl fmt::Debug for RestoreChunk {
    /// Without the bytes: private keys are among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreChunk")
            .field("id", &self.id)
            .field("sequence", &self.sequence)
            .field("length", &self.bytes.len())
            .field("is_last", &self.is_last)
            .finish()
    }
}
