//! The files' content, in the names and shapes Consul gives them.

use std::collections::BTreeMap;

use model::check::{CheckStatus, HealthCheck};
use model::definition::CheckDefinition;
use model::duration::GoDuration;
use model::query::Token;
use model::service::NodeService;
use serde::{Deserialize, Serialize};

use crate::definition::PlannedCheck;
use crate::local::Source;

/// A service as kept on disk.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Service {
    #[serde(default)]
    token: String,
    pub(crate) service: NodeService,
    #[serde(default)]
    pub(crate) source: Source,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) locally_registered_as_sidecar: bool,
}

impl Service {
    pub(crate) fn new(
        service: &NodeService,
        token: &Token,
        source: Source,
        is_sidecar: bool,
    ) -> Self {
        Self {
            token: token.0.to_string(),
            service: service.clone(),
            source,
            locally_registered_as_sidecar: is_sidecar,
        }
    }

    pub(crate) fn token(&self) -> Token {
        Token(self.token.as_str().into())
    }
}

/// A check as kept on disk.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Check {
    pub(crate) check: HealthCheck,
    /// `None` for maintenance, which does nothing.
    pub(crate) chk_type: Option<CheckType>,
    #[serde(default)]
    token: String,
    #[serde(default)]
    pub(crate) source: Source,
}

impl Check {
    pub(crate) fn new(planned: &PlannedCheck, token: &Token, source: Source) -> Self {
        Self {
            check: planned.check.clone(),
            chk_type: Some(CheckType::from(&planned.definition)),
            token: token.0.to_string(),
            source,
        }
    }

    pub(crate) fn maintenance(check: &HealthCheck, token: &Token) -> Self {
        let (check, token) = (check.clone(), token.0.to_string());
        Self { check, chk_type: None, token, source: Source::Api }
    }

    pub(crate) fn token(&self) -> Token {
        Token(self.token.as_str().into())
    }
}

/// What a check with a time to live was last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CheckState {
    #[serde(rename = "CheckID")]
    pub(crate) check_id: String,
    pub(crate) output: String,
    pub(crate) status: CheckStatus,
    /// Seconds since the epoch; what is older says nothing any more.
    pub(crate) expires: i64,
}

/// What a check does, in the names Consul's files give it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CheckType {
    #[serde(rename = "CheckID")]
    check_id: String,
    name: String,
    status: String,
    notes: String,
    script_args: Option<Vec<String>>,
    #[serde(rename = "HTTP")]
    http: String,
    header: Option<BTreeMap<String, Vec<String>>>,
    method: String,
    body: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_redirects: bool,
    #[serde(rename = "TCP")]
    tcp: String,
    interval: GoDuration,
    alias_node: String,
    alias_service: String,
    #[serde(rename = "DockerContainerID")]
    docker_container_id: String,
    shell: String,
    #[serde(rename = "GRPC")]
    grpc: String,
    #[serde(rename = "GRPCUseTLS")]
    grpc_use_tls: bool,
    #[serde(rename = "TLSServerName", skip_serializing_if = "String::is_empty")]
    tls_server_name: String,
    #[serde(rename = "TLSSkipVerify")]
    tls_skip_verify: bool,
    timeout: GoDuration,
    #[serde(rename = "TTL")]
    ttl: GoDuration,
    success_before_passing: u32,
    failures_before_critical: u32,
    deregister_critical_service_after: GoDuration,
    output_max_size: i64,
}

impl From<&CheckDefinition> for CheckType {
    fn from(definition: &CheckDefinition) -> Self {
        let CheckDefinition {
            id,
            name,
            notes,
            service_id: _,
            token: _,
            status,
            script_args,
            http,
            header,
            method,
            body,
            disable_redirects,
            tcp,
            grpc,
            grpc_use_tls,
            tls_server_name,
            tls_skip_verify,
            ttl,
            docker_container_id,
            shell,
            alias_node,
            alias_service,
            interval,
            timeout,
            output_max_size,
            success_before_passing,
            failures_before_warning: _,
            failures_before_critical,
            deregister_critical_service_after,
        } = definition.clone();
        Self {
            check_id: id,
            name,
            status,
            notes,
            script_args: (!script_args.is_empty()).then_some(script_args),
            http,
            header: (!header.is_empty()).then_some(header),
            method,
            body,
            disable_redirects,
            tcp,
            interval,
            alias_node,
            alias_service,
            docker_container_id,
            shell,
            grpc,
            grpc_use_tls,
            tls_server_name,
            tls_skip_verify,
            timeout,
            ttl,
            success_before_passing,
            failures_before_critical,
            deregister_critical_service_after,
            output_max_size,
        }
    }
}

impl From<CheckType> for CheckDefinition {
    fn from(kept: CheckType) -> Self {
        Self {
            id: kept.check_id,
            name: kept.name,
            notes: kept.notes,
            status: kept.status,
            script_args: kept.script_args.unwrap_or_default(),
            http: kept.http,
            header: kept.header.unwrap_or_default(),
            method: kept.method,
            body: kept.body,
            disable_redirects: kept.disable_redirects,
            tcp: kept.tcp,
            grpc: kept.grpc,
            grpc_use_tls: kept.grpc_use_tls,
            tls_server_name: kept.tls_server_name,
            tls_skip_verify: kept.tls_skip_verify,
            ttl: kept.ttl,
            docker_container_id: kept.docker_container_id,
            shell: kept.shell,
            alias_node: kept.alias_node,
            alias_service: kept.alias_service,
            interval: kept.interval,
            timeout: kept.timeout,
            output_max_size: kept.output_max_size,
            success_before_passing: kept.success_before_passing,
            failures_before_critical: kept.failures_before_critical,
            deregister_critical_service_after: kept.deregister_critical_service_after,
            ..Self::default()
        }
    }
}
