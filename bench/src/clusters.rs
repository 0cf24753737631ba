//! A cluster of each kind on hosts of their own, set up alike.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::cluster::{Cluster, NodeSpec};
use testkit::process::consul;
use testkit::wait;

use crate::Plan;
use crate::rows::servers::OURS;

/// Longest wait for a cluster to agree on something: elections and gossip on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// One cluster of ours, one of theirs: the servers on the first hosts, clients on those after.
pub(crate) struct Clusters {
    pub(crate) ours: Cluster,
    pub(crate) theirs: Cluster,
}

impl Clusters {
    /// Starts both and waits until all agents are in the catalog.
    pub(crate) fn start(plan: &Plan, servers: usize, clients: usize) -> Self {
        let start = |program: &std::path::Path| {
            let server = |_| NodeSpec::server(program, servers).config(settings());
            let client = |_| NodeSpec::client(program).config(settings());
            let specs = (0..servers).map(server).chain((0..clients).map(client));
            Cluster::start(specs.collect())
        };
        let clusters = Self { ours: start(&plan.lictor), theirs: start(&consul()) };
        for cluster in [&clusters.ours, &clusters.theirs] {
            for host in 0..servers + clients {
                await_member(cluster, host);
            }
        }
        clusters
    }

    pub(crate) fn of(&self, subject: &str) -> &Cluster {
        if subject == OURS { &self.ours } else { &self.theirs }
    }

    pub(crate) fn of_mut(&mut self, subject: &str) -> &mut Cluster {
        if subject == OURS { &mut self.ours } else { &mut self.theirs }
    }
}

/// Limits out of the way of the load.
pub(crate) fn settings() -> Value {
    json!({
        // Below the limit of open files less 20, or a real agent refuses to start.
        "limits": { "http_max_conns_per_client": 15_000, "rpc_max_conns_per_client": 1000 },
        "log_level": "WARN",
    })
}

/// Waits until `host` answers and sees itself alive in the catalog.
pub(crate) fn await_member(cluster: &Cluster, host: usize) {
    let (http, name) = (cluster.http(host), cluster.name(host));
    cluster.until(&format!("{name} is in the catalog"), PATIENCE, || {
        http.get(&format!("/v1/health/node/{name}"))
            .is_ok_and(|answer| answer.status == 200 && answer.text().contains("\"passing\""))
    });
}

/// The host whose agent leads, as `among` see it.
pub(crate) fn leader(cluster: &Cluster, among: usize) -> usize {
    cluster.inside(|| {
        wait::until("a leader all agree on", PATIENCE, || {
            let seen: Option<Vec<String>> = (0..among)
                .map(|host| Some(cluster.http(host).get("/v1/status/leader").ok()?.text()))
                .collect();
            let seen = seen?;
            let agreed = seen.iter().all(|one| *one == seen[0]);
            (0..among).find(|host| {
                agreed && seen[0].contains(&format!("\"{}:", cluster.network.address(*host)))
            })
        })
    })
}
