//! A service instance as nodes and the catalog hold it, with its proxy and upstream settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Meta;
use crate::opaque;
use crate::wire::{is_default, null_as_default};

/// Free-form settings whose keys belong to the proxy that reads them.
pub type OpaqueConfig = BTreeMap<String, Value>;

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum ServiceKind {
    #[default]
    #[serde(rename = "")]
    Typical,
    #[serde(rename = "connect-proxy")]
    ConnectProxy,
    #[serde(rename = "mesh-gateway")]
    MeshGateway,
    #[serde(rename = "terminating-gateway")]
    TerminatingGateway,
    #[serde(rename = "ingress-gateway")]
    IngressGateway,
}

impl ServiceKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Typical => "",
            Self::ConnectProxy => "connect-proxy",
            Self::MeshGateway => "mesh-gateway",
            Self::TerminatingGateway => "terminating-gateway",
            Self::IngressGateway => "ingress-gateway",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Typical,
            Self::ConnectProxy,
            Self::MeshGateway,
            Self::TerminatingGateway,
            Self::IngressGateway,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceAddress {
    pub address: String,
    pub port: u16,
}

/// DNS SRV weights by health; 0 removes the instance from weighted answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Weights {
    pub passing: u16,
    pub warning: u16,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MeshGateway {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExposePath {
    #[serde(skip_serializing_if = "is_default")]
    pub listener_port: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(skip_serializing_if = "is_default")]
    pub local_path_port: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    pub parsed_from_check: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Expose {
    #[serde(skip_serializing_if = "is_default")]
    pub checks: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub paths: Vec<ExposePath>,
}

/// One upstream of a proxy: a local listener and what it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Upstream {
    /// `service` or `prepared_query`; empty means service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_namespace: String,
    pub destination_name: String,
    pub datacenter: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub local_bind_address: String,
    pub local_bind_port: u16,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", with = "opaque")]
    pub config: OpaqueConfig,
    pub mesh_gateway: MeshGateway,
}

/// What a `connect-proxy` instance fronts and where it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConnectProxyConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_service_name: String,
    #[serde(rename = "DestinationServiceID", skip_serializing_if = "String::is_empty")]
    pub destination_service_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub local_service_address: String,
    #[serde(skip_serializing_if = "is_default")]
    pub local_service_port: u16,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", with = "opaque")]
    pub config: OpaqueConfig,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub upstreams: Vec<Upstream>,
    pub mesh_gateway: MeshGateway,
    pub expose: Expose,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceConnect {
    /// The application speaks mutual TLS itself.
    #[serde(skip_serializing_if = "is_default")]
    pub native: bool,
}

/// One registered instance of a service, as `/v1/health/service/:name` shows it under `Service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeService {
    #[serde(skip_serializing_if = "is_default")]
    pub kind: ServiceKind,
    /// Unique on its node; defaults to the name.
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Service")]
    pub name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub tags: Vec<String>,
    pub address: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    pub meta: Meta,
    pub port: u16,
    #[serde(deserialize_with = "null_as_default")]
    pub weights: Weights,
    pub enable_tag_override: bool,
    pub proxy: ConnectProxyConfig,
    pub connect: ServiceConnect,
    /// Registered through the `connect.sidecar_service` of its parent, and removed with it.
    #[serde(skip_serializing_if = "is_default")]
    pub locally_registered_as_sidecar: bool,
    pub create_index: u64,
    pub modify_index: u64,
}

impl NodeService {
    pub fn is_connect_proxy(&self) -> bool {
        self.kind == ServiceKind::ConnectProxy
    }

    /// The name under which mesh clients find this instance: the destination of a proxy, the own
    /// name of a native service, nothing otherwise.
    pub fn mesh_name(&self) -> Option<&str> {
        match self.kind {
            ServiceKind::ConnectProxy => Some(&self.proxy.destination_service_name),
            ServiceKind::Typical if self.connect.native => Some(&self.name),
            _ => None,
        }
    }

    /// Whether both describe the same registration, whatever their indexes.
    pub fn is_same(&self, other: &Self) -> bool {
        let unindexed =
            |service: &Self| Self { create_index: 0, modify_index: 0, ..service.clone() };
        unindexed(self) == unindexed(other)
    }
}
