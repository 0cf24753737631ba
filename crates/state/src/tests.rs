//! Random commands: whoever waits is woken, indexes never fall, snapshots lose nothing.

mod archive;
mod kv_model;
mod restore;
mod rules;
mod snapshot;

use std::collections::BTreeMap;

use model::ca::{CaConfiguration, CaProviderState, CaRequest, CaRoot};
use model::catalog::{DeregisterRequest, RegisterRequest};
use model::check::{CheckStatus, HealthCheck};
use model::command::{Command, Outcome};
use model::config_entry::{ConfigEntryRequest, ProxyDefaults, ServiceDefaults, TaggedConfigEntry};
use model::coordinate::{Coordinate, DIMENSIONS, NodeCoordinate};
use model::duration::GoDuration;
use model::intention::{Intention, IntentionRequest, MatchSide};
use model::kv::{DirEntry, KvOp, KvRequest};
use model::operator::{AutopilotConfiguration, AutopilotRequest};
use model::query::Query;
use model::service::{ConnectProxyConfig, NodeService, ServiceConnect, ServiceKind};
use model::session::{ServiceCheck, Session, SessionBehavior, SessionRequest};
use proptest::prelude::*;
use proptest::sample::select;

use crate::State;

const NODES: &[&str] = &["n1", "N1", "n2", "n3"];
const NODE_IDS: &[&str] =
    &["", "40e4a748-2192-161a-0510-9bf59fe950b5", "40e4a748-2192-161a-0510-9bf59fe950b6"];
const SERVICES: &[&str] = &["web", "Web", "db"];
const CHECKS: &[&str] = &["serfHealth", "c1", "c2"];
const KEYS: &[&str] = &["a", "a/", "a/b", "a/b/c", "b", "é/x"];
const SESSIONS: &[&str] =
    &["11111111-2192-161a-0510-9bf59fe950b5", "22222222-2192-161a-0510-9bf59fe950b6"];
const SOURCES: &[&str] = &["web", "api", "*"];
const INTENTIONS: &[&str] =
    &["31111111-2192-161a-0510-9bf59fe950b5", "42222222-2192-161a-0510-9bf59fe950b6"];

fn text(from: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(from).prop_map(str::to_owned)
}

fn status() -> impl Strategy<Value = CheckStatus> {
    select(&[CheckStatus::Passing, CheckStatus::Warning, CheckStatus::Critical][..])
}

fn meta() -> impl Strategy<Value = model::Meta> {
    select(&[None, Some("1"), Some("2")][..])
        .prop_map(|v| v.map(|v| BTreeMap::from([("rack".to_owned(), v.to_owned())])))
}

fn service() -> impl Strategy<Value = NodeService> {
    (text(&["s1", "s2"]), text(SERVICES), 0..3u16, 0..3u8, select(&["", "blue", "green"][..]))
        .prop_map(|(id, name, port, kind, tag)| NodeService {
            id,
            name: if kind == 1 { format!("{name}-proxy") } else { name.clone() },
            kind: if kind == 1 { ServiceKind::ConnectProxy } else { ServiceKind::Typical },
            port,
            connect: ServiceConnect { native: kind == 2 },
            tags: if tag.is_empty() { vec![] } else { vec![tag.to_owned()] },
            proxy: ConnectProxyConfig {
                destination_service_name: if kind == 1 { name } else { String::new() },
                ..Default::default()
            },
            ..Default::default()
        })
}

fn check() -> impl Strategy<Value = HealthCheck> {
    (text(CHECKS), text(&["", "s1", "s2"]), status()).prop_map(|(check_id, service_id, status)| {
        HealthCheck { check_id, service_id, status, ..Default::default() }
    })
}

