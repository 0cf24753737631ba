//! The durable log of a server and its snapshot files, behind a small storage trait.
//!
//! Entries and snapshot bodies are opaque bytes here. At run time the log is only written; it is
//! read once, at open, since the replica keeps the retained entries in memory (snapshots bound
//! how many there are). Deliberately absent: threads that serve callers, retries after a failed
//! sync (pages may have been dropped silently, so the process must stop), and any knowledge of
//! consensus.
//!
//! Start with [`Log`], then [`DiskLog`]; [`SnapshotStore`] keeps the snapshots beside it.

mod error;
mod log;

mod memory;

mod disk;
mod segment;
mod spare;

mod snapshot;

mod lock;

pub use disk::{DiskLog, DiskLogOptions};
pub use error::Error;
pub use lock::DirLock;
pub use log::{Batch, Entry, HardState, Log, RECORD_BYTES_MAX, Recovered};
pub use memory::MemoryLog;
pub use snapshot::{Loaded, ReceivedSnapshot, SnapshotMeta, SnapshotStore};
