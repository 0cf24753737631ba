//! Intentions: who may connect to whom. The service access graph.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Meta;
use crate::time::Timestamp;
use crate::wire::null_as_default;

/// Matches every service.
pub const WILDCARD: &str = "*";
/// The only namespace of the community edition.
pub const DEFAULT_NAMESPACE: &str = "default";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntentionAction {
    Allow,
    #[default]
    Deny,
}

impl IntentionAction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for IntentionAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One edge of the graph, as `/v1/connect/intentions` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Intention {
    #[serde(rename = "ID")]
    pub id: String,
    pub description: String,
    #[serde(rename = "SourceNS")]
    pub source_namespace: String,
    pub source_name: String,
    #[serde(rename = "DestinationNS")]
    pub destination_namespace: String,
    pub destination_name: String,
    /// Always `consul`.
    pub source_type: String,
    pub action: IntentionAction,
    pub default_addr: String,
    pub default_port: u16,
    #[serde(deserialize_with = "null_as_default")]
    pub meta: std::collections::BTreeMap<String, String>,
    /// Larger wins: 9 exact to exact, 8 any to exact, 6 exact to any, 5 any to any.
    pub precedence: u8,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Fingerprint of the content; base64 in JSON.
    #[serde(with = "crate::wire::bytes")]
    pub hash: Vec<u8>,
    pub create_index: u64,
    pub modify_index: u64,
}

impl Intention {
    /// Precedence by how exact source and destination are (community edition: one namespace).
    pub fn precedence_of(source: &str, destination: &str) -> u8 {
        match (destination == WILDCARD, source == WILDCARD) {
            (false, false) => 9,
            (false, true) => 8,
            (true, false) => 6,
            (true, true) => 5,
        }
    }
}

/// Side of an intention a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatchSide {
    Source,
    Destination,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntentionRequest {
    /// Insert or replace by id. Times and hash are filled in by the leader before the log.
    Upsert(Box<Intention>),
    /// By id.
    Delete(String),
}

/// Labels of a change to be stored with an intention; kept small on purpose.
pub type IntentionMeta = Meta;
