//! Single rules, each as the answers of Consul 1.8.7 show it.

use model::catalog::{DeregisterRequest, RegisterRequest};
use model::check::{CheckStatus, HealthCheck};
use model::command::{Command, Outcome};
use model::intention::{Intention, IntentionRequest};
use model::kv::{DirEntry, KvOp, KvRequest};
use model::query::{Query, Reply};
use model::service::NodeService;
use model::session::{Session, SessionRequest};

use crate::State;

const ID_A: &str = "40e4a748-2192-161a-0510-9bf59fe950b5";
const ID_B: &str = "40e4a748-2192-161a-0510-9bf59fe950b6";

struct Log(State);

impl Log {
    fn new() -> Self {
        Self(State::new())
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.0.apply(self.0.index() + 1, command).outcome
    }

    fn register(&mut self, request: RegisterRequest) -> Outcome {
        self.apply(Command::Register(Box::new(request)))
    }

    fn index_of(&self, query: Query) -> u64 {
        self.0.read(&query).index
    }
}

fn node(name: &str, id: &str) -> RegisterRequest {
    RegisterRequest {
        node: name.into(),
        id: id.into(),
        address: "1.1.1.1".into(),
        ..Default::default()
    }
}

fn service(id: &str, name: &str) -> Option<NodeService> {
    Some(NodeService { id: id.into(), name: name.into(), ..Default::default() })
}

fn check(node: &str, id: &str, service: &str, status: CheckStatus) -> HealthCheck {
    HealthCheck {
        node: node.into(),
        check_id: id.into(),
        service_id: service.into(),
        status,
        ..Default::default()
    }
}

fn health(name: &str) -> Query {
    Query::Health {
        name: name.into(),
        tags: vec![],
        mesh: false,
        passing_only: false,
        node_meta: vec![],
    }
}

fn refused(text: &str) -> Outcome {
    Outcome::Refused(text.into())
}

#[test]
fn a_check_needs_its_node_and_its_service() {
    let mut log = Log::new();
    let with = |check| RegisterRequest { check: Some(check), ..node("m1", "") };
    let passing = CheckStatus::Passing;
    assert_eq!(
        log.register(with(check("m1", "c", "nope", passing))),
        refused("failed inserting check: Missing service registration on node \"m1\"")
    );
    assert_eq!(log.0.node("m1"), None, "a refused registration leaves no node");
    assert_eq!(
        log.register(with(check("M1", "c", "", passing))),
        refused("check node \"M1\" does not match node \"m1\"")
    );
    let whole =
        RegisterRequest { service: service("w", "web"), ..with(check("m1", "c", "W", passing)) };
    assert_eq!(log.register(whole), Outcome::Done);
    assert_eq!(log.0.check("m1", "C").unwrap().service_name, "web");
}

#[test]
fn names_stay_with_living_nodes() {
    let mut log = Log::new();
    let serf = |name: &str, id: &str, status| RegisterRequest {
        check: Some(check(name, "serfHealth", "", status)),
        ..node(name, id)
    };
    log.register(serf("i2", ID_B, CheckStatus::Passing));
    assert_eq!(
        log.register(node("i2", ID_A)),
        refused(&format!(
            "failed inserting node: Error while renaming Node ID: \"{ID_A}\": Node name i2 is reserved by node {ID_B} with name i2 (1.1.1.1)"
        ))
    );
    log.register(node("i1", ID_A));
    assert_eq!(
        log.register(node("I2", ID_A)),
        refused(&format!(
            "failed inserting node: Error while renaming Node ID: \"{ID_A}\" (1.1.1.1): Node name I2 is reserved by node {ID_B} with name i2 (1.1.1.1)"
        ))
    );
    log.register(serf("i2", ID_B, CheckStatus::Critical));
    assert_eq!(log.register(node("i2", ID_A)), Outcome::Done);
    assert_eq!(log.0.node("i1"), None, "the renamed node leaves its old name");
    assert_eq!(log.0.node("i2").unwrap().id, ID_A);
}

#[test]
fn a_renamed_node_loses_its_services() {
    let mut log = Log::new();
    log.register(RegisterRequest { service: service("s", "s"), ..node("i1", ID_A) });
    let created = log.0.node("i1").unwrap().create_index;
    log.register(node("i2", ID_A));
    assert_eq!(log.0.node("i2").unwrap().create_index, created);
    assert_eq!(log.0.node_services("i2").count(), 0);
    assert_eq!(log.0.read(&health("s")).reply, Reply::Health(vec![]));
}

#[test]
fn a_node_is_found_by_the_beginning_of_its_id() {
    let mut log = Log::new();
    log.register(node("i1", ID_A));
    let found = |log: &Log, node: &str| {
        let Reply::NodeServices(found) =
            log.0.read(&Query::NodeServices { node: node.into() }).reply
        else {
            unreachable!("services of a node are asked for")
        };
        found.is_some()
    };
    for (text, want) in [
        ("I1", true),
        ("40e4a7", true),
        ("40e4a", true),
        ("4", false),
        ("zz", false),
        (ID_B, false),
    ] {
        assert_eq!(found(&log, text), want, "{text}");
    }
    log.register(node("i3", ID_B));
    assert!(!found(&log, "40e4a7"), "ambiguous");
    assert!(found(&log, ID_B));
}

