//! Which setting wins.

use model::service::{ConnectProxyConfig, MeshGateway, Upstream};
use serde_json::json;

use super::*;

fn config(pairs: Value) -> OpaqueConfig {
    serde_json::from_value(pairs).unwrap()
}

fn defaults(name: &str, protocol: &str) -> ConfigEntry {
    ConfigEntry::ServiceDefaults(ServiceDefaults {
        name: name.into(),
        protocol: protocol.into(),
        ..ServiceDefaults::default()
    })
}

fn proxy(config: OpaqueConfig, upstreams: Vec<Upstream>) -> NodeService {
    NodeService {
        kind: ServiceKind::ConnectProxy,
        id: "web-proxy".into(),
        proxy: ConnectProxyConfig {
            destination_service_name: "web".into(),
            destination_service_id: "web".into(),
            config,
            upstreams,
            ..ConnectProxyConfig::default()
        },
        ..NodeService::default()
    }
}

fn central() -> Central {
    let global = ConfigEntry::ProxyDefaults(ProxyDefaults {
        config: Some(config(json!({"protocol": "tcp", "a": 2, "z": 3}))),
        mesh_gateway: MeshGateway { mode: "local".into() },
        ..ProxyDefaults::default()
    });
    Central::new(&[global, defaults("web", "http"), defaults("db", "http2")].map(Arc::new))
}

#[test]
fn the_proxy_wins_over_its_service_over_all_proxies() {
    let merged = central().merge(&proxy(config(json!({"a": 1})), Vec::new()));
    assert_eq!(merged.proxy.config, config(json!({"a": 1, "protocol": "http", "z": 3})));
    assert_eq!(merged.proxy.mesh_gateway.mode, "local");

    let own = proxy(config(json!({"protocol": "grpc"})), Vec::new());
    assert_eq!(central().merge(&own).proxy.config["protocol"], "grpc");
}

#[test]
fn upstreams_take_the_protocol_of_where_they_lead() {
    let upstream = |name: &str| Upstream {
        destination_type: "service".into(),
        destination_name: name.into(),
        ..Upstream::default()
    };
    let query = Upstream { destination_type: "prepared_query".into(), ..upstream("db") };
    let upstreams = vec![upstream("db"), upstream("other"), query];
    let merged = central().merge(&proxy(OpaqueConfig::new(), upstreams));
    let shown: Vec<_> =
        merged.proxy.upstreams.iter().map(|row| row.config.get("protocol")).collect();
    assert_eq!(shown, [Some(&json!("http2")), Some(&json!("tcp")), None]);
    assert_eq!(merged.proxy.upstreams[0].mesh_gateway.mode, "local");
}

#[test]
fn others_stay_as_they_are() {
    let service = NodeService { id: "web".into(), name: "web".into(), ..NodeService::default() };
    assert_eq!(central().merge(&service), service);
    let mut afar = proxy(OpaqueConfig::new(), Vec::new());
    afar.proxy.destination_service_id.clear();
    assert_eq!(central().merge(&afar), afar);
    let plain = proxy(OpaqueConfig::new(), Vec::new());
    assert_eq!(Central::default().merge(&plain), plain);
}
