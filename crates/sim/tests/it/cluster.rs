//! Clusters under everything.

use std::time::Duration;

use sim::{Bug, Cluster, ClusterReport, ClusterSettings, Drift, FaultMix};

use crate::number;

/// Seeds within which a planted fault must be found.
const SEEDS_MAX: u64 = 20;

fn run(seed: u64, settings: ClusterSettings) -> ClusterReport {
    Cluster::run(seed, settings).unwrap_or_else(|violation| panic!("{violation}"))
}

/// Many short runs; together they must have met what they are there for.
#[test]
fn clusters_keep_their_promises() {
    let first = number("SIM_SEED").unwrap_or(1);
    let runs = number("SIM_RUNS").unwrap_or(12);
    let mut total = ClusterReport::default();
    for seed in first..first + runs {
        total.add(&run(seed, ClusterSettings::drawn(seed)));
    }
    println!("{runs} runs: {total:?}");
    assert!(total.least() > 5, "the runs met too little: {total:?}");
    assert_eq!(total.undecided, 0);
}

#[test]
fn one_cluster_seed() {
    let seed = number("SIM_SEED").unwrap_or(7);
    println!("{:?}", run(seed, ClusterSettings::drawn(seed)));
}

#[test]
fn a_cluster_seed_replays() {
    let duration = Duration::from_secs(10);
    for seed in [3, 4, 5] {
        let settings = ClusterSettings { duration, ..ClusterSettings::drawn(seed) };
        assert_eq!(run(seed, settings), run(seed, settings));
        assert_ne!(run(seed, settings).trace_hash, run(seed + 100, settings).trace_hash);
    }
}

/// Clocks further apart than leases allow for cost reads by lease their freshness, nothing else.
#[test]
fn clocks_beyond_the_stated_drift_harm_nothing_but_leases() {
    for seed in 1..=4 {
        run(seed, ClusterSettings { drift: Drift::Beyond, ..ClusterSettings::drawn(seed) });
    }
}

/// A leader whose disk was the slowest answered by its lease from a state that followers had shown
/// to be old. Seeds of the first campaign.
#[test]
fn a_leader_behind_its_own_commits_does_not_read_by_lease() {
    for seed in [73, 118] {
        run(seed, ClusterSettings::drawn(seed));
    }
}

/// A server whose removal its predecessor had begun won the election, and led for ever a cluster
/// that it was no member of. A seed of the first campaign.
#[test]
fn a_removed_server_does_not_go_on_leading() {
    run(124, ClusterSettings::drawn(124));
}

fn find(bugs: &[Bug]) {
    let mut lost = Vec::new();
    for bug in bugs {
        let mix = bug.mix();
        // A cut tells most when the cluster was well before.
        let millis = if mix == FaultMix::Cuts { 2000 } else { 700 };
        let settings = |seed| ClusterSettings {
            bug: Some(*bug),
            mix,
            fault_every: Duration::from_millis(millis),
            // So that somebody asks in the moments that matter.
            clients: if matches!(mix, FaultMix::Cuts | FaultMix::SlowDisks) { 20 } else { 8 },
            duration: Duration::from_secs(20),
            ..ClusterSettings::drawn(seed)
        };
        match (1..=SEEDS_MAX).find_map(|seed| Cluster::run(seed, settings(seed)).err()) {
            Some(violation) => {
                let what = violation.what.lines().next().unwrap_or_default();
                println!("{bug:?}: seed {}: {what}", violation.seed);
            }
            None => lost.push(*bug),
        }
    }
    assert!(lost.is_empty(), "not found: {lost:?}");
}

/// In two halves, for two cores.
#[test]
fn planted_faults_of_clusters_are_found() {
    let half = Bug::OF_CLUSTERS.len() / 2;
    find(&Bug::OF_CLUSTERS[..half]);
}

#[test]
fn more_planted_faults_of_clusters_are_found() {
    let half = Bug::OF_CLUSTERS.len() / 2;
    find(&Bug::OF_CLUSTERS[half..]);
}
