//! A pair of proxies with mutual TLS 1.3 between an application and a service, all on loopback.

pub(super) mod held;
pub(super) mod pair;

use pair::{Backend, ProxyPair};

use crate::Plan;
use crate::load::{HttpLoad, iperf3, sockperf, wrk};
use crate::report::Table;

const PEERS: [&str; 4] = ["lictor", "consul 1.8.7", "envoy", "haproxy"];

pub(crate) fn stream(plan: &Plan) {
    let backend = Backend::iperf3();
    let pairs = ProxyPair::start_all(plan, &PEERS, backend.port);
    for congestion in ["reno", "bbr"] {
        let table = Table::measure(plan.passes, &with_direct(), |subject| {
            match pairs.iter().find(|pair| pair.name == subject) {
                Some(pair) => iperf3(pair.port, plan.seconds, &pair.pids(), congestion),
                None => iperf3(backend.port, plan.seconds, &[], congestion),
            }
        });
        table.print(&format!("one stream, application sockets under {congestion}"));
    }
}

pub(crate) fn ping_pong(plan: &Plan) {
    let backend = Backend::sockperf();
    let pairs = ProxyPair::start_all(plan, &PEERS, backend.port);
    let table = Table::measure(plan.passes, &with_direct(), |subject| {
        let port = pairs.iter().find(|pair| pair.name == subject).map_or(backend.port, |p| p.port);
        sockperf(port, plan.seconds)
    });
    table.print("64 bytes to and fro, one-way latency");
}

pub(crate) fn small_http(plan: &Plan) {
    let backend = Backend::nginx();
    let pairs = ProxyPair::start_all(plan, &PEERS, backend.port);
    http(plan, &pairs, backend.port, None, "GET of 2 bytes, 64 connections kept open");
}

pub(crate) fn connections(plan: &Plan) {
    let backend = Backend::nginx();
    let pairs = ProxyPair::start_all(plan, &PEERS, backend.port);
    let close = "wrk.headers[\"Connection\"] = \"close\"\n";
    http(plan, &pairs, backend.port, Some(close), "a new connection for each GET, 64 at a time");
}

fn http(plan: &Plan, pairs: &[ProxyPair], direct: u16, script: Option<&str>, title: &str) {
    let table = Table::measure(plan.passes, &with_direct(), |subject| {
        let pair = pairs.iter().find(|pair| pair.name == subject);
        wrk(&HttpLoad {
            address: ([127, 0, 0, 1], pair.map_or(direct, |pair| pair.port)).into(),
            path: "/",
            script,
            connections: 64,
            seconds: plan.seconds,
            pids: &pair.map(ProxyPair::pids).unwrap_or_default(),
        })
    });
    table.print(title);
}

fn with_direct() -> Vec<&'static str> {
    PEERS.into_iter().chain(["direct"]).collect()
}
