//! Records with something in every part.

use std::sync::Arc;

use model::ca::{CaConfiguration, CaRoot, CaRoots};
use model::catalog::{NodeServiceList, NodeServices, ServiceNode};
use model::check::{CheckStatus, HealthCheck, HealthCheckDefinition};
use model::config_entry::{ConfigEntry, ProxyDefaults, ServiceDefaults};
use model::coordinate::{Coordinate, DIMENSIONS, NodeCoordinate};
use model::duration::GoDuration;
use model::health::CheckServiceNode;
use model::intention::{Intention, IntentionAction};
use model::keyring::KeyringResponse;
use model::kv::DirEntry;
use model::node::Node;
use model::operator::{ClusterHealth, RaftConfiguration, RaftServer, ServerHealth};
use model::query::{Query, Reply};
use model::service::{ConnectProxyConfig, NodeService, ServiceKind, Upstream};
use model::session::Session;
use model::time::Timestamp;
use serde_json::json;

pub(crate) const UUID: &str = "6f1c5ad0-7c1e-4c3c-9c55-0d4f1e6a9b11";

pub(crate) fn node() -> Arc<Node> {
    Arc::new(Node {
        id: UUID.into(),
        name: "n1".into(),
        address: "10.0.0.1".into(),
        datacenter: "dc1".into(),
        tagged_addresses: Some([("lan".to_owned(), "10.0.0.1".to_owned())].into()),
        meta: Some([("rack".to_owned(), "7".to_owned())].into()),
        create_index: 3,
        modify_index: 4,
    })
}

pub(crate) fn service() -> Arc<NodeService> {
    let mut service = NodeService {
        kind: ServiceKind::ConnectProxy,
        id: "web-proxy".into(),
        name: "web-proxy".into(),
        tags: vec!["a".into(), "b".into()],
        meta: Some(Default::default()),
        port: 21000,
        modify_index: 9,
        ..NodeService::default()
    };
    service.proxy = ConnectProxyConfig {
        destination_service_name: "web".into(),
        config: [("n".to_owned(), json!(5)), ("deep".to_owned(), json!({"x": [1.5, "y", null]}))]
            .into(),
        upstreams: vec![Upstream {
            destination_name: "db".into(),
            local_bind_port: 9191,
            ..Upstream::default()
        }],
        ..ConnectProxyConfig::default()
    };
    Arc::new(service)
}

pub(crate) fn check() -> Arc<HealthCheck> {
    Arc::new(HealthCheck {
        node: "n1".into(),
        check_id: "c1".into(),
        status: CheckStatus::Warning,
        output: "so so".into(),
        service_id: "web-proxy".into(),
        kind: "http".into(),
        definition: HealthCheckDefinition {
            http: "http://x/".into(),
            interval: GoDuration::from_secs(10),
            header: [("X".to_owned(), vec!["1".to_owned()])].into(),
            ..HealthCheckDefinition::default()
        },
        ..HealthCheck::default()
    })
}

pub(crate) fn instance(status: CheckStatus) -> CheckServiceNode {
    let check = HealthCheck { status, ..(*check()).clone() };
    CheckServiceNode { node: node(), service: service(), checks: vec![Arc::new(check)] }
}

pub(crate) fn service_node() -> ServiceNode {
    ServiceNode::new(&node(), &service())
}

pub(crate) fn node_services() -> NodeServices {
    let service = service();
    let services = [(service.id.clone(), service)].into();
    NodeServices { node: Some(node()), services }
}

pub(crate) fn node_service_list() -> NodeServiceList {
    NodeServiceList { node: Some(node()), services: vec![service()] }
}

pub(crate) fn entry() -> Arc<DirEntry> {
    Arc::new(DirEntry {
        key: "a/b".into(),
        value: vec![0, 255, 7],
        flags: u64::MAX,
        session: UUID.into(),
        lock_index: 2,
        create_index: 5,
        modify_index: 6,
    })
}

pub(crate) fn session() -> Arc<Session> {
    Arc::new(Session {
        id: UUID.into(),
        name: "s".into(),
        node: "n1".into(),
        lock_delay: GoDuration::from_secs(5),
        ttl: "30s".into(),
        node_checks: vec!["serfHealth".into()],
        ..Session::default()
    })
}

pub(crate) fn intention() -> Arc<Intention> {
    Arc::new(Intention {
        id: UUID.into(),
        source_namespace: "default".into(),
        source_name: "web".into(),
        destination_namespace: "default".into(),
        destination_name: "db".into(),
        source_type: "consul".into(),
        action: IntentionAction::Allow,
        meta: [("k".to_owned(), "v".to_owned())].into(),
        precedence: 9,
        created_at: Timestamp { unix_seconds: 1_795_405_260, nanos: 123 },
        hash: vec![1, 2, 255],
        modify_index: 11,
        ..Intention::default()
    })
}

