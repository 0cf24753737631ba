//! What differs between here and the catalog, and what to send about it: plain functions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::catalog::{DeregisterRequest, NodeServices, RegisterRequest};
use model::check::{HealthCheck, SERF_HEALTH};
use model::command::Command;
use model::error::{Error as ClusterError, ErrorKind};
use model::node::Node;
use model::query::Token;
use model::service::NodeService;

use crate::local::{LocalCheck, LocalState};
use crate::settings::NodeSettings;

/// Service id of the servers themselves, registered by the leader.
pub const CONSUL_SERVICE: &str = "consul";
/// Up to this many nodes every agent compares at the configured interval; each doubling beyond adds
/// one interval, so that the servers' load stays level.
const NODES_PER_INTERVAL: usize = 128;

/// What the catalog holds of this node.
#[derive(Clone, Copy, Debug)]
pub struct Catalog<'a> {
    /// `None`: the node is unknown.
    pub services: Option<&'a NodeServices>,
    pub checks: &'a [Arc<HealthCheck>],
}

/// One thing to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub command: Command,
    /// Empty: the agent's default.
    pub token: Token,
    /// For the log.
    pub subject: String,
    pub effect: Effect,
}

/// What is in line once a change is through. Carries what was sent, because the state may have
/// moved on meanwhile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effect {
    pub node: bool,
    pub service: Option<Arc<NodeService>>,
    pub checks: Vec<Arc<HealthCheck>>,
    pub removed_service: Option<String>,
    pub removed_check: Option<String>,
}

/// Time until the next full comparison: `interval` times a factor that grows with the cluster, plus
/// up to as much again by `jitter` (0 to 1).
pub fn full_interval(interval: Duration, nodes: usize, jitter: f64) -> Duration {
    let doublings = (nodes.max(1) as f64 / NODES_PER_INTERVAL as f64).log2().ceil().max(0.0);
    let scaled = interval.mul_f64(1.0 + doublings);
    scaled + scaled.mul_f64(jitter / 16.0)
}

/// Marks what is in line and what is not, and what the catalog has that is not here.
pub fn compare(
    state: &mut LocalState,
    node: &NodeSettings,
    is_server: bool,
    catalog: &Catalog<'_>,
    agent_token: &Token,
) {
    let empty = BTreeMap::new();
    let services = catalog.services.map_or(&empty, |services| &services.services);
    let known = catalog.services.and_then(|services| services.node.as_deref());
    state.node_in_sync = known.is_some_and(|known| is_node_same(known, node));
    for (id, row) in &mut state.services {
        let there = services.get(id);
        if row.service.enable_tag_override
            && let Some(there) = there
            && there.tags != row.service.tags
        {
            // Tags edited in the catalog win for such services.
            Arc::make_mut(&mut row.service).tags.clone_from(&there.tags);
        }
        row.in_sync = there.is_some_and(|there| is_service_same(there, &row.service));
    }
    let has_own = |id: &str| is_server && id == CONSUL_SERVICE;
    for id in services.keys().filter(|id| !has_own(id)) {
        if !state.services.contains_key(id) {
            state.removed_services.entry(id.clone()).or_insert_with(|| agent_token.clone());
        }
    }
    state.removed_services.retain(|id, _| services.contains_key(id));

    let checks: BTreeMap<&str, &HealthCheck> =
        catalog.checks.iter().map(|check| (check.check_id.as_str(), &**check)).collect();
    state.end_provisional(&checks);
    for (id, row) in &mut state.checks {
        let there = checks.get(id.as_str());
        let is_deferred = row.deferred_until.is_some();
        row.in_sync = there.is_some_and(|there| is_check_same(there, &row.check, is_deferred));
    }
    for id in checks.keys().filter(|id| **id != SERF_HEALTH) {
        if !state.checks.contains_key(*id) {
            state.removed_checks.entry((*id).to_owned()).or_insert_with(|| agent_token.clone());
        }
    }
    state.removed_checks.retain(|id, _| checks.contains_key(id.as_str()));
}

fn is_node_same(known: &Node, node: &NodeSettings) -> bool {
    let empty = BTreeMap::new();
    known.id == node.id
        && known.address == node.address
        && *known.tagged_addresses.as_ref().unwrap_or(&empty) == node.tagged_addresses
        && *known.meta.as_ref().unwrap_or(&empty) == node.meta
}

fn is_service_same(there: &NodeService, here: &NodeService) -> bool {
    // Absent and empty are one on the way through other encodings.
    let plain = |service: &NodeService| NodeService {
        meta: Some(service.meta.clone().unwrap_or_default()),
        ..service.clone()
    };
    here.is_same(there) || plain(here).is_same(&plain(there))
}

