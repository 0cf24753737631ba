//! Puts one proxy's snapshot together from updates that arrive in any order.
//!
//! Until every part was heard of once there is no snapshot, and so nothing is admitted: absence of data is never an
//! allow.

use std::fmt;
use std::sync::Arc;

use model::ca::{CaRoots, IssuedCert};
use model::check::CheckStatus;
use model::health::CheckServiceNode;
use model::intention::Intention;
use model::spiffe::{ServiceId, SpiffeError, SpiffeId, TrustDomain};

use crate::definition::{Definition, PublicListener, RefusedUpstream};
use crate::snapshot::{
    DefaultPolicy, Inbound, Instance, InstancesByTarget, ProxySnapshot, Target, Upstream,
};

/// One thing that became known.
#[derive(Clone, Debug)]
pub enum Update {
    Definition(Box<Definition>),
    Roots(Arc<CaRoots>),
    Leaf(Arc<IssuedCert>),
    /// Intentions with the own service as destination.
    Intentions {
        intentions: Vec<Arc<Intention>>,
        default_policy: DefaultPolicy,
    },
    /// Instances a target has, as the health endpoint lists them.
    Instances {
        target: Target,
        rows: Vec<CheckServiceNode>,
    },
}

/// An update that cannot be true; what was known before stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    #[error("the leaf certificate is for {found:?}, not for service {expected:?}")]
    ForeignLeaf { expected: String, found: String },
    #[error("the leaf certificate names no usable identity")]
    LeafIdentity(#[source] SpiffeError),
    #[error("the roots name no usable trust domain")]
    TrustDomain(#[source] SpiffeError),
}

/// The parts still missing before there can be a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    pub definition: bool,
    pub roots: bool,
    pub leaf: bool,
    pub intentions: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { definition, roots, leaf, intentions } = *self;
        let parts = [
            (definition, "registration"),
            (roots, "root certificates"),
            (leaf, "leaf certificate"),
            (intentions, "intentions"),
        ];
        let mut separator = "waiting for ";
        for (_, name) in parts.into_iter().filter(|(is_missing, _)| *is_missing) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// The state of what one proxy knows.
#[derive(Debug, Default)]
pub struct Assembly {
    definition: Option<Parts>,
    roots: Option<(Arc<CaRoots>, TrustDomain)>,
    leaf: Option<(Arc<IssuedCert>, ServiceId)>,
    intentions: Option<(Arc<[Arc<Intention>]>, DefaultPolicy)>,
    instances: InstancesByTarget,
}

/// A definition with its parts shared, so that snapshots share them too.
#[derive(Debug)]
struct Parts {
    definition: Box<Definition>,
    proxy_id: Arc<str>,
    public: Option<Arc<PublicListener>>,
    refused: Arc<[RefusedUpstream]>,
}

impl Assembly {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one update in; `true` if it says anything new.
    ///
    /// Errors: an update that contradicts what the proxy is; it is not taken in.
    pub fn apply(&mut self, update: Update) -> Result<bool, AssemblyError> {
        match update {
            Update::Definition(definition) => Ok(self.define(definition)),
            Update::Roots(roots) => self.take_roots(roots),
            Update::Leaf(leaf) => self.take_leaf(leaf),
            Update::Intentions { intentions, default_policy } => {
                Ok(self.take_intentions(intentions, default_policy))
            }
            Update::Instances { target, rows } => Ok(self.take_instances(target, &rows)),
        }
    }

    /// The service the proxy stands for, once its definition is known.
    pub fn service(&self) -> Option<&str> {
        self.definition.as_ref().map(|parts| parts.definition.service.as_str())
    }

    /// Whether the mesh is let in, so that intentions matter.
    pub fn has_public(&self) -> bool {
        self.definition.as_ref().is_some_and(|parts| parts.public.is_some())
    }

    /// The targets of all upstreams, each once: what to watch.
    pub fn targets(&self) -> std::collections::BTreeSet<Target> {
        let definition = self.definition.as_ref();
        let upstreams = definition.map_or(&[][..], |parts| &parts.definition.upstreams);
        upstreams.iter().map(|upstream| upstream.target.clone()).collect()
    }

    /// The snapshot, or what it still waits for.
    pub fn snapshot(&self) -> Result<Arc<ProxySnapshot>, Missing> {
        let missing = Missing {
            definition: self.definition.is_none(),
            roots: self.roots.is_none(),
            leaf: self.leaf.is_none(),
            intentions: self.has_public() && self.intentions.is_none(),
        };
        let (Some(parts), Some((roots, _)), Some((leaf, identity))) =
            (&self.definition, &self.roots, &self.leaf)
        else {
            return Err(missing);
        };
        let inbound = match (&parts.public, &self.intentions) {
            (None, _) => None,
            (Some(_), None) => return Err(missing),
            (Some(listener), Some((intentions, default_policy))) => Some(Inbound {
                listener: listener.clone(),
                intentions: intentions.clone(),
                default_policy: *default_policy,
            }),
        };
        let upstreams = parts.definition.upstreams.iter().map(|definition| {
            let instances = self.instances.get(&definition.target).cloned();
            Arc::new(Upstream { definition: definition.clone(), instances })
        });
        Ok(Arc::new(ProxySnapshot {
            proxy_id: parts.proxy_id.clone(),
            identity: identity.clone(),
            roots: roots.clone(),
            leaf: leaf.clone(),
            inbound,
            upstreams: upstreams.collect(),
            refused: parts.refused.clone(),
        }))
    }

    /// A proxy that comes to stand for another service must not go on with the old one's identity and rules.
    fn define(&mut self, definition: Box<Definition>) -> bool {
        if let Some(parts) = &self.definition {
            if parts.definition == definition {
                return false;
            }
            if parts.definition.service != definition.service {
                self.leaf = None;
                self.intentions = None;
            }
        }
        let held = self.definition.take().and_then(|parts| parts.public);
        let public = match (held, &definition.public) {
            (Some(held), Some(new)) if *held == *new => Some(held),
            (_, new) => new.clone().map(Arc::new),
        };
        self.definition = Some(Parts {
            proxy_id: definition.proxy_id.as_str().into(),
            public,
            refused: definition.refused.as_slice().into(),
            definition,
        });
        let targets = self.targets();
        self.instances.retain(|target, _| targets.contains(target));
        true
    }

    fn take_roots(&mut self, roots: Arc<CaRoots>) -> Result<bool, AssemblyError> {
        if self.roots.as_ref().is_some_and(|(held, _)| *held == roots) {
            return Ok(false);
        }
        let trust_domain = roots.trust_domain.parse().map_err(AssemblyError::TrustDomain)?;
        self.roots = Some((roots, trust_domain));
        self.rename_instances();
        Ok(true)
    }

    fn take_leaf(&mut self, leaf: Arc<IssuedCert>) -> Result<bool, AssemblyError> {
        if self.leaf.as_ref().is_some_and(|(held, _)| *held == leaf) {
            return Ok(false);
        }
        let foreign = |expected: &str| AssemblyError::ForeignLeaf {
            expected: expected.into(),
            found: leaf.service_uri.clone(),
        };
        let id: SpiffeId = leaf.service_uri.parse().map_err(AssemblyError::LeafIdentity)?;
        let SpiffeId::Service(id) = id else { return Err(foreign(&leaf.service)) };
        if let Some(parts) = &self.definition
            && parts.definition.service != id.service.as_str()
        {
            return Err(foreign(&parts.definition.service));
        }
        self.leaf = Some((leaf, id));
        Ok(true)
    }

    fn take_intentions(
        &mut self,
        intentions: Vec<Arc<Intention>>,
        default_policy: DefaultPolicy,
    ) -> bool {
        let held = self.intentions.as_ref();
        if held.is_some_and(|(held, policy)| **held == *intentions && *policy == default_policy) {
            return false;
        }
        self.intentions = Some((intentions.into(), default_policy));
        true
    }

    /// Only passing instances are kept, whatever the caller asked the health endpoint for.
    fn take_instances(&mut self, target: Target, rows: &[CheckServiceNode]) -> bool {
        let trust_domain = self.roots.as_ref().map(|(_, trust_domain)| trust_domain);
        let rows = rows.iter().filter(|row| row.status() == CheckStatus::Passing);
        let mut instances: Vec<Arc<Instance>> =
            rows.filter_map(|row| instance(row, &target, trust_domain).map(Arc::new)).collect();
        instances.sort();
        if self.instances.get(&target).is_some_and(|held| **held == *instances) {
            return false;
        }
        self.instances.insert(target, instances.into());
        true
    }

    /// Instances heard of before the roots were do not know their trust domain yet.
    fn rename_instances(&mut self) {
        let Some((_, trust_domain)) = &self.roots else { return };
        for instances in self.instances.values_mut() {
            if instances.iter().all(|held| held.expected.trust_domain() == trust_domain) {
                continue;
            }
            *instances = instances
                .iter()
                .map(|held| {
                    Arc::new(Instance { expected: moved(held, trust_domain), ..(**held).clone() })
                })
                .collect();
        }
    }
}

fn moved(instance: &Instance, trust_domain: &TrustDomain) -> SpiffeId {
    match &instance.expected {
        SpiffeId::Service(id) => {
            SpiffeId::Service(ServiceId { trust_domain: trust_domain.clone(), ..id.clone() })
        }
        other => other.clone(),
    }
}

/// `None` for rows that cannot be dialled in the mesh: no port, or names that fit no identity.
fn instance(
    row: &CheckServiceNode,
    target: &Target,
    trust_domain: Option<&TrustDomain>,
) -> Option<Instance> {
    // The row's own destination must be the one asked for: a registration that says otherwise is not dialled.
    let service = row.service.mesh_name()?;
    if service != target.service || row.service.port == 0 || row.address().is_empty() {
        return None;
    }
    let unknown: TrustDomain;
    let trust_domain = match trust_domain {
        Some(trust_domain) => trust_domain,
        None => {
            unknown = UNKNOWN_TRUST_DOMAIN.parse().ok()?;
            &unknown
        }
    };
    let datacenter = match row.node.datacenter.as_str() {
        "" => &target.datacenter,
        datacenter => datacenter,
    };
    Some(Instance {
        address: row.address().into(),
        port: row.service.port,
        expected: SpiffeId::service(trust_domain, datacenter, service).ok()?,
        node: row.node.name.clone(),
        service_id: row.service.id.clone(),
    })
}

/// Stands in until the roots are known; no certificate names it.
const UNKNOWN_TRUST_DOMAIN: &str = "unknown.invalid";

#[cfg(test)]
mod tests;
