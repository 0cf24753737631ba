//! Requests a real client agent (1.8.7) sent, each different one once, given to our server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::ca::CaRoots;
use model::command::{Command, Outcome};
use model::config_entry::{ConfigEntry, ConfigEntryRequest};
use model::event::UserEvent;
use model::intention::{IntentionAction, IntentionRequest};
use model::kv::KvOp;
use model::msgpack::{self, Raw};
use model::query::{Query, Reply};
use model::session::{SessionBehavior, SessionRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fake::{Seen, World, world};
use crate::hostile::Stranger;
use crate::samples::UUID;

const REQUESTS: &[u8] = include_bytes!("recorded/agent-1.8.7.msgpack");

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Head {
    service_method: String,
}

/// All requests, head and body apart.
fn requests() -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let mut rest = REQUESTS;
    let mut value = || {
        let (Raw(bytes), length) = msgpack::front::<Raw>(rest).unwrap()?;
        rest = &rest[length..];
        Some(bytes)
    };
    let mut all = Vec::new();
    while let Some(head) = value() {
        let Head { service_method } = msgpack::from_slice(&head).unwrap();
        all.push((service_method, head, value().unwrap()));
    }
    all
}

async fn knowing() -> World {
    let world = world().await;
    world.fake.knows_all.store(true, Ordering::SeqCst);
    *world.fake.outcome.lock() = Some(Outcome::Created(UUID.into()));
    world
}

#[tokio::test]
async fn every_request_of_a_real_agent_is_understood() {
    let world = knowing().await;
    let mut stranger = Stranger::new(&world, 0).await;
    let mut methods: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (method, head, body) in requests() {
        stranger.send(&[head, body].concat()).await;
        let (head, reply) = stranger.reply().await.unwrap();
        assert_eq!((head.error.as_str(), &head.service_method), ("", &method));
        methods.insert(method, reply);
    }
    assert_eq!(methods.len(), 53);

    let seen: Vec<Seen> = world.fake.seen.lock().drain(..).collect();
    let commands = || {
        seen.iter().filter_map(|seen| match seen {
            Seen::Command(command, _) => Some(command),
            _ => None,
        })
    };
    let sidecar = commands().find_map(|command| match command {
        Command::Register(request) => {
            request.service.as_ref().filter(|service| service.is_connect_proxy())
        }
        _ => None,
    });
    let sidecar = sidecar.unwrap();
    assert_eq!(sidecar.name, "web-sidecar-proxy");
    assert_eq!(sidecar.proxy.config["n"], json!(5));
    assert_eq!(sidecar.proxy.upstreams[0].destination_name, "db");
    let set = commands().find_map(|command| match command {
        Command::Kv(request) if request.op == KvOp::Set => Some(&request.entry),
        _ => None,
    });
    assert_eq!((set.unwrap().flags, set.unwrap().value.as_slice()), (42, &b"\0\xffv"[..]));
    let is_session = |command: &&Command| {
        matches!(command,
        Command::Session(SessionRequest::Create(session))
            if session.behavior == SessionBehavior::Delete && session.ttl == "30s")
    };
    assert!(commands().any(|command| is_session(&command)));
    let is_allowed = |command: &&Command| {
        matches!(command,
        Command::Intention(IntentionRequest::Upsert(intention))
            if intention.action == IntentionAction::Allow && intention.meta["k"] == "v")
    };
    assert!(commands().any(|command| is_allowed(&command)));
    // A deletion names no operation, and its entry no kind.
    let delete = |kind: &str, name: &str| {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        Command::ConfigEntry(ConfigEntryRequest::Delete { kind, name })
    };
    assert!(commands().any(|command| *command == delete("proxy-defaults", "global")));
    assert!(commands().any(|command| *command == delete("service-defaults", "web")));
    let is_conditional = |command: &&Command| {
        matches!(command,
        Command::ConfigEntry(ConfigEntryRequest::UpsertCas(entry, 0))
            if ConfigEntry::from(entry.clone()).name() == "global")
    };
    assert!(commands().any(|command| is_conditional(&command)));
    let event = seen.iter().find_map(|seen| match seen {
        Seen::Event(event) => Some(event),
        _ => None,
    });
    let want = UserEvent {
        id: event.unwrap().id.clone(),
        name: "deploy".into(),
        payload: b"payload".to_vec(),
        node_filter: "web.*".into(),
        version: 1,
        ..UserEvent::default()
    };
    assert_eq!(event, Some(&want));
    let tagged = Query::ServiceNodes {
        name: "web".into(),
        tags: vec!["a".into(), "b".into()],
        mesh: false,
        node_meta: vec![],
    };
    assert!(world.fake.queries.lock().iter().any(|(query, _)| *query == tagged));
}

