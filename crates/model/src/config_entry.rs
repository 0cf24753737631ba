//! Configuration entries: settings written once for all instances.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::msgpack::{self, DecodeError, Decoder, Raw};
use crate::opaque;
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
    #[serde(with = "opaque::option")]
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
    /// Binary proxy defaults are text that holds a map, as Consul writes them.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ProxyDefaults(entry) if !serializer.is_human_readable() => {
                let inside = msgpack::to_vec(entry).map_err(serde::ser::Error::custom)?;
                serializer.serialize_bytes(&inside)
            }
            Self::ProxyDefaults(entry) => entry.serialize(serializer),
            Self::ServiceDefaults(entry) => entry.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ConfigEntry {
    /// From the binary form alone: an entry tells its kind itself, wrapped or not.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw(bytes) = Raw::deserialize(deserializer)?;
        Self::from_binary(&bytes).map_err(serde::de::Error::custom)
    }
}

impl ConfigEntry {
    /// An entry in its binary form, wrapped or not, which tells its kind itself.
    fn from_binary(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct OfKind {
            kind: String,
        }
        let kind = unwrapped(bytes, |map| msgpack::from_slice::<OfKind>(map))?.kind;
        Self::of_kind(&kind, bytes)
    }

    /// The same for an entry of which `kind` is known otherwise; it may lack its own.
    fn of_kind(kind: &str, bytes: &[u8]) -> Result<Self, DecodeError> {
        unwrapped(bytes, |map| match kind {
            PROXY_DEFAULTS => {
                let entry: ProxyDefaults = msgpack::from_slice(map)?;
                Ok(Self::ProxyDefaults(ProxyDefaults { kind: kind.to_owned(), ..entry }))
            }
            SERVICE_DEFAULTS => {
                let entry: ServiceDefaults = msgpack::from_slice(map)?;
                Ok(Self::ServiceDefaults(ServiceDefaults { kind: kind.to_owned(), ..entry }))
            }
            other => Err(DecodeError::Mismatch(invalid_kind(other))),
        })
    }
}

/// Reads the map that `bytes` are, or that the text they are holds.
fn unwrapped<T>(
    bytes: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    match msgpack::from_slice::<serde_bytes::ByteBuf>(bytes) {
        Ok(inside) => read(&inside),
        Err(_) => read(bytes),
    }
}

/// The text clients know for a kind nobody knows.
pub fn invalid_kind(kind: &str) -> String {
    format!("invalid config entry kind: {kind}")
}

/// What may be done with an entry, in Consul's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigEntryOp {
    #[default]
    #[serde(rename = "upsert", alias = "")]
    Upsert,
    #[serde(rename = "upsert-cas")]
    UpsertCas,
    #[serde(rename = "delete")]
    Delete,
}

/// A change of an entry as RPC and snapshots carry it: text that holds its kind, then a map.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConfigEntryBlob {
    pub op: ConfigEntryOp,
    pub datacenter: String,
    pub entry: ConfigEntry,
    pub token: String,
}

impl ConfigEntryBlob {
    /// The content of the text, without its own head.
    pub fn to_bytes(&self) -> Result<Vec<u8>, msgpack::EncodeError> {
        let mut bytes = Vec::new();
        msgpack::append(&mut bytes, self.entry.kind())?;
        msgpack::append(&mut bytes, self)?;
        Ok(bytes)
    }

    /// From the content of the text.
    ///
    /// Errors: `Mismatch` with [`invalid_kind`]'s text for a kind not known here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Fields {
            op: ConfigEntryOp,
            datacenter: String,
            entry: Raw,
            token: String,
        }
        let mut decoder = Decoder::new(bytes);
        let kind = String::deserialize(&mut decoder)?;
        if ![PROXY_DEFAULTS, SERVICE_DEFAULTS].contains(&kind.as_str()) {
            return Err(DecodeError::Mismatch(invalid_kind(&kind)));
        }
        let Fields { op, datacenter, entry: Raw(entry), token } =
            Fields::deserialize(&mut decoder)?;
        let entry = ConfigEntry::of_kind(&kind, &entry)?;
        Ok(Self { op, datacenter, entry, token })
    }
}

impl std::fmt::Display for ConfigEntryOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Upsert => "upsert",
            Self::UpsertCas => "upsert-cas",
            Self::Delete => "delete",
        })
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
