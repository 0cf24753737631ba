//! What a proxy is told to be: its listeners and where they lead, read from its registration.
//!
//! Source: the registration of kind `connect-proxy` and its opaque config, with the keys and defaults of the
//! built-in proxy of 1.8.7. Keys of our own: `recheck_connections`, `tls_min_version`; `max_inbound_connections` is
//! the key Envoy's integration uses.

use std::time::Duration;

use model::service::{NodeService, Upstream as UpstreamRegistration};

use crate::settings::Keys;
use crate::snapshot::Target;

const BIND_ADDRESS_DEFAULT: &str = "0.0.0.0";
const UPSTREAM_BIND_ADDRESS_DEFAULT: &str = "127.0.0.1";
const LOCAL_SERVICE_ADDRESS_DEFAULT: &str = "127.0.0.1";
const LOCAL_CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
const HANDSHAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const UPSTREAM_CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Connections one listener holds at a time unless told otherwise; two sockets each, so this stays well below what
/// a process may usually open after raising its own limit.
pub const CONNECTIONS_MAX_DEFAULT: u32 = 32_768;

/// A setting that cannot be used. The message names its owner and key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{owner}: config key {key} wants {expected}, found {found}")]
    WrongType { owner: String, key: &'static str, expected: &'static str, found: String },
    #[error("{owner}: config key {key} is {number}, must be from {min} to {max}")]
    OutOfRange { owner: String, key: &'static str, number: u64, min: u64, max: u64 },
    #[error("{owner}: config key tls_min_version is {found:?}, must be \"tls12\" or \"tls13\"")]
    TlsVersion { owner: String, found: String },
    #[error("{owner}: local_service_address is {found:?}, must be host:port")]
    LocalServiceAddress { owner: String, found: String },
    #[error("service {service:?} is not a connect proxy (kind {kind:?})")]
    NotAProxy { service: String, kind: &'static str },
    #[error("proxy {proxy:?} names no destination service")]
    NoDestination { proxy: String },
    #[error("proxy {proxy:?} has no local service port, so it cannot reach its application")]
    NoLocalPort { proxy: String },
}

/// The lowest TLS version to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMin {
    Tls12,
    #[default]
    Tls13,
}

/// Everything a registration says about its proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub proxy_id: String,
    /// The service whose identity the proxy holds.
    pub service: String,
    /// Absent in a proxy that only leads outwards.
    pub public: Option<PublicListener>,
    pub upstreams: Vec<UpstreamDefinition>,
    pub refused: Vec<RefusedUpstream>,
}

/// The listener that the mesh reaches, and the application behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicListener {
    /// IP address or host name.
    pub bind_address: String,
    pub bind_port: u16,
    pub local_service_host: String,
    pub local_service_port: u16,
    pub local_connect_timeout: Duration,
    pub handshake_timeout: Duration,
    pub connections_max: u32,
    /// Whether open connections are decided again when the intentions change.
    pub recheck_connections: bool,
    pub tls_min: TlsMin,
}

impl PublicListener {
    /// A listener with the defaults; ports and hosts as given.
    pub fn new(
        (bind_address, bind_port): (&str, u16),
        (local_service_host, local_service_port): (&str, u16),
    ) -> Self {
        Self {
            bind_address: or(bind_address, BIND_ADDRESS_DEFAULT),
            bind_port,
            local_service_host: or(local_service_host, LOCAL_SERVICE_ADDRESS_DEFAULT),
            local_service_port,
            local_connect_timeout: LOCAL_CONNECT_TIMEOUT_DEFAULT,
            handshake_timeout: HANDSHAKE_TIMEOUT_DEFAULT,
            connections_max: CONNECTIONS_MAX_DEFAULT,
            recheck_connections: true,
            tls_min: TlsMin::default(),
        }
    }
}

/// A local listener that leads to a service of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamDefinition {
    pub target: Target,
    /// IP address or host name.
    pub bind_address: String,
    pub bind_port: u16,
    pub connect_timeout: Duration,
    pub connections_max: u32,
}

