//! A large pool, watched for long: convergence, detection, and who is taken for dead and lives.
//!
//!     cargo run --release -p sim --example pool -- [members] [seconds] [seed]

use std::time::{Duration, Instant};

use sim::{GossipReport, GossipSettings, GossipWorld};

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let members = numbers.next().unwrap_or(1000) as usize;
    let watched = Duration::from_secs(numbers.next().unwrap_or(120));
    let seed = numbers.next().unwrap_or(1);
    for (name, slow_percent, starved_percent) in
        [("healthy", 0, 0), ("5 % slow", 5, 0), ("25 % starved", 0, 25)]
    {
        let settings = GossipSettings {
            members,
            slow_percent,
            starved_percent,
            deaths: 3,
            watched,
            loss_percent: 1,
        };
        let began = Instant::now();
        match GossipWorld::run(seed, settings) {
            Ok(report) => tell(name, &report, began.elapsed()),
            Err(why) => println!("{name}: {why}"),
        }
    }
}

fn tell(name: &str, report: &GossipReport, took: Duration) {
    let GossipReport { converged_after, first_missed_after, all_missed_after, .. } = report;
    println!("{name}, in {took:.1?}:");
    println!("  converged {converged_after:?} after the last join");
    println!("  deaths missed first after {first_missed_after:.1?}, by all {all_missed_after:.1?}");
    println!(
        "  false deaths: {} of healthy members, {} of ailing ones; {} suspicions, {} refutations",
        report.false_deaths_of_healthy,
        report.false_deaths_of_ailing,
        report.suspicions,
        report.refutations
    );
}
