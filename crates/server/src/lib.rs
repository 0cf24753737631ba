//! A server: runs one replica with threads, disks and waiting readers around it, and offers it as
//! [`rpc::Cluster`].
//!
//! One thread drives the replica and owns the log; whatever is queued when it looks is judged,
//! logged with one sync, applied and published together. Readers load the published state and
//! never meet that thread.
//!
//! Several servers are linked over streams that somebody else opens ([`Dial`],
//! [`Server::accept_link`]). Changes go to the leader in one hop; reads are answered by the server
//! that was asked, once it has applied what the leader confirms. Deliberately absent: HTTP, DNS, agents, and any rule about what a
//! command or query means, which is in `replica` and `state`.
//!
//! Start with [`Server::start`], then `driver` for the write path, `query` for the read path, `lead` for how
//! the leader is found and `link` for what servers say to one another.

mod config;
pub use config::{Bootstrap, ServerConfig, Tunables};

mod server;
pub use server::{Server, StartError};

mod shared;

mod driver;
mod peers_file;
mod slow_disk;
mod snapshotter;
mod storage;

mod bootstrap;
mod faults;
mod lead;
mod link;
pub use link::{Connection, Dial, Stream};

mod confirm;
mod query;
mod reply_cache;
mod watch;

mod backup;

mod ca;
pub use ca::CaSettings;

mod metrics;
pub use metrics::MetricsSnapshot;
