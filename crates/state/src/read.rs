//! Queries: what each reads, the index of its answer, the topics it depends on.

use model::query::{Query, Reply};
use model::topic::Topic;

use crate::State;
use crate::index::Table;

/// An answer with the index to wait on and the topics whose change would alter it.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Never 0. Greater after every change of the reply.
    pub index: u64,
    /// In lower case where names are matched whatever their letter case.
    pub topics: Vec<Topic>,
    pub reply: Reply,
}

impl State {
    /// Answers `query` from this state. Rows are shared with the tables, never copied.
    pub fn read(&self, query: &Query) -> Read {
        let mut read = match query {
            Query::Nodes { node_meta } => self.read_nodes(node_meta),
            Query::Services { node_meta } => self.read_services(node_meta),
            Query::ServiceNodes { name, tags, mesh, node_meta } => {
                self.read_service_nodes(name, tags, *mesh, node_meta)
            }
            Query::NodeServices { node } => self.read_node_services(node),
            Query::NodeServiceList { node } => self.read_node_service_list(node),
            // Gateways are bound by configuration entries of kinds not kept here.
            Query::GatewayServices { gateway: _ } => Read {
                index: 1,
                topics: vec![Topic::ConfigEntries],
                reply: Reply::GatewayServices(Vec::new()),
            },
            Query::NodeChecks { node } => self.read_node_checks(node),
            Query::ServiceChecks { name, node_meta } => self.read_service_checks(name, node_meta),
            Query::Health { name, tags, mesh, passing_only, node_meta } => {
                self.read_health(name, tags, *mesh, *passing_only, node_meta)
            }
            Query::ChecksInState { status, node_meta } => {
                self.read_checks_in_state(*status, node_meta)
            }
            Query::KvGet { key } => self.read_kv(key),
            Query::KvList { prefix } => self.read_kv_list(prefix),
            Query::KvKeys { prefix, separator } => self.read_kv_keys(prefix, separator),
            Query::Session { id } => self.read_session(id),
            Query::NodeSessions { node } => self.read_node_sessions(node),
            Query::Sessions => self.read_sessions(),
            Query::Intentions => self.read_intentions(),
            Query::Intention { id } => self.read_intention(id),
            Query::IntentionExact { source, destination } => {
                self.read_intention_exact(source, destination)
            }
            Query::IntentionMatch { side, names } => self.read_intention_match(*side, names),
            Query::CaRoots => self.read_ca_roots(),
            Query::CaConfiguration => self.read_ca_config(),
            Query::ConfigEntry { kind, name } => self.read_config_entry(kind, name),
            Query::ConfigEntries { kind } => self.read_config_entries(kind),
            Query::Coordinates => self.read_coordinates(),
            Query::NodeCoordinates { node } => self.read_node_coordinates(node),
            Query::AutopilotConfiguration => self.read_autopilot(),
        };
        // Clients would wait on 0 without end.
        read.index = read.index.max(self.restored_at).max(1);
        read
    }

    /// True only if nothing `topics` cover has changed after `index`. Looks up a few indexes and
    /// scans nothing, so it may say false although nothing has changed.
    pub fn is_unchanged_since(&self, topics: &[Topic], index: u64) -> bool {
        self.restored_at <= index && topics.iter().all(|topic| self.last_change(topic) <= index)
    }

    /// An index at or after the last change `topic` covers.
    fn last_change(&self, topic: &Topic) -> u64 {
        const CATALOG: &[Table] = &[Table::Nodes, Table::Services, Table::Checks];
        match topic {
            Topic::Nodes => self.indexes.get(Table::Nodes),
            Topic::Services => self.indexes.get(Table::Services),
            Topic::Checks => self.indexes.get(Table::Checks),
            Topic::Node(_) => self.indexes.max(CATALOG),
            Topic::Service(name) => {
                self.services.get(name.as_str()).map_or(self.indexes.max(CATALOG), |row| row.index)
            }
            Topic::Mesh(name) => {
                self.mesh.get(name.as_str()).map_or(self.indexes.max(CATALOG), |row| row.index)
            }
            Topic::Key(key) => match self.kv.get(key.as_str()) {
                Some(entry) => entry.modify_index,
                None => self.kv_table_index(),
            },
            Topic::KeyPrefix(_) => self.kv_table_index(),
            Topic::Sessions | Topic::Session(_) => self.indexes.get(Table::Sessions),
            Topic::Intentions | Topic::IntentionDestination(_) => {
                self.indexes.get(Table::Intentions)
            }
            Topic::CaRoots => self.indexes.get(Table::CaRoots),
            Topic::CaConfig => self.indexes.get(Table::CaConfig),
            Topic::ConfigEntries => self.indexes.get(Table::ConfigEntries),
            Topic::Coordinates => self.indexes.get(Table::Coordinates),
            Topic::Autopilot => self.indexes.get(Table::Autopilot),
            Topic::Everything => self.index,
        }
    }
}
