//! Decisions as tables: what Consul 1.8.7 answered to the same requests.

use model::catalog::RegisterRequest;
use model::check::HealthCheck;
use model::intention::{Intention, IntentionRequest};
use model::kv::{DirEntry, KvOp, KvRequest};
use model::service::{NodeService, ServiceKind, Upstream};
use model::session::{Session, SessionRequest};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::Mono;

fn judge_at(command: Command, delays: &LockDelays, mono: Mono) -> Result<Judged, Error> {
    let mut context = Context {
        state: &State::new(),
        datacenter: "dc1",
        rules: &Rules::default(),
        lock_delays: delays,
        now: Now { mono, ..Now::default() },
        rng: &mut StdRng::seed_from_u64(7),
    };
    judge(command, &mut context)
}

fn fault(command: Command) -> String {
    judge_at(command, &LockDelays::default(), Mono(0)).unwrap_err().message
}

fn proposed(command: Command) -> Command {
    match judge_at(command, &LockDelays::default(), Mono(0)).unwrap() {
        Judged::Propose(command) => command,
        other => panic!("{other:?}"),
    }
}

fn kv(op: KvOp, key: &str, session: &str) -> Command {
    let entry = DirEntry { key: key.into(), session: session.into(), ..DirEntry::default() };
    Command::Kv(KvRequest { op, entry })
}

fn register(node: &str, address: &str, service: Option<NodeService>) -> Command {
    Command::Register(Box::new(RegisterRequest {
        node: node.into(),
        address: address.into(),
        service,
        ..RegisterRequest::default()
    }))
}

fn session(node: &str, ttl: &str) -> Command {
    let session = Session { node: node.into(), ttl: ttl.into(), ..Session::default() };
    Command::Session(SessionRequest::Create(session))
}

fn intention(source: &str, destination: &str) -> Intention {
    Intention {
        source_name: source.into(),
        destination_name: destination.into(),
        ..Intention::default()
    }
}

fn upsert(intention: Intention) -> Command {
    Command::Intention(IntentionRequest::Upsert(Box::new(intention)))
}

const UUID: &str = "8b5cf7a4-5f86-3f4e-0b0a-6d42dbf9d3a1";

#[test]
fn refusals_have_the_texts_clients_know() {
    let service = |name: &str, id: &str| NodeService {
        name: name.into(),
        id: id.into(),
        ..NodeService::default()
    };
    let proxy = NodeService { kind: ServiceKind::ConnectProxy, ..service("x", "") };
    let gateway = NodeService { kind: ServiceKind::MeshGateway, ..service("m", "") };
    let any = NodeService { address: "0.0.0.0".into(), ..service("x", "") };
    let check = |command: Command, want: &str| assert_eq!(fault(command), want);
    check(kv(KvOp::Set, "", ""), "Must provide key");
    check(
        kv(KvOp::Lock, "k", "xyz"),
        "failed session lookup: index error: UUID must be 36 characters",
    );
    check(register("", "1.1.1.1", None), "Must provide node");
    check(register("a", "", None), "Must provide address if SkipNodeUpdate is not set");
    check(register("a", "b", Some(service("", "x"))), "Must provide service name with ID");
    check(register("a", "b", Some(any)), "Invalid service address");
    check(
        register("a", "b", Some(proxy)),
        "2 errors occurred:\n\t* Proxy.DestinationServiceName must be non-empty for Connect proxy \
         services\n\t* Port must be set for a Connect proxy\n\n",
    );
    check(
        register("a", "b", Some(gateway)),
        "1 error occurred:\n\t* Port must be non-zero for a mesh-gateway\n\n",
    );
    let meta = Some([(String::new(), "empty".to_owned())].into());
    check(
        register("x", "b", Some(NodeService { meta, ..service("s", "") })),
        "failed inserting service: Invalid Service Meta for node x and serviceID s: \
         Couldn't load metadata pair ('', 'empty'): Key cannot be blank",
    );
    check(session("", ""), "Must provide Node");
    check(session("n", "5s"), "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]");
    check(session("n", "abc"), "Session TTL 'abc' invalid: time: invalid duration \"abc\"");
    check(
        upsert(intention("a*", "")),
        "2 errors occurred:\n\t* SourceName: wildcard character '*' cannot be used with partial \
         values\n\t* DestinationName must be set\n\n",
    );
    check(
        upsert(Intention { id: UUID.into(), ..intention("a", "b") }),
        &format!("Cannot modify non-existent intention: '{UUID}'"),
    );
    check(
        Command::Intention(IntentionRequest::Delete("xyz".into())),
        "Intention lookup failed: failed intention lookup: index error: UUID must be 36 characters",
    );
}

