//! Connections that stay: many idle ones, and busy ones while the authority changes its root.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use serde_json::json;
use testkit::wait;

use super::PEERS;
use super::pair::{Backend, ProxyPair};
use crate::Plan;
use crate::http::Connection;
use crate::report::{Sample, Table};
use crate::usage::{CpuCounter, resident_mib};
use crate::watchers::await_rest;

/// Connections held, if files may be opened for them.
const IDLE: usize = 10_000;
/// Connections on their way through the proxies at once: less than any listener queues.
const UNDER_WAY: usize = 64;
/// Longest wait for a connection to come through.
const THROUGH_MAX: Duration = Duration::from_secs(30);
/// Passes over the slow rows; a pass of each takes half a minute.
const PASSES_MAX: usize = 3;

/// Connections through each pair without a byte on them.
pub(crate) fn idle(plan: &Plan) {
    // Driver and proxies hold two files for each connection.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) as usize;
    let count = IDLE.min(files.saturating_sub(2000) / 2);
    let table = Table::measure(plan.passes.min(PASSES_MAX), &PEERS, |subject| {
        let backend = Sink::start();
        let pair = ProxyPair::start_all(plan, &[subject], backend.address.port()).remove(0);
        hold(&pair, count, &backend)
    });
    table.print(&format!("{count} idle connections through a pair"));
}

/// A service that takes connections, keeps them and says nothing.
struct Sink {
    address: SocketAddr,
    arrived: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let sink = Self {
            address: listener.local_addr().expect("a listener has an address"),
            arrived: Arc::default(),
            is_over: Arc::default(),
        };
        let (arrived, is_over) = (Arc::clone(&sink.arrived), Arc::clone(&sink.is_over));
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            while !is_over.load(Ordering::Acquire) {
                let (stream, _) = listener.accept().expect("as many files as connections");
                kept.push(stream);
                arrived.store(kept.len(), Ordering::Release);
            }
        });
        sink
    }

    fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Acquire)
    }

    /// Waits until all but `missing_max` of `wanted` connections have arrived; false when a proxy lost
    /// some on the way.
    fn await_arrival(&self, wanted: usize, missing_max: usize) -> bool {
        let enough = || (self.arrived() + missing_max >= wanted).then_some(());
        wait::poll(THROUGH_MAX, enough).is_some()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // One more connection, so that it looks. Gone already is as good.
        let _ = TcpStream::connect(self.address);
    }
}

fn hold(pair: &ProxyPair, count: usize, backend: &Sink) -> Sample {
    let pids = pair.pids();
    let resident = || pids.iter().map(|pid| resident_mib(*pid)).sum::<f64>();
    await_rest(&pids);
    let (empty, before) = (resident(), backend.arrived());
    let begin = Instant::now();
    let mut opened = Vec::new();
    while opened.len() < count && backend.await_arrival(before + opened.len(), UNDER_WAY) {
        opened.push(TcpStream::connect((Ipv4Addr::LOCALHOST, pair.port)).expect("a proxy listens"));
    }
    backend.await_arrival(before + opened.len(), 0);
    let took = begin.elapsed();
    let held = (backend.arrived() - before) as f64;
    await_rest(&pids);
    let full = resident();
    let idle = CpuCounter::start(&pids);
    std::thread::sleep(Duration::from_secs(1));
    Sample::from([
        ("held", held),
        ("opened/s", held / took.as_secs_f64()),
        ("MiB", full),
        ("KiB each", (full - empty) * 1024.0 / held.max(1.0)),
        ("idle cpu per second us", idle.micros()),
    ])
}

/// Connections kept busy while the root changes.
const BUSY: usize = 16;
/// How long agents may take to have all leaves signed anew after a root changed: they spread that.
const ROTATION_MAX: Duration = Duration::from_secs(32);

/// What one connection, or one stream of new connections, has seen.
#[derive(Default)]
struct Seen {
    /// Microseconds of each request.
    before: Vec<f64>,
    during: Vec<f64>,
    dropped: usize,
}

