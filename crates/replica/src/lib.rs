//! One server's brain: consensus node, replicated state, prechecks and leader duties as one
//! synchronous machine. An [`Input`] and the time go in, [`Effect`]s come out; `server` performs
//! them with threads and disks, `sim` with a seed.
//!
//! Deliberately absent: runtime, sockets, files, clocks, a source of randomness (times and a
//! seeded generator are arguments) and waiting, which `server` does on what is published here.
//!
//! Start with [`Replica::step`], then [`judge`] for what is decided before the log.

mod time;
pub use time::{Mono, Now};

mod input;
pub use input::{
    Effect, HaltCause, Input, Leadership, Membership, Persist, RequestId, Response, Snapshot,
};

mod machine;
pub use machine::{Recovered, Replica, ReplicaConfig};

mod entry;
mod log_store;

pub mod judge;
pub use judge::{Judged, Rules};

pub mod duty;

pub mod visibility;

/// An entry of the consensus log, as the `raft` crate defines it.
pub type LogEntry = raft::eraftpb::Entry;
/// What an entry holds: a command, or a change of membership.
pub type LogEntryKind = raft::eraftpb::EntryType;
/// The term, vote and commit a server must remember.
pub type HardState = raft::eraftpb::HardState;
/// What servers say to one another.
pub type Message = raft::eraftpb::Message;
