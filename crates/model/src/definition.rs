//! Service and check definitions as users write them in files and in bodies of the register
//! endpoints.
//!
//! Reading them from either form is `config`'s part; what they mean to the catalog is in
//! [`crate::service`] and [`crate::check`].

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::check::CheckStatus;
use crate::duration::{self, GoDuration};
use crate::query::Token;
use crate::service::{
    ConnectProxyConfig, NodeService, ServiceAddress, ServiceConnect, ServiceKind, Weights,
};
use crate::wire::is_default;

/// A service to run on this agent. Serializes to the body of `/v1/agent/service/register`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceDefinition {
    #[serde(skip_serializing_if = "is_default")]
    pub kind: ServiceKind,
    /// Unique on the agent; empty means the name.
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub address: String,
    #[serde(skip_serializing_if = "is_default")]
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// `None` when not given at all, which the catalog shows as `null`.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "is_default")]
    pub port: u16,
    #[serde(skip_serializing_if = "is_default")]
    pub weights: Option<WeightsDefinition>,
    #[serde(serialize_with = "token_text", skip_serializing_if = "is_default")]
    pub token: Token,
    #[serde(skip_serializing_if = "is_default")]
    pub enable_tag_override: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub proxy: Option<ConnectProxyConfig>,
    #[serde(skip_serializing_if = "is_default")]
    pub connect: Option<ConnectDefinition>,
    /// `checks`, and after them `check`.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: Vec<CheckDefinition>,
}

/// DNS weights before they are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WeightsDefinition {
    pub passing: i64,
    pub warning: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConnectDefinition {
    /// The application speaks mutual TLS itself.
    #[serde(skip_serializing_if = "is_default")]
    pub native: bool,
    /// A proxy to register along with the service; what it leaves out is filled in from the
    /// service.
    #[serde(skip_serializing_if = "is_default")]
    pub sidecar_service: Option<Box<ServiceDefinition>>,
}

/// A check to run on this agent. Serializes to the body of `/v1/agent/check/register`.
///
/// Units: `output_max_size` is bytes, zero the agent's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckDefinition {
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub notes: String,
    #[serde(rename = "ServiceID", skip_serializing_if = "is_default")]
    pub service_id: String,
    #[serde(serialize_with = "token_text", skip_serializing_if = "is_default")]
    pub token: Token,
    /// Where the check starts; empty means critical. See [`CheckDefinition::initial_status`].
    #[serde(skip_serializing_if = "is_default")]
    pub status: String,
    #[serde(rename = "Args", skip_serializing_if = "is_default")]
    pub script_args: Vec<String>,
    #[serde(rename = "HTTP", skip_serializing_if = "is_default")]
    pub http: String,
    #[serde(skip_serializing_if = "is_default")]
    pub header: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "is_default")]
    pub method: String,
    #[serde(skip_serializing_if = "is_default")]
    pub body: String,
    /// Newer than Consul 1.8: a redirect is an answer, not followed.
    #[serde(skip_serializing_if = "is_default")]
    pub disable_redirects: bool,
    #[serde(rename = "TCP", skip_serializing_if = "is_default")]
    pub tcp: String,
    #[serde(rename = "GRPC", skip_serializing_if = "is_default")]
    pub grpc: String,
    #[serde(rename = "GRPCUseTLS", skip_serializing_if = "is_default")]
    pub grpc_use_tls: bool,
    /// Newer than Consul 1.8: the name asked for and verified in TLS.
    #[serde(rename = "TLSServerName", skip_serializing_if = "is_default")]
    pub tls_server_name: String,
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "is_default")]
    pub tls_skip_verify: bool,
    #[serde(rename = "TTL", with = "duration::text", skip_serializing_if = "is_default")]
    pub ttl: GoDuration,
    #[serde(rename = "DockerContainerID", skip_serializing_if = "is_default")]
    pub docker_container_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub shell: String,
    #[serde(skip_serializing_if = "is_default")]
    pub alias_node: String,
    #[serde(skip_serializing_if = "is_default")]
    pub alias_service: String,
    #[serde(with = "duration::text", skip_serializing_if = "is_default")]
    pub interval: GoDuration,
    #[serde(with = "duration::text", skip_serializing_if = "is_default")]
    pub timeout: GoDuration,
    #[serde(skip_serializing_if = "is_default")]
    pub output_max_size: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub success_before_passing: u32,
    /// Newer than Consul 1.8.
    #[serde(skip_serializing_if = "is_default")]
    pub failures_before_warning: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub failures_before_critical: u32,
    #[serde(with = "duration::text", skip_serializing_if = "is_default")]
    pub deregister_critical_service_after: GoDuration,
}

