//! One server, or three, under power cuts.

use std::time::Duration;

use sim::{Bug, Report, Settings, World};

use crate::number;

fn run(seed: u64, settings: Settings) -> Report {
    World::run(seed, settings).unwrap_or_else(|violation| panic!("{violation}"))
}

/// Many short runs; together they must have met what they are there for.
#[test]
fn one_server_keeps_its_promises() {
    let first = number("SIM_SEED").unwrap_or(1);
    let runs = number("SIM_RUNS").unwrap_or(4);
    let mut total = Report::default();
    for seed in first..first + runs {
        let Report { acknowledged, crashes, woken, sessions_ended, snapshots, trace_hash: _ } =
            run(seed, Settings::default());
        total.acknowledged += acknowledged;
        total.crashes += crashes;
        total.woken += woken;
        total.sessions_ended += sessions_ended;
        total.snapshots += snapshots;
    }
    println!("{runs} runs: {total:?}");
    let Report { acknowledged, crashes, woken, sessions_ended, snapshots, .. } = total;
    let least = [acknowledged, crashes, woken, sessions_ended, snapshots].into_iter().min();
    assert!(least > Some(5), "the runs met too little: {total:?}");
}

#[test]
fn one_seed() {
    println!("{:?}", run(number("SIM_SEED").unwrap_or(7), Settings::default()));
}

#[test]
fn a_seed_replays() {
    let settings = Settings { duration: Duration::from_secs(10), ..Settings::default() };
    for seed in [3, 4] {
        assert_eq!(run(seed, settings), run(seed, settings));
    }
    assert_ne!(run(3, settings).trace_hash, run(4, settings).trace_hash);
}

/// Three servers, a lossy network, and followers that lag until only a snapshot helps.
#[test]
fn three_servers_keep_their_promises() {
    let settings =
        Settings { servers: 3, duration: Duration::from_secs(25), ..Settings::default() };
    let mut acknowledged = 0;
    let first = number("SIM_SEED").unwrap_or(1);
    for seed in first..first + number("SIM_RUNS").unwrap_or(2) {
        acknowledged += run(seed, settings).acknowledged;
    }
    assert!(acknowledged > 300, "{acknowledged}");
}

#[test]
fn planted_faults_are_found() {
    for bug in Bug::OF_ONE_SERVER {
        let settings = Settings { bug: Some(bug), ..Settings::default() };
        let found = (1..=20).find_map(|seed| World::run(seed, settings).err());
        let violation = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?}: {}", violation.what);
    }
}

/// A lock asked for while the end of its holder's session was on its way into the log was judged
/// before the lock delay had begun, and granted within it.
#[test]
fn a_lock_behind_a_session_end_is_delayed() {
    let settings = Settings {
        servers: 3,
        duration: Duration::from_secs(20),
        snapshot_threshold: u64::MAX,
        ..Settings::default()
    };
    run(15, settings);
}
