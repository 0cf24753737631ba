//! Everything that can be asked of the servers, how, and the shape of each answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::ca::{CaConfiguration, CaRoots};
use crate::catalog::{GatewayService, NodeServiceList, NodeServices, ServiceNode};
use crate::check::{CheckStatus, HealthCheck};
use crate::config_entry::ConfigEntry;
use crate::coordinate::NodeCoordinate;
use crate::health::CheckServiceNode;
use crate::intention::{Intention, MatchSide};
use crate::kv::DirEntry;
use crate::node::Node;
use crate::operator::AutopilotConfiguration;
use crate::session::Session;

/// Key-value pairs a node must all carry.
pub type NodeMetaFilter = Vec<(String, String)>;

/// A question. Equal questions may share one answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    Nodes {
        node_meta: NodeMetaFilter,
    },
    Services {
        node_meta: NodeMetaFilter,
    },
    ServiceNodes {
        name: String,
        tags: Vec<String>,
        mesh: bool,
        node_meta: NodeMetaFilter,
    },
    NodeServices {
        node: String,
    },
    NodeServiceList {
        node: String,
    },
    GatewayServices {
        gateway: String,
    },
    NodeChecks {
        node: String,
    },
    ServiceChecks {
        name: String,
        node_meta: NodeMetaFilter,
    },
    /// Instances with node and checks. `mesh`: those that lead to `name` through the mesh.
    Health {
        name: String,
        tags: Vec<String>,
        mesh: bool,
        passing_only: bool,
        node_meta: NodeMetaFilter,
    },
    /// `None`: checks in any state.
    ChecksInState {
        status: Option<CheckStatus>,
        node_meta: NodeMetaFilter,
    },
    KvGet {
        key: String,
    },
    KvList {
        prefix: String,
    },
    /// Keys under a prefix; with a separator, cut at its first occurrence after the prefix.
    KvKeys {
        prefix: String,
        separator: String,
    },
    Session {
        id: String,
    },
    NodeSessions {
        node: String,
    },
    Sessions,
    Intentions,
    Intention {
        id: String,
    },
    IntentionExact {
        source: String,
        destination: String,
    },
    IntentionMatch {
        side: MatchSide,
        names: Vec<String>,
    },
    CaRoots,
    CaConfiguration,
    ConfigEntry {
        kind: String,
        name: String,
    },
    /// Empty kind: all kinds.
    ConfigEntries {
        kind: String,
    },
    Coordinates,
    /// Of one node, one row per network segment.
    NodeCoordinates {
        node: String,
    },
    AutopilotConfiguration,
}

/// An answer's rows, shared with the state they were read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Nodes(Vec<Arc<Node>>),
    /// Service name to its tags, sorted.
    Services(BTreeMap<String, Vec<String>>),
    ServiceNodes(Vec<ServiceNode>),
    /// `None`: no such node.
    NodeServices(Option<NodeServices>),
    NodeServiceList(Option<NodeServiceList>),
    GatewayServices(Vec<GatewayService>),
    Checks(Vec<Arc<HealthCheck>>),
    Health(Vec<CheckServiceNode>),
    KvEntries(Vec<Arc<DirEntry>>),
    KvKeys(Vec<String>),
    Sessions(Vec<Arc<Session>>),
    Intentions(Vec<Arc<Intention>>),
    /// One list per name asked, most specific first.
    IntentionMatches(Vec<Vec<Arc<Intention>>>),
    CaRoots(Arc<CaRoots>),
    CaConfiguration(Option<Arc<CaConfiguration>>),
    ConfigEntry(Option<Arc<ConfigEntry>>),
    ConfigEntries(Vec<Arc<ConfigEntry>>),
    Coordinates(Vec<Arc<NodeCoordinate>>),
    AutopilotConfiguration(Arc<AutopilotConfiguration>),
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// From the leader under its lease.
    #[default]
    Default,
    /// From the leader after a quorum has confirmed it.
    Consistent,
    /// From any server.
    Stale,
}

impl Consistency {
    /// The word of the `X-Consul-Effective-Consistency` header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "leader",
            Self::Consistent => "consistent",
            Self::Stale => "stale",
        }
    }
}

/// How to ask.
#[derive(Clone, Default)]
pub struct QueryOptions {
    pub token: Token,
    pub consistency: Consistency,
    /// Oldest answer accepted in stale mode.
    pub max_stale: Option<Duration>,
    /// Wait until the answer's index is greater than this; 0 answers at once.
    pub min_index: u64,
    /// How long to wait; `None` takes the default of five minutes.
    pub max_wait: Option<Duration>,
    /// Filter expression over the rows; empty keeps all.
    pub filter: String,
}

/// The secret of an access token; empty for the anonymous one. Never shown.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Token(pub Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "Token(anonymous)" } else { "Token(hidden)" })
    }
}

/// What is said of an answer beside its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueryMeta {
    /// Value to give back as `min_index` to wait for the next change. Never 0.
    pub index: u64,
    /// Time since the answering server last heard from the leader. Zero on the leader.
    pub last_contact: Duration,
    pub known_leader: bool,
    #[serde(skip)]
    pub consistency: Consistency,
}