#[test]
fn deregistration_takes_the_service_before_the_check() {
    let mut log = Log::new();
    log.register(RegisterRequest {
        service: service("w", "web"),
        check: Some(check("m1", "c", "", CheckStatus::Passing)),
        ..node("m1", "")
    });
    let mut remove = |service: &str, check: &str| {
        log.apply(Command::Deregister(DeregisterRequest {
            node: "M1".into(),
            service_id: service.into(),
            check_id: check.into(),
            ..Default::default()
        }));
        (log.0.service("m1", "w").is_some(), log.0.check("m1", "c").is_some())
    };
    assert_eq!(remove("nope", "c"), (true, true));
    assert_eq!(remove("w", "c"), (false, true));
    assert_eq!(remove("", "c"), (false, false));
}

#[test]
fn equal_registrations_change_nothing() {
    let mut log = Log::new();
    let request = RegisterRequest {
        service: service("w", "web"),
        check: Some(check("m1", "c", "w", CheckStatus::Passing)),
        ..node("m1", "")
    };
    log.register(request.clone());
    let applied = log.0.apply(9, Command::Register(Box::new(request)));
    assert_eq!(applied.touched, vec![]);
    assert_eq!(log.index_of(health("web")), 1);
}

#[test]
fn an_unknown_service_has_the_index_of_the_last_extinction() {
    let mut log = Log::new();
    log.register(node("m1", ""));
    assert_eq!(log.index_of(health("none")), 1);
    log.register(RegisterRequest { service: service("w", "web"), ..node("m1", "") });
    assert_eq!(log.index_of(health("none")), 2);
    log.apply(Command::Deregister(DeregisterRequest {
        node: "m1".into(),
        service_id: "w".into(),
        ..Default::default()
    }));
    log.register(RegisterRequest { service: service("d", "db"), ..node("m1", "") });
    assert_eq!(log.index_of(health("none")), 3);
    assert_eq!(log.index_of(health("db")), 4);
}

#[test]
fn a_critical_check_ends_its_sessions() {
    let mut log = Log::new();
    let with =
        |status| RegisterRequest { check: Some(check("m1", "c", "", status)), ..node("m1", "") };
    let session = Session {
        id: ID_A.into(),
        node: "M1".into(),
        node_checks: vec!["c".into()],
        lock_delay: model::session::LOCK_DELAY_DEFAULT,
        ..Default::default()
    };
    let create =
        |log: &mut Log| log.apply(Command::Session(SessionRequest::Create(session.clone())));
    assert_eq!(create(&mut log), refused("Missing node registration"));
    log.register(node("m1", ""));
    assert_eq!(create(&mut log), refused("Missing check 'c' registration"));
    log.register(with(CheckStatus::Critical));
    assert_eq!(create(&mut log), refused("Check 'c' is in critical state"));
    log.register(with(CheckStatus::Warning));
    assert_eq!(create(&mut log), Outcome::Created(ID_A.into()));
    let entry = DirEntry { key: "k".into(), session: ID_A.into(), ..Default::default() };
    log.apply(Command::Kv(KvRequest { op: KvOp::Lock, entry }));
    assert_eq!(log.0.lock_holder("k"), Some(ID_A));
    let applied = log.0.apply(99, Command::Register(Box::new(with(CheckStatus::Critical))));
    assert_eq!(applied.ended_sessions, [ID_A]);
    assert_eq!(applied.released_locks, [("k".into(), model::session::LOCK_DELAY_DEFAULT)]);
    assert_eq!(log.0.lock_holder("k"), None);
}

#[test]
fn locks_refuse_what_is_no_session() {
    let mut log = Log::new();
    let mut lock = |session: &str| {
        let entry = DirEntry { key: "k".into(), session: session.into(), ..Default::default() };
        log.apply(Command::Kv(KvRequest { op: KvOp::Lock, entry }))
    };
    assert_eq!(lock(""), refused("missing session"));
    assert_eq!(lock(ID_A), refused(&format!("invalid session \"{ID_A}\"")));
    assert_eq!(
        lock("bad"),
        refused("failed session lookup: index error: UUID must be 36 characters")
    );
}

#[test]
fn one_intention_for_each_pair() {
    let mut log = Log::new();
    let mut upsert = |id: &str, source: &str| {
        log.apply(Command::Intention(IntentionRequest::Upsert(Box::new(Intention {
            id: id.into(),
            source_namespace: "default".into(),
            source_name: source.into(),
            destination_namespace: "default".into(),
            destination_name: "db".into(),
            ..Default::default()
        }))))
    };
    assert_eq!(upsert(ID_A, "web"), Outcome::Created(ID_A.into()));
    assert_eq!(
        upsert(ID_B, "WEB"),
        refused(&format!(
            "duplicate intention found: DENY default/web => default/db (ID: {ID_A}, Precedence: 9)"
        ))
    );
    assert_eq!(upsert(ID_A, "*"), Outcome::Created(ID_A.into()));
    assert_eq!(upsert(ID_B, "web"), Outcome::Created(ID_B.into()));
    let Reply::Intentions(all) = log.0.read(&Query::Intentions).reply else {
        unreachable!("intentions are asked for")
    };
    let shown: Vec<_> = all.iter().map(|i| (i.source_name.as_str(), i.precedence)).collect();
    assert_eq!(shown, [("web", 9), ("*", 8)]);
}

#[test]
fn readers_keep_their_state() {
    let mut log = Log::new();
    let set = |value: &str| {
        let entry = DirEntry { key: "k".into(), value: value.into(), ..Default::default() };
        Command::Kv(KvRequest { op: KvOp::Set, entry })
    };
    log.apply(set("1"));
    let reader = log.0.clone();
    log.apply(set("2"));
    assert_eq!(reader.kv_entry("k").unwrap().value, b"1");
    assert_eq!(log.0.kv_entry("k").unwrap().value, b"2");
}
