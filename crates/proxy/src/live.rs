//! What is in force right now: made once per snapshot, read by every connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use authz::intention::{Described, IntentionTable, Reason};
use mesh::definition::{PublicListener, UpstreamDefinition};
use mesh::{DefaultPolicy, Instance, ProxySnapshot};
use model::intention::DEFAULT_NAMESPACE;
use model::spiffe::{ServiceId, SpiffeId};

use crate::listener::Purpose;
use crate::tls::{Outgoing, Tls};

/// Immutable; replaced as a whole.
pub(crate) struct Live {
    pub(crate) tls: Tls,
    pub(crate) inbound: Option<Arc<Inbound>>,
    pub(crate) upstreams: BTreeMap<Purpose, Arc<Upstream>>,
}

/// Who may reach the application, and how.
pub(crate) struct Inbound {
    pub(crate) listener: Arc<PublicListener>,
    identity: ServiceId,
    source: mesh::snapshot::Inbound,
    table: IntentionTable,
}

/// What is to happen to a connection, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed(String),
    Denied(String),
    /// No intention matches and only the agent knows the default policy.
    Ask,
}

impl Inbound {
    /// Decides about a peer that has proven who it is. Takes well under a microsecond but for the text.
    pub(crate) fn decide(&self, peer: &SpiffeId) -> Verdict {
        let SpiffeId::Service(peer) = peer else {
            return Verdict::Denied("peer is not a service".into());
        };
        if peer.trust_domain != self.identity.trust_domain {
            return Verdict::Denied("peer belongs to another trust domain".into());
        }
        let is_ours = |name: &str| name == DEFAULT_NAMESPACE;
        if !is_ours(peer.namespace.as_str()) || !is_ours(peer.partition.as_str()) {
            return Verdict::Denied("peer belongs to another namespace or partition".into());
        }
        let default_policy = self.source.default_policy;
        let decision =
            self.table.decide(peer.service.as_str(), default_policy == DefaultPolicy::Allow);
        let reason = match decision.reason {
            Reason::Matched(intention) => Described(intention).to_string(),
            Reason::Default if default_policy == DefaultPolicy::AskAgent => return Verdict::Ask,
            Reason::Default => "default policy".into(),
        };
        if decision.allowed { Verdict::Allowed(reason) } else { Verdict::Denied(reason) }
    }
}

/// Where connections of one local listener lead.
pub(crate) struct Upstream {
    pub(crate) definition: UpstreamDefinition,
    /// `None` until they were heard of.
    pub(crate) endpoints: Option<Vec<Arc<Endpoint>>>,
}

/// One instance and what is open to it.
pub(crate) struct Endpoint {
    pub(crate) instance: Arc<Instance>,
    pub(crate) outgoing: Arc<Outgoing>,
    open: AtomicU32,
}

impl Endpoint {
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }
}

/// Counts a connection to an endpoint for as long as it lives.
pub(crate) struct EndpointUse(Arc<Endpoint>);

impl EndpointUse {
    pub(crate) fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.open.fetch_add(1, Ordering::Relaxed);
        Self(endpoint.clone())
    }
}

impl Drop for EndpointUse {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Live {
    /// Takes over from `before` what did not change: compiled intentions, and endpoints with their sessions and
    /// counts.
    pub(crate) fn new(snapshot: &ProxySnapshot, tls: Tls, before: Option<&Self>) -> Self {
        let before = before.filter(|before| before.tls.is_same_mesh(&tls));
        let inbound = snapshot.inbound.as_ref().map(|source| {
            let held = before.and_then(|before| before.inbound.as_ref());
            match held {
                Some(held) if held.is_from(source, &snapshot.identity) => held.clone(),
                _ => Arc::new(Inbound {
                    listener: source.listener.clone(),
                    identity: snapshot.identity.clone(),
                    table: IntentionTable::new(
                        snapshot.identity.service.as_str(),
                        source.intentions.iter().cloned(),
                    ),
                    source: source.clone(),
                }),
            }
        });
        let mut known = Known::new(before);
        let upstreams = snapshot.upstreams.iter().map(|upstream| {
            let endpoints = upstream.instances.as_ref().map(|instances| {
                instances.iter().map(|instance| known.endpoint(instance, &tls)).collect()
            });
            let definition = upstream.definition.clone();
            (Purpose::upstream(&definition), Arc::new(Upstream { definition, endpoints }))
        });
        Self { inbound, upstreams: upstreams.collect(), tls }
    }

    /// Whether connections admitted under `before` have to be decided again.
    pub(crate) fn has_other_rules(&self, before: &Self) -> bool {
        match (&self.inbound, &before.inbound) {
            (Some(now), Some(before)) => !Arc::ptr_eq(now, before),
            (None, None) => false,
            _ => true,
        }
    }
}

impl Inbound {
    fn is_from(&self, source: &mesh::snapshot::Inbound, identity: &ServiceId) -> bool {
        Arc::ptr_eq(&self.source.listener, &source.listener)
            && Arc::ptr_eq(&self.source.intentions, &source.intentions)
            && self.source.default_policy == source.default_policy
            && self.identity == *identity
    }
}

/// Endpoints and dialers made so far.
#[derive(Default)]
struct Known {
    endpoints: BTreeMap<Arc<Instance>, Arc<Endpoint>>,
    outgoing: BTreeMap<SpiffeId, Arc<Outgoing>>,
}

impl Known {
    fn new(before: Option<&Live>) -> Self {
        let mut known = Self::default();
        let upstreams = before.into_iter().flat_map(|before| before.upstreams.values());
        for endpoint in upstreams.flat_map(|upstream| upstream.endpoints.iter().flatten()) {
            known.endpoints.insert(endpoint.instance.clone(), endpoint.clone());
            let expected = endpoint.instance.expected.clone();
            known.outgoing.insert(expected, endpoint.outgoing.clone());
        }
        known
    }

    fn endpoint(&mut self, instance: &Arc<Instance>, tls: &Tls) -> Arc<Endpoint> {
        if let Some(endpoint) = self.endpoints.get(instance) {
            return endpoint.clone();
        }
        let outgoing = self
            .outgoing
            .entry(instance.expected.clone())
            .or_insert_with(|| Arc::new(tls.dialer(&instance.expected)))
            .clone();
        let open = AtomicU32::new(0);
        let endpoint = Arc::new(Endpoint { instance: instance.clone(), outgoing, open });
        self.endpoints.insert(instance.clone(), endpoint.clone());
        endpoint
    }
}
