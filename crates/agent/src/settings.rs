//! What an agent is told at its start and at each reload.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use model::definition::{CheckDefinition, ServiceDefinition};
use model::query::Token;
use serde_json::Value;

/// The level of Consul's API that clients may rely on. Shown as the version in answers.
pub const API_LEVEL: &str = "1.8.7";

/// Everything an agent needs to know. `Default` is a lone server named `node1` that keeps nothing on
/// disk.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    pub node: NodeSettings,
    pub is_server: bool,
    /// This server forms a cluster of itself.
    pub is_bootstrap: bool,
    pub ports: Ports,
    /// Whether this agent measures and tells where it stands.
    pub has_coordinates: bool,
    /// Where registrations made through the API outlive a restart; `None` keeps them in memory.
    pub data_dir: Option<PathBuf>,
    pub checks: CheckSettings,
    pub sync: SyncSettings,
    /// Where sidecars without a port get theirs.
    pub sidecar_ports: RangeInclusive<u16>,
    /// Merge proxy-defaults and service-defaults into registered proxies.
    pub central_service_config: bool,
    /// Whether a connection without matching intention is allowed.
    pub default_allow: bool,
    pub acls_enabled: bool,
    /// For what the agent does on its own account, such as node updates.
    pub agent_token: Token,
    /// For registrations that name none.
    pub user_token: Token,
    /// Spread of leaf renewals after a root change.
    pub leaf_root_change_spread: Duration,
    pub metrics: MetricsSettings,
    /// Sanitised configuration, shown as `DebugConfig`.
    pub debug_config: Value,
    /// Definitions found in configuration files.
    pub service_definitions: Vec<ServiceDefinition>,
    pub check_definitions: Vec<CheckDefinition>,
}

/// How this machine appears in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    pub name: String,
    /// UUID.
    pub id: String,
    pub datacenter: String,
    /// Address others reach this node at.
    pub address: String,
    pub tagged_addresses: BTreeMap<String, String>,
    pub meta: BTreeMap<String, String>,
}

/// Ports shown to others; 0 when not served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    pub server: u16,
    pub serf_lan: u16,
    pub serf_wan: u16,
    pub grpc: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    /// How long a change of a check's output alone may wait before the catalog hears of it. Zero
    /// sends each.
    pub update_interval: Duration,
    /// Longest output kept, in bytes, unless the check sets less.
    pub output_bytes_max: usize,
    pub discard_output: bool,
    /// Whether check definitions in files may run programs.
    pub scripts_from_files: bool,
    /// Whether check definitions from the API may run programs.
    pub scripts_from_api: bool,
    /// Lower bound of `deregister_critical_service_after`.
    pub deregister_after_min: Duration,
    /// How often services critical for too long are looked for.
    pub reap_interval: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SyncSettings {
    /// Time between full comparisons with the catalog, before scaling by cluster size.
    pub interval: Duration,
    /// Time before a failed full comparison is tried again, before jitter.
    pub retry_interval: Duration,
    /// Time between reports of the node's coordinate, before scaling by cluster size and jitter.
    pub coordinate_interval_min: Duration,
    /// Reports a second of all agents together.
    pub coordinate_rate_target: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    pub prefix: String,
    pub disable_hostname: bool,
    /// Zero turns the Prometheus form off.
    pub prometheus_retention: Duration,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            node: NodeSettings {
                name: "node1".into(),
                id: "7f4f8e1c-35a7-4b0e-9d2c-2f6b1a5c9e01".into(),
                datacenter: "dc1".into(),
                address: "127.0.0.1".into(),
                tagged_addresses: BTreeMap::new(),
                meta: BTreeMap::new(),
            },
            is_server: true,
            is_bootstrap: false,
            ports: Ports { server: 8300, serf_lan: 8301, serf_wan: 8302, grpc: 0 },
            has_coordinates: true,
            data_dir: None,
            checks: CheckSettings::default(),
            sync: SyncSettings::default(),
            sidecar_ports: 21000..=21255,
            central_service_config: false,
            default_allow: true,
            acls_enabled: false,
            agent_token: Token::default(),
            user_token: Token::default(),
            leaf_root_change_spread: Duration::from_secs(30),
            metrics: MetricsSettings::default(),
            debug_config: Value::Null,
            service_definitions: Vec::new(),
            check_definitions: Vec::new(),
        }
    }
}

impl Default for CheckSettings {
    fn default() -> Self {
        Self {
            update_interval: Duration::from_secs(300),
            output_bytes_max: 4096,
            discard_output: false,
            scripts_from_files: false,
            scripts_from_api: false,
            deregister_after_min: Duration::from_secs(60),
            reap_interval: Duration::from_secs(30),
        }
    }
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            retry_interval: Duration::from_secs(15),
            coordinate_interval_min: Duration::from_secs(15),
            coordinate_rate_target: 64.0,
        }
    }
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            prefix: "consul".into(),
            disable_hostname: false,
            prometheus_retention: Duration::ZERO,
        }
    }
}