fn register() -> impl Strategy<Value = Command> {
    let node = (text(NODES), text(NODE_IDS), text(&["1.1.1.1", "2.2.2.2"]), meta());
    let parts =
        (proptest::option::of(service()), proptest::collection::vec(check(), 0..3), any::<bool>());
    (node, parts).prop_map(
        |((node, id, address, node_meta), (service, mut checks, skip_node_update))| {
            for check in &mut checks {
                check.node = node.clone();
            }
            Command::Register(Box::new(RegisterRequest {
                node,
                id,
                address,
                node_meta,
                service,
                checks,
                skip_node_update,
                ..Default::default()
            }))
        },
    )
}

fn deregister() -> impl Strategy<Value = Command> {
    (text(NODES), text(&["", "s1", "s2"]), text(&["", "c1", "serfHealth"])).prop_map(
        |(node, service_id, check_id)| {
            Command::Deregister(DeregisterRequest {
                node,
                service_id,
                check_id,
                ..Default::default()
            })
        },
    )
}

fn kv() -> impl Strategy<Value = Command> {
    use KvOp::*;
    let op = select(&[Set, Set, Set, Delete, DeleteCas, DeleteTree, Cas, Lock, Lock, Unlock][..]);
    let session = select(vec![SESSIONS[0], SESSIONS[1], ""]);
    (op, text(KEYS), 0..3u8, session, 0..40u64).prop_map(|(op, key, value, session, index)| {
        Command::Kv(KvRequest {
            op,
            entry: DirEntry {
                key,
                value: vec![value],
                session: session.to_owned(),
                modify_index: index,
                ..Default::default()
            },
        })
    })
}

fn session() -> impl Strategy<Value = Command> {
    let create = (
        text(SESSIONS),
        text(NODES),
        proptest::collection::vec(text(CHECKS), 0..2),
        proptest::option::of(text(CHECKS)),
        any::<bool>(),
        0..3i64,
    )
        .prop_map(|(id, node, node_checks, service_check, deletes, delay)| {
            SessionRequest::Create(Session {
                id,
                node,
                node_checks,
                service_checks: service_check
                    .map(|id| vec![ServiceCheck { id, ..Default::default() }]),
                behavior: match deletes {
                    true => SessionBehavior::Delete,
                    false => SessionBehavior::Release,
                },
                lock_delay: GoDuration::from_secs(delay * 40),
                ..Default::default()
            })
        });
    let destroy = text(SESSIONS).prop_map(|id| SessionRequest::Destroy(id.to_uppercase()));
    prop_oneof![3 => create, 1 => destroy].prop_map(Command::Session)
}

fn intention() -> impl Strategy<Value = Command> {
    let upsert = (text(INTENTIONS), text(SOURCES), text(SOURCES), any::<bool>()).prop_map(
        |(id, source_name, destination_name, allow)| {
            IntentionRequest::Upsert(Box::new(Intention {
                id,
                source_name,
                destination_name,
                description: allow.to_string(),
                ..Default::default()
            }))
        },
    );
    let delete = text(INTENTIONS).prop_map(IntentionRequest::Delete);
    prop_oneof![3 => upsert, 1 => delete].prop_map(Command::Intention)
}

fn ca() -> impl Strategy<Value = Command> {
    let root = |id: &str, active| CaRoot { id: id.to_owned(), active, ..Default::default() };
    let config = CaConfiguration { cluster_id: "c".into(), ..Default::default() };
    let requests = [
        CaRequest::SetRoots { expected_index: 0, roots: vec![root("r1", true)] },
        CaRequest::SetRoots { expected_index: 0, roots: vec![root("r1", false)] },
        CaRequest::SetConfig(Box::new(CaConfiguration { modify_index: 7, ..config.clone() })),
        CaRequest::SetRootsAndConfig {
            expected_index: 0,
            roots: vec![root("r2", true), root("r1", false)],
            config: Box::new(config.clone()),
        },
        CaRequest::SetConfig(Box::new(config)),
        CaRequest::SetProviderState(Box::new(CaProviderState {
            id: "p".into(),
            ..Default::default()
        })),
        CaRequest::DeleteProviderState("p".into()),
    ];
    select(requests.to_vec()).prop_map(Command::Ca)
}

