//! What one proxy has to know, assembled from updates: the snapshot every data plane reads.
//!
//! Pure: updates go in, an immutable [`ProxySnapshot`] comes out once nothing is missing. Deliberately absent: where
//! the updates come from (an agent's views, or its HTTP API), TLS itself (`pki`), and sockets (`proxy`).
//!
//! Start with [`snapshot`], then [`definition`] and [`assembly`].

pub mod assembly;
pub mod definition;
pub mod settings;
pub mod snapshot;

pub use assembly::{Assembly, AssemblyError, Missing, Update};
pub use definition::{ConfigError, Definition, RefusedUpstream, UpstreamDefinition};
pub use snapshot::{DefaultPolicy, Instance, ProxySnapshot, Target, Upstream};