pub(crate) fn rotation(plan: &Plan) {
    let backend = Backend::nginx();
    let names = ["lictor", "consul 1.8.7"];
    let pairs = ProxyPair::start_all(plan, &names, backend.port);
    let table = Table::measure(plan.passes.div_ceil(PASSES_MAX * 2), &names, |subject| {
        let pair = pairs.iter().find(|pair| pair.name == subject).expect("all were started");
        rotate_under_load(pair, Duration::from_secs(plan.seconds))
    });
    table.print(&format!(
        "a new root, and so new leaves, under {BUSY} kept connections and new ones 20 times a second"
    ));
}

fn rotate_under_load(pair: &ProxyPair, before: Duration) -> Sample {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, pair.port));
    let old = leaves(pair);
    let begin = Instant::now();
    let end = begin + before + ROTATION_MAX;
    let (kept, fresh) = std::thread::scope(|scope| {
        let ask_on = || scope.spawn(move || requests(address, begin + before, end, false));
        let kept: Vec<_> = (0..BUSY).map(|_| ask_on()).collect();
        let fresh = scope.spawn(move || requests(address, begin + before, end, true));
        std::thread::sleep(before);
        change_root(pair);
        let kept: Vec<Seen> =
            kept.into_iter().map(|one| one.join().expect("a client does not panic")).collect();
        (kept, fresh.join().expect("a client does not panic"))
    });
    let renewed = leaves(pair).iter().zip(&old).filter(|(new, old)| new != old).count();
    let dropped: usize = kept.iter().map(|seen| seen.dropped).sum();
    let all = |part: fn(&Seen) -> &Vec<f64>| {
        let mut all: Vec<f64> = kept.iter().flat_map(part).copied().collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let at = |sorted: &[f64], share: f64| {
        sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN)
    };
    let (quiet, during) = (all(|seen| &seen.before), all(|seen| &seen.during));
    Sample::from([
        ("requests", (quiet.len() + during.len()) as f64),
        ("renewed leaves", renewed as f64),
        ("kept dropped", dropped as f64),
        ("new connections", (fresh.before.len() + fresh.during.len()) as f64),
        ("new dropped", fresh.dropped as f64),
        ("p99 before us", at(&quiet, 0.99)),
        ("p99 during us", at(&during, 0.99)),
        ("worst before us", quiet.last().copied().unwrap_or(f64::NAN)),
        ("worst during us", during.last().copied().unwrap_or(f64::NAN)),
    ])
}

/// Asks again and again until `end`: on one connection, or 20 times a second on a new one.
fn requests(address: SocketAddr, change: Instant, end: Instant, is_new_each: bool) -> Seen {
    let mut seen = Seen::default();
    let mut connection: Option<Connection> = None;
    while Instant::now() < end {
        let begin = Instant::now();
        match ask(&mut connection, address) {
            Ok(()) => {
                let part = if begin < change { &mut seen.before } else { &mut seen.during };
                part.push(begin.elapsed().as_secs_f64() * 1e6);
            }
            Err(_) => {
                seen.dropped += 1;
                connection = None;
                // A proxy that refuses does so at once: do not turn that into a flood.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        if is_new_each {
            connection = None;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    seen
}

fn ask(connection: &mut Option<Connection>, address: SocketAddr) -> io::Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::try_open(address)?),
    };
    let answer = connection.try_ask("GET", "/", b"")?;
    if answer.status == 200 { Ok(()) } else { Err(io::Error::other("not accepted")) }
}

/// Serial numbers of the leaves of both proxies.
fn leaves(pair: &ProxyPair) -> [String; 2] {
    let http = pair.agent().expect("a built-in proxy has an agent").http();
    ["db", "web"].map(|service| {
        let leaf = http.get(&format!("/v1/agent/connect/ca/leaf/{service}"));
        leaf.expect("the agent answers").json()["SerialNumber"].to_string()
    })
}

/// Gives the authority of the pair a new key, and so a new root.
fn change_root(pair: &ProxyPair) {
    let output = Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout"])
        .output()
        .expect("openssl is installed");
    let key = String::from_utf8(output.stdout).expect("a key in PEM is text");
    let config = json!({ "Provider": "consul", "Config": { "PrivateKey": key } });
    let http = pair.agent().expect("a built-in proxy has an agent").http();
    let answer = http.put("/v1/connect/ca/configuration", config.to_string());
    let answer = answer.expect("the agent answers");
    assert_eq!(answer.status, 200, "{answer}");
}
