//! Our client against a real server (1.8.7): what it tells us is what its HTTP API shows.

use std::sync::Arc;
use std::time::Duration;

use model::catalog::{DeregisterRequest, RegisterRequest};
use model::check::CheckStatus;
use model::command::{Command, Outcome};
use model::config_entry::ConfigEntryRequest;
use model::coordinate::{Coordinate, DIMENSIONS, NodeCoordinate};
use model::event::UserEvent;
use model::intention::{IntentionRequest, MatchSide};
use model::keyring::{GossipKey, KeyringOperation, KeyringRequest};
use model::kv::{KvOp, KvRequest};
use model::operator::{AutopilotRequest, OperatorReply, OperatorRequest};
use model::query::{Consistency, Query, QueryOptions, Reply, Token};
use model::session::SessionRequest;
use rpc::{Cluster, Remote, RemoteSettings, ServerAddress};
use serde::Serialize;
use serde_json::{Value, json};
use testkit::process::{Agent, Spec, consul};

use crate::fake::until;
use crate::samples;

const KEY: &str = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=";
const OTHER_KEY: &str = "5K9OtfP7efFrNKe5WCQvXvnaXJ5cWP0SvXiwe0kkjM4=";

struct World {
    agent: Agent,
    remote: Arc<Remote>,
}

pub(crate) fn remote_of(agent: &Agent, settings: RemoteSettings) -> Arc<Remote> {
    let remote = Remote::new(settings);
    remote.set_servers(vec![ServerAddress {
        name: "node1".into(),
        address: agent.address(agent.ports.server),
        datacenter: "dc1".into(),
        use_tls: false,
    }]);
    remote
}

async fn world() -> World {
    let spec = Spec::new(consul()).config(json!({ "encrypt": KEY }));
    let agent = tokio::task::spawn_blocking(move || spec.start()).await.unwrap();
    let remote = remote_of(&agent, RemoteSettings::new("dc1"));
    World { agent, remote }
}

impl World {
    async fn ask(&self, query: Query) -> Reply {
        self.ask_with(query, QueryOptions::default()).await
    }

    async fn ask_with(&self, query: Query, options: QueryOptions) -> Reply {
        let answer = self.remote.query(query.clone(), options).await;
        let answer = answer.unwrap_or_else(|error| panic!("{query:?}: {error}"));
        answer.body.reply.clone()
    }

    async fn run(&self, command: Command) -> Outcome {
        let shown = format!("{command:?}");
        let outcome = self.remote.command(command, Token::default()).await;
        outcome.unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    async fn refused(&self, command: Command) -> String {
        self.remote.command(command, Token::default()).await.unwrap_err().message
    }

    fn shown(&self, path: &str) -> Value {
        let answer = self.agent.http().get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_str(&answer.text()).unwrap()
    }

    /// A query's rows are what HTTP shows under `path`.
    async fn same(&self, query: Query, path: &str) {
        let rows = rows(&self.ask(query).await);
        assert_eq!(rows, self.shown(path), "{path}");
    }
}

/// As JSON, floats that are integers shown as Go shows them.
fn rows(reply: &Reply) -> Value {
    fn value(rows: &impl Serialize) -> Value {
        as_go_shows(serde_json::to_value(rows).unwrap())
    }
    match reply {
        Reply::Nodes(rows) => value(rows),
        Reply::Services(rows) => value(rows),
        Reply::ServiceNodes(rows) => value(rows),
        Reply::NodeServices(found) => value(found),
        Reply::NodeServiceList(found) => value(found),
        Reply::GatewayServices(rows) => value(rows),
        Reply::Checks(rows) => value(rows),
        Reply::Health(rows) => value(rows),
        Reply::KvEntries(rows) => value(rows),
        Reply::KvKeys(rows) => value(rows),
        Reply::Sessions(rows) => value(rows),
        Reply::Intentions(rows) => value(rows),
        Reply::IntentionMatches(lists) => value(lists),
        Reply::CaRoots(roots) => value(roots),
        Reply::CaConfiguration(config) => value(config),
        Reply::ConfigEntry(entry) => value(entry),
        Reply::ConfigEntries(entries) => value(entries),
        Reply::Coordinates(rows) => value(rows),
        Reply::AutopilotConfiguration(config) => value(config),
    }
}

fn as_go_shows(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(values) => values.into_iter().map(as_go_shows).collect(),
        Value::Object(map) => map.into_iter().map(|(key, v)| (key, as_go_shows(v))).collect(),
        other => other,
    }
}

