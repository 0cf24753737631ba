//! One server's brain: consensus node, replicated state, prechecks and leader duties as one
//! synchronous machine. An [`Input`] and the time go in, [`Effect`]s come out; `server` performs
//! them with threads and disks, `sim` with a seed.
//!
//! Deliberately absent: runtime, sockets, files, clocks, a source of randomness (times and a
//! seeded generator are arguments) and waiting, which `server` does on what is published here.
//!
//! Start with [`Replica::step`], then [`judge`] for what is decided before the log.
//!
//! # Driving several
//!
//! - Every id but 0 names a server. A cluster begins with [`Snapshot::founding`] as what its founder
//!   recovers, or with a [`Recovered::membership`] that all know from the start. Who recovers
//!   nothing belongs to no cluster: it follows whoever takes it in.
//! - [`Effect::Send`] may lose, double and reorder; say [`Input::Unreachable`] when a send failed
//!   for certain. [`Effect::Note`] arrives as [`Input::Note`] with the sender as `from`; beside
//!   those, tell each server you connect to [`Replica::position`] as [`Note::Position`].
//! - [`Effect::SendSnapshot`] arrives as [`Input::SnapshotReceived`]; then, or when it was lost, its
//!   sender hears [`Input::SnapshotSent`].
//! - A [`Persist`] with a snapshot: save that first, durably; then let the log begin anew behind a
//!   mark of its place, which comes back as [`Recovered::boundary`]. A crash between both is fine.
//! - [`Effect::Replace`] is a publication that touches everything.
//! - A read is linearizable on *any* server once the leader confirmed its leadership with an index
//!   and [`Replica::applied`] there has reached that. [`Effect::Lease`] until then holds for a
//!   leader that is ready, by its own clock.
//! - Ticks may be late, never early: leases count on that.

mod time;
pub use time::{Mono, Now};

mod input;
pub use input::{Effect, HaltCause, Input, Leadership, Persist, RequestId, Response, Snapshot};

mod membership;
pub use membership::{Membership, Note, Peer, Position};

mod machine;
pub use machine::{
    LEASE_DRIFT_PERCENT, Recovered, Replica, ReplicaConfig, last_membership, rebuild,
};

pub mod wire;

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
