//! Held queries: how soon all of them wake, what a wake-up costs, what a parked one weighs.

use serde_json::json;
use testkit::cluster::Cluster;
use testkit::process::{Agent, Spec, consul};

use super::servers::{OURS, THEIRS, instance};
use crate::Plan;
use crate::clusters::{Clusters, settings};
use crate::http::Connection;
use crate::report::{Sample, Table, print_growth};
use crate::usage::{CpuCounter, connections_to, resident_mib};
use crate::watchers::{Watchers, await_rest};

/// Wake-ups measured at each size.
const ROUNDS: usize = 3;
/// Queries held on one client agent in C10.
const HELD: usize = 10_000;
/// Keys they ask for.
const HELD_KEYS: usize = 100;

pub(crate) fn one_key(plan: &Plan) {
    let prepare = |agent: &Agent| {
        Connection::open(agent.address(agent.ports.http)).ask("PUT", "/v1/kv/bench/key", b"0");
    };
    let change = |round: usize| {
        ("/v1/kv/bench/key", format!("0123456789abcdef0123456789abcde{round:05}").into_bytes())
    };
    let what = "watchers of one key wake";
    wake(plan, &[10, 100, 1000, 5000], what, "/v1/kv/bench/key", prepare, change);
}

pub(crate) fn one_service(plan: &Plan) {
    let body = |nth: usize, tag: &str| {
        let mut body = instance("wide100", nth);
        body["Service"]["Tags"] = json!([tag]);
        body.to_string().into_bytes()
    };
    let prepare = |agent: &Agent| {
        let mut connection = Connection::open(agent.address(agent.ports.http));
        for nth in 0..100 {
            connection.ask("PUT", "/v1/catalog/register", &body(nth, "v1"));
        }
    };
    let change = |round: usize| ("/v1/catalog/register", body(0, &format!("v{}", round + 2)));
    let what = "watchers of a service of 100 instances wake, one tag flips";
    let path = "/v1/health/service/wide100?passing";
    wake(plan, &[1, 10, 100, 1000], what, path, prepare, change);
}

/// Parks ever more watchers of `path` on a server started for each measurement, and wakes them.
fn wake(
    plan: &Plan,
    sizes: &[usize],
    what: &str,
    path: &str,
    prepare: impl Fn(&Agent),
    change: impl Fn(usize) -> (&'static str, Vec<u8>),
) {
    let tables = Table::measure_series(plan.passes, &[OURS, THEIRS], |subject| {
        let program = if subject == OURS { plan.lictor.clone() } else { consul() };
        let agent = Spec::new(program).config(settings()).start();
        prepare(&agent);
        let pids = [agent.pid()];
        await_rest(&pids);
        let empty = resident_mib(agent.pid());
        let mut watchers = Watchers::new(agent.address(agent.ports.http), vec![path.to_owned()]);
        let mut round = 0;
        let measure = |size: &usize| {
            watchers.park(*size);
            await_rest(&pids);
            let parked = (resident_mib(agent.pid()) - empty) * 1024.0 / *size as f64;
            let (mut last, mut cpu, mut bytes) = (Vec::new(), 0.0, 0);
            for _ in 0..ROUNDS {
                let (path, body) = change(round);
                round += 1;
                let used = CpuCounter::start(&pids);
                let wake = watchers.wake("PUT", path, &body);
                await_rest(&pids);
                cpu += used.micros();
                last.push(wake.last.as_secs_f64() * 1e3);
                bytes = wake.bytes;
                watchers.park_again();
                await_rest(&pids);
            }
            last.sort_by(f64::total_cmp);
            let cpu = cpu / ROUNDS as f64;
            Sample::from([
                ("last woken ms", last[ROUNDS / 2]),
                ("cpu of all us", cpu),
                ("cpu per watcher us", cpu / *size as f64),
                ("parked KiB each", parked),
                ("answer bytes", bytes as f64),
            ])
        };
        sizes.iter().map(measure).collect()
    });
    for (size, table) in sizes.iter().zip(&tables) {
        table.print(&format!("{size} {what}"));
    }
    print_growth(&tables, sizes, "cpu of all us", "watchers");
}

/// One client agent holds many queries; all of them share its connections to the server.
pub(crate) fn on_one_connection(plan: &Plan) {
    let clusters = Clusters::start(plan, 1, 1);
    let paths: Vec<String> = (0..HELD_KEYS).map(|nth| format!("/v1/kv/held/{nth}")).collect();
    // Memory of the server and the client before the first pass: they keep what they once took.
    let empty = [OURS, THEIRS].map(|subject| {
        let cluster = clusters.of(subject);
        write_all(cluster, &paths, 0);
        [0, 1].map(|host| resident_mib(cluster.pid(host)))
    });
    let mut round = 0;
    let table = Table::measure(plan.passes, &[OURS, THEIRS], |subject| {
        let cluster = clusters.of(subject);
        let (server, client) = (cluster.pid(0), cluster.pid(1));
        let before = empty[usize::from(subject != OURS)];
        let mut watchers = Watchers::new(cluster.http(1).address, paths.clone());
        cluster.inside(|| watchers.park(HELD));
        await_rest(&[server, client]);
        let parked = watchers.len() - watchers.answered_early();
        let after = [server, client].map(resident_mib);
        let each = |nth: usize| (after[nth] - before[nth]) * 1024.0 / HELD as f64;
        let connections = connections_to(client, 8300);
        // A real agent holds a query, and its place among the client's connections, until it is
        // answered, also when nobody waits any more: answer all before the next pass.
        round += 1;
        write_all(cluster, &paths, round);
        drop(watchers);
        await_rest(&[server, client]);
        Sample::from([
            ("connections", connections as f64),
            ("parked", parked as f64),
            ("more on client KiB each", each(1)),
            ("more on server KiB each", each(0)),
        ])
    });
    table.print(&format!("connections to the server while a client agent holds {HELD} queries"));
}

/// Writes every key, with a value of its own each round: writing the same again wakes nobody.
fn write_all(cluster: &Cluster, paths: &[String], round: usize) {
    cluster.inside(|| {
        let mut connection = Connection::open(cluster.http(0).address);
        for path in paths {
            connection.ask("PUT", path, round.to_string().as_bytes());
        }
    });
}
