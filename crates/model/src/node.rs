//! A node: one machine of the catalog.

use serde::{Deserialize, Serialize};

use crate::Meta;

/// A catalog node as `/v1/catalog/nodes` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// UUID of the agent, empty for nodes registered without one.
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Node")]
    pub name: String,
    pub address: String,
    pub datacenter: String,
    pub tagged_addresses: Meta,
    pub meta: Meta,
    pub create_index: u64,
    pub modify_index: u64,
}

impl Node {
    /// Whether both describe the same node, whatever their indexes.
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { id, name, address, datacenter, tagged_addresses, meta, .. } = self;
        *id == other.id
            && *name == other.name
            && *address == other.address
            && *datacenter == other.datacenter
            && *tagged_addresses == other.tagged_addresses
            && *meta == other.meta
    }
}
