//! Configuration entries: settings written once for all instances.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::service::{Expose, MeshGateway, OpaqueConfig};
use crate::wire::null_as_default;

pub const PROXY_DEFAULTS: &str = "proxy-defaults";
pub const SERVICE_DEFAULTS: &str = "service-defaults";
/// The one name a proxy-defaults entry may have.
pub const PROXY_DEFAULTS_NAME: &str = "global";

/// Defaults of every proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProxyDefaults {
    pub kind: String,
    pub name: String,
    /// `null` when none was given.
    pub config: Option<OpaqueConfig>,
    pub mesh_gateway: MeshGateway,
    pub expose: Expose,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub meta: BTreeMap<String, String>,
    pub create_index: u64,
    pub modify_index: u64,
}

/// Defaults of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceDefaults {
    pub kind: String,
    pub name: String,
    pub protocol: String,
    pub mesh_gateway: MeshGateway,
    pub expose: Expose,
    #[serde(rename = "ExternalSNI", skip_serializing_if = "String::is_empty")]
    pub external_sni: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub meta: BTreeMap<String, String>,
    pub create_index: u64,
    pub modify_index: u64,
}

/// Any entry; its JSON is that of the kind it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigEntry {
    ProxyDefaults(ProxyDefaults),
    ServiceDefaults(ServiceDefaults),
}

impl ConfigEntry {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ProxyDefaults(_) => PROXY_DEFAULTS,
            Self::ServiceDefaults(_) => SERVICE_DEFAULTS,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::ProxyDefaults(entry) => &entry.name,
            Self::ServiceDefaults(entry) => &entry.name,
        }
    }

    pub fn modify_index(&self) -> u64 {
        match self {
            Self::ProxyDefaults(entry) => entry.modify_index,
            Self::ServiceDefaults(entry) => entry.modify_index,
        }
    }

    pub fn create_index(&self) -> u64 {
        match self {
            Self::ProxyDefaults(entry) => entry.create_index,
            Self::ServiceDefaults(entry) => entry.create_index,
        }
    }

    pub fn set_indexes(&mut self, create_index: u64, modify_index: u64) {
        let (create, modify) = match self {
            Self::ProxyDefaults(e) => (&mut e.create_index, &mut e.modify_index),
            Self::ServiceDefaults(e) => (&mut e.create_index, &mut e.modify_index),
        };
        (*create, *modify) = (create_index, modify_index);
    }
}

impl Serialize for ConfigEntry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ProxyDefaults(entry) => entry.serialize(serializer),
            Self::ServiceDefaults(entry) => entry.serialize(serializer),
        }
    }
}

/// The replicated form: tagged by kind, so that it reads back without looking ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaggedConfigEntry {
    ProxyDefaults(ProxyDefaults),
    ServiceDefaults(ServiceDefaults),
}

impl From<ConfigEntry> for TaggedConfigEntry {
    fn from(entry: ConfigEntry) -> Self {
        match entry {
            ConfigEntry::ProxyDefaults(entry) => Self::ProxyDefaults(entry),
            ConfigEntry::ServiceDefaults(entry) => Self::ServiceDefaults(entry),
        }
    }
}

impl From<TaggedConfigEntry> for ConfigEntry {
    fn from(entry: TaggedConfigEntry) -> Self {
        match entry {
            TaggedConfigEntry::ProxyDefaults(entry) => Self::ProxyDefaults(entry),
            TaggedConfigEntry::ServiceDefaults(entry) => Self::ServiceDefaults(entry),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigEntryRequest {
    Upsert(TaggedConfigEntry),
    /// Upsert if the stored entry's modify index is this one; 0 means it must not exist.
    UpsertCas(TaggedConfigEntry, u64),
    Delete {
        kind: String,
        name: String,
    },
}