fn token_text<S: Serializer>(token: &Token, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&token.0)
}

/// How a check finds its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    Ttl,
    Http,
    Tcp,
    Grpc,
    Docker,
    Script,
    Alias,
}

impl CheckKind {
    /// The word the API shows as a check's `Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckKind::Ttl => "ttl",
            CheckKind::Http => "http",
            CheckKind::Tcp => "tcp",
            CheckKind::Grpc => "grpc",
            CheckKind::Docker => "docker",
            CheckKind::Script => "script",
            CheckKind::Alias => "alias",
        }
    }
}

impl CheckDefinition {
    /// The kind the fields amount to; `None` when they say nothing. Of several the first in the
    /// order of [`CheckKind`] wins, as in Consul.
    pub fn kind(&self) -> Option<CheckKind> {
        let kinds = [
            (CheckKind::Ttl, self.ttl.0 > 0),
            (CheckKind::Http, !self.http.is_empty()),
            (CheckKind::Tcp, !self.tcp.is_empty()),
            (CheckKind::Grpc, !self.grpc.is_empty()),
            (
                CheckKind::Docker,
                !self.docker_container_id.is_empty() && !self.script_args.is_empty(),
            ),
            (CheckKind::Script, !self.script_args.is_empty()),
            (CheckKind::Alias, self.is_alias()),
        ];
        kinds.into_iter().find(|(_, applies)| *applies).map(|(kind, _)| kind)
    }

    fn is_alias(&self) -> bool {
        !self.alias_node.is_empty() || !self.alias_service.is_empty()
    }

    /// The status to start with; `None` if the word given is no status.
    pub fn initial_status(&self) -> Option<CheckStatus> {
        if self.status.is_empty() {
            return Some(CheckStatus::Critical);
        }
        CheckStatus::parse(&self.status)
    }

    /// Judges what does not depend on the agent's settings. The status word is left to the caller,
    /// because the endpoints word that error differently.
    ///
    /// Errors: the text that follows "Invalid check: " in Consul's answers.
    pub fn validate(&self) -> Result<(), &'static str> {
        let has_interval = !self.script_args.is_empty()
            || !self.http.is_empty()
            || !self.tcp.is_empty()
            || !self.grpc.is_empty();
        if self.interval.0 > 0 && self.ttl.0 > 0 {
            return Err("Interval and TTL cannot both be specified");
        }
        if has_interval && self.interval.0 <= 0 {
            return Err("Interval must be > 0 for Script, HTTP, or TCP checks");
        }
        if self.is_alias() && self.ttl.0 > 0 {
            return Err("TTL must be not be set for Alias checks");
        }
        if !has_interval && !self.is_alias() && self.ttl.0 <= 0 {
            return Err("TTL must be > 0 for TTL checks");
        }
        if self.output_max_size < 0 {
            return Err("MaxOutputMaxSize must be positive");
        }
        Ok(())
    }
}