/// The reply a real server gave, beside what is said of it.
fn given(hex: &str) -> Value {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    content(&digits.chunks(2).map(pair).collect::<Vec<u8>>())
}

/// A reply as JSON, unwrapped and without what is said of it.
fn content(bytes: &[u8]) -> Value {
    let inside = msgpack::from_slice::<serde_bytes::ByteBuf>(bytes);
    let mut value: Value =
        msgpack::from_slice(inside.as_ref().map_or(bytes, |inside| inside.as_slice())).unwrap();
    let map = value.as_object_mut().unwrap();
    for key in ["Index", "KnownLeader", "LastContact", "ConsistencyLevel"] {
        map.remove(key).unwrap();
    }
    without_zeros(value)
}

/// Go takes a field that is absent for its zero.
fn without_zeros(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.into_iter().map(|(key, value)| (key, without_zeros(value)));
            let is_zero = |value: &Value| {
                [Value::Null, json!(false), json!(""), json!(0), json!({})].contains(value)
            };
            fields.filter(|(_, value)| !is_zero(value)).collect()
        }
        Value::Array(values) => values.into_iter().map(without_zeros).collect(),
        other => other,
    }
}

macro_rules! golden {
    ($name:literal) => {
        given(include_str!(concat!("../../../model/src/msgpack/golden/", $name, ".hex")))
    };
}

/// The entries the real server had when it gave those replies.
fn entries() -> Reply {
    let entry = |value: Value| -> Arc<ConfigEntry> {
        Arc::new(match value["Kind"].as_str().unwrap() {
            "proxy-defaults" => ConfigEntry::ProxyDefaults(serde_json::from_value(value).unwrap()),
            _ => ConfigEntry::ServiceDefaults(serde_json::from_value(value).unwrap()),
        })
    };
    Reply::ConfigEntries(vec![
        entry(json!({
            "Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "local"},
            "Config": {"n": 5, "f": 2.5, "l": 1, "m": {"x": 1}},
        })),
        entry(json!({
            "Kind": "service-defaults", "Name": "web", "Protocol": "http",
            "MeshGateway": {"Mode": "remote"}, "ExternalSNI": "x.example",
            "Expose": {"Paths": [{"Path": "/p", "LocalPathPort": 1, "ListenerPort": 2}]},
        })),
    ])
}

#[tokio::test]
async fn chains_and_central_settings_as_a_real_server_gives_them() {
    let world = world().await;
    let mut stranger = Stranger::new(&world, 0).await;
    let mut check = async |method: &str, args: Value, want: Value| {
        let trust_domain = want["Chain"]["Targets"]
            .as_object()
            .and_then(|targets| targets.values().next())
            .map(|target| {
                let name = target["Name"].as_str().unwrap();
                name.split_once(".internal.").unwrap().1.to_owned()
            });
        let roots =
            CaRoots { trust_domain: trust_domain.unwrap_or_default(), ..CaRoots::default() };
        *world.fake.replies.lock() = [Ok(entries()), Ok(Reply::CaRoots(Arc::new(roots)))].into();
        let mut request = msgpack::to_vec(&json!({"ServiceMethod": method, "Seq": 1})).unwrap();
        msgpack::append(&mut request, &args).unwrap();
        stranger.send(&request).await;
        let (head, reply) = stranger.reply().await.unwrap();
        assert_eq!(head.error, "");
        assert_eq!(content(&reply), want, "{method} {args}");
    };
    let method = "DiscoveryChain.Get";
    check(method, json!({"Name": "web"}), golden!("discovery_chain")).await;
    let args = json!({"Name": "db", "EvaluateInDatacenter": "dc1"});
    // Central settings name no protocol, so it is the plain one.
    check(method, args, golden!("discovery_chain_db")).await;
    let method = "ConfigEntry.ResolveServiceConfig";
    let args = json!({"Name": "web", "Upstreams": ["db", "web"]});
    check(method, args, golden!("resolve_service_config")).await;
    let args = json!({"Name": "web", "UpstreamIDs": [{"ID": "db"}, {"ID": "web"}]});
    check(method, args, golden!("resolve_service_config_ids")).await;
    let args = json!({"Name": "other"});
    check(method, args, golden!("resolve_service_config_none")).await;
}