fn config_entry() -> impl Strategy<Value = Command> {
    let service =
        (text(SERVICES), text(&["tcp", "http"]), 0..40u64).prop_map(|(name, protocol, index)| {
            let kind = model::config_entry::SERVICE_DEFAULTS.to_owned();
            let entry = ServiceDefaults { kind, name, protocol, ..Default::default() };
            let entry = TaggedConfigEntry::ServiceDefaults(entry);
            match index {
                0..10 => ConfigEntryRequest::UpsertCas(entry, index),
                _ => ConfigEntryRequest::Upsert(entry),
            }
        });
    let kind = model::config_entry::PROXY_DEFAULTS.to_owned();
    let proxy = TaggedConfigEntry::ProxyDefaults(ProxyDefaults { kind, ..Default::default() });
    let delete = (text(&["proxy-defaults", "service-defaults"]), text(SERVICES))
        .prop_map(|(kind, name)| ConfigEntryRequest::Delete { kind, name });
    prop_oneof![service, Just(ConfigEntryRequest::Upsert(proxy)), delete]
        .prop_map(Command::ConfigEntry)
}

fn coordinates() -> impl Strategy<Value = Command> {
    let update = (text(NODES), any::<u8>()).prop_map(|(node, at)| NodeCoordinate {
        node,
        segment: String::new(),
        coord: Coordinate { vec: vec![f64::from(at); DIMENSIONS], ..Coordinate::default() },
    });
    proptest::collection::vec(update, 1..4).prop_map(Command::Coordinates)
}

fn autopilot() -> impl Strategy<Value = Command> {
    (proptest::option::of(0..40u64), any::<u64>()).prop_map(|(cas_index, min_quorum)| {
        let configuration = AutopilotConfiguration { min_quorum, ..Default::default() };
        Command::Autopilot(AutopilotRequest { configuration, cas_index })
    })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => register(),
        3 => deregister(),
        8 => kv(),
        3 => session(),
        2 => intention(),
        1 => ca(),
        1 => config_entry(),
        1 => coordinates(),
        1 => autopilot(),
        1 => (0..60u64).prop_map(Command::ReapTombstones),
    ]
}