/// Why a service definition cannot be registered. The texts are the bodies of Consul's 400 answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    #[error("Missing service name")]
    MissingName,
    #[error("Invalid service address")]
    Address,
    #[error("Invalid Weights: {0}")]
    Weights(&'static str),
    #[error("Invalid Service Meta: {0}")]
    Meta(String),
    #[error("{}", several(.0))]
    Registration(Vec<String>),
    #[error("Invalid check: {0}")]
    Check(&'static str),
    #[error("Status for checks must 'passing', 'warning', 'critical'")]
    CheckStatus,
}

/// A list of errors in the form Go's `multierror` prints.
pub fn several(errors: &[String]) -> String {
    let mut text = match errors.len() {
        1 => "1 error occurred:\n".to_owned(),
        count => format!("{count} errors occurred:\n"),
    };
    for error in errors {
        text.push_str(&format!("\t* {error}\n"));
    }
    text.push('\n');
    text
}

impl ServiceDefinition {
    /// The id it is registered under.
    pub fn service_id(&self) -> &str {
        if self.id.is_empty() { &self.name } else { &self.id }
    }

    /// Judges what does not depend on the agent's settings, in the order Consul does.
    pub fn validate(&self) -> Result<(), DefinitionError> {
        if self.name.is_empty() {
            return Err(DefinitionError::MissingName);
        }
        if matches!(self.address.as_str(), "0.0.0.0" | "::" | "[::]") {
            return Err(DefinitionError::Address);
        }
        self.checked_weights().map_err(DefinitionError::Weights)?;
        if let Some(meta) = &self.meta {
            validate_metadata(meta, false).map_err(DefinitionError::Meta)?;
        }
        let errors = self.registration_errors();
        if !errors.is_empty() {
            return Err(DefinitionError::Registration(errors));
        }
        for check in &self.checks {
            check.validate().map_err(DefinitionError::Check)?;
        }
        if self.checks.iter().any(|check| check.initial_status().is_none()) {
            return Err(DefinitionError::CheckStatus);
        }
        Ok(())
    }

    fn checked_weights(&self) -> Result<Weights, &'static str> {
        let Some(WeightsDefinition { passing, warning }) = self.weights else {
            return Ok(Weights::default());
        };
        if passing < 1 {
            return Err("Passing must be greater than 0");
        }
        if warning < 0 {
            return Err("Warning must be greater or equal than 0");
        }
        match (u16::try_from(passing), u16::try_from(warning)) {
            (Ok(passing), Ok(warning)) => Ok(Weights { passing, warning }),
            _ => Err("DNS Weight must be between 0 and 65535"),
        }
    }

    fn registration_errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        let default = ConnectProxyConfig::default();
        let proxy = self.proxy.as_ref().unwrap_or(&default);
        match self.kind {
            ServiceKind::ConnectProxy => self.proxy_errors(proxy, &mut errors),
            ServiceKind::MeshGateway => {
                if self.port == 0 {
                    errors.push("Port must be non-zero for a mesh-gateway".to_owned());
                }
                if !proxy.destination_service_name.is_empty() {
                    errors.push(
                        "The Proxy.DestinationServiceName configuration is invalid for a mesh-gateway".to_owned(),
                    );
                }
            }
            ServiceKind::Typical
            | ServiceKind::TerminatingGateway
            | ServiceKind::IngressGateway => {}
        }
        if let Some(sidecar) =
            self.connect.as_ref().and_then(|connect| connect.sidecar_service.as_ref())
        {
            if !sidecar.id.is_empty() {
                errors.push(
                    "A SidecarService cannot specify an ID as this is managed by the agent"
                        .to_owned(),
                );
            }
            if sidecar.connect.as_ref().is_some_and(|connect| connect.sidecar_service.is_some()) {
                errors.push("A SidecarService cannot have a nested SidecarService".to_owned());
            }
        }
        errors
    }

    fn proxy_errors(&self, proxy: &ConnectProxyConfig, errors: &mut Vec<String>) {
        if proxy.destination_service_name.is_empty() {
            errors.push(
                "Proxy.DestinationServiceName must be non-empty for Connect proxy services"
                    .to_owned(),
            );
        }
        if self.port == 0 {
            errors.push("Port must be set for a Connect proxy".to_owned());
        }
        if self.connect.as_ref().is_some_and(|connect| connect.native) {
            errors.push("A Proxy cannot also be Connect Native, only typical services".to_owned());
        }
        upstream_errors(proxy, errors);
        expose_errors(proxy, errors);
    }

    /// The instance the catalog is to hold. Call after [`ServiceDefinition::validate`]; weights
    /// that are wrong become the default.
    pub fn node_service(&self) -> NodeService {
        let connect = self.connect.clone().unwrap_or_default();
        NodeService {
            kind: self.kind,
            id: self.service_id().to_owned(),
            name: self.name.clone(),
            tags: self.tags.clone(),
            address: self.address.clone(),
            tagged_addresses: self.tagged_addresses.clone(),
            meta: self.meta.clone(),
            port: self.port,
            weights: self.checked_weights().unwrap_or_default(),
            enable_tag_override: self.enable_tag_override,
            proxy: self.proxy.clone().unwrap_or_default(),
            connect: ServiceConnect { native: connect.native },
            ..NodeService::default()
        }
    }
}

