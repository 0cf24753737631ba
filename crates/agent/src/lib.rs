//! A node's life: the services and checks registered with it and their way into the catalog, the
//! views of cluster state it keeps warm, leaf certificates and connection decisions for the mesh.
//!
//! Start at [`Agent`]. Servers are reached through `rpc::Cluster` alone, whether they run in this
//! process or elsewhere. Deliberately absent: HTTP and DNS (their edges call this crate), consensus
//! and storage of cluster state, and the data plane.
//!
//! Three rules hold throughout. What the agent holds about its own services is the truth and the
//! catalog a copy that [`sync`] brings in line. Every watch of cluster state is the same loop of
//! `Cluster::query` with an index ([`views`]). Decisions are plain functions of their arguments;
//! tasks around them only wait and act.

pub mod error;
pub mod settings;

pub mod agent;
pub mod central;
pub mod check;
pub mod definition;
pub mod health;
pub mod local;
pub mod maintenance;
pub mod persist;
pub mod service;
pub mod sidecar;

pub mod checks;
pub mod sync;

pub mod intentions;
pub mod leaf;
pub mod remembered;
pub mod roots;
pub mod views;

mod coordinates;
pub mod event;
pub mod host;
pub mod info;
pub mod member;
pub mod metrics;
pub mod monitor;
pub mod pool;

pub mod testing;

pub use agent::{Agent, Life};
pub use check::AgentCheck;
pub use error::Error;
pub use health::{AggregatedStatus, ServiceHealth};
pub use intentions::Authorization;
pub use local::Source;
pub use pool::{Alone, Membership};
pub use service::AgentService;
pub use settings::AgentSettings;
pub use views::{CacheInfo, Cached, WaitOptions};
