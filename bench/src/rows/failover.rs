//! How long a cluster takes no writes after it lost its leader.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use testkit::cluster::Cluster;

use super::servers::{OURS, THEIRS};
use crate::Plan;
use crate::clusters::{Clusters, await_member, leader};
use crate::report::{Sample, Table};

const SERVERS: usize = 3;
/// Leaders lost per pass.
const ROUNDS: usize = 3;
/// How often a new write is tried, so that none waits for one that was tried too early.
const TRY_INTERVAL: Duration = Duration::from_millis(20);
/// Longest wait for an accepted write.
const LOSS_MAX: Duration = Duration::from_secs(30);

pub(crate) fn leader_loss(plan: &Plan) {
    let mut clusters = Clusters::start(plan, SERVERS, 0);
    for (signal, how, rounds) in [
        (Signal::KILL, "killed", plan.passes * ROUNDS),
        (Signal::TERM, "told to stop", plan.passes),
    ] {
        // Each round is a pass: the range of the table ends at the worst of them.
        let table = Table::measure(rounds, &[OURS, THEIRS], |subject| {
            let lost = lose_leader(clusters.of_mut(subject), signal);
            Sample::from([("to next write ms", lost.as_secs_f64() * 1e3)])
        });
        table.print(&format!("a leader of {SERVERS} is {how}, {rounds} rounds"));
        for subject in [OURS, THEIRS] {
            let at = |share| table.quantile(subject, "to next write ms", share);
            println!(
                "{subject}: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
                at(0.5),
                at(0.99),
                at(1.0)
            );
        }
        println!();
    }
}

/// From the signal to the first write a survivor accepts. Leaves the cluster whole again.
fn lose_leader(cluster: &mut Cluster, signal: Signal) -> Duration {
    let lost = leader(cluster, SERVERS);
    let begin = Instant::now();
    cluster.signal(lost, signal);
    let survivors: Vec<_> =
        (0..SERVERS).filter(|host| *host != lost).map(|host| cluster.http(host)).collect();
    let accepted = cluster.inside(|| {
        let (sender, receiver) = mpsc::channel();
        loop {
            for http in &survivors {
                let (http, sender) = (*http, sender.clone());
                // Threads inherit the network they are started in. Whoever comes late is not heard.
                std::thread::spawn(move || {
                    if http.put("/v1/kv/bench/failover", "x").is_ok_and(|a| a.status == 200) {
                        let _ = sender.send(begin.elapsed());
                    }
                });
            }
            if let Ok(accepted) = receiver.recv_timeout(TRY_INTERVAL) {
                return accepted;
            }
            assert!(begin.elapsed() < LOSS_MAX, "no write was accepted for {LOSS_MAX:?}");
        }
    });
    // Killed or not, it is waited for.
    cluster.wait(lost);
    cluster.launch(lost);
    await_member(cluster, lost);
    await_caught_up(cluster);
    accepted
}

/// Waits until autopilot calls every server healthy, so that the next loss finds a whole cluster.
fn await_caught_up(cluster: &Cluster) {
    cluster.until("all servers are healthy", LOSS_MAX, || {
        (0..SERVERS).any(|host| {
            let answer = cluster.http(host).get("/v1/operator/autopilot/health");
            answer.is_ok_and(|answer| {
                let text = answer.text().replace(' ', "");
                answer.status == 200
                    && text.matches("\"SerfStatus\":\"alive\"").count() == SERVERS
                    && text.matches("\"Voter\":true").count() == SERVERS
            })
        })
    });
}
