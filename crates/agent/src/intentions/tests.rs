//! Decisions: their words, their source, and what holds when the servers are away.

use model::intention::{Intention, IntentionAction};

use super::*;
use crate::testing::FakeCluster;

const ALLOW: DefaultPolicy = DefaultPolicy { allow: true, acls_enabled: false };
const DENY: DefaultPolicy = DefaultPolicy { allow: false, acls_enabled: false };

fn start(cluster: &Arc<FakeCluster>, policy: DefaultPolicy) -> Arc<Intentions> {
    let cluster: Arc<dyn Cluster> = Arc::clone(cluster) as _;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    Intentions::new(cluster, Token::default(), policy, stop, tasks)
}

fn rule(source: &str, destination: &str, action: IntentionAction) -> Intention {
    Intention {
        id: format!("{source}-{destination}"),
        source_namespace: "default".into(),
        source_name: source.into(),
        destination_namespace: "default".into(),
        destination_name: destination.into(),
        action,
        precedence: Intention::precedence_of(source, destination),
        ..Intention::default()
    }
}

fn uri(service: &str) -> String {
    format!("spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/{service}")
}

#[tokio::test(start_paused = true)]
async fn bad_requests_have_consuls_words() {
    let intentions = start(&FakeCluster::new(), ALLOW);
    let check = async |target: &str, uri: &str, want: &str| {
        let error = intentions.authorize(target, uri).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)));
        assert_eq!(error.to_string(), want, "{target} {uri}");
    };
    check("", &uri("web"), "Target service must be specified").await;
    for uri in ["", "foo", "http://x/y", "spiffe://", "spiffe://x/unknown/form"] {
        check("db", uri, "ClientCertURI not a valid Connect identifier").await;
    }
    let td = "spiffe://11111111-2222-3333-4444-555555555555.consul";
    for uri in [td.to_owned(), format!("{td}/agent/client/dc/dc1/id/n")] {
        check("db", &uri, "ClientCertURI not a valid Service identifier").await;
    }
    assert_eq!(intentions.len(), 0, "nothing is followed for a bad request");
}

#[tokio::test(start_paused = true)]
async fn decides_from_memory_and_follows_changes() {
    let cluster = FakeCluster::new();
    let intentions = start(&cluster, ALLOW);
    let first = intentions.authorize("db", &uri("web")).await.unwrap();
    assert_eq!(first.reason, "ACLs disabled, access is allowed by default");
    assert!(first.authorized && !first.cache.hit);
    assert!(intentions.authorize("db", &uri("web")).await.unwrap().cache.hit);

    cluster.set_intentions(vec![
        rule("web", "db", IntentionAction::Deny),
        rule("*", "db", IntentionAction::Allow),
    ]);
    while intentions.is_allowed_now("db", "web") == Some(true) {
        tokio::task::yield_now().await;
    }
    let denied = intentions.authorize_now("db", &uri("web")).unwrap().unwrap();
    let want = "Matched intention: DENY default/web => default/db (ID: web-db, Precedence: 9)";
    assert_eq!((denied.authorized, denied.reason.as_str()), (false, want));
    let other = intentions.authorize_now("db", &uri("api")).unwrap().unwrap();
    let want = "Matched intention: ALLOW default/* => default/db (ID: *-db, Precedence: 8)";
    assert_eq!((other.authorized, other.reason.as_str()), (true, want));
    assert!(intentions.authorize_now("cold", &uri("web")).is_none());
}

#[tokio::test(start_paused = true)]
async fn default_policies_and_their_words() {
    let check = async |policy, allowed, want: &str| {
        let intentions = start(&FakeCluster::new(), policy);
        let answer = intentions.authorize("db", &uri("web")).await.unwrap();
        assert_eq!((answer.authorized, answer.reason.as_str()), (allowed, want));
    };
    check(ALLOW, true, "ACLs disabled, access is allowed by default").await;
    check(DENY, false, "Default intention policy denies access").await;
    let acls = |allow| DefaultPolicy { allow, acls_enabled: true };
    check(acls(true), true, "Default behavior configured by ACLs").await;
    check(acls(false), false, "Default behavior configured by ACLs").await;
}

#[tokio::test(start_paused = true)]
async fn without_any_knowledge_nothing_is_allowed() {
    let cluster = FakeCluster::new();
    cluster.fail_with(Some(ClusterError::no_leader()));
    let intentions = start(&cluster, ALLOW);
    assert!(intentions.authorize("db", &uri("web")).await.is_err());
    assert_eq!(intentions.is_allowed_now("db", "web"), None);
    cluster.fail_with(None);
    while intentions.is_allowed_now("db", "web").is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(intentions.authorize("db", &uri("web")).await.unwrap().authorized);
}

#[tokio::test(start_paused = true)]
async fn the_last_known_rules_stand_while_the_servers_are_away() {
    let cluster = FakeCluster::new();
    cluster.set_intentions(vec![rule("web", "db", IntentionAction::Deny)]);
    let intentions = start(&cluster, ALLOW);
    assert!(!intentions.authorize("db", &uri("web")).await.unwrap().authorized);
    cluster.fail_with(Some(ClusterError::no_leader()));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let answer = intentions.authorize("db", &uri("web")).await.unwrap();
    assert!(!answer.authorized);
    assert!(answer.cache.age >= Duration::from_secs(3500), "{:?}", answer.cache);
}

#[tokio::test(start_paused = true)]
async fn destinations_are_bounded_and_forgotten() {
    let cluster = FakeCluster::new();
    cluster.set_intentions(vec![rule("web", "*", IntentionAction::Deny)]);
    let intentions = start(&cluster, ALLOW);
    for at in 0..DESTINATIONS_MAX {
        intentions.authorize(&format!("s{at}"), &uri("web")).await.unwrap();
    }
    // Beyond the bound a question is answered all the same.
    assert!(!intentions.authorize("one-more", &uri("web")).await.unwrap().authorized);
    assert_eq!(intentions.len(), DESTINATIONS_MAX);
    tokio::time::sleep(DESTINATION_IDLE + Duration::from_secs(900)).await;
    assert_eq!(intentions.len(), 0);
}
