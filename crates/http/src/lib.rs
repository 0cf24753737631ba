//! The HTTP API: requests of users and tools to the agent and the servers behind it.
//!
//! Nothing is decided here. A request is routed by a static table, its conventions (consistency,
//! waiting, tokens, forms of answers) are read in one place, and a handler per endpoint turns it
//! into one question or command and the outcome into an answer. Statuses, headers and texts are
//! those of Consul 1.8.7, which tools match on. Deliberately absent: access rules, which the table
//! only names, validation of what servers judge, and any second copy of a record.
//!
//! Start with [`serve`], then `routes` and one noun, such as `kv`.

mod settings;
pub use settings::{Network, Settings};

mod serve;
pub use serve::{Api, ApiBuilder, Reload, Timeouts, serve};

mod edge;
mod routes;

mod body;
mod options;
mod parameters;
mod request;

mod encode;
mod failure;
mod go_json;
mod gzip;
mod response;

mod ask;
mod near;

mod agent_check;
mod agent_connect;
mod agent_info;
mod agent_service;
mod ca;
mod catalog;
mod config_entry;
mod coordinate;
mod event;
mod health;
mod intention;
mod kv;
mod operator;
mod session;
mod snapshot;
mod status;

pub use model::access::{Access, Resource, Right};
pub use routes::permissions;
