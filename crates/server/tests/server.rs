//! A whole server in this process: writes, reads, waiting, recovery.

use std::sync::Arc;
use std::time::Duration;

use model::catalog::RegisterRequest;
use model::command::{Command, Outcome};
use model::error::ErrorKind;
use model::kv::{DirEntry, KvOp, KvRequest};
use model::query::{Consistency, Query, QueryOptions, Reply, Token};
use model::service::NodeService;
use model::session::{Session, SessionRequest};
use rpc::{Answer, Cluster};
use server::{Server, ServerConfig, StartError};

fn config(dir: Option<&std::path::Path>) -> ServerConfig {
    ServerConfig { data_dir: dir.map(Into::into), ..ServerConfig::new("dc1") }
}

async fn start(config: ServerConfig) -> Arc<Server> {
    let server = Arc::new(Server::start(config).unwrap());
    server.ready().await.unwrap();
    server
}

fn set(key: &str, value: &str) -> Command {
    let entry = DirEntry { key: key.into(), value: value.into(), ..DirEntry::default() };
    Command::Kv(KvRequest { op: KvOp::Set, entry })
}

fn get(key: &str) -> Query {
    Query::KvGet { key: key.into() }
}

async fn put(server: &Server, key: &str, value: &str) {
    let outcome = server.command(set(key, value), Token::default()).await.unwrap();
    assert!(matches!(outcome, Outcome::Done | Outcome::Applied(true)), "{outcome:?}");
}

async fn query(server: &Server, query: Query) -> Answer {
    server.query(query, QueryOptions::default()).await.unwrap()
}

