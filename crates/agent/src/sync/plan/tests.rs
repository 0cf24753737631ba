//! What is sent for which difference, as tables.

use model::check::CheckStatus;
use tokio::time::Instant;

use super::*;
use crate::local::Source;

const NODE: &str = "n1";

fn settings() -> NodeSettings {
    NodeSettings {
        name: NODE.into(),
        id: "id-1".into(),
        datacenter: "dc1".into(),
        address: "127.0.0.1".into(),
        tagged_addresses: BTreeMap::from([("lan".into(), "127.0.0.1".into())]),
        meta: BTreeMap::new(),
    }
}

fn node() -> Node {
    let NodeSettings { name, id, datacenter, address, tagged_addresses, meta } = settings();
    Node {
        id,
        name,
        address,
        datacenter,
        tagged_addresses: Some(tagged_addresses),
        meta: Some(meta),
        ..Node::default()
    }
}

fn service(id: &str) -> NodeService {
    NodeService { id: id.into(), name: id.into(), port: 80, ..NodeService::default() }
}

fn check(id: &str, service_id: &str) -> HealthCheck {
    HealthCheck {
        node: NODE.into(),
        check_id: id.into(),
        service_id: service_id.into(),
        status: CheckStatus::Passing,
        ..HealthCheck::default()
    }
}

fn put(state: &mut LocalState, service: NodeService, token: &str) {
    let service = Arc::new(service);
    let token = Token(token.into());
    state.put_service(Arc::clone(&service), service, token, Source::Api, false);
}

fn put_check(state: &mut LocalState, check: HealthCheck, token: &str) {
    state.put_check(check, Token(token.into()), Source::Api, None, Instant::now());
}

fn catalog_of(node: Node, services: &[NodeService]) -> NodeServices {
    NodeServices {
        node: Some(Arc::new(node)),
        services: services.iter().map(|row| (row.id.clone(), Arc::new(row.clone()))).collect(),
    }
}

