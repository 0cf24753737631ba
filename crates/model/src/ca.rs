//! The certificate authority: roots everybody trusts, its configuration, issued leaves.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::opaque;
use crate::time::Timestamp;
use crate::wire::{empty_as_nil, is_default, null_as_default};

/// One root certificate, as `/v1/connect/ca/roots` shows it. Never holds a private key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaRoot {
    /// SHA-1 fingerprint of the certificate, lower-case hex with colons.
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub serial_number: u64,
    /// Key identifier of the key that signs leaves, hex with colons.
    #[serde(rename = "SigningKeyID")]
    pub signing_key_id: String,
    /// Cluster id: first label of the trust domain.
    pub external_trust_domain: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    #[serde(rename = "RootCert")]
    pub root_cert: String,
    /// PEM; certificates that lead from leaves to this root, cross-signed ones among them.
    pub intermediate_certs: Option<Vec<String>>,
    pub active: bool,
    /// When it ceased to be active; zero while active.
    #[serde(skip_serializing_if = "Timestamp::is_zero")]
    pub rotated_out_at: Timestamp,
    pub private_key_type: String,
    pub private_key_bits: u32,
    pub create_index: u64,
    pub modify_index: u64,
}

/// Answer of the roots endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaRoots {
    #[serde(rename = "ActiveRootID")]
    pub active_root_id: String,
    pub trust_domain: String,
    #[serde(deserialize_with = "null_as_default")]
    pub roots: Vec<CaRoot>,
}

/// CA configuration, as `/v1/connect/ca/configuration` shows it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaConfiguration {
    /// UUID of the cluster; the trust domain is `<cluster id>.consul`. Kept out of HTTP answers.
    #[serde(rename = "ClusterID", skip_serializing_if = "String::is_empty")]
    pub cluster_id: String,
    pub provider: String,
    #[serde(with = "opaque")]
    pub config: BTreeMap<String, Value>,
    #[serde(serialize_with = "empty_as_nil", deserialize_with = "null_as_default")]
    pub state: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub force_without_cross_signing: bool,
    pub create_index: u64,
    pub modify_index: u64,
}

/// What the built-in provider keeps in the replicated state: the signing key among it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaProviderState {
    #[serde(rename = "ID")]
    pub id: String,
    pub private_key: String,
    pub root_cert: String,
    pub intermediate_cert: String,
    pub create_index: u64,
    pub modify_index: u64,
}

impl fmt::Debug for CaProviderState {
    /// Without the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaProviderState").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for CaConfiguration {
    /// Without the provider's settings, which may hold keys and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaConfiguration").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// A signed leaf, as `/v1/agent/connect/ca/leaf/:service` shows it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IssuedCert {
    /// Lower-case hex with colons.
    pub serial_number: String,
    /// Leaf first, then intermediates.
    #[serde(rename = "CertPEM")]
    pub cert_pem: String,
    /// Filled in by the agent that made the key; empty on the way from the servers.
    #[serde(rename = "PrivateKeyPEM")]
    pub private_key_pem: String,
    pub service: String,
    #[serde(rename = "ServiceURI")]
    pub service_uri: String,
    pub valid_after: Timestamp,
    pub valid_before: Timestamp,
    pub create_index: u64,
    pub modify_index: u64,
}

impl fmt::Debug for IssuedCert {
    /// Without the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedCert")
            .field("serial_number", &self.serial_number)
            .field("service_uri", &self.service_uri)
            .field("valid_before", &self.valid_before)
            .finish_non_exhaustive()
    }
}

/// Changes of the authority's replicated records, each a compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaRequest {
    SetConfig(Box<CaConfiguration>),
    /// Replaces the root list if the roots index is still `expected_index`.
    SetRoots {
        expected_index: u64,
        roots: Vec<CaRoot>,
    },
    /// Replaces roots and configuration together, under the same condition.
    SetRootsAndConfig {
        expected_index: u64,
        roots: Vec<CaRoot>,
        config: Box<CaConfiguration>,
    },
    SetProviderState(Box<CaProviderState>),
    DeleteProviderState(String),
}