/// Every query over the names the commands use.
pub(crate) fn all_queries() -> Vec<Query> {
    let metas = [vec![], vec![("rack".to_owned(), "1".to_owned())]];
    let mut all = vec![
        Query::Sessions,
        Query::Intentions,
        Query::CaRoots,
        Query::CaConfiguration,
        Query::Coordinates,
        Query::AutopilotConfiguration,
        Query::GatewayServices { gateway: "g".into() },
        Query::ConfigEntries { kind: String::new() },
        Query::ConfigEntries { kind: "service-defaults".into() },
        Query::ConfigEntry { kind: "proxy-defaults".into(), name: "global".into() },
        Query::KvKeys { prefix: String::new(), separator: "/".into() },
        Query::KvKeys { prefix: "a".into(), separator: "/".into() },
        Query::KvKeys { prefix: "a/".into(), separator: String::new() },
    ];
    for node_meta in metas {
        all.push(Query::Nodes { node_meta: node_meta.clone() });
        all.push(Query::Services { node_meta: node_meta.clone() });
        let statuses = [CheckStatus::Passing, CheckStatus::Warning, CheckStatus::Critical];
        for status in statuses.map(Some).into_iter().chain([None]) {
            all.push(Query::ChecksInState { status, node_meta: node_meta.clone() });
        }
        for name in SERVICES.iter().chain(&["web-proxy", "none"]) {
            let name = (*name).to_owned();
            all.push(Query::ServiceChecks { name: name.clone(), node_meta: node_meta.clone() });
            all.push(Query::ConfigEntry { kind: "service-defaults".into(), name: name.clone() });
            for (mesh, passing_only, tag) in
                [(false, false, ""), (true, false, ""), (false, true, ""), (true, false, "BLUE")]
            {
                let tags: Vec<_> =
                    Some(tag.to_owned()).filter(|t| !t.is_empty()).into_iter().collect();
                all.push(Query::Health {
                    name: name.clone(),
                    tags: tags.clone(),
                    mesh,
                    passing_only,
                    node_meta: node_meta.clone(),
                });
                all.push(Query::ServiceNodes {
                    name: name.clone(),
                    tags,
                    mesh,
                    node_meta: node_meta.clone(),
                });
            }
        }
    }
    for node in NODES.iter().chain(&["40e4a748", NODE_IDS[1], "zz"]) {
        let node = (*node).to_owned();
        all.push(Query::NodeServices { node: node.clone() });
        all.push(Query::NodeServiceList { node: node.clone() });
        all.push(Query::NodeChecks { node: node.clone() });
        all.push(Query::NodeCoordinates { node: node.clone() });
        all.push(Query::NodeSessions { node });
    }
    for key in KEYS {
        all.push(Query::KvGet { key: (*key).to_owned() });
        all.push(Query::KvList { prefix: (*key).to_owned() });
    }
    all.push(Query::KvList { prefix: String::new() });
    for id in SESSIONS {
        all.push(Query::Session { id: (*id).to_owned() });
    }
    for id in INTENTIONS {
        all.push(Query::Intention { id: (*id).to_owned() });
    }
    for source in SOURCES {
        for destination in SOURCES {
            all.push(Query::IntentionExact {
                source: (*source).to_owned(),
                destination: (*destination).to_owned(),
            });
        }
        for side in [MatchSide::Source, MatchSide::Destination] {
            all.push(Query::IntentionMatch { side, names: vec![(*source).to_owned()] });
        }
    }
    all.push(Query::IntentionMatch {
        side: MatchSide::Destination,
        names: vec!["web".into(), "api".into()],
    });
    all
}

/// Failures print their seed; a regression gets a test of its own instead of a file.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(96))]

    /// The whole contract of waiting, by brute force over all queries.
    #[test]
    fn changed_answers_wake_their_waiters(commands in proptest::collection::vec(command(), 1..40)) {
        let queries = all_queries();
        let mut state = State::new();
        let mut before: Vec<_> = queries.iter().map(|query| state.read(query)).collect();
        for (at, command) in commands.into_iter().enumerate() {
            // Commands start at 2: the log opens with an entry of consensus itself, and an empty
            // table answers 1.
            let index = at as u64 + 2;
            let fingerprint = State { index: 0, ..state.clone() }.hash();
            let applied = state.apply(index, command.clone());
            let unchanged = fingerprint == State { index: 0, ..state.clone() }.hash();
            if applied.touched.is_empty() && !matches!(command, Command::ReapTombstones(_) | Command::Ca(_)) {
                prop_assert!(unchanged, "{command:?} changed the state but touched nothing");
            }
            if let Outcome::Refused(_) = applied.outcome {
                prop_assert!(unchanged, "{command:?} was refused but changed the state");
            }
            for (query, before) in queries.iter().zip(&mut before) {
                let after = state.read(query);
                prop_assert!(after.index >= before.index, "index of {query:?} fell at {command:?}");
                prop_assert!(after.index <= index, "{query:?} runs ahead");
                if after.reply != before.reply {
                    prop_assert!(after.index > before.index, "{query:?} kept its index at {command:?}");
                    let woken = before.topics.iter().any(|watched| {
                        applied.touched.iter().any(|touched| watched.is_woken_by(touched))
                    });
                    prop_assert!(woken, "{query:?} was not woken by {command:?}: {:?}", applied.touched);
                    prop_assert!(
                        !state.is_unchanged_since(&before.topics, before.index),
                        "{query:?} was called unchanged at {command:?}"
                    );
                }
                prop_assert!(
                    state.is_unchanged_since(&after.topics, index),
                    "{query:?} changed after now"
                );
                *before = after;
            }
        }
    }
}
