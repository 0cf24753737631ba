//! Order of arrival, what counts as a change, and what is refused.

use model::check::HealthCheck;
use model::node::Node;
use model::service::{NodeService, ServiceKind};

use super::*;
use crate::definition::UpstreamDefinition;

const DOMAIN: &str = "11111111-2222-3333-4444-555555555555.consul";

fn target() -> Target {
    Target { service: "db".into(), datacenter: String::new() }
}

fn definition(service: &str) -> Update {
    Update::Definition(Box::new(Definition {
        proxy_id: format!("{service}-sidecar-proxy"),
        service: service.into(),
        public: Some(PublicListener::new(("", 21_000), ("", 8080))),
        upstreams: vec![UpstreamDefinition::new(target(), ("", 5000))],
        refused: Vec::new(),
    }))
}

fn roots(domain: &str) -> Update {
    Update::Roots(Arc::new(CaRoots { trust_domain: domain.into(), ..CaRoots::default() }))
}

fn leaf(service: &str) -> Update {
    Update::Leaf(Arc::new(IssuedCert {
        service: service.into(),
        service_uri: format!("spiffe://{DOMAIN}/ns/default/dc/dc1/svc/{service}"),
        ..IssuedCert::default()
    }))
}

fn intentions() -> Update {
    Update::Intentions { intentions: Vec::new(), default_policy: DefaultPolicy::Deny }
}

fn row(id: &str, destination: &str, port: u16, status: CheckStatus) -> CheckServiceNode {
    let mut service = NodeService {
        kind: ServiceKind::ConnectProxy,
        id: id.into(),
        port,
        ..NodeService::default()
    };
    service.proxy.destination_service_name = destination.into();
    let node = Node {
        name: "one".into(),
        address: "10.0.0.1".into(),
        datacenter: "dc1".into(),
        ..Node::default()
    };
    let check = HealthCheck { status, ..HealthCheck::default() };
    CheckServiceNode { node: node.into(), service: service.into(), checks: vec![check.into()] }
}

fn instances(rows: Vec<CheckServiceNode>) -> Update {
    Update::Instances { target: target(), rows }
}

#[test]
fn there_is_no_snapshot_before_every_part_was_heard_of_in_any_order() {
    let updates = || [definition("web"), roots(DOMAIN), leaf("web"), intentions()];
    for first in 0..4 {
        let mut assembly = Assembly::new();
        for step in 0..4 {
            assert!(assembly.snapshot().is_err(), "after {step} parts from {first}");
            let update = updates().into_iter().nth((first + step) % 4).expect("four parts");
            assert_eq!(assembly.apply(update), Ok(true));
        }
        let snapshot = assembly.snapshot().expect("is complete");
        assert_eq!(snapshot.identity.service.as_str(), "web");
        assert!(snapshot.upstreams[0].instances.is_none(), "never heard is not the same as none");
    }
    let missing = Assembly::new().snapshot().expect_err("knows nothing");
    let shown = "waiting for registration, root certificates, leaf certificate";
    assert_eq!(missing.to_string(), shown);
}

#[test]
fn the_same_update_again_is_no_change() {
    let rows =
        || vec![row("b", "db", 2, CheckStatus::Passing), row("a", "db", 1, CheckStatus::Passing)];
    let updates = || {
        let parts = [definition("web"), roots(DOMAIN), leaf("web"), intentions()];
        parts.into_iter().chain([instances(rows())])
    };
    let mut assembly = Assembly::new();
    for update in updates() {
        assert_eq!(assembly.apply(update), Ok(true));
    }
    let before = assembly.snapshot().expect("is complete");
    for update in updates() {
        assert_eq!(assembly.apply(update), Ok(false));
    }
    let turned = rows().into_iter().rev().collect();
    assert_eq!(assembly.apply(instances(turned)), Ok(false), "their order says nothing");
    let after = assembly.snapshot().expect("is complete");
    let held = |snapshot: &ProxySnapshot| snapshot.upstreams[0].instances.clone().expect("known");
    assert!(Arc::ptr_eq(&held(&before), &held(&after)));
    assert!(Arc::ptr_eq(&before.leaf, &after.leaf));
}

#[test]
fn only_passing_instances_of_the_very_target_are_dialled_under_its_identity() {
    let mut assembly = Assembly::new();
    let rows = vec![
        row("good", "db", 1, CheckStatus::Passing),
        row("sick", "db", 2, CheckStatus::Critical),
        row("warned", "db", 3, CheckStatus::Warning),
        row("liar", "billing", 4, CheckStatus::Passing),
        row("portless", "db", 0, CheckStatus::Passing),
    ];
    // Heard of before the roots, so the trust domain comes later.
    for update in [definition("web"), instances(rows), roots(DOMAIN), leaf("web"), intentions()] {
        assert_eq!(assembly.apply(update), Ok(true));
    }
    let snapshot = assembly.snapshot().expect("is complete");
    let held = snapshot.upstreams[0].instances.as_ref().expect("known");
    let shown: Vec<_> = held
        .iter()
        .map(|held| format!("{} {}:{}", held.expected, held.address, held.port))
        .collect();
    assert_eq!(shown, [format!("spiffe://{DOMAIN}/ns/default/dc/dc1/svc/db 10.0.0.1:1")]);
}

#[test]
fn a_leaf_of_another_service_is_refused_and_the_old_one_stays() {
    let mut assembly = Assembly::new();
    for update in [definition("web"), roots(DOMAIN), leaf("web"), intentions()] {
        assert_eq!(assembly.apply(update), Ok(true));
    }
    let refused = assembly.apply(leaf("db")).expect_err("is foreign");
    assert!(matches!(refused, AssemblyError::ForeignLeaf { .. }), "{refused}");
    assert_eq!(assembly.snapshot().expect("is complete").leaf.service, "web");
}

#[test]
fn a_proxy_that_turns_to_another_service_starts_from_nothing() {
    let mut assembly = Assembly::new();
    for update in [definition("web"), roots(DOMAIN), leaf("web"), intentions(), definition("api")] {
        assert_eq!(assembly.apply(update), Ok(true));
    }
    let missing = assembly.snapshot().expect_err("identity and rules are gone");
    assert_eq!((missing.leaf, missing.intentions, missing.roots), (true, true, false));
}
