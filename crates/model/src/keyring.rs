//! The gossip encryption keys of all members, seen and changed through gossip queries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::null_as_default;

/// A gossip key in base64. Never shown but where operators ask for it.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GossipKey(pub String);

impl std::fmt::Debug for GossipKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GossipKey(hidden)")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyringOperation {
    List,
    Install(GossipKey),
    Use(GossipKey),
    Remove(GossipKey),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyringRequest {
    pub operation: KeyringOperation,
    /// Members that relay each answer, 0 to 5.
    pub relay_factor: u8,
    /// Only the pools of the answering server.
    pub local_only: bool,
}

/// What one pool's members answered. Row of `/v1/operator/keyring`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct KeyringResponse {
    #[serde(rename = "WAN")]
    pub wan: bool,
    pub datacenter: String,
    pub segment: String,
    /// By member, what went wrong there.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub messages: BTreeMap<String, String>,
    /// How many members hold each key.
    #[serde(deserialize_with = "null_as_default")]
    pub keys: BTreeMap<String, u32>,
    /// How many members encrypt with each key.
    #[serde(deserialize_with = "null_as_default")]
    pub primary_keys: BTreeMap<String, u32>,
    pub num_nodes: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}
