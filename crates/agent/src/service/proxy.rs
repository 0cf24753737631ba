//! The proxy part of a service as the agent endpoints show it, which differs in what is left out
//! from how the catalog shows it.

use model::service::{ConnectProxyConfig, ExposePath, OpaqueConfig, Upstream};
use serde::Serialize;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentProxy {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_service_name: String,
    #[serde(rename = "DestinationServiceID", skip_serializing_if = "String::is_empty")]
    pub destination_service_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub local_service_address: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub local_service_port: u16,
    #[serde(skip_serializing_if = "OpaqueConfig::is_empty")]
    pub config: OpaqueConfig,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<AgentUpstream>,
    pub mesh_gateway: AgentMeshGateway,
    pub expose: AgentExpose,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentUpstream {
    pub destination_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_namespace: String,
    pub destination_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datacenter: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub local_bind_address: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub local_bind_port: u16,
    #[serde(skip_serializing_if = "OpaqueConfig::is_empty")]
    pub config: OpaqueConfig,
    pub mesh_gateway: AgentMeshGateway,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentMeshGateway {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentExpose {
    #[serde(skip_serializing_if = "is_false")]
    pub checks: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<AgentExposePath>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentExposePath {
    #[serde(skip_serializing_if = "is_zero")]
    pub listener_port: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub local_path_port: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    pub parsed_from_check: bool,
}

filter::record!(AgentMeshGateway { "Mode" => mode });
filter::record!(AgentExposePath {
    "ListenerPort" => listener_port,
    "Path" => path,
    "LocalPathPort" => local_path_port,
    "Protocol" => protocol,
    "ParsedFromCheck" => parsed_from_check,
});
filter::record!(AgentExpose { "Checks" => checks, "Paths" => paths });
filter::record!(AgentUpstream {
    "DestinationType" => destination_type,
    "DestinationNamespace" => destination_namespace,
    "DestinationName" => destination_name,
    "Datacenter" => datacenter,
    "LocalBindAddress" => local_bind_address,
    "LocalBindPort" => local_bind_port,
    "MeshGateway" => mesh_gateway,
});
filter::record!(AgentProxy {
    "DestinationServiceName" => destination_service_name,
    "DestinationServiceID" => destination_service_id,
    "LocalServiceAddress" => local_service_address,
    "LocalServicePort" => local_service_port,
    "Upstreams" => upstreams,
    "MeshGateway" => mesh_gateway,
    "Expose" => expose,
});

impl AgentProxy {
    pub(super) fn new(proxy: ConnectProxyConfig) -> Self {
        let ConnectProxyConfig {
            destination_service_name,
            destination_service_id,
            local_service_address,
            local_service_port,
            config,
            upstreams,
            mesh_gateway,
            expose,
        } = proxy;
        Self {
            destination_service_name,
            destination_service_id,
            local_service_address,
            local_service_port,
            config,
            upstreams: upstreams.into_iter().map(AgentUpstream::from).collect(),
            mesh_gateway: AgentMeshGateway { mode: mesh_gateway.mode },
            expose: AgentExpose {
                checks: expose.checks,
                paths: expose.paths.into_iter().map(AgentExposePath::from).collect(),
            },
        }
    }
}

impl From<Upstream> for AgentUpstream {
    fn from(upstream: Upstream) -> Self {
        let Upstream {
            destination_type,
            destination_namespace,
            destination_name,
            datacenter,
            local_bind_address,
            local_bind_port,
            config,
            mesh_gateway,
        } = upstream;
        Self {
            destination_type,
            destination_namespace,
            destination_name,
            datacenter,
            local_bind_address,
            local_bind_port,
            config,
            mesh_gateway: AgentMeshGateway { mode: mesh_gateway.mode },
        }
    }
}

impl From<ExposePath> for AgentExposePath {
    fn from(path: ExposePath) -> Self {
        let ExposePath { listener_port, path, local_path_port, protocol, parsed_from_check } = path;
        Self { listener_port, path, local_path_port, protocol, parsed_from_check }
    }
}

fn is_zero(port: &u16) -> bool {
    *port == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}