fn is_check_same(there: &HealthCheck, here: &HealthCheck, is_deferred: bool) -> bool {
    if !is_deferred {
        return here.is_same(there);
    }
    let there = HealthCheck { output: here.output.clone(), ..there.clone() };
    here.is_same(&there)
}

/// Everything to send now: removals, then services with their checks, then checks alone, then the
/// node when nothing else carried it.
pub fn changes(state: &LocalState, node: &NodeSettings, agent_token: &Token) -> Vec<Change> {
    let mut changes = Vec::new();
    for (id, token) in &state.removed_services {
        changes.push(Change {
            command: Command::Deregister(DeregisterRequest {
                service_id: id.clone(),
                ..deregister(node)
            }),
            token: token.clone(),
            subject: format!("deregistered service {id}"),
            effect: Effect { removed_service: Some(id.clone()), ..Effect::default() },
        });
    }
    for (id, token) in &state.removed_checks {
        changes.push(Change {
            command: Command::Deregister(DeregisterRequest {
                check_id: id.clone(),
                ..deregister(node)
            }),
            token: token.clone(),
            subject: format!("deregistered check {id}"),
            effect: Effect { removed_check: Some(id.clone()), ..Effect::default() },
        });
    }
    // The first registration carries the node along when it is out of line.
    let mut node_in_sync = state.node_in_sync;
    let mut registration =
        |mut request: RegisterRequest, mut effect: Effect, token: &Token, subject| {
            request.skip_node_update = node_in_sync;
            effect.node = true;
            node_in_sync = true;
            let command = Command::Register(Box::new(request));
            Change { command, token: token.clone(), subject, effect }
        };
    let mut pending: BTreeMap<&str, Vec<&LocalCheck>> = BTreeMap::new();
    for row in state.checks.values().filter(|row| !row.in_sync) {
        pending.entry(&row.check.service_id).or_default().push(row);
    }
    for (id, row) in state.services.iter().filter(|(_, row)| !row.in_sync) {
        // Checks travel with their service where the same token may write both.
        let own = pending.entry(id).or_default();
        let (together, apart) = own.iter().partition(|check| check.token == row.token);
        *own = apart;
        let checks: Vec<_> =
            Vec::into_iter(together).map(|check: &LocalCheck| Arc::clone(&check.check)).collect();
        let mut request = register_request(node);
        request.service = Some((*row.service).clone());
        request.checks = checks.iter().map(|check| (**check).clone()).collect();
        let effect =
            Effect { service: Some(Arc::clone(&row.service)), checks, ..Effect::default() };
        changes.push(registration(request, effect, &row.token, format!("service {id}")));
    }
    for row in pending.into_values().flatten() {
        let mut request = register_request(node);
        request.check = Some((*row.check).clone());
        let effect = Effect { checks: vec![Arc::clone(&row.check)], ..Effect::default() };
        let subject = format!("check {}", row.check.check_id);
        changes.push(registration(request, effect, &row.token, subject));
    }
    let is_carried = changes.iter().any(|change| change.effect.node);
    if !state.node_in_sync && !is_carried {
        let (request, subject) = (register_request(node), "node info".to_owned());
        changes.push(registration(request, Effect::default(), agent_token, subject));
    }
    changes
}

/// Marks in line what a change carried, unless it has changed again.
pub fn settle(state: &mut LocalState, effect: &Effect) {
    let Effect { node, service, checks, removed_service, removed_check } = effect;
    state.node_in_sync |= node;
    if let Some(sent) = service
        && let Some(row) = state.services.get_mut(&sent.id)
        && Arc::ptr_eq(sent, &row.service)
    {
        row.in_sync = true;
    }
    for sent in checks {
        if let Some(row) = state.checks.get_mut(&sent.check_id)
            && Arc::ptr_eq(sent, &row.check)
        {
            row.in_sync = true;
            row.deferred_until = None;
        }
    }
    if let Some(id) = removed_service {
        state.removed_services.remove(id);
    }
    if let Some(id) = removed_check {
        state.removed_checks.remove(id);
    }
}

/// Whether the same change would be refused again. Such a change must not hold up others; the next
/// full comparison tries it once more.
pub fn is_final(error: &ClusterError) -> bool {
    matches!(
        error.kind,
        ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict
    )
}

fn register_request(node: &NodeSettings) -> RegisterRequest {
    let NodeSettings { name, id, datacenter, address, tagged_addresses, meta } = node.clone();
    RegisterRequest {
        datacenter,
        id,
        node: name,
        address,
        tagged_addresses: Some(tagged_addresses),
        node_meta: Some(meta),
        ..RegisterRequest::default()
    }
}

fn deregister(node: &NodeSettings) -> DeregisterRequest {
    DeregisterRequest {
        datacenter: node.datacenter.clone(),
        node: node.name.clone(),
        ..DeregisterRequest::default()
    }
}

#[cfg(test)]
mod tests;
