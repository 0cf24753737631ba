//! The membership pool: SWIM with Lifeguard's refinements, and on top of it serf's events, queries, intents and
//! coordinates, as one synchronous machine. An [`Input`] and the time go in, [`Effect`]s come out. Its bytes are those
//! of memberlist and serf, so that agents of both kinds form one pool.
//!
//! Deliberately absent: sockets, name resolution, files, clocks and a source of randomness (time and a seed are
//! arguments). Who may be in a pool is the caller's [`Admission`].
//!
//! Start with [`Gossip::step`], then [`machine::membership`] for the rules of SWIM and [`serf`] for what stands on them.
//! [`wire`] knows bytes and nothing of the pool.

mod time;
pub use time::{Mono, Now};

mod config;
pub use config::{Config, Profile};

mod input;
pub use input::{
    Command, Effect, Event, Input, KeyRequest, KeyringReport, OperationId, Query, QueryId, Refusal,
    StreamId,
};

mod member;
pub use member::{Member, Status};

mod admission;
pub use admission::{Admission, Everybody};

pub mod consul;

pub mod machine;
pub use machine::Gossip;

pub mod serf;
pub use serf::{Filter, Tags};

mod coordinate;
pub use coordinate::{Coordinate, DIMENSIONS};

pub mod snapshot;
pub use snapshot::{Snapshot, SnapshotLine};

mod counters;
pub use counters::Counters;

#[cfg(test)]
mod golden;

mod awareness;
mod broadcast;
mod suspicion;
mod timers;

pub mod wire;
pub use wire::keyring::{Key, KeyError, Keyring};
pub use wire::message::Versions;