/// Compares with the catalog and tells what would be sent, one line each.
fn planned(
    state: &mut LocalState,
    services: Option<NodeServices>,
    checks: &[HealthCheck],
) -> Vec<String> {
    let checks: Vec<Arc<HealthCheck>> = checks.iter().cloned().map(Arc::new).collect();
    let catalog = Catalog { services: services.as_ref(), checks: &checks };
    compare(state, &settings(), true, &catalog, &Token::default());
    changes(state, &settings(), &Token::default())
        .into_iter()
        .map(|change| match &change.command {
            Command::Register(request) => {
                let checks: Vec<&str> =
                    request.checks.iter().map(|check| check.check_id.as_str()).collect();
                let node = if request.skip_node_update { "" } else { " with node" };
                format!("{} {checks:?}{node}", change.subject)
            }
            _ => change.subject,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_new_node_carries_its_services() {
    let mut state = LocalState::default();
    put(&mut state, service("web"), "");
    put(&mut state, service("db"), "secret");
    put_check(&mut state, check("web-1", "web"), "");
    put_check(&mut state, check("db-1", "db"), "secret");
    put_check(&mut state, check("db-other", "db"), "else");
    put_check(&mut state, check("node-1", ""), "");
    let want = [
        "service db [\"db-1\"] with node",
        "service web [\"web-1\"]",
        "check node-1 []",
        "check db-other []",
    ];
    assert_eq!(planned(&mut state, None, &[]), want);
}

#[tokio::test(start_paused = true)]
async fn only_differences_are_sent() {
    let mut state = LocalState::default();
    put(&mut state, service("web"), "");
    put_check(&mut state, check("web-1", "web"), "");
    let there = || catalog_of(node(), &[NodeService { modify_index: 9, ..service("web") }]);
    let same = check("web-1", "web");
    assert!(planned(&mut state, Some(there()), std::slice::from_ref(&same)).is_empty());

    let worse = HealthCheck { status: CheckStatus::Critical, ..same.clone() };
    assert_eq!(planned(&mut state, Some(there()), &[worse]), ["check web-1 []"]);

    let moved = catalog_of(node(), &[NodeService { port: 81, ..service("web") }]);
    let sent = planned(&mut state, Some(moved), std::slice::from_ref(&same));
    assert_eq!(sent, ["service web []"]);

    let stranger = catalog_of(Node { id: "other".into(), ..node() }, &[service("web")]);
    let sent = planned(&mut state, Some(stranger), std::slice::from_ref(&same));
    assert_eq!(sent, ["node info [] with node"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_here_is_removed_except_the_servers_own() {
    let mut state = LocalState::default();
    let there = catalog_of(node(), &[service(CONSUL_SERVICE), service("old")]);
    let checks = [check(SERF_HEALTH, ""), check("old-1", "")];
    let want = ["deregistered service old", "deregistered check old-1"];
    assert_eq!(planned(&mut state, Some(there), &checks), want);

    // Once the catalog has lost it there is nothing left to do.
    assert!(planned(&mut state, Some(catalog_of(node(), &[])), &[]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn tags_edited_in_the_catalog_stay_where_allowed() {
    let edited =
        NodeService { tags: vec!["edited".into()], enable_tag_override: true, ..service("web") };
    let mut state = LocalState::default();
    put(&mut state, NodeService { enable_tag_override: true, ..service("web") }, "");
    assert!(planned(&mut state, Some(catalog_of(node(), &[edited])), &[]).is_empty());
    assert_eq!(state.services["web"].service.tags, ["edited"]);

    let edited = NodeService { tags: vec!["edited".into()], ..service("web") };
    let mut state = LocalState::default();
    put(&mut state, service("web"), "");
    let sent = planned(&mut state, Some(catalog_of(node(), &[edited])), &[]);
    assert_eq!(sent, ["service web []"]);
}

#[tokio::test(start_paused = true)]
async fn output_waiting_its_time_is_no_difference() {
    let mut state = LocalState::default();
    put_check(&mut state, check("c", ""), "");
    let there = catalog_of(node(), &[]);
    let old = HealthCheck { output: "old".into(), ..check("c", "") };
    state.checks.get_mut("c").unwrap().deferred_until = Some(Instant::now());
    assert!(planned(&mut state, Some(there.clone()), std::slice::from_ref(&old)).is_empty());
    state.checks.get_mut("c").unwrap().deferred_until = None;
    assert_eq!(planned(&mut state, Some(there), &[old]), ["check c []"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_alone_turns_nothing_critical() {
    let fresh = HealthCheck { status: CheckStatus::Critical, ..check("c", "") };
    let there = catalog_of(node(), &[]);
    let passing = HealthCheck { output: "fine".into(), ..check("c", "") };
    let mut state = LocalState::default();
    put_check(&mut state, fresh.clone(), "");
    state.begin_provisional(|_| true);
    let sent = planned(&mut state, Some(there.clone()), std::slice::from_ref(&passing));
    assert!(sent.is_empty(), "{sent:?}");
    assert_eq!(state.checks["c"].check.output, "fine");

    // Only once, and only while it has not reported.
    let other = HealthCheck { status: CheckStatus::Warning, ..passing.clone() };
    assert_eq!(planned(&mut state, Some(there.clone()), &[other]), ["check c []"]);
    let mut state = LocalState::default();
    put_check(&mut state, fresh, "");
    state.begin_provisional(|_| true);
    let rules = crate::local::UpdateRules { defer_for: None, discard_output: false };
    state.update_check("c", CheckStatus::Critical, "down", Instant::now(), rules);
    assert_eq!(planned(&mut state, Some(there), &[passing]), ["check c []"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_meanwhile_is_not_taken_for_sent() {
    let mut state = LocalState::default();
    put(&mut state, service("web"), "");
    put_check(&mut state, check("c", "web"), "");
    let sent = changes(&state, &settings(), &Token::default());
    put(&mut state, NodeService { port: 81, ..service("web") }, "");
    sent.iter().for_each(|change| settle(&mut state, &change.effect));
    assert!(!state.services["web"].in_sync);
    assert!(state.checks["c"].in_sync);
    assert!(state.node_in_sync);
}

#[test]
fn large_clusters_compare_less_often() {
    let check = |nodes: usize, jitter: f64, want: f64| {
        let got = full_interval(Duration::from_secs(60), nodes, jitter).as_secs_f64();
        assert!((got - want).abs() < 1e-6, "{nodes}: {got}");
    };
    check(0, 0.0, 60.0);
    check(1, 0.0, 60.0);
    check(128, 0.0, 60.0);
    check(129, 0.0, 120.0);
    check(256, 0.0, 120.0);
    check(257, 0.0, 180.0);
    check(1, 1.0, 63.75);
}

#[test]
fn only_errors_that_would_repeat_are_final() {
    let check = |kind, want| assert_eq!(is_final(&ClusterError::new(kind, "x")), want, "{kind:?}");
    check(ErrorKind::Denied, true);
    check(ErrorKind::Invalid, true);
    check(ErrorKind::NoLeader, false);
    check(ErrorKind::Timeout, false);
    check(ErrorKind::Conflict, true);
}
