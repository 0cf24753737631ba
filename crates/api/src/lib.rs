//! The HTTP API as its callers see it: the shapes that differ from `model`, and a typed client.
//!
//! Sits beside `config` and `rpc`: roles and the command line use it to reach an agent, whoever
//! made that agent. Deliberately absent: routes and handlers (those are `http`), caching, retries
//! beyond a connection that died idle, and any decision about what an answer means.
//!
//! Start with [`client::Client`]; one file per noun adds its calls to it.

pub mod address;
pub mod client;
pub mod client_config;
pub mod error;
pub mod params;
pub mod response;
pub mod watch;

mod tls;
mod transport;

#[cfg(test)]
mod tests;

pub mod agent;
pub mod ca;
pub mod catalog;
pub mod config_entry;
pub mod connect;
pub mod coordinate;
pub mod event;
pub mod health;
pub mod intention;
pub mod kv;
pub mod operator;
pub mod session;
pub mod snapshot;
pub mod status;

pub use address::Address;
pub use client::Client;
pub use client_config::{ClientConfig, HttpAuth, TlsFiles};
pub use error::Error;
pub use params::QueryParams;
pub use response::{Answer, Response, ResponseMeta, ResponseStream};
pub use watch::Watch;
