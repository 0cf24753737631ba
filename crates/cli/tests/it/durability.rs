//! Nothing acknowledged is lost when the server is killed at any moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::background::Background;
use testkit::differential::subject;
use testkit::process::{Spec, peer};
use testkit::request::Client;
use testkit::wait;

/// Rounds of write, kill, start again, compare.
const ROUNDS: u32 = 100;
/// Connections that write at once, each to keys of its own.
const WRITERS: u32 = 4;
/// Bounds of how long a round writes before the kill. Unit: milliseconds.
const WRITING_MS: std::ops::Range<u64> = 5..120;

/// What one writer knows: per key the last value acknowledged, and the one under way at the kill,
/// which may or may not have made it.
#[derive(Default)]
struct Known {
    acknowledged: BTreeMap<String, String>,
    uncertain: Option<(String, String)>,
}

fn write_until(stop: &AtomicBool, http: Client, writer: u32, round: u32, known: &mut Known) {
    for nth in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("writer-{writer}/{}", nth % 10);
        let value = format!("{round}-{nth}");
        known.uncertain = Some((key.clone(), value.clone()));
        match http.put(&format!("/v1/kv/{key}"), &value) {
            Ok(answer) if answer.status == 200 && answer.text().trim() == "true" => {
                known.acknowledged.insert(key, value);
                known.uncertain = None;
            }
            // Killed under way, or not serving any more.
            _ => return,
        }
    }
}

#[test]
fn acknowledged_writes_survive_kill_nine() {
    let program = subject(env!("CARGO_BIN_EXE_lictor"));
    let mut agent = Spec::new(program).start();
    let mut known: Vec<Known> = (0..WRITERS).map(|_| Known::default()).collect();
    let mut acknowledged_total = 0;
    for round in 0..ROUNDS {
        let stop = AtomicBool::new(false);
        let http = agent.http();
        // Spread over the range without a generator: the golden ratio's multiples never repeat.
        let span = WRITING_MS.end - WRITING_MS.start;
        let writing = WRITING_MS.start + u64::from(round.wrapping_mul(2_654_435_769) >> 8) % span;
        std::thread::scope(|scope| {
            for (writer, known) in known.iter_mut().enumerate() {
                let stop = &stop;
                scope.spawn(move || write_until(stop, http, writer as u32, round, known));
            }
            std::thread::sleep(Duration::from_millis(writing));
            agent.kill();
            stop.store(true, Ordering::Relaxed);
        });
        agent.restart();
        for (writer, known) in known.iter_mut().enumerate() {
            acknowledged_total += known.acknowledged.len();
            verify(&agent.http(), writer, round, known);
        }
    }
    assert!(acknowledged_total > 0, "no write was ever acknowledged");
}

/// Reads everything back; what was uncertain becomes known.
fn verify(http: &Client, writer: usize, round: u32, known: &mut Known) {
    if let Some((key, value)) = known.uncertain.take() {
        let answer = http.get(&format!("/v1/kv/{key}?raw")).expect("the agent answers");
        if answer.status == 200 && answer.text() == value {
            known.acknowledged.insert(key, value);
        }
    }
    for (key, value) in &known.acknowledged {
        let answer = http.get(&format!("/v1/kv/{key}?raw")).expect("the agent answers");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, value.as_str()),
            "writer {writer}, key {key}, after the kill of round {round}"
        );
    }
}

/// Longest until a tracer is attached to the threads of the agent.
const ATTACH_MAX: Duration = Duration::from_secs(20);

/// The disk says no, once: what it may have dropped cannot be known, so the server acknowledges
/// nothing more and ends, and comes back with all that it had acknowledged.
#[test]
fn a_failed_sync_ends_the_server_and_loses_nothing() {
    let mut agent = Spec::new(subject(env!("CARGO_BIN_EXE_lictor"))).start();
    let before = agent.http().put("/v1/kv/before", "kept").expect("the agent answers");
    assert_eq!((before.status, before.text().trim()), (200, "true"));

    let pid = agent.pid().to_string();
    let fault = "inject=fdatasync,fsync:error=EIO";
    let args = ["-f", "-q", "-p", &pid, "-e", "trace=fdatasync,fsync", "-e", fault];
    let log = agent.dir().join("strace.log");
    let _tracer = Background::start(&peer("strace"), &args, log);
    let status = format!("/proc/{pid}/task");
    wait::until("the tracer is attached to every thread", ATTACH_MAX, || {
        let threads = std::fs::read_dir(&status).ok()?;
        let is_traced = |thread: std::fs::DirEntry| {
            let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        };
        threads.flatten().all(is_traced).then_some(())
    });

    let refused = agent.http().put("/v1/kv/during", "lost");
    assert!(
        refused.as_ref().map_or(true, |answer| answer.status == 500),
        "not acknowledged: {refused:?}"
    );
    assert_eq!(agent.wait().code(), Some(1));
    let log = agent.log();
    assert!(log.contains("the server had to stop") && log.contains("nput/output error"), "{log}");

    agent.restart();
    let after = agent.http().get("/v1/kv/before?raw").expect("the agent answers");
    assert_eq!((after.status, after.text().as_str()), (200, "kept"));
}
