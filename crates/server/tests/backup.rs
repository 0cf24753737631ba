//! Archives out of and into a server: all or nothing, through restarts, and with everybody who
//! waits being told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::command::Command;
use model::error::{Error, ErrorKind};
use model::kv::{DirEntry, KvOp, KvRequest};
use model::query::{Consistency, Query, QueryOptions, Reply, Token};
use model::spiffe::{SpiffeId, TrustDomain};
use pki::csr;
use pki::key::{Curve, KeyKind, PrivateKey};
use rpc::{Chunks, Cluster};
use server::{Server, ServerConfig};
use tokio::sync::mpsc;

/// Saved by a real 1.8.7 that had one of everything.
const GOLDEN: &[u8] = include_bytes!("../../archive/testdata/consul-1.8.7.snap");
/// What the golden archive's cluster called itself.
const GOLDEN_TRUST_DOMAIN: &str = "b81570ec-bbfb-ca01-864e-553884761128.consul";
const GOLDEN_ACTIVE_ROOT: &str = "73:cd:2f:bf:3a:11:44:17:bb:bc:2f:04:cf:09:b0:a0:e1:88:b5:80";

async fn start(config: ServerConfig) -> Arc<Server> {
    let server = Arc::new(Server::start(config).unwrap());
    server.ready().await.unwrap();
    server
}

async fn put(server: &Server, key: &str, value: impl Into<Vec<u8>>) {
    let entry = DirEntry { key: key.into(), value: value.into(), ..DirEntry::default() };
    let command = Command::Kv(KvRequest { op: KvOp::Set, entry });
    server.command(command, Token::default()).await.unwrap();
}

async fn keys(server: &Server) -> BTreeSet<String> {
    let query = Query::KvKeys { prefix: String::new(), separator: String::new() };
    let answer = server.query(query, QueryOptions::default()).await.unwrap();
    let Reply::KvKeys(keys) = &answer.body.reply else { panic!() };
    keys.iter().cloned().collect()
}

async fn save(server: &Server) -> Vec<u8> {
    let mut archive = server.save_snapshot(Consistency::Default, Token::default()).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = archive.chunks.recv().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    bytes
}

/// Pieces small enough that values are cut.
fn chunks(archive: &[u8]) -> Chunks {
    let (sender, chunks) = mpsc::channel(archive.len() / 1000 + 1);
    for piece in archive.chunks(1000) {
        sender.try_send(Ok(Bytes::copy_from_slice(piece))).unwrap();
    }
    chunks
}

async fn restore(server: &Server, archive: &[u8]) -> Result<(), Error> {
    server.restore_snapshot(chunks(archive), Token::default()).await
}

async fn sign(server: &Server, trust_domain: &str) -> Result<model::ca::IssuedCert, Error> {
    let domain: TrustDomain = trust_domain.parse().unwrap();
    let id = SpiffeId::service(&domain, "dc1", "web").unwrap();
    let key = PrivateKey::generate(KeyKind::Ec(Curve::P256)).unwrap();
    server.sign_leaf(csr::build(&key, &id).unwrap(), Token::default()).await
}

#[tokio::test]
async fn a_saved_state_comes_back_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig { data_dir: Some(dir.path().into()), ..ServerConfig::new("dc1") };
    let server = start(config.clone()).await;
    // More than one piece of the log.
    for at in 0..8 {
        put(&server, &format!("large/{at}"), vec![at; 200_000]).await;
    }
    let archive = save(&server).await;
    let before = keys(&server).await;
    put(&server, "later", "x").await;
    let index = server.state().index();
    restore(&server, &archive).await.unwrap();
    assert_eq!(keys(&server).await, before);
    assert!(server.state().index() > index);
    let hash = server.state().hash();
    put(&server, "after", "x").await;
    server.shutdown().await;
    drop(server);

    let server = start(config).await;
    assert_eq!(keys(&server).await.len(), before.len() + 1);
    assert_ne!(server.state().hash(), hash);
    assert!(server.state().restored_at() > index);
}

