//! Measures a server in this process: durable writes alone and together, reads, waking watchers.
//!
//! `cargo run --release -p server --example measure [directory]`; figures are for comparing
//! builds on one machine, beside the sync probe taken in the same run.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::catalog::RegisterRequest;
use model::check::{CheckStatus, HealthCheck};
use model::command::Command;
use model::kv::{DirEntry, KvOp, KvRequest};
use model::query::{Query, QueryOptions, Reply, Token};
use model::service::NodeService;
use model::spiffe::{SpiffeId, TrustDomain};
use pki::csr;
use pki::key::{Curve, KeyKind, PrivateKey};
use rpc::Cluster;
use server::{Server, ServerConfig};

fn percentiles(mut samples: Vec<Duration>) -> String {
    samples.sort();
    let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize];
    format!("p50 {:?}  p99 {:?}  max {:?}", at(0.5), at(0.99), at(1.0))
}

/// A 512-byte write with fdatasync into a file written before: what a commit cannot beat.
fn probe(dir: &Path) {
    let file =
        OpenOptions::new().create(true).truncate(true).write(true).open(dir.join("probe")).unwrap();
    file.write_all_at(&vec![0; 4 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let samples = (0..2000u64).map(|i| {
        let begun = Instant::now();
        file.write_all_at(&[7; 512], i * 512).unwrap();
        file.sync_data().unwrap();
        begun.elapsed()
    });
    println!("sync probe            {}", percentiles(samples.collect()));
}

fn put(key: String) -> Command {
    // 36 bytes, never the same twice: an equal value would change nothing and wake nobody.
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let value = format!("{:036}", SERIAL.fetch_add(1, Ordering::Relaxed)).into_bytes();
    let entry = DirEntry { key, value, ..DirEntry::default() };
    Command::Kv(KvRequest { op: KvOp::Set, entry })
}

async fn writers(server: &Arc<Server>, count: usize, each: usize) {
    let before = server.metrics();
    let begun = Instant::now();
    let tasks: Vec<_> = (0..count)
        .map(|writer| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut samples = Vec::with_capacity(each);
                for i in 0..each {
                    let begun = Instant::now();
                    let key = format!("bench/{}", (writer * each + i) % 1000);
                    server.command(put(key), Token::default()).await.unwrap();
                    samples.push(begun.elapsed());
                }
                samples
            })
        })
        .collect();
    let mut samples = Vec::new();
    for task in tasks {
        samples.extend(task.await.unwrap());
    }
    let rate = (count * each) as f64 / begun.elapsed().as_secs_f64();
    let after = server.metrics();
    let syncs = after.log_syncs - before.log_syncs;
    println!(
        "put c{count:<4} {rate:>9.0}/s  {}  group {:.1}  mean sync {:?}",
        percentiles(samples),
        (after.log_entries - before.log_entries) as f64 / syncs as f64,
        Duration::from_nanos((after.log_sync_nanos - before.log_sync_nanos) / syncs.max(1)),
    );
}

fn per_call(what: &str, count: u32, mut call: impl FnMut()) {
    let begun = Instant::now();
    for _ in 0..count {
        call();
    }
    println!("{what:<21} {:?}", begun.elapsed() / count);
}

fn register(service: &str, instance: usize) -> Command {
    let check = HealthCheck {
        check_id: format!("service:{service}"),
        name: "alive".into(),
        status: CheckStatus::Passing,
        service_id: service.into(),
        ..HealthCheck::default()
    };
    Command::Register(Box::new(RegisterRequest {
        node: format!("node-{instance}"),
        address: format!("10.0.{}.{}", instance / 256, instance % 256),
        service: Some(NodeService { name: service.into(), port: 80, ..NodeService::default() }),
        check: Some(check),
        ..RegisterRequest::default()
    }))
}

async fn reads(server: &Arc<Server>) {
    for i in 0..1000 {
        server.command(put(format!("bench/{i}")), Token::default()).await.unwrap();
    }
    for instance in 0..1000 {
        server.command(register("wide", instance), Token::default()).await.unwrap();
    }
    let options = QueryOptions::default();
    let get = Query::KvGet { key: "bench/500".into() };
    let health = Query::Health {
        name: "wide".into(),
        tags: Vec::new(),
        mesh: false,
        passing_only: true,
        node_meta: Vec::new(),
    };
    per_call("get one key", 1_000_000, || {
        std::hint::black_box(server.query_now(&get, &options).unwrap().unwrap());
    });
    per_call("health, kept", 1_000_000, || {
        std::hint::black_box(server.query_now(&health, &options).unwrap().unwrap());
    });
    let state = server.state();
    per_call("health, built 1000", 1_000, || {
        std::hint::black_box(state.read(&health));
    });
}

async fn watchers(server: &Arc<Server>, count: usize) {
    let key = Query::KvGet { key: "watched".into() };
    server.command(put("watched".into()), Token::default()).await.unwrap();
    let index = server.query(key.clone(), QueryOptions::default()).await.unwrap().meta.index;
    let options = QueryOptions { min_index: index, ..QueryOptions::default() };
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let (server, key, options) = (server.clone(), key.clone(), options.clone());
            tokio::spawn(async move {
                server.query(key, options).await.unwrap();
                Instant::now()
            })
        })
        .collect();
    while server.metrics().waiters < count as u64 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.command(put("watched".into()), Token::default()).await.unwrap();
    let acknowledged = Instant::now();
    let mut last = acknowledged;
    for task in tasks {
        last = last.max(task.await.unwrap());
    }
    println!("wake {count:<6} last after {:?}", last.duration_since(acknowledged));
}

/// Leaves for distinct services, eight at once, keys made beforehand.
async fn leaves(server: &Arc<Server>, each: usize) {
    let mut options = QueryOptions::default();
    let domain = loop {
        let answer = server.query(Query::CaRoots, options.clone()).await.unwrap();
        match &answer.body.reply {
            Reply::CaRoots(roots) if !roots.active_root_id.is_empty() => {
                break roots.trust_domain.clone();
            }
            _ => options.min_index = answer.meta.index,
        }
    };
    let domain: TrustDomain = domain.parse().unwrap();
    let key = PrivateKey::generate(KeyKind::Ec(Curve::P256)).unwrap();
    let requests: Vec<String> = (0..each)
        .map(|i| {
            let id = SpiffeId::service(&domain, "dc1", &format!("service-{i}")).unwrap();
            csr::build(&key, &id).unwrap()
        })
        .collect();
    let requests = Arc::new(requests);
    let begun = Instant::now();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (server, requests) = (server.clone(), requests.clone());
            tokio::spawn(async move {
                for request in requests.iter() {
                    server.sign_leaf(request.clone(), Token::default()).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("leaves c8             {:.0}/s", (8 * each) as f64 / begun.elapsed().as_secs_f64());
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let base = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let dir = tempfile::tempdir_in(base).unwrap();
    let data_dir = Some(dir.path().to_owned());
    let begun = Instant::now();
    let server = Server::start(ServerConfig { data_dir, ..ServerConfig::new("dc1") }).unwrap();
    let server = Arc::new(server);
    server.ready().await.unwrap();
    println!("cold start            {:?}", begun.elapsed());
    for _ in 0..2 {
        probe(dir.path());
        writers(&server, 1, 2000).await;
        writers(&server, 64, 1000).await;
        writers(&server, 512, 200).await;
    }
    reads(&server).await;
    for _ in 0..2 {
        watchers(&server, 5_000).await;
    }
    leaves(&server, 500).await;
    println!("{:?}", server.metrics());
    server.shutdown().await;
}
