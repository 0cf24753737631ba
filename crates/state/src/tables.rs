//! The tables, and the dispatch of commands to the nouns they concern.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use model::ca::{CaConfiguration, CaProviderState, CaRoots};
use model::check::{CheckStatus, HealthCheck};
use model::command::Command;
use model::config_entry::ConfigEntry;
use model::coordinate::NodeCoordinate;
use model::intention::Intention;
use model::kv::DirEntry;
use model::node::Node;
use model::operator::AutopilotConfiguration;
use model::service::NodeService;
use model::session::Session;

use crate::applied::{Applied, Change};
use crate::index::{Indexes, Table};
use crate::name::Name;
use crate::opaque::OpaqueRecord;
use crate::restore::Staged;

/// The whole replicated state at one index.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(crate) index: u64,
    /// What a log index lacks to the replicated one. Grows by a restore alone, so that indexes go
    /// on above all that came with the restored state, however short the log is.
    pub(crate) offset: u64,
    /// Index of the last restore; 0 when there was none. No answer has a lower index.
    pub(crate) restored_at: u64,
    pub(crate) indexes: Indexes,

    /// By name.
    pub(crate) nodes: OrdMap<Name, Arc<NodeRow>>,
    /// Node name by node id.
    pub(crate) node_ids: OrdMap<Name, Name>,
    /// Instances by service name.
    pub(crate) services: OrdMap<Name, ServiceRow>,
    /// Mesh instances by the name they lead to.
    pub(crate) mesh: OrdMap<Name, ServiceRow>,
    /// What the list of services shows, by exact name.
    pub(crate) service_names: OrdMap<Name, Arc<ServiceNameRow>>,
    /// Node and check id by the service name a check carries.
    pub(crate) service_checks: OrdMap<Name, OrdSet<(Name, Name)>>,
    /// Node and check id of checks that do not pass, by status.
    pub(crate) failing_checks: OrdSet<(CheckStatus, Name, Name)>,

    pub(crate) kv: OrdMap<Name, Arc<DirEntry>>,
    /// Index of deletion by key or, for deleted trees, by prefix.
    pub(crate) tombstones: OrdMap<Name, u64>,

    pub(crate) sessions: OrdMap<Name, Arc<Session>>,
    /// Node and session id.
    pub(crate) node_sessions: OrdSet<(Name, Name)>,
    /// Node, check id and session id.
    pub(crate) check_sessions: OrdSet<(Name, Name, Name)>,
    /// Session id and the key it holds.
    pub(crate) locks: OrdSet<(Name, Name)>,

    pub(crate) intentions: OrdMap<Name, Arc<Intention>>,
    /// Intention id by destination and source.
    pub(crate) intentions_to: OrdMap<(Name, Name), Name>,
    /// Intention id by source and destination.
    pub(crate) intentions_from: OrdMap<(Name, Name), Name>,

    /// Roots, active root and trust domain, ready to be shown.
    pub(crate) ca_roots: Arc<CaRoots>,
    pub(crate) ca_config: Option<Arc<CaConfiguration>>,
    pub(crate) ca_provider_states: OrdMap<Name, Arc<CaProviderState>>,

    /// By kind and name.
    pub(crate) config_entries: OrdMap<(Name, Name), Arc<ConfigEntry>>,

    /// By node and network segment.
    pub(crate) coordinates: OrdMap<(Name, Name), Arc<NodeCoordinate>>,
    /// `None` until an operator sets it.
    pub(crate) autopilot: Option<Arc<AutopilotConfiguration>>,

    /// Records of archives for which there is no noun here, kept to be written back.
    pub(crate) opaque: Vector<OpaqueRecord>,
    /// A restore whose last piece has not come.
    pub(crate) staged: Option<Arc<Staged>>,
}

/// A node with all that is registered on it.
#[derive(Clone, Debug)]
pub(crate) struct NodeRow {
    pub(crate) key: Name,
    pub(crate) node: Arc<Node>,
    /// By service id.
    pub(crate) services: OrdMap<Name, Arc<NodeService>>,
    /// By check id.
    pub(crate) checks: OrdMap<Name, Arc<HealthCheck>>,
    /// Checks in the order of their ids by the service id they bear on; `""` holds those of the
    /// node itself.
    pub(crate) checks_on: OrdMap<Name, Arc<Vec<Arc<HealthCheck>>>>,
}

/// The instances of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceRow {
    /// When an instance, its node or a check of either changed last.
    pub(crate) index: u64,
    /// Node name and service id.
    pub(crate) instances: OrdSet<(Name, Name)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceNameRow {
    pub(crate) instances: usize,
    /// How many instances carry each tag.
    pub(crate) tags: BTreeMap<String, usize>,
}

impl State {
    pub fn new() -> Self {
        Self::default()
    }

    /// The index of the last command applied; 0 before the first.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The replicated index of the log's entry at `log_index`, unless a restore comes before it.
    pub fn index_of(&self, log_index: u64) -> u64 {
        log_index + self.offset
    }

    /// The log's index of the last command applied; 0 before the first.
    pub fn log_index(&self) -> u64 {
        self.index - self.offset
    }

    /// Index of the last restore, which no answer is below; 0 when there was none.
    pub fn restored_at(&self) -> u64 {
        self.restored_at
    }

    /// Applies `command` at its replicated `index`, which must be greater than the last one's.
    pub fn apply(&mut self, index: u64, command: Command) -> Applied {
        assert!(index > self.index, "commands are applied once and in order");
        self.index = index;
        let mut change = Change::at(index);
        let outcome = match command {
            Command::Register(request) => self.register(*request, &mut change),
            Command::Deregister(request) => self.deregister(&request, &mut change),
            Command::Kv(request) => self.apply_kv(request, &mut change),
            Command::Session(request) => self.apply_session(request, &mut change),
            Command::Intention(request) => self.apply_intention(request, &mut change),
            Command::Ca(request) => self.apply_ca(request, &mut change),
            Command::ConfigEntry(request) => self.apply_config_entry(request, &mut change),
            Command::Coordinates(updates) => self.apply_coordinates(updates, &mut change),
            Command::Autopilot(request) => self.apply_autopilot(request, &mut change),
            Command::ReapTombstones(up_to) => self.reap_tombstones(up_to),
            Command::Restore(chunk) => self.apply_restore(chunk, &mut change),
        };
        change.finish(outcome)
    }

    /// Records that `table` changed.
    pub(crate) fn bump(&mut self, table: Table, change: &Change) {
        self.indexes.set(table, change.index);
    }
}
