//! Single rows, for whoever judges commands before the log and plans the leader's duties.

use std::sync::Arc;

use model::ca::{CaConfiguration, CaProviderState, CaRoots};
use model::check::HealthCheck;
use model::config_entry::ConfigEntry;
use model::intention::Intention;
use model::kv::DirEntry;
use model::node::Node;
use model::service::NodeService;
use model::session::Session;

use crate::State;
use crate::index::Table;
use crate::name::{fold, fold_id, name};

impl State {
    /// By name, whatever its letter case.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(&*fold(name)).map(|row| &row.node)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values().map(|row| &row.node)
    }

    /// One service instance of a node.
    pub fn service(&self, node: &str, id: &str) -> Option<&Arc<NodeService>> {
        self.nodes.get(&*fold(node))?.services.get(&*fold(id))
    }

    /// Service instances of a node, by id.
    pub fn node_services(&self, node: &str) -> impl Iterator<Item = &Arc<NodeService>> {
        self.nodes.get(&*fold(node)).into_iter().flat_map(|row| row.services.values())
    }

    /// One check of a node or of its services.
    pub fn check(&self, node: &str, check_id: &str) -> Option<&Arc<HealthCheck>> {
        self.nodes.get(&*fold(node))?.checks.get(&*fold(check_id))
    }

    /// Checks of a node and of its services, by check id.
    pub fn node_checks(&self, node: &str) -> impl Iterator<Item = &Arc<HealthCheck>> {
        self.nodes.get(&*fold(node)).into_iter().flat_map(|row| row.checks.values())
    }

    pub fn session(&self, id: &str) -> Option<&Arc<Session>> {
        self.sessions.get(fold_id(id).as_str())
    }

    /// All sessions, by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.values()
    }

    /// Sessions with a time to live, by id.
    pub fn sessions_with_ttl(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions().filter(|session| session.ttl_duration().is_some())
    }

    pub fn kv_entry(&self, key: &str) -> Option<&Arc<DirEntry>> {
        self.kv.get(key)
    }

    /// Id of the session that holds the lock of `key`.
    pub fn lock_holder(&self, key: &str) -> Option<&str> {
        self.kv_entry(key).map(|entry| entry.session.as_str()).filter(|id| !id.is_empty())
    }

    pub fn intention(&self, id: &str) -> Option<&Arc<Intention>> {
        self.intentions.get(fold_id(id).as_str())
    }

    /// The intention from exactly `source` to exactly `destination`.
    pub fn intention_exact(&self, source: &str, destination: &str) -> Option<&Arc<Intention>> {
        let id = self.intentions_to.get(&(name(destination), name(source)))?;
        self.intentions.get(id)
    }

    /// All intentions, by id.
    pub fn intentions(&self) -> impl Iterator<Item = &Arc<Intention>> {
        self.intentions.values()
    }

    /// Roots with trust domain and active root; empty before the authority is set up.
    pub fn ca_roots(&self) -> Arc<CaRoots> {
        self.ca_roots.clone()
    }

    /// The index a compare-and-set of the roots must name. One planned before a restore fails
    /// after it.
    pub fn ca_roots_index(&self) -> u64 {
        self.indexes.get(Table::CaRoots).max(self.restored_at)
    }

    pub fn ca_config(&self) -> Option<&Arc<CaConfiguration>> {
        self.ca_config.as_ref()
    }

    pub fn ca_provider_state(&self, id: &str) -> Option<&Arc<CaProviderState>> {
        self.ca_provider_states.get(id)
    }

    pub fn config_entry(&self, kind: &str, entry: &str) -> Option<&Arc<ConfigEntry>> {
        self.config_entries.get(&(name(kind), name(entry)))
    }

    /// All configuration entries, by kind and name.
    pub fn config_entries(&self) -> impl Iterator<Item = &Arc<ConfigEntry>> {
        self.config_entries.values()
    }

    /// Lowest and highest index of the deletions still remembered; `None` when there are none.
    pub fn tombstone_indexes(&self) -> Option<(u64, u64)> {
        let indexes = || self.tombstones.values().copied();
        Some((indexes().min()?, indexes().max()?))
    }
}
