//! Following a query: what is kept, what is waited for, what happens when the servers are away.

use model::catalog::RegisterRequest;
use model::query::Reply;

use super::*;
use crate::testing::FakeCluster;

fn nodes() -> Query {
    Query::Nodes { node_meta: Vec::new() }
}

fn register(cluster: &FakeCluster, node: &str) {
    cluster.register(RegisterRequest { node: node.into(), ..RegisterRequest::default() });
}

fn views(cluster: &Arc<FakeCluster>) -> Arc<Views> {
    let cluster: Arc<dyn Cluster> = Arc::clone(cluster) as _;
    Views::new(cluster, CancellationToken::new(), TaskTracker::new())
}

fn count(answer: &Cached<Answer>) -> usize {
    match &answer.value.body.reply {
        Reply::Nodes(nodes) => nodes.len(),
        other => panic!("not nodes: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn asks_once_and_follows() {
    let cluster = FakeCluster::new();
    let views = views(&cluster);
    let first = views.get(nodes(), QueryOptions::default()).await.unwrap();
    assert!(!first.cache.hit);
    assert_eq!(count(&first), 0);
    let again = views.get(nodes(), QueryOptions::default()).await.unwrap();
    assert!(again.cache.hit);

    let wait = QueryOptions { min_index: again.index, ..QueryOptions::default() };
    let waiting = tokio::spawn({
        let views = Arc::clone(&views);
        async move { views.get(nodes(), wait).await }
    });
    tokio::task::yield_now().await;
    register(&cluster, "n1");
    let newer = waiting.await.unwrap().unwrap();
    assert_eq!(count(&newer), 1);
    assert!(newer.index > again.index);
    // One parked query serves them all.
    for _ in 0..100 {
        views.get(nodes(), QueryOptions::default()).await.unwrap();
    }
    assert!(cluster.queries() <= 4, "{}", cluster.queries());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_runs_out_answers_with_what_there_is() {
    let cluster = FakeCluster::new();
    let views = views(&cluster);
    let first = views.get(nodes(), QueryOptions::default()).await.unwrap();
    let options = QueryOptions {
        min_index: first.index,
        max_wait: Some(Duration::from_secs(3)),
        ..QueryOptions::default()
    };
    let start = Instant::now();
    let same = views.get(nodes(), options).await.unwrap();
    assert_eq!(same.index, first.index);
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn keeps_what_it_knows_while_the_servers_are_away() {
    let cluster = FakeCluster::new();
    let views = views(&cluster);
    register(&cluster, "n1");
    views.get(nodes(), QueryOptions::default()).await.unwrap();
    cluster.fail_with(Some(ClusterError::no_leader()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let old = views.get(nodes(), QueryOptions::default()).await.unwrap();
    assert_eq!(count(&old), 1);
    assert!(old.cache.age >= Duration::from_secs(30), "{:?}", old.cache);

    // What was never known is an error, at once.
    let error = views.get(Query::CaRoots, QueryOptions::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "No cluster leader");

    cluster.fail_with(None);
    register(&cluster, "n2");
    let options = QueryOptions { min_index: old.index, ..QueryOptions::default() };
    let fresh = views.get(nodes(), options).await.unwrap();
    assert_eq!((count(&fresh), fresh.cache.age), (2, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn forgets_what_nobody_asks_for() {
    let cluster = FakeCluster::new();
    let views = views(&cluster);
    let held = views.subscribe(Query::CaRoots, Token::default()).unwrap();
    views.get(nodes(), QueryOptions::default()).await.unwrap();
    assert_eq!(views.len(), 2);
    tokio::time::sleep(VIEW_IDLE + FOLLOW_WAIT * 2).await;
    assert_eq!(views.len(), 1, "only the one that is held");
    drop(held);
    tokio::time::sleep(FOLLOW_WAIT * 2).await;
    assert_eq!(views.len(), 0);
}

#[test]
fn pauses_grow_and_end() {
    let check = |failures, seconds: f64| {
        assert_eq!(backoff(failures, 1.0).as_secs_f64(), seconds, "{failures}");
    };
    check(1, 0.5);
    check(2, 1.0);
    check(5, 8.0);
    check(8, 60.0);
    check(u32::MAX, 60.0);
    assert_eq!(backoff(1, 0.5), Duration::from_millis(250));
}

#[test]
fn an_index_that_goes_backwards_starts_anew() {
    let check = |before, index, want| assert_eq!(next_min_index(before, index), want);
    check(0, 0, 1);
    check(0, 5, 5);
    check(5, 5, 5);
    check(5, 4, 0);
}