impl UpstreamDefinition {
    /// A listener with the defaults.
    pub fn new(target: Target, (bind_address, bind_port): (&str, u16)) -> Self {
        Self {
            target,
            bind_address: or(bind_address, UPSTREAM_BIND_ADDRESS_DEFAULT),
            bind_port,
            connect_timeout: UPSTREAM_CONNECT_TIMEOUT_DEFAULT,
            connections_max: CONNECTIONS_MAX_DEFAULT,
        }
    }
}

/// An upstream that is registered but cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("upstream {name:?} on port {bind_port} is not served: {reason}")]
pub struct RefusedUpstream {
    pub name: String,
    pub bind_port: u16,
    pub reason: RefusalReason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    #[error("destination type prepared_query is not supported yet, use a service")]
    PreparedQuery,
    #[error("destination type {0:?} is not known, use \"service\"")]
    DestinationType(String),
    #[error("namespace {0:?} is not known, there is only \"default\"")]
    Namespace(String),
    #[error("it names no destination")]
    NoDestination,
    #[error("it has no local bind port")]
    NoPort,
    #[error("another upstream is bound there already")]
    PortTaken,
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Definition {
    /// Reads a registration of kind `connect-proxy`.
    ///
    /// Shape: upstreams that cannot be served are listed in `refused` and do not stop the rest. Errors: anything
    /// wrong with the public listener, for a proxy that guesses there would admit what it should not.
    pub fn from_service(service: &NodeService) -> Result<Self, ConfigError> {
        if !service.is_connect_proxy() {
            let (service, kind) = (service.id.clone(), service.kind.as_str());
            return Err(ConfigError::NotAProxy { service, kind });
        }
        let proxy = &service.proxy;
        if proxy.destination_service_name.is_empty() {
            return Err(ConfigError::NoDestination { proxy: service.id.clone() });
        }
        let mut upstreams: Vec<UpstreamDefinition> = Vec::new();
        let mut refused = Vec::new();
        for registration in &proxy.upstreams {
            let read = upstream(registration).and_then(|upstream| {
                let is_same = |held: &UpstreamDefinition| {
                    (&held.bind_address, held.bind_port)
                        == (&upstream.bind_address, upstream.bind_port)
                };
                let is_taken = upstreams.iter().any(is_same);
                if is_taken { Err(RefusalReason::PortTaken) } else { Ok(upstream) }
            });
            match read {
                Ok(upstream) => upstreams.push(upstream),
                Err(reason) => refused.push(RefusedUpstream {
                    name: registration.destination_name.clone(),
                    bind_port: registration.local_bind_port,
                    reason,
                }),
            }
        }
        Ok(Self {
            proxy_id: service.id.clone(),
            service: proxy.destination_service_name.clone(),
            public: Some(public(service)?),
            upstreams,
            refused,
        })
    }
}

/// The registration's own address and port say where to listen unless the config does, and its local service port
/// says where the application is, as in 1.8.7.
fn public(service: &NodeService) -> Result<PublicListener, ConfigError> {
    let owner = format!("proxy {:?}", service.id);
    let keys = Keys { config: &service.proxy.config, owner: &owner };
    let bind_address = keys.text("bind_address")?;
    let bind_port = keys.port("bind_port")?.filter(|port| *port > 0).unwrap_or(service.port);
    let local = match service.proxy.local_service_port {
        0 => match keys.text("local_service_address")? {
            Some(text) => host_and_port(&owner, &text)?,
            None => return Err(ConfigError::NoLocalPort { proxy: service.id.clone() }),
        },
        port => (service.proxy.local_service_address.clone(), port),
    };
    let bind_address = bind_address.as_deref().unwrap_or(&service.address);
    let mut listener = PublicListener::new((bind_address, bind_port), (&local.0, local.1));
    listener.local_connect_timeout =
        keys.millis("local_connect_timeout_ms", LOCAL_CONNECT_TIMEOUT_DEFAULT)?;
    listener.handshake_timeout = keys.millis("handshake_timeout_ms", HANDSHAKE_TIMEOUT_DEFAULT)?;
    listener.connections_max = connections_max(&keys, "max_inbound_connections")?;
    listener.recheck_connections = keys.flag("recheck_connections")?.unwrap_or(true);
    listener.tls_min = match keys.text("tls_min_version")?.as_deref() {
        None | Some("tls13") => TlsMin::Tls13,
        Some("tls12") => TlsMin::Tls12,
        Some(other) => return Err(ConfigError::TlsVersion { owner, found: other.into() }),
    };
    Ok(listener)
}

fn upstream(registration: &UpstreamRegistration) -> Result<UpstreamDefinition, RefusalReason> {
    match registration.destination_type.as_str() {
        "" | "service" => {}
        "prepared_query" => return Err(RefusalReason::PreparedQuery),
        other => return Err(RefusalReason::DestinationType(other.into())),
    }
    match registration.destination_namespace.as_str() {
        "" | "default" => {}
        other => return Err(RefusalReason::Namespace(other.into())),
    }
    if registration.destination_name.is_empty() {
        return Err(RefusalReason::NoDestination);
    }
    if registration.local_bind_port == 0 {
        return Err(RefusalReason::NoPort);
    }
    let owner = format!("upstream {:?}", registration.destination_name);
    let keys = Keys { config: &registration.config, owner: &owner };
    let target = Target {
        service: registration.destination_name.clone(),
        datacenter: registration.datacenter.clone(),
    };
    let bind = (registration.local_bind_address.as_str(), registration.local_bind_port);
    let mut upstream = UpstreamDefinition::new(target, bind);
    upstream.connect_timeout =
        keys.millis("connect_timeout_ms", UPSTREAM_CONNECT_TIMEOUT_DEFAULT)?;
    upstream.connections_max = connections_max(&keys, "max_connections")?;
    Ok(upstream)
}

/// 0 means the default, as it does to Consul.
fn connections_max(keys: &Keys<'_>, key: &'static str) -> Result<u32, ConfigError> {
    let number = keys.number(key, 0..=u64::from(u32::MAX))?.filter(|number| *number > 0);
    let number = number.unwrap_or_else(|| u64::from(CONNECTIONS_MAX_DEFAULT));
    Ok(u32::try_from(number).expect("the range was checked"))
}

/// Splits `host:port`, `[v6]:port` or `:port`.
fn host_and_port(owner: &str, text: &str) -> Result<(String, u16), ConfigError> {
    let wrong = || ConfigError::LocalServiceAddress { owner: owner.into(), found: text.into() };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((host.into(), port))
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default.into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use model::service::ServiceKind;
    use serde_json::{Value, json};

    use super::*;

    fn registration(proxy: &Value) -> NodeService {
        let mut service = NodeService {
            kind: ServiceKind::ConnectProxy,
            id: "web-sidecar-proxy".into(),
            port: 21_000,
            ..NodeService::default()
        };
        service.proxy.destination_service_name = "web".into();
        service.proxy.local_service_port = 8080;
        let mut all = serde_json::to_value(&service.proxy).expect("serializes");
        let fields = all.as_object_mut().expect("is an object");
        fields.extend(proxy.as_object().expect("is an object").clone());
        service.proxy = serde_json::from_value(all).expect("deserializes");
        service
    }

    fn check(proxy: Value, expected: &str) {
        let shown = match Definition::from_service(&registration(&proxy)) {
            Err(error) => error.to_string(),
            Ok(definition) => {
                let public = definition.public.expect("a sidecar has one");
                let mut shown = format!(
                    "{}:{} to {}:{} connect {:?} handshake {:?} max {}",
                    public.bind_address,
                    public.bind_port,
                    public.local_service_host,
                    public.local_service_port,
                    public.local_connect_timeout,
                    public.handshake_timeout,
                    public.connections_max,
                );
                for upstream in definition.upstreams {
                    shown += &format!(
                        "; {}:{} to {} in {:?}",
                        upstream.bind_address,
                        upstream.bind_port,
                        upstream.target,
                        upstream.connect_timeout
                    );
                }
                for refused in definition.refused {
                    shown += &format!("; {refused}");
                }
                shown
            }
        };
        assert_eq!(shown, expected, "{proxy}");
    }

    #[test]
    fn a_registration_is_read_with_the_defaults_of_the_built_in_proxy() {
        let plain = "0.0.0.0:21000 to 127.0.0.1:8080 connect 1s handshake 10s max 32768";
        check(json!({}), plain);
        check(
            json!({"Config": {
                "bind_address": "127.0.0.1", "bind_port": 9000.0, "local_connect_timeout_ms": "250",
                "handshake_timeout_ms": 500, "max_inbound_connections": 3, "envoy_tracing_json": {},
            }}),
            "127.0.0.1:9000 to 127.0.0.1:8080 connect 250ms handshake 500ms max 3",
        );
        check(
            json!({"LocalServicePort": 0, "Config": {"local_service_address": "[::1]:81"}}),
            "0.0.0.0:21000 to ::1:81 connect 1s handshake 10s max 32768",
        );
        check(
            json!({"Upstreams": [
                {"DestinationName": "db", "LocalBindPort": 5000, "Config": {"connect_timeout_ms": 1}},
                {"DestinationName": "db", "LocalBindPort": 5001, "Datacenter": "dc2",
                 "LocalBindAddress": "127.0.0.2"},
            ]}),
            &format!("{plain}; 127.0.0.1:5000 to db in 1ms; 127.0.0.2:5001 to db in dc2 in 10s"),
        );
    }

    #[test]
    fn an_upstream_that_cannot_be_served_does_not_stop_the_others() {
        let plain = "0.0.0.0:21000 to 127.0.0.1:8080 connect 1s handshake 10s max 32768";
        check(
            json!({"Upstreams": [
                {"DestinationName": "q", "DestinationType": "prepared_query", "LocalBindPort": 1},
                {"DestinationName": "x", "DestinationType": "service"},
                {"DestinationName": "y", "LocalBindPort": 3, "Config": {"connect_timeout_ms": "soon"}},
                {"DestinationName": "z", "LocalBindPort": 4},
                {"DestinationName": "w", "LocalBindPort": 4},
            ]}),
            &format!(
                "{plain}; 127.0.0.1:4 to z in 10s; upstream \"q\" on port 1 is not served: destination type \
                 prepared_query is not supported yet, use a service; upstream \"x\" on port 0 is not served: it has \
                 no local bind port; upstream \"y\" on port 3 is not served: upstream \"y\": config key \
                 connect_timeout_ms wants a whole number, found \"soon\"; upstream \"w\" on port 4 is \
                 not served: another upstream is bound there already"
            ),
        );
    }

    #[test]
    fn a_wrong_setting_of_the_public_listener_is_named() {
        let owner = "proxy \"web-sidecar-proxy\"";
        check(
            json!({"Config": {"bind_port": 70_000}}),
            &format!("{owner}: config key bind_port is 70000, must be from 0 to 65535"),
        );
        check(
            json!({"Config": {"bind_address": 5}}),
            &format!("{owner}: config key bind_address wants text, found 5"),
        );
        check(
            json!({"Config": {"tls_min_version": "ssl3"}}),
            &format!(
                "{owner}: config key tls_min_version is \"ssl3\", must be \"tls12\" or \"tls13\""
            ),
        );
        check(
            json!({"LocalServicePort": 0}),
            "proxy \"web-sidecar-proxy\" has no local service port, so it cannot reach its application",
        );
        check(
            json!({"LocalServicePort": 0, "Config": {"local_service_address": "localhost"}}),
            &format!("{owner}: local_service_address is \"localhost\", must be host:port"),
        );
        check(
            json!({"DestinationServiceName": ""}),
            "proxy \"web-sidecar-proxy\" names no destination service",
        );
    }
}
