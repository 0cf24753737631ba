//! A service in the form the agent endpoints give it.

use std::collections::BTreeMap;

use model::service::{NodeService, ServiceAddress, ServiceKind, Weights};
use serde::Serialize;

use super::AgentProxy;

/// A service as the agent endpoints show it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentService {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: &'static str,
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Service")]
    pub name: String,
    pub tags: Vec<String>,
    pub meta: BTreeMap<String, String>,
    pub port: u16,
    pub address: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: BTreeMap<String, AgentAddress>,
    pub weights: AgentWeights,
    pub enable_tag_override: bool,
    /// Changes with the content; empty in lists.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<AgentProxy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<AgentConnect>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentAddress {
    pub address: String,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentWeights {
    pub passing: u16,
    pub warning: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentConnect {
    pub native: bool,
}

filter::record!(AgentAddress { "Address" => address, "Port" => port });
filter::record!(AgentWeights { "Passing" => passing, "Warning" => warning });
filter::record!(AgentConnect { "Native" => native });
filter::record!(AgentService {
    "Kind" => kind,
    "ID" => id,
    "Service" => name,
    "Tags" => tags,
    "Meta" => meta,
    "Port" => port,
    "Address" => address,
    "TaggedAddresses" => tagged_addresses,
    "Weights" => weights,
    "EnableTagOverride" => enable_tag_override,
    "ContentHash" => content_hash,
    "Proxy" => proxy,
    "Connect" => connect,
});

impl AgentService {
    /// Without the content hash.
    pub(crate) fn new(service: &NodeService) -> Self {
        let NodeService {
            kind,
            id,
            name,
            tags,
            address,
            tagged_addresses,
            meta,
            port,
            weights: Weights { passing, warning },
            enable_tag_override,
            proxy,
            connect,
            locally_registered_as_sidecar: _,
            create_index: _,
            modify_index: _,
        } = service.clone();
        let tagged_addresses = tagged_addresses
            .into_iter()
            .map(|(name, ServiceAddress { address, port })| (name, AgentAddress { address, port }))
            .collect();
        Self {
            kind: kind.as_str(),
            id,
            name,
            tags,
            meta: meta.unwrap_or_default(),
            port,
            address,
            tagged_addresses,
            weights: AgentWeights { passing, warning },
            enable_tag_override,
            content_hash: String::new(),
            proxy: (kind != ServiceKind::Typical).then(|| AgentProxy::new(proxy)),
            connect: connect.native.then_some(AgentConnect { native: true }),
        }
    }

    pub(super) fn with_hash(service: &NodeService) -> Self {
        let mut shown = Self::new(service);
        // Serializing a plain struct of texts and numbers cannot fail.
        let bytes = serde_json::to_vec(&shown).unwrap_or_default();
        shown.content_hash = format!("{:x}", content_hash(&bytes));
        shown
    }
}

/// FNV-1a, 64 bits: tells contents apart for those who wait for a change; not against forgery.
fn content_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
