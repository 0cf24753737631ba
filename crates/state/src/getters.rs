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

impl State {
    /// By name, whatever its letter case.
    pub fn node(&self, _name: &str) -> Option<&Arc<Node>> {
        None
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        std::iter::empty()
    }

    /// One service instance of a node.
    pub fn service(&self, _node: &str, _id: &str) -> Option<&Arc<NodeService>> {
        None
    }

    /// Service instances of a node, by id.
    pub fn node_services(&self, _node: &str) -> impl Iterator<Item = &Arc<NodeService>> {
        std::iter::empty()
    }

    /// One check of a node or of its services.
    pub fn check(&self, _node: &str, _check_id: &str) -> Option<&Arc<HealthCheck>> {
        None
    }

    /// Checks of a node and of its services, by check id.
    pub fn node_checks(&self, _node: &str) -> impl Iterator<Item = &Arc<HealthCheck>> {
        std::iter::empty()
    }

    pub fn session(&self, _id: &str) -> Option<&Arc<Session>> {
        None
    }

    /// All sessions, by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        std::iter::empty()
    }

    /// Sessions with a time to live, by id.
    pub fn sessions_with_ttl(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions().filter(|session| session.ttl_duration().is_some())
    }

    pub fn kv_entry(&self, _key: &str) -> Option<&Arc<DirEntry>> {
        None
    }

    /// Id of the session that holds the lock of `key`.
    pub fn lock_holder(&self, key: &str) -> Option<&str> {
        self.kv_entry(key).map(|entry| entry.session.as_str()).filter(|id| !id.is_empty())
    }

    pub fn intention(&self, _id: &str) -> Option<&Arc<Intention>> {
        None
    }

    /// The intention from exactly `source` to exactly `destination`.
    pub fn intention_exact(&self, _source: &str, _destination: &str) -> Option<&Arc<Intention>> {
        None
    }

    /// All intentions, by id.
    pub fn intentions(&self) -> impl Iterator<Item = &Arc<Intention>> {
        std::iter::empty()
    }

    /// Roots with trust domain and active root; empty before the authority is set up.
    pub fn ca_roots(&self) -> Arc<CaRoots> {
        Arc::default()
    }

    /// The index a compare-and-set of the roots must name.
    pub fn ca_roots_index(&self) -> u64 {
        0
    }

    pub fn ca_config(&self) -> Option<&Arc<CaConfiguration>> {
        None
    }

    pub fn ca_provider_state(&self, _id: &str) -> Option<&Arc<CaProviderState>> {
        None
    }

    pub fn config_entry(&self, _kind: &str, _name: &str) -> Option<&Arc<ConfigEntry>> {
        None
    }

    /// All configuration entries, by kind and name.
    pub fn config_entries(&self) -> impl Iterator<Item = &Arc<ConfigEntry>> {
        std::iter::empty()
    }

    /// Lowest and highest index of the deletions still remembered; `None` when there are none.
    pub fn tombstone_indexes(&self) -> Option<(u64, u64)> {
        None
    }
}