fn name(text: &str) -> String {
    text.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_and_query_as_http_shows_it() {
    let world = world().await;

    // The catalog.
    let mut service = (*samples::service()).clone();
    service.proxy.config = [("n".to_owned(), json!(5)), ("f".to_owned(), json!(1.5))].into();
    service.proxy.upstreams[0].destination_type = name("service");
    service.proxy.upstreams[0].config = [("limits".to_owned(), json!(7))].into();
    let node = samples::node();
    let mut register = RegisterRequest {
        node: node.name.clone(),
        id: name("11111111-2222-3333-4444-555555555555"),
        address: node.address.clone(),
        tagged_addresses: node.tagged_addresses.clone(),
        node_meta: node.meta.clone(),
        service: Some(service),
        checks: vec![(*samples::check()).clone()],
        ..RegisterRequest::default()
    };
    assert_eq!(world.run(Command::Register(Box::new(register.clone()))).await, Outcome::Done);
    register.service = Some(model::service::NodeService {
        id: name("web1"),
        name: name("web"),
        tags: vec![name("a"), name("b")],
        port: 80,
        ..Default::default()
    });
    register.checks = vec![];
    world.run(Command::Register(Box::new(register))).await;
    let none = Vec::new;
    world.same(Query::Nodes { node_meta: none() }, "/v1/catalog/nodes").await;
    let by_meta = Query::Nodes { node_meta: vec![(name("rack"), name("7"))] };
    world.same(by_meta, "/v1/catalog/nodes?node-meta=rack:7").await;
    // The order of a service's tags is chance there.
    let mut shown = world.shown("/v1/catalog/services");
    for tags in shown.as_object_mut().unwrap().values_mut() {
        tags.as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    assert_eq!(rows(&world.ask(Query::Services { node_meta: none() }).await), shown);
    let instances = |of: &str, tags: &[&str], mesh| Query::ServiceNodes {
        name: of.to_owned(),
        tags: tags.iter().map(|tag| name(tag)).collect(),
        mesh,
        node_meta: none(),
    };
    world.same(instances("web", &[], false), "/v1/catalog/service/web").await;
    world.same(instances("web", &["a"], false), "/v1/catalog/service/web?tag=a").await;
    world.same(instances("web", &["c"], false), "/v1/catalog/service/web?tag=c").await;
    world.same(instances("web", &[], true), "/v1/catalog/connect/web").await;
    let of = |node: &str| Query::NodeServices { node: node.to_owned() };
    world.same(of("n1"), "/v1/catalog/node/n1").await;
    world.same(of("none"), "/v1/catalog/node/none").await;
    let of = Query::NodeServiceList { node: name("n1") };
    world.same(of, "/v1/catalog/node-services/n1").await;
    let list = Query::NodeServiceList { node: name("none") };
    assert_eq!(world.ask(list).await, Reply::NodeServiceList(None));
    let gateways = Query::GatewayServices { gateway: name("g") };
    assert_eq!(world.ask(gateways).await, Reply::GatewayServices(vec![]));
    world.same(Query::NodeChecks { node: name("n1") }, "/v1/health/node/n1").await;
    let checks = Query::ServiceChecks { name: name("web-proxy"), node_meta: none() };
    world.same(checks, "/v1/health/checks/web-proxy").await;
    let in_state = |status| Query::ChecksInState { status, node_meta: none() };
    world.same(in_state(None), "/v1/health/state/any").await;
    let warning = in_state(Some(CheckStatus::Warning));
    world.same(warning, "/v1/health/state/warning").await;
    let health = |of: &str, mesh, passing_only| Query::Health {
        name: of.to_owned(),
        tags: none_of_tags(),
        mesh,
        passing_only,
        node_meta: none(),
    };
    world.same(health("web", false, false), "/v1/health/service/web").await;
    world.same(health("web", true, false), "/v1/health/connect/web").await;
    world.same(health("web-proxy", false, true), "/v1/health/service/web-proxy?passing").await;
    let filtered = QueryOptions { filter: name("Node == \"n1\""), ..QueryOptions::default() };
    let found = world.ask_with(Query::Nodes { node_meta: none() }, filtered).await;
    assert_eq!(rows(&found), world.shown("/v1/catalog/nodes?filter=Node==n1"));
    let bad = QueryOptions { filter: name("bogus =="), ..QueryOptions::default() };
    let error = world.remote.query(Query::Nodes { node_meta: none() }, bad).await.unwrap_err();
    assert!(error.message.contains("Failed to create boolean expression evaluator"), "{error}");

    // Sessions and keys.
    let mut session = (*samples::session()).clone();
    (session.id, session.node) = (String::new(), name("node1"));
    let create = Command::Session(SessionRequest::Create(session.clone()));
    let Outcome::Created(id) = world.run(create).await else { panic!("sessions are created") };
    world.same(Query::Sessions, "/v1/session/list").await;
    world.same(Query::Session { id: id.clone() }, &format!("/v1/session/info/{id}")).await;
    let of = Query::NodeSessions { node: name("node1") };
    world.same(of, "/v1/session/node/node1").await;
    let renewed = world.remote.renew_session(id.clone(), Token::default()).await.unwrap();
    assert_eq!(renewed.unwrap().id, id);
    let nobody = name("00000000-1111-2222-3333-444444444444");
    assert_eq!(world.remote.renew_session(nobody, Token::default()).await.unwrap(), None);
    session.node = name("nowhere");
    let text = world.refused(Command::Session(SessionRequest::Create(session))).await;
    assert_eq!(text, "rpc error making call: Missing node registration");

    let mut entry = (*samples::entry()).clone();
    entry.session = String::new();
    let kv = |op, entry: &model::kv::DirEntry| Command::Kv(KvRequest { op, entry: entry.clone() });
    assert_eq!(world.run(kv(KvOp::Set, &entry)).await, Outcome::Done);
    world.same(Query::KvGet { key: name("a/b") }, "/v1/kv/a/b").await;
    let Reply::KvEntries(found) = world.ask(Query::KvGet { key: name("a/b") }).await else {
        panic!("entries are entries")
    };
    assert_eq!((found[0].flags, &found[0].value), (u64::MAX, &vec![0, 255, 7]));
    entry.modify_index = found[0].modify_index;
    entry.value.push(8);
    assert_eq!(world.run(kv(KvOp::Cas, &entry)).await, Outcome::Applied(true));
    assert_eq!(world.run(kv(KvOp::Cas, &entry)).await, Outcome::Applied(false));
    entry.session = id.clone();
    assert_eq!(world.run(kv(KvOp::Lock, &entry)).await, Outcome::Applied(true));
    world.same(Query::KvList { prefix: name("a") }, "/v1/kv/a?recurse").await;
    let keys = Query::KvKeys { prefix: String::new(), separator: name("/") };
    world.same(keys, "/v1/kv/?keys&separator=/").await;
    assert_eq!(world.run(kv(KvOp::Unlock, &entry)).await, Outcome::Applied(true));
    assert_eq!(world.run(kv(KvOp::DeleteCas, &entry)).await, Outcome::Applied(false));
    assert_eq!(world.run(kv(KvOp::Delete, &entry)).await, Outcome::Done);
    assert_eq!(world.ask(Query::KvGet { key: name("a/b") }).await, Reply::KvEntries(vec![]));
    assert_eq!(world.run(kv(KvOp::DeleteTree, &entry)).await, Outcome::Done);
    assert_eq!(world.run(Command::Session(SessionRequest::Destroy(id))).await, Outcome::Done);
    assert_eq!(world.ask(Query::Sessions).await, Reply::Sessions(vec![]));

    // Intentions.
    let mut intention = (*samples::intention()).clone();
    (intention.id, intention.hash, intention.modify_index) = (String::new(), vec![], 0);
    let upsert = |intention: &model::intention::Intention| {
        Command::Intention(IntentionRequest::Upsert(Box::new(intention.clone())))
    };
    let Outcome::Created(id) = world.run(upsert(&intention)).await else {
        panic!("intentions are created")
    };
    world.same(Query::Intentions, "/v1/connect/intentions").await;
    let exact = Query::IntentionExact { source: name("web"), destination: name("db") };
    world.same(exact, "/v1/connect/intentions").await;
    let Reply::Intentions(one) = world.ask(Query::Intention { id: id.clone() }).await else {
        panic!("intentions are intentions")
    };
    let shown = world.shown(&format!("/v1/connect/intentions/{id}"));
    assert_eq!(serde_json::to_value(&one[0]).unwrap(), shown);
    let matching =
        Query::IntentionMatch { side: MatchSide::Destination, names: vec![name("db"), name("x")] };
    let Reply::IntentionMatches(lists) = world.ask(matching).await else {
        panic!("lists are lists")
    };
    assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0]);
    let text = world.refused(upsert(&intention)).await;
    assert!(text.contains("duplicate intention found"), "{text}");
    intention.id = id.clone();
    intention.description = name("changed");
    assert_eq!(world.run(upsert(&intention)).await, Outcome::Created(id.clone()));
    let delete = || Command::Intention(IntentionRequest::Delete(id.clone()));
    assert_eq!(world.run(delete()).await, Outcome::Done);
    let text = world.refused(delete()).await;
    assert!(text.contains("Cannot delete non-existent intention"), "{text}");
    assert_eq!(world.ask(Query::Intention { id }).await, Reply::Intentions(vec![]));

    // Configuration entries.
    for entry in [samples::proxy_defaults(), samples::service_defaults()] {
        let upsert = ConfigEntryRequest::Upsert(entry.into());
        assert_eq!(world.run(Command::ConfigEntry(upsert)).await, Outcome::Done);
    }
    let of = |kind: &str, of: &str| Query::ConfigEntry { kind: name(kind), name: name(of) };
    let proxies = of("proxy-defaults", "global");
    world.same(proxies, "/v1/config/proxy-defaults/global").await;
    world.same(of("service-defaults", "web"), "/v1/config/service-defaults/web").await;
    assert_eq!(world.ask(of("service-defaults", "x")).await, Reply::ConfigEntry(None));
    let all = |kind: &str| Query::ConfigEntries { kind: name(kind) };
    world.same(all("service-defaults"), "/v1/config/service-defaults").await;
    world.same(all("proxy-defaults"), "/v1/config/proxy-defaults").await;
    world.same(all("service-router"), "/v1/config/service-router").await;
    let Reply::ConfigEntries(both) = world.ask(all("")).await else { panic!("entries") };
    assert_eq!(both.len(), 2);
    let mut stale = samples::service_defaults();
    stale.set_indexes(0, 1);
    let cas = ConfigEntryRequest::UpsertCas(stale.into(), 1);
    assert_eq!(world.run(Command::ConfigEntry(cas)).await, Outcome::Applied(false));
    let mut fresh = samples::service_defaults();
    let index = both.iter().find(|e| e.kind() == "service-defaults").unwrap().modify_index();
    fresh.set_indexes(0, index);
    let cas = ConfigEntryRequest::UpsertCas(fresh.into(), index);
    assert_eq!(world.run(Command::ConfigEntry(cas)).await, Outcome::Applied(true));
    let delete = ConfigEntryRequest::Delete { kind: name("service-defaults"), name: name("web") };
    assert_eq!(world.run(Command::ConfigEntry(delete)).await, Outcome::Done);
    assert_eq!(world.ask(all("service-defaults")).await, Reply::ConfigEntries(vec![]));

    // The authority.
    world.same(Query::CaRoots, "/v1/connect/ca/roots").await;
    let Reply::CaRoots(roots) = world.ask(Query::CaRoots).await else { panic!("roots") };
    let Reply::CaConfiguration(Some(config)) = world.ask(Query::CaConfiguration).await else {
        panic!("there is a configuration")
    };
    let shown = world.shown("/v1/connect/ca/configuration");
    assert_eq!(serde_json::to_value(&config.config).unwrap(), shown["Config"]);
    let key = pki::key::PrivateKey::generate(pki::key::KeyKind::LEAF).unwrap();
    let id = format!("spiffe://{}/ns/default/dc/dc1/svc/web", roots.trust_domain);
    let spiffe: model::spiffe::SpiffeId = id.parse().unwrap();
    let csr = pki::csr::build(&key, &spiffe).unwrap();
    let leaf = world.remote.sign_leaf(csr, Token::default()).await.unwrap();
    assert_eq!((leaf.service.as_str(), leaf.service_uri), ("web", id));
    assert!(leaf.cert_pem.contains("BEGIN CERTIFICATE"));
    let error = world.remote.sign_leaf(name("junk"), Token::default()).await.unwrap_err();
    assert_eq!(error.message, "rpc error making call: no PEM-encoded data found");
    let mut changed = (*config).clone();
    changed.config.insert(name("LeafCertTTL"), json!("48h"));
    world.remote.configure_ca(changed, Token::default()).await.unwrap();
    let shown = world.shown("/v1/connect/ca/configuration");
    assert_eq!(shown["Config"]["LeafCertTTL"], "48h");

    // Coordinates.
    let coord = Coordinate { vec: vec![0.25; DIMENSIONS], error: 1.5, ..Coordinate::default() };
    let update = NodeCoordinate { node: name("n1"), segment: String::new(), coord };
    assert_eq!(world.run(Command::Coordinates(vec![update])).await, Outcome::Done);
    let mut known = false;
    for _ in 0..400 {
        let of = Query::NodeCoordinates { node: name("n1") };
        known = world.ask(of).await != Reply::Coordinates(vec![]);
        if known {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(known);
    world.same(Query::NodeCoordinates { node: name("n1") }, "/v1/coordinate/node/n1").await;
    world.same(Query::Coordinates, "/v1/coordinate/nodes").await;

    // Operators.
    let path = "/v1/operator/autopilot/configuration";
    world.same(Query::AutopilotConfiguration, path).await;
    let Reply::AutopilotConfiguration(found) = world.ask(Query::AutopilotConfiguration).await
    else {
        panic!("settings are settings")
    };
    let set = |cas_index, max_trailing_logs| {
        let configuration =
            model::operator::AutopilotConfiguration { max_trailing_logs, ..(*found).clone() };
        Command::Autopilot(AutopilotRequest { configuration, cas_index })
    };
    assert_eq!(world.run(set(Some(1), 7)).await, Outcome::Applied(false));
    assert_eq!(world.run(set(Some(found.modify_index), 8)).await, Outcome::Applied(true));
    assert_eq!(world.run(set(None, 9)).await, Outcome::Applied(true));
    assert_eq!(world.shown(path)["MaxTrailingLogs"], 9);
    let operator = async |request| world.remote.operator(request, Token::default()).await;
    let OperatorReply::RaftConfiguration(raft) =
        operator(OperatorRequest::RaftConfiguration).await.unwrap()
    else {
        panic!("a configuration is one")
    };
    let shown = world.shown("/v1/operator/raft/configuration");
    assert_eq!(serde_json::to_value(&raft).unwrap(), shown);
    let OperatorReply::Health(health) = operator(OperatorRequest::Health).await.unwrap() else {
        panic!("health is health")
    };
    assert_eq!(health.servers[0].serf_status, "alive");
    let error = operator(OperatorRequest::RemovePeerById(name("zzz"))).await.unwrap_err();
    assert!(error.message.contains("was not found in the Raft configuration"), "{error}");
    let event = UserEvent {
        id: name(samples::UUID),
        name: name("deploy"),
        payload: b"v1".to_vec(),
        version: 1,
        ..UserEvent::default()
    };
    world.remote.fire_event(event, Token::default()).await.unwrap();
    until(|| world.shown("/v1/event/list")[0]["Payload"] == "djE=").await;
    assert_eq!(world.shown("/v1/event/list")[0]["Name"], "deploy");
    let keyring = async |operation| {
        let request = KeyringRequest { operation, relay_factor: 0, local_only: false };
        world.remote.keyring(request, Token::default()).await.unwrap()
    };
    let pools = keyring(KeyringOperation::Install(GossipKey(name(OTHER_KEY)))).await;
    assert!(pools.iter().all(|pool| pool.error.is_empty()), "{pools:?}");
    let pools = keyring(KeyringOperation::List).await;
    assert_eq!(pools.len(), 2);
    assert_eq!(pools[0].keys.len(), 2);
    // Their own order is chance.
    let shown = world.shown("/v1/operator/keyring");
    assert_eq!(pools.len(), shown.as_array().unwrap().len());

    let deregister = DeregisterRequest { node: name("n1"), ..DeregisterRequest::default() };
    assert_eq!(world.run(Command::Deregister(deregister)).await, Outcome::Done);
    let gone = Query::NodeServices { node: name("n1") };
    assert_eq!(world.ask(gone).await, Reply::NodeServices(None));
    for consistency in [Consistency::Consistent, Consistency::Stale] {
        let options = QueryOptions { consistency, ..QueryOptions::default() };
        let query = Query::Nodes { node_meta: none() };
        let answer = world.remote.query(query, options).await.unwrap();
        assert_eq!(answer.meta.consistency, consistency);
        assert!(answer.meta.known_leader);
    }
    assert_eq!(world.remote.connection_count().await, 1);
}

fn none_of_tags() -> Vec<String> {
    Vec::new()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_watches_take_one_socket_and_wake() {
    let world = world().await;
    let set = |key: &str, value: &[u8]| {
        let entry = model::kv::DirEntry {
            key: key.to_owned(),
            value: value.to_vec(),
            ..Default::default()
        };
        Command::Kv(KvRequest { op: KvOp::Set, entry })
    };
    world.run(set("watched", b"1")).await;
    let query = Query::KvGet { key: name("watched") };
    let answer = world.remote.query(query.clone(), QueryOptions::default()).await.unwrap();
    let options = QueryOptions { min_index: answer.meta.index, ..QueryOptions::default() };
    let watches: Vec<_> = (0..300)
        .map(|_| {
            let (remote, query, options) = (world.remote.clone(), query.clone(), options.clone());
            tokio::spawn(async move { remote.query(query, options).await.unwrap() })
        })
        .collect();
    // The server's own count of what waits would tell; asked often, all of them are out.
    for _ in 0..20 {
        world.ask(Query::Sessions).await;
    }
    assert_eq!(sockets_to(world.agent.ports.server), 1);
    assert!(watches.iter().all(|watch| !watch.is_finished()));
    world.run(set("watched", b"2")).await;
    for watch in watches {
        let answer = watch.await.unwrap();
        let Reply::KvEntries(entries) = &answer.body.reply else { panic!("entries") };
        assert_eq!(entries[0].value, b"2");
        assert!(answer.meta.index > options.min_index);
    }
    assert_eq!(sockets_to(world.agent.ports.server), 1);

    // A wait that sees no change ends by itself.
    let index = world.remote.query(query.clone(), QueryOptions::default()).await.unwrap();
    let options = QueryOptions {
        min_index: index.meta.index,
        max_wait: Some(Duration::from_millis(50)),
        ..QueryOptions::default()
    };
    let answer = world.remote.query(query, options).await.unwrap();
    assert_eq!(answer.meta.index, index.meta.index);
}

/// Connections of this process's side to a port of loopback.
fn sockets_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let own: std::collections::HashSet<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_ours = |line: &&str| {
        let parts: Vec<&str> = line.split_whitespace().collect();
        parts[2].ends_with(&format!(":{port:04X}"))
            && parts[3] == ESTABLISHED
            && own.contains(parts[9])
    };
    table.lines().skip(1).filter(is_ours).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_and_restarts() {
    let mut world = world().await;
    let entry =
        model::kv::DirEntry { key: name("k"), value: vec![9; 100_000], ..Default::default() };
    world.run(Command::Kv(KvRequest { op: KvOp::Set, entry })).await;
    let token = Token::default;
    let archive = world.remote.save_snapshot(Consistency::Default, token()).await.unwrap();
    assert!(archive.meta.index > 1);
    let mut chunks = archive.chunks;
    let mut all = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(all[..2], [0x1f, 0x8b], "an archive is compressed");
    let delete = model::kv::DirEntry { key: name("k"), ..Default::default() };
    world.run(Command::Kv(KvRequest { op: KvOp::Delete, entry: delete })).await;
    let restore = async |bytes: Vec<u8>| {
        let (sender, chunks) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            for piece in bytes.chunks(1000) {
                let _ = sender.send(Ok(piece.to_vec().into())).await;
            }
        });
        world.remote.restore_snapshot(chunks, token()).await
    };
    restore(all).await.unwrap();
    let Reply::KvEntries(found) = world.ask(Query::KvGet { key: name("k") }).await else {
        panic!("entries are entries")
    };
    assert_eq!(found[0].value.len(), 100_000);
    assert!(restore(b"no archive".to_vec()).await.is_err());

    // A server that comes back is found again.
    tokio::task::block_in_place(|| {
        world.agent.kill();
        world.agent.restart();
    });
    assert_ne!(world.ask(Query::KvGet { key: name("k") }).await, Reply::KvEntries(vec![]));
}
