//! The shared vocabulary: records with their public field names, and per noun its commands,
//! queries and replies.
//!
//! Field names are those of Consul's HTTP API, which its RPC and snapshots share, so one struct
//! and one derive serve all of them. Wrapper types for time, duration and bytes choose their form
//! by `is_human_readable`. Deliberately absent: validation that needs a clock, storage, transport,
//! and any second copy of a noun.
//!
//! Start with [`node`], [`service`] and [`check`], then [`command`] and [`query`].

pub mod duration;
pub mod id;
pub mod msgpack;
mod opaque;
pub mod time;
mod wire;

pub mod ca;
pub mod catalog;
pub mod check;
pub mod config_entry;
pub mod coordinate;
pub mod event;
pub mod health;
pub mod intention;
pub mod keyring;
pub mod kv;
pub mod node;
pub mod operator;
pub mod service;
pub mod session;
pub mod snapshot;

pub mod definition;
pub mod spiffe;

pub mod access;
pub mod command;
pub mod error;
mod filtering;
pub mod query;
pub mod topic;

/// String to string map whose absence (`null`) differs from being empty (`{}`) in answers.
pub type Meta = Option<std::collections::BTreeMap<String, String>>;