#[test]
fn upstreams_must_differ() {
    let upstream = |name: &str, port| Upstream {
        destination_name: name.into(),
        local_bind_port: port,
        ..Upstream::default()
    };
    let check = |upstreams: Vec<Upstream>, want: &str| {
        let mut service = NodeService {
            kind: ServiceKind::ConnectProxy,
            name: "p".into(),
            port: 1,
            ..NodeService::default()
        };
        service.proxy.destination_service_name = "w".into();
        service.proxy.upstreams = upstreams;
        assert_eq!(
            fault(register("a", "b", Some(service))),
            format!("1 error occurred:\n\t* {want}\n\n")
        );
    };
    check(vec![upstream("", 3)], "upstream destination name cannot be empty");
    check(vec![upstream("k", 0)], "upstream local bind port cannot be zero");
    check(
        vec![upstream("k", 5), upstream("k", 6)],
        "upstreams cannot contain duplicates of [type=\"\", name=\"k\", namespace=\"\", \
         datacenter=\"\"]",
    );
}

#[test]
fn defaults_are_filled_in() {
    let service = NodeService { name: "web".into(), ..NodeService::default() };
    let check = HealthCheck { name: "alive".into(), ..HealthCheck::default() };
    let request = RegisterRequest {
        node: "a".into(),
        address: "b".into(),
        service: Some(service),
        check: Some(check),
        ..RegisterRequest::default()
    };
    let Command::Register(filled) = proposed(Command::Register(Box::new(request))) else {
        panic!()
    };
    assert_eq!(filled.datacenter, "dc1");
    assert_eq!(filled.service.unwrap().id, "web");
    assert_eq!(filled.check, None);
    assert_eq!((&*filled.checks[0].check_id, &*filled.checks[0].node), ("alive", "a"));

    let Command::Session(SessionRequest::Create(filled)) = proposed(session("n", "0s")) else {
        panic!()
    };
    assert_eq!(uuid_fault(&filled.id), None);

    let Command::Intention(IntentionRequest::Upsert(filled)) =
        proposed(upsert(intention("*", "b")))
    else {
        panic!()
    };
    assert_eq!((filled.precedence, &*filled.source_type), (8, "consul"));
    assert_eq!((&*filled.source_namespace, filled.hash.len()), ("default", 32));
}

#[test]
fn a_lost_lock_is_delayed_on_the_leaders_clock() {
    let second = |seconds: u64| Mono(seconds * 1_000_000_000);
    let mut delays = LockDelays::default();
    delays.extend(vec![("k".into(), GoDuration::from_secs(15))], second(100));
    let lock = |at| judge_at(kv(KvOp::Lock, "k", UUID), &delays, second(at)).unwrap();
    assert_eq!(lock(114), Judged::Answer(Outcome::Applied(false)));
    assert!(matches!(lock(115), Judged::Propose(_)));
    let set = judge_at(kv(KvOp::Set, "k", ""), &delays, second(101)).unwrap();
    assert!(matches!(set, Judged::Propose(_)));
    delays.forget_passed(second(115));
    assert!(!delays.is_delayed("k", second(101)), "forgotten");
}

#[test]
fn only_compare_and_set_keeps_an_index() {
    let index_of = |op| {
        let entry =
            DirEntry { key: "k".into(), modify_index: 9, lock_index: 3, ..DirEntry::default() };
        match proposed(Command::Kv(KvRequest { op, entry })) {
            Command::Kv(request) => (request.entry.modify_index, request.entry.lock_index),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(proposed(kv(KvOp::Unlock, "k", "xyz")), Command::Kv(_)), "no holder, no harm");
    assert_eq!(index_of(KvOp::Set), (0, 0));
    assert_eq!(index_of(KvOp::Cas), (9, 0));
}
