//! The rows, in the order of `docs/benchmarks.md`.

mod authorize;
mod dns;
mod health;
mod idle;
mod kv;
mod leaf;
mod proxy;
mod servers;

use crate::Plan;

pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) run: fn(&Plan),
}

pub(crate) const ALL: &[Row] = &[
    Row { id: "C1", title: "durable KV writes, 64 connections", run: kv::writes_many },
    Row { id: "C3", title: "durable KV writes, 1 connection", run: kv::writes_one },
    Row { id: "C4", title: "KV reads, 64 connections", run: kv::reads },
    Row { id: "C5", title: "health reads by width, 32 connections", run: health::reads },
    Row { id: "A1", title: "authorize over HTTP", run: authorize::over_http },
    Row { id: "N1", title: "DNS by width", run: dns::by_width },
    Row { id: "N2", title: "DNS: no such name, TCP", run: dns::others },
    Row { id: "D1", title: "one stream through a proxy pair", run: proxy::stream },
    Row { id: "D3", title: "ping-pong through a proxy pair", run: proxy::ping_pong },
    Row { id: "D4", title: "small HTTP through a proxy pair", run: proxy::small_http },
    Row { id: "D5", title: "new connections through a proxy pair", run: proxy::connections },
    Row { id: "X1", title: "leaf certificates for distinct services", run: leaf::issuance },
    Row { id: "R1", title: "idle memory, binary size, cold start", run: idle::idle },
];
