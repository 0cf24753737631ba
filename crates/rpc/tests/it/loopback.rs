//! Our client against our server: every question arrives as it was asked and its answer as given.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::catalog::{DeregisterRequest, RegisterRequest};
use model::check::CheckStatus;
use model::command::{Command, Outcome};
use model::config_entry::ConfigEntryRequest;
use model::error::{Error, ErrorKind};
use model::event::UserEvent;
use model::intention::{Intention, IntentionRequest, MatchSide};
use model::keyring::{GossipKey, KeyringOperation, KeyringRequest};
use model::kv::{KvOp, KvRequest};
use model::operator::{AutopilotConfiguration, AutopilotRequest, OperatorReply, OperatorRequest};
use model::query::{Consistency, Query, QueryOptions, Reply, Token};
use model::session::{Session, SessionRequest};
use rpc::Cluster;
use tokio_util::sync::CancellationToken;

use crate::fake::{Seen, until, world, world_with};
use crate::samples::{self, UUID};

fn meta() -> Vec<(String, String)> {
    vec![("rack".into(), "7".into())]
}

fn name(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn every_query_and_its_answer() {
    let world = world().await;
    let check = async |query: Query, reply: Reply| {
        world.fake.reply(reply.clone());
        let options = QueryOptions {
            token: Token("secret".into()),
            consistency: Consistency::Stale,
            max_stale: Some(Duration::from_secs(9)),
            filter: "a == b".into(),
            ..QueryOptions::default()
        };
        let answer = world.remote.query(query.clone(), options.clone()).await.unwrap();
        assert_eq!(answer.body.reply, reply, "{query:?}");
        assert_eq!(answer.meta.index, 42);
        assert_eq!(answer.meta.last_contact, Duration::from_millis(5));
        assert!(answer.meta.known_leader);
        assert_eq!(answer.meta.consistency, Consistency::Stale);
        let (asked, with) = world.fake.queries.lock().pop().unwrap();
        assert_eq!(asked, query);
        assert_eq!(with.token, options.token);
        assert_eq!(with.consistency, options.consistency);
        assert_eq!(with.max_stale, options.max_stale);
        assert_eq!(with.filter, options.filter);
    };
    use samples as s;
    check(Query::Nodes { node_meta: meta() }, Reply::Nodes(vec![s::node()])).await;
    check(Query::Nodes { node_meta: vec![] }, Reply::Nodes(vec![])).await;
    let services = [(name("web"), vec![name("a"), name("b")]), (name("db"), vec![])].into();
    check(Query::Services { node_meta: meta() }, Reply::Services(services)).await;
    let query = Query::ServiceNodes {
        name: name("web"),
        tags: vec![name("a"), name("b")],
        mesh: false,
        node_meta: meta(),
    };
    check(query, Reply::ServiceNodes(vec![s::service_node()])).await;
    let query =
        Query::ServiceNodes { name: name("web"), tags: vec![], mesh: true, node_meta: vec![] };
    check(query, Reply::ServiceNodes(vec![])).await;
    let query = Query::NodeServices { node: name("n1") };
    check(query.clone(), Reply::NodeServices(Some(s::node_services()))).await;
    check(query, Reply::NodeServices(None)).await;
    let query = Query::NodeServiceList { node: name("n1") };
    check(query.clone(), Reply::NodeServiceList(Some(s::node_service_list()))).await;
    check(query, Reply::NodeServiceList(None)).await;
    let gateway = model::catalog::GatewayService {
        gateway: name("g"),
        service: name("web"),
        port: 7,
        ..Default::default()
    };
    let query = Query::GatewayServices { gateway: name("g") };
    check(query, Reply::GatewayServices(vec![gateway])).await;
    check(Query::NodeChecks { node: name("n1") }, Reply::Checks(vec![s::check()])).await;
    let query = Query::ServiceChecks { name: name("web"), node_meta: meta() };
    check(query, Reply::Checks(vec![s::check()])).await;
    let rows = vec![s::instance(CheckStatus::Passing), s::instance(CheckStatus::Critical)];
    let query = |mesh| Query::Health {
        name: name("web"),
        tags: vec![name("a")],
        mesh,
        passing_only: false,
        node_meta: meta(),
    };
    check(query(false), Reply::Health(rows.clone())).await;
    check(query(true), Reply::Health(rows)).await;
    let query = |status| Query::ChecksInState { status, node_meta: meta() };
    check(query(None), Reply::Checks(vec![s::check()])).await;
    check(query(Some(CheckStatus::Warning)), Reply::Checks(vec![s::check()])).await;
    check(Query::KvGet { key: name("a/b") }, Reply::KvEntries(vec![s::entry()])).await;
    check(Query::KvGet { key: name("a/b") }, Reply::KvEntries(vec![])).await;
    check(Query::KvList { prefix: name("a/") }, Reply::KvEntries(vec![s::entry()])).await;
    let query = Query::KvKeys { prefix: name("a/"), separator: name("/") };
    check(query, Reply::KvKeys(vec![name("a/b"), name("a/c/")])).await;
    check(Query::Session { id: UUID.into() }, Reply::Sessions(vec![s::session()])).await;
    check(Query::NodeSessions { node: name("n1") }, Reply::Sessions(vec![])).await;
    check(Query::Sessions, Reply::Sessions(vec![s::session()])).await;
    check(Query::Intentions, Reply::Intentions(vec![s::intention()])).await;
    let query = Query::Intention { id: UUID.into() };
    check(query, Reply::Intentions(vec![s::intention()])).await;
    for side in [MatchSide::Source, MatchSide::Destination] {
        let query = Query::IntentionMatch { side, names: vec![name("db"), name("web")] };
        check(query, Reply::IntentionMatches(vec![vec![s::intention()], vec![]])).await;
    }
    check(Query::CaRoots, Reply::CaRoots(s::roots())).await;
    let query = Query::ConfigEntry { kind: name("proxy-defaults"), name: name("global") };
    check(query.clone(), Reply::ConfigEntry(Some(Arc::new(s::proxy_defaults())))).await;
    check(query, Reply::ConfigEntry(None)).await;
    let entries = vec![Arc::new(s::proxy_defaults()), Arc::new(s::service_defaults())];
    check(Query::ConfigEntries { kind: name("") }, Reply::ConfigEntries(entries)).await;
    let query = Query::ConfigEntries { kind: name("service-router") };
    check(query, Reply::ConfigEntries(vec![])).await;
    check(Query::Coordinates, Reply::Coordinates(vec![s::coordinate("n1")])).await;
    let query = Query::NodeCoordinates { node: name("n1") };
    check(query, Reply::Coordinates(vec![s::coordinate("n1")])).await;
    assert_eq!(world.remote.connection_count().await, 1);
}

#[tokio::test]
async fn answers_that_say_nothing_of_themselves() {
    let world = world().await;
    let ask = async |query: Query| {
        let answer = world.remote.query(query, QueryOptions::default()).await.unwrap();
        assert_eq!(answer.meta.index, 1);
        answer.body.reply.clone()
    };
    let reply = Reply::CaConfiguration(Some(Arc::new(samples::ca_configuration())));
    world.fake.reply(reply.clone());
    assert_eq!(ask(Query::CaConfiguration).await, reply);
    world.fake.reply(Reply::CaConfiguration(None));
    assert_eq!(ask(Query::CaConfiguration).await, Reply::CaConfiguration(None));
    let reply = Reply::AutopilotConfiguration(Arc::new(AutopilotConfiguration {
        cleanup_dead_servers: false,
        max_trailing_logs: 9,
        ..AutopilotConfiguration::default()
    }));
    world.fake.reply(reply.clone());
    assert_eq!(ask(Query::AutopilotConfiguration).await, reply);
    // No such intention is an error on the way and none here.
    world.fake.reply(Reply::Intentions(vec![]));
    assert_eq!(ask(Query::Intention { id: UUID.into() }).await, Reply::Intentions(vec![]));
}

#[tokio::test]
async fn what_servers_do_not_know_is_done_by_the_client() {
    let world = world().await;
    let rows = vec![
        samples::instance(CheckStatus::Passing),
        samples::instance(CheckStatus::Warning),
        samples::instance(CheckStatus::Critical),
    ];
    world.fake.reply(Reply::Health(rows));
    let query = Query::Health {
        name: name("web"),
        tags: vec![],
        mesh: false,
        passing_only: true,
        node_meta: vec![],
    };
    let answer = world.remote.query(query, QueryOptions::default()).await.unwrap();
    let passing = vec![samples::instance(CheckStatus::Passing)];
    assert_eq!(answer.body.reply, Reply::Health(passing));
    let other = Intention { source_name: name("x"), ..(*samples::intention()).clone() };
    world.fake.reply(Reply::Intentions(vec![Arc::new(other), samples::intention()]));
    let query = Query::IntentionExact { source: name("web"), destination: name("db") };
    let answer = world.remote.query(query, QueryOptions::default()).await.unwrap();
    assert_eq!(answer.body.reply, Reply::Intentions(vec![samples::intention()]));
}

#[tokio::test]
async fn every_command_and_what_it_came_to() {
    let world = world().await;
    let check = async |command: Command, arrives: Command, outcome: Outcome, told: Outcome| {
        *world.fake.outcome.lock() = Some(outcome);
        let got = world.remote.command(command, Token("secret".into())).await.unwrap();
        assert_eq!(got, told, "{arrives:?}");
        assert_eq!(
            world.fake.seen.lock().drain(..).collect::<Vec<_>>(),
            [Seen::Command(arrives, "secret".into())]
        );
    };
    let same = async |command: Command, outcome: Outcome| {
        check(command.clone(), command, outcome.clone(), outcome).await;
    };
    let register = RegisterRequest {
        datacenter: name("dc1"),
        node: name("n1"),
        address: name("10.0.0.1"),
        service: Some((*samples::service()).clone()),
        check: Some((*samples::check()).clone()),
        checks: vec![(*samples::check()).clone()],
        skip_node_update: true,
        ..RegisterRequest::default()
    };
    same(Command::Register(Box::new(register)), Outcome::Done).await;
    let deregister = DeregisterRequest {
        datacenter: name("dc1"),
        node: name("n1"),
        service_id: name("web"),
        check_id: name("c"),
    };
    same(Command::Deregister(deregister), Outcome::Done).await;
    let kv = |op| Command::Kv(KvRequest { op, entry: (*samples::entry()).clone() });
    for op in [KvOp::Cas, KvOp::DeleteCas, KvOp::Lock, KvOp::Unlock] {
        same(kv(op), Outcome::Applied(true)).await;
        same(kv(op), Outcome::Applied(false)).await;
    }
    for op in [KvOp::Set, KvOp::Delete, KvOp::DeleteTree] {
        same(kv(op), Outcome::Done).await;
    }
    let create = SessionRequest::Create((*samples::session()).clone());
    same(Command::Session(create), Outcome::Created(UUID.into())).await;
    same(Command::Session(SessionRequest::Destroy(UUID.into())), Outcome::Done).await;
    let update = IntentionRequest::Upsert(Box::new((*samples::intention()).clone()));
    same(Command::Intention(update), Outcome::Created(UUID.into())).await;
    let new = Intention { id: String::new(), ..(*samples::intention()).clone() };
    let create = IntentionRequest::Upsert(Box::new(new));
    same(Command::Intention(create), Outcome::Created(UUID.into())).await;
    same(Command::Intention(IntentionRequest::Delete(UUID.into())), Outcome::Done).await;
    for entry in [samples::proxy_defaults(), samples::service_defaults()] {
        let (kind, entry_name) = (entry.kind().to_owned(), entry.name().to_owned());
        let upsert = ConfigEntryRequest::Upsert(entry.clone().into());
        same(Command::ConfigEntry(upsert), Outcome::Done).await;
        let mut changed = entry.clone();
        changed.set_indexes(0, 17);
        let cas = ConfigEntryRequest::UpsertCas(changed.into(), 17);
        same(Command::ConfigEntry(cas), Outcome::Applied(false)).await;
        let delete = ConfigEntryRequest::Delete { kind, name: entry_name };
        same(Command::ConfigEntry(delete), Outcome::Done).await;
    }
    let autopilot = |cas_index: Option<u64>| {
        let modify_index = cas_index.unwrap_or(0);
        let configuration = AutopilotConfiguration { modify_index, ..Default::default() };
        Command::Autopilot(AutopilotRequest { configuration, cas_index })
    };
    same(autopilot(Some(3)), Outcome::Applied(false)).await;
    same(autopilot(Some(3)), Outcome::Applied(true)).await;
    same(autopilot(None), Outcome::Applied(true)).await;

    // What the state refuses is an error to agents.
    *world.fake.outcome.lock() = Some(Outcome::Refused(name("missing session")));
    let error = world.remote.command(kv(KvOp::Lock), Token::default()).await.unwrap_err();
    assert_eq!(error.message, "rpc error making call: missing session");
}

#[tokio::test]
async fn coordinates_are_proposed_together() {
    let world = world().await;
    for node in ["n1", "n2", "n1"] {
        let update = Command::Coordinates(vec![(*samples::coordinate(node)).clone()]);
        world.remote.command(update, Token::default()).await.unwrap();
    }
    until(|| !world.fake.seen.lock().is_empty()).await;
    let both = ["n1", "n2"].map(|node| (*samples::coordinate(node)).clone()).to_vec();
    assert_eq!(*world.fake.seen.lock(), [Seen::Command(Command::Coordinates(both), String::new())]);
    let mut bad = (*samples::coordinate("n1")).clone();
    bad.coord.vec.pop();
    let command = Command::Coordinates(vec![bad]);
    let error = world.remote.command(command, Token::default()).await.unwrap_err();
    assert!(error.message.ends_with("incompatible coordinate"), "{error}");
}

#[tokio::test]
async fn everything_else_servers_offer() {
    let world = world().await;
    let remote = &world.remote;
    let token = Token::default;
    let session = remote.renew_session(UUID.into(), token()).await.unwrap().unwrap();
    assert_eq!(session.id, UUID);
    let none = "00000000-0000-0000-0000-000000000000".to_owned();
    assert_eq!(remote.renew_session(none.clone(), token()).await.unwrap(), None);
    let issued = remote.sign_leaf(name("pem"), token()).await.unwrap();
    assert_eq!(issued.serial_number, "01:02");
    remote.configure_ca(samples::ca_configuration(), token()).await.unwrap();
    let asked = OperatorRequest::RaftConfiguration;
    let reply = remote.operator(asked.clone(), token()).await.unwrap();
    assert_eq!(reply, OperatorReply::RaftConfiguration(samples::raft_configuration()));
    let reply = remote.operator(OperatorRequest::Health, token()).await.unwrap();
    assert_eq!(reply, OperatorReply::Health(samples::health()));
    let by_id = OperatorRequest::RemovePeerById(UUID.into());
    assert_eq!(remote.operator(by_id.clone(), token()).await.unwrap(), OperatorReply::Done);
    let by_address = OperatorRequest::RemovePeerByAddress(name("1.2.3.4:1"));
    assert_eq!(remote.operator(by_address.clone(), token()).await.unwrap(), OperatorReply::Done);
    let event = UserEvent {
        id: UUID.into(),
        name: name("deploy"),
        payload: vec![0, 255],
        node_filter: name("web.*"),
        version: 1,
        ..UserEvent::default()
    };
    remote.fire_event(event.clone(), token()).await.unwrap();
    let operation = KeyringOperation::Install(GossipKey(name("a2V5")));
    let request = KeyringRequest { operation, relay_factor: 2, local_only: true };
    let responses = remote.keyring(request.clone(), token()).await.unwrap();
    assert_eq!(responses, [samples::keyring()]);
    assert_eq!(
        world.fake.seen.lock().drain(..).collect::<Vec<_>>(),
        [
            Seen::Renew(UUID.into()),
            Seen::Renew(none),
            Seen::Sign(name("pem")),
            Seen::Configure(samples::ca_configuration()),
            Seen::Operator(asked),
            Seen::Operator(OperatorRequest::Health),
            Seen::Operator(by_id),
            Seen::Operator(by_address),
            Seen::Event(event),
            Seen::Keyring(request),
        ]
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (remote, stop) = (remote.clone(), stop.clone());
        async move { remote.run(stop).await }
    });
    until(|| remote.status().leader.is_some()).await;
    assert_eq!(remote.status().peers.len(), 2);
    stop.cancel();
    running.await.unwrap();
    assert_eq!(remote.connection_count().await, 0);
}

