//! The storage trait: what consensus needs of a log, with write and sync told apart so that a
//! simulation can lose exactly what was not synced.

use bytes::Bytes;

use crate::Error;

/// Largest batch, encoded. Room for the largest key-value entry settable many times over; a
/// longer length field at recovery is damage. Unit: bytes.
pub const RECORD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// One log entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Log index.
    pub index: u64,
    pub term: u64,
    /// Entry type of the consensus library, opaque here.
    pub kind: u8,
    pub data: Bytes,
}

/// What a server must remember across restarts beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: u64,
    pub vote: u64,
    /// Log index known to be committed; may lag behind the truth.
    pub commit: u64,
}

/// One atomic step of the log: after a crash it is there whole or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub hard_state: HardState,
    /// Consecutive; the first replaces whatever stood at its index and beyond.
    pub entries: Vec<Entry>,
}

/// What a log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub hard_state: HardState,
    /// Consecutive, oldest first.
    pub entries: Vec<Entry>,
    /// Bytes of an unfinished last write that were cut off. Zero after an orderly stop.
    pub torn_bytes: u64,
}

impl Recovered {
    /// Replays `batch` as [`Log::write`] defines it. A gap forgets what stood before it: a
    /// snapshot received from the leader took its place.
    pub fn replay(&mut self, batch: Batch) {
        let Batch { hard_state, entries } = batch;
        self.hard_state = hard_state;
        let Some(first) = entries.first() else { return };
        match self.entries.first() {
            Some(oldest)
                if first.index >= oldest.index
                    && first.index <= oldest.index + self.entries.len() as u64 =>
            {
                self.entries.truncate((first.index - oldest.index) as usize);
            }
            _ => self.entries.clear(),
        }
        self.entries.extend(entries);
    }
}

/// A log. One thread owns it; whoever groups callers does so before.
pub trait Log: Send {
    /// Hands `batch` to the file. Durable only after [`Log::sync`], which must come before the
    /// next write.
    fn write(&mut self, batch: &Batch) -> Result<(), Error>;

    /// Writes `batch` durably, whose first entry stands for a snapshot that took the place of
    /// everything before, and forgets that.
    fn restart(&mut self, batch: &Batch) -> Result<(), Error> {
        self.write(batch)?;
        self.sync()
    }

    /// Makes everything written durable. An error is final.
    fn sync(&mut self) -> Result<(), Error>;

    /// Allows forgetting entries up to and with `through`, which a durable snapshot covers.
    fn compact(&mut self, through: u64) -> Result<(), Error>;

    /// Bytes held on disk.
    fn disk_bytes(&self) -> u64;
}