fn upstream_errors(proxy: &ConnectProxyConfig, errors: &mut Vec<String>) {
    let mut destinations = Vec::new();
    let mut binds = Vec::new();
    for upstream in &proxy.upstreams {
        if !matches!(upstream.destination_type.as_str(), "" | "service" | "prepared_query") {
            errors.push(format!(
                "unknown upstream destination type: {:?}",
                upstream.destination_type
            ));
            continue;
        }
        if upstream.destination_name.is_empty() {
            errors.push("upstream destination name cannot be empty".to_owned());
            continue;
        }
        if upstream.local_bind_port == 0 {
            errors.push("upstream local bind port cannot be zero".to_owned());
            continue;
        }
        let kind = if upstream.destination_type.is_empty() {
            "service"
        } else {
            &upstream.destination_type
        };
        let destination = format!(
            "[type={kind:?}, name={:?}, namespace={:?}, datacenter={:?}]",
            upstream.destination_name, upstream.destination_namespace, upstream.datacenter
        );
        if destinations.contains(&destination) {
            errors.push(format!("upstreams cannot contain duplicates of {destination}"));
            continue;
        }
        destinations.push(destination);
        let host = if upstream.local_bind_address.is_empty() {
            "127.0.0.1"
        } else {
            &upstream.local_bind_address
        };
        let bind = format!("{host}:{}", upstream.local_bind_port);
        if binds.contains(&bind) {
            errors.push(format!(
                "upstreams cannot contain duplicates by local bind address and port; {bind:?} is specified twice"
            ));
            continue;
        }
        binds.push(bind);
    }
}

fn expose_errors(proxy: &ConnectProxyConfig, errors: &mut Vec<String>) {
    let mut listeners = Vec::new();
    for path in &proxy.expose.paths {
        if path.path.is_empty() {
            errors.push("expose.paths: empty path exposed".to_owned());
        }
        if listeners.contains(&path.listener_port) {
            errors.push("expose.paths: duplicate listener ports exposed".to_owned());
        }
        listeners.push(path.listener_port);
        if path.listener_port == 0 {
            errors.push(format!("expose.paths: invalid listener port: {}", path.listener_port));
        }
        if !matches!(path.protocol.as_str(), "" | "http" | "http2") {
            errors.push(format!(
                "protocol '{}' not supported for path: {}, must be in: [http http2]",
                path.protocol, path.path
            ));
        }
    }
}

/// Pairs a node or a service may carry. Each is kept by every server, which is what the bound is
/// for.
pub const META_PAIRS_MAX: usize = 64;
const META_KEY_MAX: usize = 128;
const META_VALUE_MAX: usize = 512;
/// Keys that begin so are set by agents.
const META_KEY_RESERVED: &str = "consul-";

/// Judges the metadata of a node or a service; `may_be_reserved` lets keys begin with `consul-`.
///
/// Errors: Consul's text.
pub fn validate_metadata(
    meta: &BTreeMap<String, String>,
    may_be_reserved: bool,
) -> Result<(), String> {
    if meta.len() > META_PAIRS_MAX {
        return Err(format!(
            "Node metadata cannot contain more than {META_PAIRS_MAX} key/value pairs"
        ));
    }
    for (key, value) in meta {
        if let Err(reason) = validate_pair(key, value, may_be_reserved) {
            return Err(format!("Couldn't load metadata pair ('{key}', '{value}'): {reason}"));
        }
    }
    Ok(())
}

