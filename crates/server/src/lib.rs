//! A server: runs one replica with threads, disks and waiting readers around it, and offers it as
//! [`rpc::Cluster`].
//!
//! One thread drives the replica and owns the log; whatever is queued when it looks is judged,
//! logged with one sync, applied and published together. Readers load the published state and
//! never meet that thread. Deliberately absent: HTTP, DNS, agents, and any rule about what a
//! command or query means, which is in `replica` and `state`.
//!
//! Start with [`Server::start`], then `driver` for the write path and `query` for the read path.

mod config;
pub use config::{ServerConfig, Tunables};

mod server;
pub use server::{Server, StartError};

mod shared;

mod driver;
mod snapshotter;
mod storage;

mod query;
mod reply_cache;
mod watch;

mod backup;

mod ca;
pub use ca::CaSettings;

mod metrics;
pub use metrics::MetricsSnapshot;
