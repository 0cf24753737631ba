//! Pools of members: a small one here, a thousand by `cargo run --release --example pool`.

use std::time::Duration;

use sim::{GossipReport, GossipSettings, GossipWorld};

const POOL: GossipSettings = GossipSettings {
    members: 100,
    slow_percent: 0,
    starved_percent: 0,
    deaths: 2,
    watched: Duration::from_secs(30),
    loss_percent: 1,
};

fn run(seed: u64, settings: GossipSettings) -> GossipReport {
    GossipWorld::run(seed, settings).unwrap_or_else(|why| panic!("seed {seed}: {why}"))
}

#[test]
fn a_pool_misses_its_dead_and_nobody_else() {
    let report = run(1, POOL);
    println!("{report:?}");
    assert_eq!(report.all_missed_after.len(), POOL.deaths, "{report:?}");
    assert_eq!(report.false_deaths_of_healthy, 0, "{report:?}");
}

#[test]
fn a_pool_with_slow_members_accuses_nobody_healthy() {
    let report = run(2, GossipSettings { slow_percent: 5, ..POOL });
    println!("{report:?}");
    assert_eq!(report.all_missed_after.len(), POOL.deaths, "{report:?}");
    assert_eq!(report.false_deaths_of_healthy, 0, "{report:?}");
}

/// Lifeguard's case: a quarter of the pool stands still most of the time.
#[test]
fn a_starved_quarter_accuses_nobody_healthy() {
    let report = run(3, GossipSettings { starved_percent: 25, ..POOL });
    println!("{report:?}");
    assert_eq!(report.all_missed_after.len(), POOL.deaths, "{report:?}");
    assert_eq!(report.false_deaths_of_healthy, 0, "{report:?}");
    assert!(report.suspicions > 0, "nobody was starved");
}

#[test]
fn a_pool_replays() {
    let settings = GossipSettings { members: 20, watched: Duration::from_secs(20), ..POOL };
    assert_eq!(run(4, settings), run(4, settings));
    assert_ne!(run(4, settings).trace_hash, run(5, settings).trace_hash);
}
