//! KV reads and writes over HTTP.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use super::proxy::pair::Backend;
use super::servers::{OURS, Pair, THEIRS};
use crate::Plan;
use crate::load::{HttpLoad, wrk};
use crate::report::{Sample, Table};

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
    let table = Table::measure(plan.passes, &[OURS, THEIRS, "fdatasync"], |subject| {
        if subject == "fdatasync" {
            return probe_fdatasync(pair.ours.dir());
        }
        let agent = pair.of(subject);
        wrk(&HttpLoad {
            address: agent.address(agent.ports.http),
            path: "/",
            script: Some(WRITES),
            connections,
            seconds: plan.seconds,
            pids: &[agent.pid()],
        })
    });
    table.print(&format!("PUT of 36 bytes, {connections} connections, one server on disk"));
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
