//! Registration in the catalog, and the rows its endpoints show.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Meta;
use crate::check::HealthCheck;
use crate::node::Node;
use crate::service::{
    ConnectProxyConfig, NodeService, ServiceAddress, ServiceConnect, ServiceKind, Weights,
};
use crate::wire::{is_default, null_as_default, service_name};

/// Upserts a node and, when given, a service and checks of it, in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegisterRequest {
    pub datacenter: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub node: String,
    pub address: String,
    pub tagged_addresses: Meta,
    pub node_meta: Meta,
    pub service: Option<NodeService>,
    pub check: Option<HealthCheck>,
    #[serde(deserialize_with = "null_as_default")]
    pub checks: Vec<HealthCheck>,
    /// Leave an existing node record as it is.
    pub skip_node_update: bool,
}

/// Removes a check, else a service, else the whole node: the most specific that is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeregisterRequest {
    pub datacenter: String,
    pub node: String,
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    #[serde(rename = "CheckID")]
    pub check_id: String,
}

/// Row of `/v1/catalog/service/:name`: node and service flattened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceNode {
    #[serde(rename = "ID")]
    pub id: String,
    pub node: String,
    pub address: String,
    pub datacenter: String,
    pub tagged_addresses: Meta,
    pub node_meta: Meta,
    pub service_kind: ServiceKind,
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    pub service_name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub service_tags: Vec<String>,
    pub service_address: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub service_tagged_addresses: BTreeMap<String, ServiceAddress>,
    pub service_weights: Weights,
    pub service_meta: Meta,
    pub service_port: u16,
    pub service_enable_tag_override: bool,
    pub service_proxy: ConnectProxyConfig,
    pub service_connect: ServiceConnect,
    pub create_index: u64,
    pub modify_index: u64,
}

impl ServiceNode {
    pub fn new(node: &Node, service: &NodeService) -> Self {
        let NodeService {
            kind,
            id,
            name,
            tags,
            address,
            tagged_addresses,
            meta,
            port,
            weights,
            enable_tag_override,
            proxy,
            connect,
            locally_registered_as_sidecar: _,
            create_index,
            modify_index,
        } = service.clone();
        Self {
            id: node.id.clone(),
            node: node.name.clone(),
            address: node.address.clone(),
            datacenter: node.datacenter.clone(),
            tagged_addresses: node.tagged_addresses.clone(),
            node_meta: node.meta.clone(),
            service_kind: kind,
            service_id: id,
            service_name: name,
            service_tags: tags,
            service_address: address,
            service_tagged_addresses: tagged_addresses,
            service_weights: weights,
            // Never `null` here, unlike in a node's own services.
            service_meta: Some(meta.unwrap_or_default()),
            service_port: port,
            service_enable_tag_override: enable_tag_override,
            service_proxy: proxy,
            service_connect: connect,
            create_index,
            modify_index,
        }
    }
}

/// Answer of `/v1/catalog/node/:node`: services by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeServices {
    pub node: Option<Arc<Node>>,
    #[serde(deserialize_with = "null_as_default")]
    pub services: BTreeMap<String, Arc<NodeService>>,
}

/// Answer of `/v1/catalog/node-services/:node`: services as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeServiceList {
    pub node: Option<Arc<Node>>,
    #[serde(deserialize_with = "null_as_default")]
    pub services: Vec<Arc<NodeService>>,
}

/// A service a gateway serves, row of `/v1/catalog/gateway-services/:gateway`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GatewayService {
    #[serde(with = "service_name")]
    pub gateway: String,
    #[serde(with = "service_name")]
    pub service: String,
    pub gateway_kind: ServiceKind,
    #[serde(skip_serializing_if = "is_default")]
    pub port: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    pub create_index: u64,
    pub modify_index: u64,
}
