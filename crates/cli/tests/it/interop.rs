//! Two services talk through two proxies: ours and the real one in every combination, against our agent and a real one.
//!
//! Each combination carries a mebibyte both ways, is denied by an intention without one byte coming through, and carries
//! again once allowed.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;

use testkit::differential::is_substituted;
use testkit::toy::{FAREWELL, dial, exchange_over, offer};

use crate::mesh::Mesh;
use crate::mesh::PROBE;
use crate::mesh::Side::{self, Ours, Real};

/// What is sent both ways: more than all buffers on the way hold.
const BULK_BYTES: usize = 1 << 20;
/// Refused connections in a row that are looked at.
const REFUSALS: usize = 5;

#[test]
fn our_agent_our_proxies() {
    check(Ours, Ours, Ours);
}

#[test]
fn our_agent_real_proxies() {
    check(Ours, Real, Real);
}

#[test]
fn our_agent_our_db_real_web() {
    check(Ours, Ours, Real);
}

#[test]
fn our_agent_real_db_our_web() {
    check(Ours, Real, Ours);
}

#[test]
fn real_agent_our_proxies() {
    check(Real, Ours, Ours);
}

#[test]
fn real_agent_our_db_real_web() {
    check(Real, Ours, Real);
}

#[test]
fn real_agent_real_db_our_web() {
    check(Real, Real, Ours);
}

/// The control: what the others are held against holds for the real programs among themselves.
#[test]
fn real_agent_real_proxies() {
    check(Real, Real, Real);
}

fn check(agent: Side, db: Side, web: Side) {
    let mesh = Mesh::start(agent, db, web);
    mesh.until_allowed();

    let bulk: Vec<u8> = (0..BULK_BYTES).map(|n| (n * 31 + n / 251) as u8).collect();
    let mut stream = dial(mesh.upstream).expect("the upstream listens");
    if let Err(error) = exchange_over(&mut stream, &bulk) {
        panic!("a mebibyte does not come back: {error}\n{}", mesh.logs());
    }
    // The real proxy ends both directions as soon as one ends.
    let passes_half_close = db == Ours && web == Ours && !is_substituted();
    stream.shutdown(Shutdown::Write).expect("an open socket");
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    if passes_half_close {
        ended.expect("an orderly end");
        assert_eq!(rest, FAREWELL, "what the server says after the client's end arrives");
    }

    let mut held = dial(mesh.upstream).expect("the upstream listens");
    exchange_over(&mut held, b"before").expect("an open connection carries");
    let intention = |action: &str| {
        format!(
            r#"{{"SourceName":"web","DestinationName":"db","SourceType":"consul","Action":"{action}"}}"#
        )
    };
    let http = mesh.agent.http();
    let created = http.send("POST", "/v1/connect/intentions", &[], intention("deny").as_bytes());
    let id = created.expect("the agent answers").json()["ID"].as_str().expect("an id").to_owned();
    mesh.until_refused();
    // The real proxy lets an open connection go on; ours decides it again.
    if db == Ours && !is_substituted() {
        let mut byte = [0];
        let end = held.read(&mut byte);
        let is_cut = match &end {
            Ok(length) => *length == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(is_cut, "the open connection is not cut: {end:?}\n{}", mesh.logs());
    }
    let before = mesh.application.seen();
    for _ in 0..REFUSALS {
        let back = offer(mesh.upstream, b"must not arrive").expect("a refusal is an end");
        assert_eq!(back, 0, "bytes come back from behind a refusal");
    }
    // The last question of those before may have been let through and cut before its answer; it may arrive late. What
    // was offered since has another length.
    let late = mesh.application.seen().bytes - before.bytes;
    assert!(
        late == 0 || late == PROBE.len() as u64,
        "{late} refused bytes reached the application"
    );

    let changed = http.put(&format!("/v1/connect/intentions/{id}"), intention("allow"));
    assert_eq!(changed.expect("the agent answers").status, 200);
    mesh.until_allowed();
}
