//! The servers compared: ours and the real one, set up alike.

use serde_json::{Value, json};
use testkit::process::{Agent, Spec, consul};

use crate::Plan;

pub(crate) const OURS: &str = "lictor";
pub(crate) const THEIRS: &str = "consul 1.8.7";

/// A server of each kind that keeps its data, limits out of the way of the load.
pub(crate) struct Pair {
    pub(crate) ours: Agent,
    pub(crate) theirs: Agent,
}

impl Pair {
    pub(crate) fn start(plan: &Plan) -> Self {
        let limits = json!({
            "limits": { "http_max_conns_per_client": 900 },
            "log_level": "WARN",
            "connect": {
                "enabled": true,
                "ca_config": { "csr_max_per_second": 0, "csr_max_concurrent": 2 },
            },
        });
        let start = |spec: Spec| spec.config(limits.clone()).start();
        Self { ours: start(Spec::new(&plan.lictor)), theirs: start(Spec::new(consul())) }
    }

    pub(crate) fn both(&self) -> [&Agent; 2] {
        [&self.ours, &self.theirs]
    }

    pub(crate) fn of(&self, subject: &str) -> &Agent {
        if subject == OURS { &self.ours } else { &self.theirs }
    }

    /// Sends one request to both; both must accept it.
    pub(crate) fn put(&self, path: &str, body: &str) {
        for agent in self.both() {
            let answer = agent.http().put(path, body).expect("the agent answers");
            assert_eq!(answer.status, 200, "PUT {path}: {}", answer.text());
        }
    }
}

/// `count` instances of `service`, each on a node of its own, with one passing check.
pub(crate) fn register_instances(pair: &Pair, service: &str, count: usize) {
    for nth in 0..count {
        pair.put("/v1/catalog/register", &instance(service, nth).to_string());
    }
}

/// The registration of one instance on a node of its own.
pub(crate) fn instance(service: &str, nth: usize) -> Value {
    instance_on(service, nth, &format!("{service}-node-{nth}"), nth)
}

/// The registration of one instance on a node, whose address is made of `address`.
pub(crate) fn instance_on(service: &str, nth: usize, node: &str, address: usize) -> Value {
    json!({
        "Node": node,
        "Address": format!("10.{}.{}.{}", address / 65536, address / 256 % 256, address % 256),
        "Service": {
            "ID": format!("{service}-{nth}"), "Service": service, "Port": 8000,
            "Tags": ["v1", "primary"], "Meta": { "version": "1" },
        },
        "Checks": [
            { "Node": node, "CheckID": "serfHealth", "Name": "Serf Health Status",
              "Status": "passing", "Output": "Agent alive and reachable" },
            { "Node": node, "CheckID": format!("service:{service}-{nth}"), "Name": "port",
              "Status": "passing", "ServiceID": format!("{service}-{nth}"),
              "ServiceName": service },
        ],
    })
}
