//! Idle client agents joined to one server: what each costs in processor time and memory.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::background::Background;
use testkit::network::Network;
use testkit::process::consul;
use testkit::request::Client;
use testkit::wait;

use super::servers::{OURS, THEIRS};
use crate::Plan;
use crate::report::{Sample, Table};
use crate::usage::{CpuCounter, resident_mib};
use crate::watchers::await_rest;

/// Longest wait until all agents have joined, per agent and at least.
const JOIN_MAX_EACH: Duration = Duration::from_secs(2);
const JOIN_MAX: Duration = Duration::from_secs(60);
/// Agents started before the server has seen the last of them.
const BATCH: usize = 25;

/// A server and clients, each on an address of its own of one host's loopback.
struct Pool {
    agents: Vec<Background>,
    network: Network,
    folder: tempfile::TempDir,
}

pub(crate) fn idle_agents(plan: &Plan) {
    let pools = [Pool::start(&plan.lictor, plan.agents), Pool::start(&consul(), plan.agents)];
    let table = Table::measure(plan.passes, &[OURS, THEIRS], |subject| {
        let pids = pools[usize::from(subject != OURS)].pids();
        let (server, clients) = pids.split_first().expect("a pool has a server");
        let window = Duration::from_secs(plan.seconds * 2);
        let (of_server, of_clients) = (CpuCounter::start(&pids[..1]), CpuCounter::start(clients));
        std::thread::sleep(window);
        let (server_micros, client_micros) = (of_server.micros(), of_clients.micros());
        let minutes = window.as_secs_f64() / 60.0;
        let count = clients.len() as f64;
        let resident: f64 = clients.iter().map(|pid| resident_mib(*pid)).sum();
        Sample::from([
            ("client cpu per minute ms", client_micros / 1e3 / count / minutes),
            ("client MiB", resident / count),
            ("server cpu per minute ms", server_micros / 1e3 / minutes),
            ("server MiB", resident_mib(*server)),
        ])
    });
    table.print(&format!("{} idle client agents of one server, each", plan.agents));
}

impl Pool {
    fn start(program: &Path, clients: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut pool = Self { agents: Vec::new(), network: Network::new(0), folder };
        for nth in 0..=clients {
            pool.launch(program, nth);
            if nth % BATCH == 0 || nth == clients {
                pool.await_members(nth + 1);
            }
        }
        let pids = pool.pids();
        await_rest(&pids);
        pool
    }

    fn launch(&mut self, program: &Path, nth: usize) {
        let path = |what: &str| self.folder.path().join(format!("{nth}.{what}"));
        let file = path("json");
        std::fs::write(&file, settings(nth, &path("data")).to_string())
            .expect("a file can be written");
        let arg = format!("-config-file={}", file.display());
        // A program runs in the network of the thread that starts it.
        let agent =
            self.network.inside(|| Background::start(program, &["agent", &arg], path("log")));
        self.agents.push(agent);
    }

    fn pids(&self) -> Vec<u32> {
        self.agents.iter().map(Background::pid).collect()
    }

    /// Waits until the server has `count` agents in its catalog.
    fn await_members(&self, count: usize) {
        let limit = JOIN_MAX.max(JOIN_MAX_EACH * count as u32);
        let http = Client::new(
            (address(0).as_str().parse::<std::net::Ipv4Addr>().expect("an address"), 8500).into(),
        );
        self.network.inside(|| {
            wait::until(&format!("{count} agents in the catalog"), limit, || {
                let nodes = http.get("/v1/catalog/nodes").ok().filter(|a| a.status == 200)?;
                (nodes.json().as_array().map_or(0, Vec::len) >= count).then_some(())
            });
        });
    }
}

fn address(nth: usize) -> String {
    format!("127.0.{}.{}", nth / 250, nth % 250 + 1)
}

fn settings(nth: usize, data: &Path) -> Value {
    let mut settings = json!({
        "datacenter": "dc1",
        "node_name": format!("node{nth}"),
        "bind_addr": address(nth),
        "client_addr": address(nth),
        "data_dir": data.to_string_lossy(),
        "server": nth == 0,
        "retry_join": [address(0)],
        "retry_interval": "1s",
        "disable_update_check": true,
        "ports": { "grpc": -1 },
        "limits": { "rpc_max_conns_per_client": 10_000 },
        "log_level": "WARN",
    });
    if nth == 0 {
        settings["bootstrap"] = json!(true);
        settings["connect"] = json!({ "enabled": true });
        settings.as_object_mut().expect("an object").remove("retry_join");
    }
    settings
}
