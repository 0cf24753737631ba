//! Clusters under everything.

use std::time::Duration;

use sim::{Bug, Cluster, ClusterReport, ClusterSettings, Drift};

use crate::number;

fn run(seed: u64, settings: ClusterSettings) -> ClusterReport {
    Cluster::run(seed, settings).unwrap_or_else(|violation| panic!("{violation}"))
}

/// Many short runs; together they must have met what they are there for.
#[test]
fn clusters_keep_their_promises() {
    let first = number("SIM_SEED").unwrap_or(1);
    let runs = number("SIM_RUNS").unwrap_or(6);
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
