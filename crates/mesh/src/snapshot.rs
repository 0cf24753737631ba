//! The snapshot of one proxy: everything a data plane needs to admit and to make connections.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use model::ca::{CaRoots, IssuedCert};
use model::intention::Intention;
use model::spiffe::{ServiceId, SpiffeId};

use crate::definition::{PublicListener, RefusedUpstream, UpstreamDefinition};

/// What decides when no intention matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultPolicy {
    Allow,
    Deny,
    /// The agent did not say, so it has to be asked about each such connection (real 1.8.7).
    AskAgent,
}

/// Immutable and complete: a proxy that holds one can serve without asking anybody.
///
/// Parts that did not change between two snapshots are the same `Arc`, so a data plane can tell by pointer what it
/// has to rebuild. Holds the leaf's private key, which `IssuedCert` keeps out of debug output.
#[derive(Clone, Debug)]
pub struct ProxySnapshot {
    /// Id of the proxy's own registration, or of its making when it is not registered.
    pub proxy_id: Arc<str>,
    /// Who this proxy speaks for; equal to the URI in the leaf.
    pub identity: ServiceId,
    pub roots: Arc<CaRoots>,
    pub leaf: Arc<IssuedCert>,
    /// Absent in a proxy that only leads outwards.
    pub inbound: Option<Inbound>,
    pub upstreams: Vec<Arc<Upstream>>,
    /// Upstreams that cannot be served, each with its reason; the others are.
    pub refused: Arc<[RefusedUpstream]>,
}

/// How connections from the mesh to the application are admitted.
#[derive(Clone, Debug)]
pub struct Inbound {
    pub listener: Arc<PublicListener>,
    /// Those that bear on the own service as destination.
    pub intentions: Arc<[Arc<Intention>]>,
    pub default_policy: DefaultPolicy,
}

/// What an upstream leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub service: String,
    /// Empty: the datacenter of the agent.
    pub datacenter: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.datacenter.as_str() {
            "" => f.write_str(&self.service),
            datacenter => write!(f, "{} in {datacenter}", self.service),
        }
    }
}

/// A local listener and the instances it leads to.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub definition: UpstreamDefinition,
    /// Healthy, mesh-enabled instances; `None` until they were heard of once, which is not the same as none.
    pub instances: Option<Arc<[Arc<Instance>]>>,
}

/// One instance of a target: where its proxy (or its own TLS port) is, and who must answer there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// IP address or host name.
    pub address: String,
    pub port: u16,
    pub expected: SpiffeId,
    pub node: String,
    pub service_id: String,
}

/// Instances by target, as the assembly keeps them.
pub(crate) type InstancesByTarget = BTreeMap<Target, Arc<[Arc<Instance>]>>;
