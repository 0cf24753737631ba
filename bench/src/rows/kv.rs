//! KV reads and writes over HTTP.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use super::proxy::pair::Backend;
use super::servers::{OURS, Pair, THEIRS};
use crate::Plan;
use crate::clusters::{Clusters, leader};
use crate::etcd::{self, Etcd};
use crate::load::{HttpLoad, wrk};
use crate::report::{Sample, Table};

const ETCD: &str = "etcd";
const DISK: &str = "fdatasync";

/// 36-byte values to 1,000 keys in turn.
const WRITES: &str = r#"
wrk.method = "PUT"
wrk.body = "0123456789abcdef0123456789abcdef0123"
local counter = 0
request = function()
  counter = counter + 1
  return wrk.format(nil, "/v1/kv/bench/" .. (counter % 1000))
end
"#;

pub(crate) fn writes_many(plan: &Plan) {
    writes(plan, 64);
}

pub(crate) fn writes_one(plan: &Plan) {
    writes(plan, 1);
}

fn writes(plan: &Plan, connections: usize) {
    let pair = Pair::start(plan);
    let etcd = Etcd::alone();
    let etcd_writes = etcd::writes();
    let table = Table::measure(plan.passes, &[OURS, THEIRS, ETCD, DISK], |subject| {
        let (address, script, pids) = match subject {
            DISK => return probe_fdatasync(pair.ours.dir()),
            ETCD => (etcd.leader(), etcd_writes.as_str(), etcd.pids()),
            _ => {
                let agent = pair.of(subject);
                (agent.address(agent.ports.http), WRITES, vec![agent.pid()])
            }
        };
        put_load(plan, address, script, connections, &pids)
    });
    table.print(&format!("PUT of 36 bytes, {connections} connections, one server on disk"));
}

fn put_load(
    plan: &Plan,
    address: SocketAddr,
    script: &str,
    connections: usize,
    pids: &[u32],
) -> Sample {
    let (path, script, seconds) = ("/", Some(script), plan.seconds);
    wrk(&HttpLoad { address, path, script, connections, seconds, pids })
}

/// Servers of each cluster.
const SERVERS: usize = 3;

/// Writes a majority of three servers must have on disk.
pub(crate) fn writes_to_three(plan: &Plan) {
    let clusters = Clusters::start(plan, SERVERS, 1);
    let etcd = Etcd::cluster(SERVERS);
    let etcd_writes = etcd::writes();
    for (way, is_through_client) in [("the leader", false), ("a client agent", true)] {
        let subjects = match is_through_client {
            true => vec![OURS, THEIRS, DISK],
            false => vec![OURS, THEIRS, ETCD, DISK],
        };
        let table = Table::measure(plan.passes, &subjects, |subject| match subject {
            DISK => probe_fdatasync(clusters.ours.dir(0)),
            ETCD => {
                let (address, pids) = (etcd.leader(), etcd.pids());
                etcd.inside(|| put_load(plan, address, &etcd_writes, 64, &pids))
            }
            _ => {
                let cluster = clusters.of(subject);
                let host = if is_through_client { SERVERS } else { leader(cluster, SERVERS) };
                let address = cluster.http(host).address;
                let agents = if is_through_client { 0..SERVERS + 1 } else { 0..SERVERS };
                let pids: Vec<u32> = agents.map(|host| cluster.pid(host)).collect();
                cluster.inside(|| put_load(plan, address, WRITES, 64, &pids))
            }
        });
        table.print(&format!("PUT of 36 bytes, 64 connections, {SERVERS} servers, through {way}"));
    }
}

/// Times rewriting 4 KiB of a file written before, each made durable: what one commit must cost.
fn probe_fdatasync(folder: &std::path::Path) -> Sample {
    let path = folder.join("probe");
    let file = File::create(&path).expect("a file can be made");
    file.write_all_at(&vec![0; 1 << 20], 0).expect("the file can be written");
    file.sync_all().expect("the file can be synced");
    let mut micros: Vec<f64> = (0..300u64)
        .map(|nth| {
            let start = Instant::now();
            file.write_all_at(&[1; 4096], nth % 256 * 4096).expect("the file can be written");
            file.sync_data().expect("the file can be synced");
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    Sample::from([("p50 us", micros[150]), ("p99 us", micros[297])])
}

pub(crate) fn reads(plan: &Plan) {
    let pair = Pair::start(plan);
    pair.put("/v1/kv/bench/key", "0123456789abcdef0123456789abcdef0123");
    // What the load generator and the kernel allow at most: an answer without any work.
    let null = Backend::nginx();
    for mode in ["", "?stale", "?consistent"] {
        for connections in [64, 1] {
            let table = Table::measure(plan.passes, &[OURS, THEIRS, "nginx null"], |subject| {
                let agent = pair.of(subject);
                let (address, pids) = match subject {
                    "nginx null" => (([127, 0, 0, 1], null.port).into(), Vec::new()),
                    _ => (agent.address(agent.ports.http), vec![agent.pid()]),
                };
                wrk(&HttpLoad {
                    address,
                    path: &format!("/v1/kv/bench/key{mode}"),
                    script: None,
                    connections,
                    seconds: plan.seconds,
                    pids: &pids,
                })
            });
            let mode = if mode.is_empty() { "default" } else { &mode[1..] };
            table.print(&format!("GET of one key, {mode}, {connections} connections"));
        }
    }
}