fn validate_pair(key: &str, value: &str, may_be_reserved: bool) -> Result<(), String> {
    if key.is_empty() {
        return Err("Key cannot be blank".to_owned());
    }
    if !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Err("Key contains invalid characters".to_owned());
    }
    if key.len() > META_KEY_MAX {
        return Err(format!("Key is too long (limit: {META_KEY_MAX} characters)"));
    }
    if key.starts_with(META_KEY_RESERVED) && !may_be_reserved {
        return Err(format!("Key prefix '{META_KEY_RESERVED}' is reserved for internal use"));
    }
    if value.len() > META_VALUE_MAX {
        return Err(format!("Value is too long (limit: {META_VALUE_MAX} characters)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{ExposePath, Upstream};

    fn check(definition: &ServiceDefinition, expected: &str) {
        let answer =
            definition.validate().map_or_else(|error| error.to_string(), |()| "valid".to_owned());
        assert_eq!(answer, expected, "{definition:?}");
    }

    fn named(name: &str) -> ServiceDefinition {
        ServiceDefinition { name: name.to_owned(), ..ServiceDefinition::default() }
    }

    fn proxy(upstreams: Vec<Upstream>, paths: Vec<ExposePath>) -> ServiceDefinition {
        let mut proxy = ConnectProxyConfig {
            destination_service_name: "x".to_owned(),
            upstreams,
            ..Default::default()
        };
        proxy.expose.paths = paths;
        ServiceDefinition {
            kind: ServiceKind::ConnectProxy,
            port: 1,
            proxy: Some(proxy),
            ..named("a")
        }
    }

    /// Expected texts were taken from a running Consul 1.8.7.
    #[test]
    fn services_are_judged_as_consul_does() {
        check(&named(""), "Missing service name");
        check(&named("a b_c"), "valid");
        for address in ["0.0.0.0", "::", "[::]"] {
            check(
                &ServiceDefinition { address: address.to_owned(), ..named("a") },
                "Invalid service address",
            );
        }
        for (passing, warning, expected) in [
            (1, 0, "valid"),
            (0, 1, "Invalid Weights: Passing must be greater than 0"),
            (1, -1, "Invalid Weights: Warning must be greater or equal than 0"),
            (1, 70_000, "Invalid Weights: DNS Weight must be between 0 and 65535"),
        ] {
            let weights = Some(WeightsDefinition { passing, warning });
            check(&ServiceDefinition { weights, ..named("a") }, expected);
        }
        check(
            &ServiceDefinition { kind: ServiceKind::ConnectProxy, ..named("a") },
            "2 errors occurred:\n\t* Proxy.DestinationServiceName must be non-empty for Connect proxy services\n\t* Port \
             must be set for a Connect proxy\n\n",
        );
        check(
            &ServiceDefinition { kind: ServiceKind::MeshGateway, ..named("a") },
            "1 error occurred:\n\t* Port must be non-zero for a mesh-gateway\n\n",
        );
        let sidecar = ServiceDefinition { id: "x".to_owned(), ..ServiceDefinition::default() };
        let connect = ConnectDefinition { native: false, sidecar_service: Some(Box::new(sidecar)) };
        check(
            &ServiceDefinition { connect: Some(connect), ..named("a") },
            "1 error occurred:\n\t* A SidecarService cannot specify an ID as this is managed by the agent\n\n",
        );
        let http = CheckDefinition { http: "x".to_owned(), ..CheckDefinition::default() };
        check(
            &ServiceDefinition { checks: vec![http], ..named("a") },
            "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
        );
    }

    #[test]
    fn upstreams_are_judged_as_consul_does() {
        let upstream = |kind: &str, name: &str, port| Upstream {
            destination_type: kind.to_owned(),
            destination_name: name.to_owned(),
            local_bind_port: port,
            ..Upstream::default()
        };
        let one = |text: &str| format!("1 error occurred:\n\t* {text}\n\n");
        for (upstreams, expected) in [
            (vec![upstream("", "b", 5), upstream("", "c", 6)], "valid".to_owned()),
            (vec![upstream("", "", 5)], one("upstream destination name cannot be empty")),
            (vec![upstream("", "b", 0)], one("upstream local bind port cannot be zero")),
            (vec![upstream("foo", "", 0)], one("unknown upstream destination type: \"foo\"")),
            (
                vec![upstream("", "b", 5), upstream("service", "b", 5)],
                one(
                    "upstreams cannot contain duplicates of [type=\"service\", name=\"b\", namespace=\"\", datacenter=\"\"]",
                ),
            ),
            (
                vec![upstream("", "b", 5), upstream("", "c", 5)],
                one(
                    "upstreams cannot contain duplicates by local bind address and port; \"127.0.0.1:5\" is specified \
                     twice",
                ),
            ),
        ] {
            check(&proxy(upstreams, vec![]), &expected);
        }
        let path = |path: &str, protocol: &str| ExposePath {
            path: path.to_owned(),
            listener_port: 1,
            local_path_port: 2,
            protocol: protocol.to_owned(),
            ..ExposePath::default()
        };
        check(
            &proxy(vec![], vec![path("x", ""), path("/x", "foo")]),
            "2 errors occurred:\n\t* expose.paths: duplicate listener ports exposed\n\t* protocol 'foo' not supported for \
             path: /x, must be in: [http http2]\n\n",
        );
    }

    #[test]
    fn checks_are_judged_as_consul_does() {
        let second = GoDuration::from_secs(1);
        let base = CheckDefinition::default;
        for (definition, kind, expected) in [
            (CheckDefinition { ttl: second, ..base() }, Some(CheckKind::Ttl), "valid"),
            (base(), None, "TTL must be > 0 for TTL checks"),
            (
                CheckDefinition { docker_container_id: "x".into(), interval: second, ..base() },
                None,
                "TTL must be > 0 for TTL checks",
            ),
            (
                CheckDefinition { tcp: "x".into(), http: "y".into(), interval: second, ..base() },
                Some(CheckKind::Http),
                "valid",
            ),
            (
                CheckDefinition { grpc: "x".into(), ..base() },
                Some(CheckKind::Grpc),
                "Interval must be > 0 for Script, HTTP, or TCP checks",
            ),
            (
                CheckDefinition { http: "x".into(), interval: second, ttl: second, ..base() },
                Some(CheckKind::Ttl),
                "Interval and TTL cannot both be specified",
            ),
            (
                CheckDefinition { alias_service: "x".into(), interval: second, ..base() },
                Some(CheckKind::Alias),
                "valid",
            ),
            (
                CheckDefinition { alias_service: "x".into(), ttl: second, ..base() },
                Some(CheckKind::Ttl),
                "TTL must be not be set for Alias checks",
            ),
            (
                CheckDefinition { ttl: second, output_max_size: -1, ..base() },
                Some(CheckKind::Ttl),
                "MaxOutputMaxSize must be positive",
            ),
        ] {
            assert_eq!(definition.kind(), kind, "{definition:?}");
            assert_eq!(definition.validate().err().unwrap_or("valid"), expected, "{definition:?}");
        }
    }

    #[test]
    fn metadata_is_judged_as_consul_does() {
        let long_key = "k".repeat(129);
        for (key, value, expected) in [
            ("rpc-x_9", "é", "valid"),
            ("", "1", "Couldn't load metadata pair ('', '1'): Key cannot be blank"),
            (
                "a b",
                "1",
                "Couldn't load metadata pair ('a b', '1'): Key contains invalid characters",
            ),
            (
                "consul-x",
                "v",
                "Couldn't load metadata pair ('consul-x', 'v'): Key prefix 'consul-' is reserved for internal use",
            ),
            (
                &long_key,
                "v",
                &format!(
                    "Couldn't load metadata pair ('{long_key}', 'v'): Key is too long (limit: 128 characters)"
                ),
            ),
        ] {
            let meta = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let answer =
                validate_metadata(&meta, false).err().unwrap_or_else(|| "valid".to_owned());
            assert_eq!(answer, expected);
        }
        let many = (0..65).map(|i| (format!("k{i}"), String::new())).collect();
        assert_eq!(
            validate_metadata(&many, false).unwrap_err(),
            "Node metadata cannot contain more than 64 key/value pairs"
        );
    }

    #[test]
    fn tokens_do_not_show() {
        let definition = ServiceDefinition { token: Token("s3cret".into()), ..named("a") };
        assert!(!format!("{definition:?}").contains("s3cret"));
    }
}
