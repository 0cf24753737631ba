//! The replicated state: tables, what a command does to them, what a query reads from them.
//!
//! Everything here follows from commands and their indexes alone, so replicas that applied the
//! same log are equal. Tables are persistent maps of shared rows: a clone costs O(1), and readers
//! keep theirs while later commands are applied. Deliberately absent: time, randomness, access
//! control, settings, consensus and input checks that need none of the tables; those are judged
//! before a command enters the log.
//!
//! Start with [`State::apply`] and [`State::read`]; then one noun, such as `kv`, from top to end.

mod applied;
mod index;
mod name;
mod tables;

mod autopilot;
mod ca;
mod catalog;
mod check;
mod config_entry;
mod coordinate;
mod health;
mod intention;
mod kv;
mod node;
mod service;
mod session;

mod getters;
mod read;

mod opaque;
mod restore;
mod snapshot;

pub mod archive;

#[cfg(test)]
mod tests;

pub use applied::Applied;
pub use opaque::OpaqueRecord;
pub use read::Read;
pub use snapshot::{SNAPSHOT_VERSION, SnapshotError};
pub use tables::State;