#[tokio::test]
async fn a_real_archive_makes_this_server_sign_under_its_root() {
    let server = start(ServerConfig::new("dc1")).await;
    put(&server, "mine", "x").await;
    restore(&server, GOLDEN).await.unwrap();
    assert!(!keys(&server).await.contains("mine"));
    assert!(keys(&server).await.contains("lock/a"));
    let state = server.state();
    let roots = state.ca_roots();
    assert_eq!(roots.trust_domain, GOLDEN_TRUST_DOMAIN);
    assert_eq!(roots.active_root_id, GOLDEN_ACTIVE_ROOT);
    sign(&server, GOLDEN_TRUST_DOMAIN).await.unwrap();
    assert_eq!(server.state().ca_roots(), roots, "no root of its own was made");

    // Out again, and into another.
    let other = start(ServerConfig::new("dc1")).await;
    restore(&other, &save(&server).await).await.unwrap();
    assert_eq!(other.state().ca_roots(), roots);
    sign(&other, GOLDEN_TRUST_DOMAIN).await.unwrap();
}

#[tokio::test]
async fn everybody_who_waits_is_told() {
    let server = start(ServerConfig::new("dc1")).await;
    put(&server, "k", "1").await;
    let query = |key: &str| Query::KvGet { key: key.into() };
    let wait = |key: &str, min_index| {
        let (server, query) = (server.clone(), query(key));
        let max_wait = Some(Duration::from_secs(300));
        let options = QueryOptions { min_index, max_wait, ..QueryOptions::default() };
        tokio::spawn(async move { server.query(query, options).await.unwrap().meta.index })
    };
    let index = server.state().index();
    // The last of them comes from a cluster whose indexes are far above.
    let waiting = [wait("k", index), wait("none", index), wait("k", 1 << 40)];
    while server.metrics().waiters < 3 {
        tokio::task::yield_now().await;
    }
    restore(&server, GOLDEN).await.unwrap();
    for waiting in waiting {
        assert!(waiting.await.unwrap() > index);
    }
    // And whoever comes later with what he was given before.
    assert!(wait("k", index).await.unwrap() > index);
}

#[tokio::test]
async fn what_is_not_sound_changes_nothing() {
    let server = start(ServerConfig { ca: None, ..ServerConfig::new("dc1") }).await;
    put(&server, "k", "1").await;
    let mut damaged = GOLDEN.to_vec();
    damaged[4000] ^= 1;
    let index = server.state().index();
    for archive in [&b""[..], b"garbage", &GOLDEN[..GOLDEN.len() - 1], &damaged] {
        let refused = restore(&server, archive).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid, "{refused}");
    }
    assert_eq!(server.state().index(), index, "nothing was proposed");
    // Its source failing is not the archive's fault.
    let (sender, archive) = mpsc::channel(2);
    sender.try_send(Ok(Bytes::copy_from_slice(&GOLDEN[..100]))).unwrap();
    sender.try_send(Err(Error::new(ErrorKind::Timeout, "gone"))).unwrap();
    let failed = server.restore_snapshot(archive, Token::default()).await.unwrap_err();
    assert_eq!((failed.kind, failed.message.as_str()), (ErrorKind::Timeout, "gone"));
    assert_eq!(keys(&server).await.len(), 1);
}

#[tokio::test]
async fn a_reader_that_goes_lets_the_next_one_save() {
    let server = start(ServerConfig::new("dc1")).await;
    let mut random = 1_u64;
    for at in 0..4 {
        // What does not compress fills all pieces on the way.
        let value = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 56) as u8
        });
        put(&server, &at.to_string(), value.take(500_000).collect::<Vec<_>>()).await;
    }
    let save = || server.save_snapshot(Consistency::Stale, Token::default());
    let mut held = Vec::new();
    let refused = loop {
        assert!(held.len() < 100, "there is no bound");
        match save().await {
            Ok(archive) => held.push(archive),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    held.pop();
    while save().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_mesh_comes_into_being_where_the_archive_has_none() {
    let without = ServerConfig { ca: None, ..ServerConfig::new("dc1") };
    let archive = save(&*start(without).await).await;
    let server = start(ServerConfig::new("dc1")).await;
    restore(&server, &archive).await.unwrap();
    let mut options = QueryOptions::default();
    loop {
        let answer = server.query(Query::CaRoots, options.clone()).await.unwrap();
        let Reply::CaRoots(roots) = &answer.body.reply else { panic!() };
        if !roots.active_root_id.is_empty() {
            sign(&server, &roots.trust_domain).await.unwrap();
            return;
        }
        options.min_index = answer.meta.index;
    }
}