#[tokio::test]
async fn snapshots_in_both_directions() {
    let world = world().await;
    let archive = world.remote.save_snapshot(Consistency::Stale, Token::default()).await.unwrap();
    assert_eq!(archive.meta.index, 7);
    let mut chunks = archive.chunks;
    let mut all = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    let want: Vec<u8> = (0..100u8).flat_map(|piece| vec![piece; 10_000]).collect();
    assert!(all == want);

    let restore = async |pieces: Vec<Vec<u8>>| {
        let (sender, chunks) = tokio::sync::mpsc::channel(2);
        tokio::spawn(async move {
            for piece in pieces {
                let _ = sender.send(Ok(piece.into())).await;
            }
        });
        world.remote.restore_snapshot(chunks, Token::default()).await
    };
    restore(vec![vec![1; 100_000], vec![2; 100_000]]).await.unwrap();
    let want = [vec![1; 100_000], vec![2; 100_000]].concat();
    assert_eq!(world.fake.seen.lock().pop(), Some(Seen::Restored(want)));
    let error = restore(vec![b"bad".to_vec()]).await.unwrap_err();
    assert!(error.message.contains("that is no archive"), "{error}");
}

#[tokio::test]
async fn many_wait_on_one_connection_and_dropping_one_tells_the_server() {
    let world = world().await;
    world.fake.reply(Reply::KvKeys(vec![]));
    let query = Query::KvKeys { prefix: name("a"), separator: String::new() };
    let options = QueryOptions { min_index: 42, ..QueryOptions::default() };
    let waits: Vec<_> = (0..600)
        .map(|_| {
            let (remote, query, options) = (world.remote.clone(), query.clone(), options.clone());
            tokio::spawn(async move { remote.query(query, options).await })
        })
        .collect();
    until(|| world.fake.waiting() == 600).await;
    // Another question is answered at once meanwhile.
    world.remote.query(query.clone(), QueryOptions::default()).await.unwrap();
    assert_eq!(world.remote.connection_count().await, 1);
    waits[0].abort();
    until(|| world.fake.waiting() == 599).await;
    world.fake.woken.notify_waiters();
    for wait in waits.into_iter().skip(1) {
        assert_eq!(wait.await.unwrap().unwrap().meta.index, 42);
    }
    assert_eq!(world.fake.waiting.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn large_values_travel_both_ways() {
    let world = world().await;
    let mut entry = (*samples::entry()).clone();
    entry.value = (0..3_000_000u32).map(|n| n as u8).collect();
    let command = Command::Kv(KvRequest { op: KvOp::Set, entry: entry.clone() });
    world.remote.command(command.clone(), Token::default()).await.unwrap();
    assert!(
        matches!(world.fake.seen.lock().pop(), Some(Seen::Command(seen, _)) if seen == command)
    );
    world.fake.reply(Reply::KvEntries(std::iter::repeat_n(Arc::new(entry.clone()), 4).collect()));
    let query = Query::KvList { prefix: name("") };
    let answer = world.remote.query(query, QueryOptions::default()).await.unwrap();
    let Reply::KvEntries(entries) = &answer.body.reply else { panic!("entries stay entries") };
    assert!(entries.len() == 4 && entries.iter().all(|got| **got == entry));
}

#[tokio::test]
async fn failures_are_tried_again_when_that_can_help() {
    let world = world().await;
    let no_leader = || Err(Error::no_leader());
    *world.fake.replies.lock() =
        [no_leader(), no_leader(), Ok(Reply::KvKeys(vec![name("k")]))].into();
    let query = || Query::KvKeys { prefix: name("a"), separator: String::new() };
    let answer = world.remote.query(query(), QueryOptions::default()).await.unwrap();
    assert_eq!(answer.body.reply, Reply::KvKeys(vec![name("k")]));
    assert_eq!(world.fake.queries.lock().len(), 3);
    // Others are not.
    *world.fake.replies.lock() = [Err(Error::invalid("bad filter"))].into();
    let error = world.remote.query(query(), QueryOptions::default()).await.unwrap_err();
    assert_eq!(error.message, "rpc error making call: bad filter");
    assert_eq!(world.fake.queries.lock().len(), 4);
    // A stream with an error is not used again, its connection is.
    assert_eq!(world.remote.connection_count().await, 1);
}

#[tokio::test]
async fn a_dead_server_is_passed_over_and_none_is_told() {
    let world = world().await;
    world.fake.reply(Reply::KvKeys(vec![]));
    let query = || Query::KvKeys { prefix: name("a"), separator: String::new() };
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut gone = crate::fake::server(dead);
    gone.name = name("gone");
    world.remote.set_servers(vec![gone.clone()]);
    world.remote.set_servers(vec![gone, crate::fake::server(world.address)]);
    world.remote.query(query(), QueryOptions::default()).await.unwrap();
    let settings =
        rpc::RemoteSettings { hold: Duration::from_millis(50), ..rpc::RemoteSettings::new("dc1") };
    let lonely = rpc::Remote::new(settings);
    let error = lonely.query(query(), QueryOptions::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(error.message, "No known Consul servers");
}

#[tokio::test]
async fn another_datacenter_has_no_path() {
    let world = world().await;
    let remote = rpc::Remote::new(rpc::RemoteSettings::new("dc2"));
    remote.set_servers(vec![crate::fake::server(world.address)]);
    let error = remote.query(Query::Sessions, QueryOptions::default()).await.unwrap_err();
    assert_eq!(error.message, "rpc error making call: No path to datacenter");
    let session = Session::default();
    let command = Command::Session(SessionRequest::Create(session));
    assert!(remote.command(command, Token::default()).await.is_err());
}

/// A server that stops answers what it has begun to do, and lets go of those who only wait.
#[tokio::test]
async fn a_stopping_server_finishes_writes() {
    let world = world_with(
        rpc::ServeSettings::new("dc1"),
        rpc::RemoteSettings { hold: Duration::from_millis(20), ..rpc::RemoteSettings::new("dc1") },
    )
    .await;
    world.fake.holds_commands.store(true, Ordering::SeqCst);
    let remote = world.remote.clone();
    let writing = tokio::spawn(async move {
        let request = SessionRequest::Destroy(UUID.into());
        remote.command(Command::Session(request), Token::default()).await
    });
    until(|| !world.fake.seen.lock().is_empty()).await;
    let remote = world.remote.clone();
    let waiting = tokio::spawn(async move {
        let options = QueryOptions { min_index: 1, ..QueryOptions::default() };
        remote.query(Query::Sessions, options).await
    });
    until(|| world.fake.waiting() == 1).await;
    world.stop.cancel();
    // Nobody else is there to be asked.
    assert_eq!(waiting.await.unwrap().unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(world.fake.waiting(), 0);
    let refused = world.remote.query(Query::Sessions, QueryOptions::default()).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Unavailable);
    world.fake.woken.notify_waiters();
    writing.await.unwrap().unwrap();
}
