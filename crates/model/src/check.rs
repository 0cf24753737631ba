//! A health check: its state in the catalog and the definition it was registered with.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::duration::{self, GoDuration};
use crate::wire::{is_default, null_as_default};

/// Check id of the gossip failure detector's verdict on a node.
pub const SERF_HEALTH: &str = "serfHealth";
/// Check id of node maintenance.
pub const NODE_MAINTENANCE: &str = "_node_maintenance";
/// Prefix of the check id of a service's maintenance.
pub const SERVICE_MAINTENANCE_PREFIX: &str = "_service_maintenance:";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    Passing,
    Warning,
    #[default]
    Critical,
}

impl CheckStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Passing, Self::Warning, Self::Critical].into_iter().find(|s| s.as_str() == text)
    }
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CheckStatus {
    /// Consul's catalog takes any word for a status; what is not known counts as critical. Only
    /// people are told that they mistyped.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_for_humans = deserializer.is_human_readable();
        let word = String::deserialize(deserializer)?;
        match Self::parse(&word) {
            Some(status) => Ok(status),
            None if is_for_humans => {
                Err(serde::de::Error::unknown_variant(&word, &["passing", "warning", "critical"]))
            }
            None => Ok(Self::Critical),
        }
    }
}

/// What a check does, as far as the catalog keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheckDefinition {
    #[serde(with = "duration::text", skip_serializing_if = "GoDuration::is_zero")]
    pub interval: GoDuration,
    #[serde(with = "duration::text", skip_serializing_if = "GoDuration::is_zero")]
    pub timeout: GoDuration,
    #[serde(with = "duration::text", skip_serializing_if = "GoDuration::is_zero")]
    pub deregister_critical_service_after: GoDuration,
    #[serde(rename = "HTTP", skip_serializing_if = "String::is_empty")]
    pub http: String,
    #[serde(rename = "TLSServerName", skip_serializing_if = "String::is_empty")]
    pub tls_server_name: String,
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "is_default")]
    pub tls_skip_verify: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub header: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
    #[serde(rename = "TCP", skip_serializing_if = "String::is_empty")]
    pub tcp: String,
    #[serde(skip_serializing_if = "is_default")]
    pub output_max_size: u64,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub script_args: Vec<String>,
    #[serde(rename = "DockerContainerID", skip_serializing_if = "String::is_empty")]
    pub docker_container_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub shell: String,
    #[serde(rename = "GRPC", skip_serializing_if = "String::is_empty")]
    pub grpc: String,
    #[serde(rename = "GRPCUseTLS", skip_serializing_if = "is_default")]
    pub grpc_use_tls: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub alias_node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub alias_service: String,
    /// Shown as a number of nanoseconds, unlike the spans above.
    #[serde(rename = "TTL", skip_serializing_if = "GoDuration::is_zero")]
    pub ttl: GoDuration,
}

impl HealthCheckDefinition {
    /// The word for what the check does, as `HealthCheck::kind` shows it; empty when it tells none.
    pub fn kind(&self) -> &'static str {
        let Self { http, tcp, alias_node, alias_service, ttl, script_args, .. } = self;
        match () {
            () if !http.is_empty() => "http",
            () if !tcp.is_empty() => "tcp",
            () if !alias_node.is_empty() || !alias_service.is_empty() => "alias",
            () if !ttl.is_zero() => "ttl",
            () if !script_args.is_empty() => "script",
            () => "",
        }
    }
}

/// One check of a node (`service_id` empty) or of a service instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheck {
    pub node: String,
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub name: String,
    pub status: CheckStatus,
    pub notes: String,
    pub output: String,
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    pub service_name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub service_tags: Vec<String>,
    /// Kind of check: `http`, `ttl`, `alias` and so on; empty when unknown.
    #[serde(rename = "Type")]
    pub kind: String,
    pub definition: HealthCheckDefinition,
    pub create_index: u64,
    pub modify_index: u64,
}

impl HealthCheck {
    pub fn is_node_level(&self) -> bool {
        self.service_id.is_empty()
    }

    /// Whether both say the same, whatever their indexes.
    pub fn is_same(&self, other: &Self) -> bool {
        let unindexed = |check: &Self| Self { create_index: 0, modify_index: 0, ..check.clone() };
        unindexed(self) == unindexed(other)
    }
}

/// The worst of `checks`: critical before warning before passing; passing when there are none.
pub fn worst_status<'a>(checks: impl IntoIterator<Item = &'a HealthCheck>) -> CheckStatus {
    checks.into_iter().map(|check| check.status).max().unwrap_or(CheckStatus::Passing)
}
