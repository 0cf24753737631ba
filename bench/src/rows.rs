//! The rows, in the order of `docs/benchmarks.md`.

mod authorize;
mod catalog;
mod dns;
mod failover;
mod health;
mod idle;
mod kv;
mod leaf;
mod pool;
mod proxy;
pub(crate) mod servers;
mod watch;

use crate::Plan;

pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) run: fn(&Plan),
}

pub(crate) const ALL: &[Row] = &[
    Row { id: "C1", title: "durable KV writes, 64 connections", run: kv::writes_many },
    Row { id: "C2", title: "durable KV writes to three servers", run: kv::writes_to_three },
    Row { id: "C3", title: "durable KV writes, 1 connection", run: kv::writes_one },
    Row { id: "C4", title: "KV reads, 64 connections", run: kv::reads },
    Row { id: "C5", title: "health reads by width, 32 connections", run: health::reads },
    Row { id: "C6", title: "HTTP watchers of one key", run: watch::one_key },
    Row { id: "C7", title: "HTTP watchers of one service", run: watch::one_service },
    Row { id: "C10", title: "held queries on one connection", run: watch::on_one_connection },
    Row { id: "C11", title: "a large catalog", run: catalog::size },
    Row { id: "C12", title: "writes after the loss of a leader", run: failover::leader_loss },
    Row { id: "A1", title: "authorize over HTTP", run: authorize::over_http },
    Row { id: "A2", title: "authorize in process", run: authorize::in_process },
    Row { id: "A3", title: "bytes of joining instances", run: authorize::bytes_of_joining },
    Row { id: "N1", title: "DNS by width", run: dns::by_width },
    Row { id: "N2", title: "DNS: no such name, TCP, overload", run: dns::others },
    Row { id: "D1", title: "one stream through a proxy pair", run: proxy::stream },
    Row { id: "D3", title: "ping-pong through a proxy pair", run: proxy::ping_pong },
    Row { id: "D4", title: "small HTTP through a proxy pair", run: proxy::small_http },
    Row { id: "D5", title: "new connections through a proxy pair", run: proxy::connections },
    Row { id: "D6", title: "idle connections through a proxy pair", run: proxy::held::idle },
    Row { id: "D7", title: "a new root under load", run: proxy::held::rotation },
    Row { id: "X1", title: "leaf certificates for distinct services", run: leaf::issuance },
    Row { id: "G2", title: "idle client agents", run: pool::idle_agents },
    Row { id: "R1", title: "idle memory, binary size, cold start", run: idle::idle },
];
