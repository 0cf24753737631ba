//! The seeded simulation: real replicas under a loop that decides, from one seed, when a disk
//! finishes, when a message arrives, what clients ask and when a server loses its power.
//!
//! Time is virtual, so minutes pass in milliseconds, and the same seed gives the same run: its
//! trace hash says so. After every step each checker looks for a broken promise; a failure names
//! its seed and how to run it alone. To know that the checkers see, [`Bug`] plants known faults.
//!
//! Start with [`World::run`], one server or three under power cuts, then [`Cluster::run`], whole
//! clusters under everything else, then the checkers in `check`. [`GossipWorld::run`] does the same
//! for pools of members.

mod bug;
mod check;
mod client;
mod cluster;
mod disk;
mod gossip_world;
mod trace;
mod violation;
mod world;

pub use bug::Bug;
pub use cluster::{Cluster, ClusterReport, ClusterSettings, Drift, FaultMix};
pub use gossip_world::{GossipReport, GossipSettings, GossipWorld};
pub use violation::Violation;
pub use world::{Report, Settings, World};