pub(crate) fn roots() -> Arc<CaRoots> {
    let root = CaRoot { id: "aa:bb".into(), active: true, serial_number: 8, ..CaRoot::default() };
    let trust_domain = "11111111-2222-3333-4444-555555555555.consul".into();
    Arc::new(CaRoots { active_root_id: "aa:bb".into(), trust_domain, roots: vec![root] })
}

pub(crate) fn ca_configuration() -> CaConfiguration {
    CaConfiguration {
        cluster_id: UUID.into(),
        provider: "consul".into(),
        config: [("LeafCertTTL".to_owned(), json!("72h"))].into(),
        modify_index: 6,
        ..CaConfiguration::default()
    }
}

pub(crate) fn proxy_defaults() -> ConfigEntry {
    ConfigEntry::ProxyDefaults(ProxyDefaults {
        kind: "proxy-defaults".into(),
        name: "global".into(),
        config: Some([("protocol".to_owned(), json!("http")), ("n".to_owned(), json!(5))].into()),
        modify_index: 8,
        ..ProxyDefaults::default()
    })
}

pub(crate) fn service_defaults() -> ConfigEntry {
    ConfigEntry::ServiceDefaults(ServiceDefaults {
        kind: "service-defaults".into(),
        name: "web".into(),
        protocol: "grpc".into(),
        modify_index: 9,
        ..ServiceDefaults::default()
    })
}

pub(crate) fn coordinate(node: &str) -> Arc<NodeCoordinate> {
    let coord = Coordinate { vec: vec![0.25; DIMENSIONS], error: 1.5, ..Coordinate::default() };
    Arc::new(NodeCoordinate { node: node.into(), segment: String::new(), coord })
}

pub(crate) fn raft_configuration() -> RaftConfiguration {
    let server = RaftServer { id: UUID.into(), voter: true, ..RaftServer::default() };
    RaftConfiguration { servers: vec![server], index: 3 }
}

pub(crate) fn health() -> ClusterHealth {
    let server = ServerHealth {
        serf_status: "alive".into(),
        last_contact: GoDuration::from_millis(3),
        ..ServerHealth::default()
    };
    ClusterHealth { healthy: true, failure_tolerance: 1, servers: vec![server] }
}

pub(crate) fn keyring() -> KeyringResponse {
    KeyringResponse {
        wan: true,
        datacenter: "dc1".into(),
        keys: [("a2V5".to_owned(), 2)].into(),
        num_nodes: 2,
        ..KeyringResponse::default()
    }
}

/// An answer with something in it.
pub(crate) fn reply(query: &Query) -> Reply {
    match query {
        Query::Nodes { .. } => Reply::Nodes(vec![node()]),
        Query::Services { .. } => Reply::Services([("web".to_owned(), vec![])].into()),
        Query::ServiceNodes { .. } => Reply::ServiceNodes(vec![service_node()]),
        Query::NodeServices { .. } => Reply::NodeServices(Some(node_services())),
        Query::NodeServiceList { .. } => Reply::NodeServiceList(Some(node_service_list())),
        Query::GatewayServices { .. } => Reply::GatewayServices(vec![]),
        Query::NodeChecks { .. } | Query::ServiceChecks { .. } | Query::ChecksInState { .. } => {
            Reply::Checks(vec![check()])
        }
        Query::Health { .. } => Reply::Health(vec![instance(CheckStatus::Passing)]),
        Query::KvGet { .. } | Query::KvList { .. } => Reply::KvEntries(vec![entry()]),
        Query::KvKeys { .. } => Reply::KvKeys(vec!["a".into()]),
        Query::Session { .. } | Query::NodeSessions { .. } | Query::Sessions => {
            Reply::Sessions(vec![session()])
        }
        Query::Intentions | Query::Intention { .. } | Query::IntentionExact { .. } => {
            Reply::Intentions(vec![intention()])
        }
        Query::IntentionMatch { .. } => Reply::IntentionMatches(vec![vec![intention()]]),
        Query::CaRoots => Reply::CaRoots(roots()),
        Query::CaConfiguration => Reply::CaConfiguration(Some(Arc::new(ca_configuration()))),
        Query::ConfigEntry { .. } => Reply::ConfigEntry(Some(Arc::new(proxy_defaults()))),
        Query::ConfigEntries { .. } => {
            Reply::ConfigEntries(vec![Arc::new(proxy_defaults()), Arc::new(service_defaults())])
        }
        Query::Coordinates | Query::NodeCoordinates { .. } => {
            Reply::Coordinates(vec![coordinate("n1"), coordinate("agent1")])
        }
        Query::AutopilotConfiguration => Reply::AutopilotConfiguration(Arc::default()),
    }
}