fn values(answer: &Answer) -> Vec<String> {
    match &answer.body.reply {
        Reply::KvEntries(rows) => {
            rows.iter().map(|row| String::from_utf8(row.value.clone()).unwrap()).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn register(node: &str, service: &str) -> Command {
    let service = NodeService { name: service.into(), port: 80, ..NodeService::default() };
    Command::Register(Box::new(RegisterRequest {
        node: node.into(),
        address: "10.0.0.1".into(),
        service: Some(service),
        ..RegisterRequest::default()
    }))
}

fn health(name: &str) -> Query {
    Query::Health {
        name: name.into(),
        tags: Vec::new(),
        mesh: false,
        passing_only: false,
        node_meta: Vec::new(),
    }
}

#[tokio::test]
async fn an_acknowledged_write_is_read_at_once_in_every_mode() {
    let server = start(config(None)).await;
    for round in 0..20 {
        put(&server, "k", &round.to_string()).await;
        for consistency in [Consistency::Default, Consistency::Consistent, Consistency::Stale] {
            let options = QueryOptions { consistency, ..QueryOptions::default() };
            let answer = server.query_now(&get("k"), &options).unwrap().unwrap();
            assert_eq!(values(&answer), [round.to_string()]);
            assert!(answer.meta.index > 0 && answer.meta.known_leader);
        }
    }
}

#[tokio::test]
async fn a_blocked_query_wakes_for_its_key_only() {
    let server = start(config(None)).await;
    put(&server, "mine", "1").await;
    let index = query(&server, get("mine")).await.meta.index;
    let options = QueryOptions { min_index: index, ..QueryOptions::default() };
    assert!(server.query_now(&get("mine"), &options).is_none());
    let waiting = tokio::spawn({
        let (server, options) = (server.clone(), options.clone());
        async move { server.query(get("mine"), options).await }
    });
    while server.metrics().waiters == 0 {
        tokio::task::yield_now().await;
    }
    put(&server, "other", "1").await;
    assert_eq!(server.metrics().waiters, 1);
    put(&server, "mine", "2").await;
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(values(&answer), ["2"]);
    assert!(answer.meta.index > index);
    assert_eq!(server.metrics().waiters, 0);
}

#[tokio::test]
async fn a_wait_ends_with_what_there_is() {
    let server = start(config(None)).await;
    put(&server, "k", "1").await;
    // An index from the future is no better than the present one.
    for min_index in [query(&server, get("k")).await.meta.index, 1 << 40] {
        let max_wait = Some(Duration::from_millis(20));
        let options = QueryOptions { min_index, max_wait, ..QueryOptions::default() };
        let answer = server.query(get("k"), options).await.unwrap();
        assert_eq!(values(&answer), ["1"]);
        assert!(answer.meta.index < 1 << 40);
    }
}

/// Watchers of one wide answer share it, encoding included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_share_one_answer() {
    let server = start(config(None)).await;
    server.command(register("n1", "web"), Token::default()).await.unwrap();
    let first = query(&server, health("web")).await;
    assert!(Arc::ptr_eq(&first.body, &query(&server, health("web")).await.body));
    // Something else changes: still the same answer.
    put(&server, "k", "1").await;
    server.command(register("n1", "other"), Token::default()).await.unwrap();
    let options = QueryOptions { min_index: first.meta.index, ..QueryOptions::default() };
    let watchers: Vec<_> = (0..100)
        .map(|_| {
            let (server, options) = (server.clone(), options.clone());
            tokio::spawn(async move { server.query(health("web"), options).await.unwrap() })
        })
        .collect();
    while server.metrics().waiters < 100 {
        tokio::task::yield_now().await;
    }
    server.command(register("n2", "web"), Token::default()).await.unwrap();
    let mut bodies = Vec::new();
    for watcher in watchers {
        bodies.push(watcher.await.unwrap().body);
    }
    assert!(bodies.iter().all(|body| Arc::ptr_eq(body, &bodies[0])));
    assert!(matches!(&bodies[0].reply, Reply::Health(rows) if rows.len() == 2));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(config(Some(dir.path()))).await;
    for i in 0..50 {
        put(&server, &format!("k{i:02}"), &i.to_string()).await;
    }
    server.command(register("n1", "web"), Token::default()).await.unwrap();
    let (before, index) = (server.state().hash(), query(&server, get("k49")).await.meta.index);
    server.shutdown().await;
    drop(server);
    let server = start(config(Some(dir.path()))).await;
    assert_eq!(server.state().hash(), before);
    let answer = query(&server, get("k49")).await;
    assert_eq!((values(&answer), answer.meta.index), (vec!["49".into()], index));
    put(&server, "after", "1").await;
    assert!(query(&server, get("after")).await.meta.index > index);
}

#[tokio::test]
async fn snapshots_bound_the_log_and_recovery_starts_from_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(Some(dir.path()));
    config.tunables.snapshot_threshold = 50;
    config.tunables.trailing_entries = 10;
    let server = start(config.clone()).await;
    for i in 0..300 {
        put(&server, &format!("k{i}"), &"v".repeat(100)).await;
    }
    while server.metrics().snapshots_saved < 2 {
        tokio::task::yield_now().await;
    }
    put(&server, "last", "1").await;
    let before = server.state().hash();
    server.shutdown().await;
    drop(server);
    let server = start(config).await;
    assert_eq!(server.state().hash(), before);
}

/// Snapshot files, oldest first.
fn snapshots(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir.join("raft/snapshots")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The snapshot before and the log behind it stand in for a damaged one; without them the server
/// stops and names the file.
#[tokio::test]
async fn a_damaged_snapshot_loses_nothing_or_stops_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(Some(dir.path()));
    config.tunables.snapshot_threshold = 50;
    config.tunables.trailing_entries = 10;
    let server = start(config.clone()).await;
    for i in 0..300 {
        put(&server, &format!("k{i}"), &"v".repeat(100)).await;
    }
    while server.metrics().snapshots_saved < 2 {
        tokio::task::yield_now().await;
    }
    let before = server.state().hash();
    server.shutdown().await;
    drop(server);

    let paths = snapshots(dir.path());
    let garbage = b"not a snapshot, whatever it is called";
    assert_eq!(paths.len(), 2);
    std::fs::write(&paths[1], garbage).unwrap();
    let server = start(config.clone()).await;
    assert_eq!(server.state().hash(), before);
    server.shutdown().await;
    drop(server);

    // Without the log behind them, nothing may be served in their place.
    std::fs::remove_dir_all(dir.path().join("raft/log")).unwrap();
    let paths = snapshots(dir.path());
    for path in &paths {
        std::fs::write(path, garbage).unwrap();
    }
    let Err(refused) = Server::start(config) else { panic!("started without its data") };
    let newest = paths.last().unwrap().to_string_lossy().into_owned();
    assert!(refused.to_string().contains(&newest), "{refused}");
}

#[tokio::test]
async fn two_servers_do_not_share_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(config(Some(dir.path()))).await;
    let Err(refused) = Server::start(config(Some(dir.path()))) else { panic!("two at once") };
    assert!(matches!(refused, StartError::Storage(wal::Error::InUse { .. })), "{refused}");
    server.shutdown().await;
    drop(server);
    start(config(Some(dir.path()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(config(Some(dir.path()))).await;
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let server = server.clone();
            tokio::spawn(async move {
                for i in 0..20 {
                    put(&server, &format!("{writer}/{i}"), "v").await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let metrics = server.metrics();
    assert!(metrics.log_entries >= 64 * 20);
    assert!(metrics.log_syncs * 2 < metrics.log_entries, "{metrics:?}");
}

#[tokio::test]
async fn a_refused_command_changes_nothing_and_says_why() {
    let server = start(config(None)).await;
    let session = Session { node: "nowhere".into(), ..Session::default() };
    let create = Command::Session(SessionRequest::Create(session));
    let refused = server.command(create, Token::default()).await.unwrap_err();
    assert_eq!(
        (refused.kind, &*refused.message),
        (ErrorKind::Conflict, "Missing node registration")
    );
    let refused = server.command(set("", "x"), Token::default()).await.unwrap_err();
    assert_eq!((refused.kind, &*refused.message), (ErrorKind::Invalid, "Must provide key"));
    assert_eq!(server.metrics().commands_refused, 2);
}

#[tokio::test]
async fn waiting_queries_end_with_the_server() {
    let server = start(config(None)).await;
    put(&server, "k", "1").await;
    let options = QueryOptions { min_index: 1 << 40, ..QueryOptions::default() };
    let waiting = tokio::spawn({
        let server = server.clone();
        async move { server.query(get("k"), options).await }
    });
    while server.metrics().waiters == 0 {
        tokio::task::yield_now().await;
    }
    server.shutdown().await;
    assert_eq!(waiting.await.unwrap().unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(server.ended().await, None);
    let refused = server.command(set("k", "2"), Token::default()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn too_many_waiting_queries_are_refused() {
    let mut config = config(None);
    config.tunables.waiters_max = 1;
    let server = start(config).await;
    let options = QueryOptions { min_index: 1 << 40, ..QueryOptions::default() };
    let waiting = tokio::spawn({
        let (server, options) = (server.clone(), options.clone());
        async move { server.query(get("k"), options).await }
    });
    while server.metrics().waiters == 0 {
        tokio::task::yield_now().await;
    }
    let refused = server.query(get("k"), options).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    assert!(refused.retry_after.is_some());
    waiting.abort();
}
