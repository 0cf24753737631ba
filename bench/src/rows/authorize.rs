//! Authorization of a connection, asked over HTTP.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use agent::testing::FakeCluster;
use agent::{Agent, AgentSettings, Life};
use model::intention::{Intention, IntentionAction};
use rpc::Cluster;
use serde_json::{Value, json};
use testkit::request::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::servers::{OURS, Pair, THEIRS, instance};
use crate::Plan;
use crate::clusters::Clusters;
use crate::http::Connection;
use crate::load::{HttpLoad, wrk};
use crate::report::{Sample, Table, print_growth};
use crate::usage::network_bytes;
use crate::watchers::await_rest;

pub(crate) fn over_http(plan: &Plan) {
    let pair = Pair::start(plan);
    let mut present = 0;
    for intentions in [1, 1000] {
        for agent in pair.both() {
            add_intentions(agent.http(), present..intentions);
        }
        present = intentions;
        let script = |agent: &testkit::process::Agent| {
            format!("wrk.method = \"POST\"\nwrk.body = '{}'\n", question(agent.http()))
        };
        for connections in [1, 32] {
            let table = Table::measure(plan.passes, &[OURS, THEIRS], |subject| {
                let agent = pair.of(subject);
                wrk(&HttpLoad {
                    address: agent.address(agent.ports.http),
                    path: "/v1/agent/connect/authorize",
                    script: Some(&script(agent)),
                    connections,
                    seconds: plan.seconds,
                    pids: &[agent.pid()],
                })
            });
            table.print(&format!(
                "authorize under {intentions} intentions, {connections} connections"
            ));
        }
    }
}

/// Decisions of an agent that has the intentions in memory, without HTTP. There is no peer that could
/// be called like that; a look-up in a plain hash table stands for the least it can cost.
pub(crate) fn in_process(plan: &Plan) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    let mut tables = Vec::new();
    let sizes = [1, 1000, 100_000];
    for intentions in sizes {
        let decisions = runtime.block_on(Decisions::prepare(intentions));
        let table = Table::measure(plan.passes, &[OURS, "hash look-up"], |subject| {
            Sample::from([("ns", decisions.nanos(subject == OURS))])
        });
        table.print(&format!("one decision under {intentions} intentions"));
        tables.push(table);
    }
    print_growth(&tables, &sizes, "ns", "intentions");
}

/// An agent that follows intentions, and questions it allows.
struct Decisions {
    agent: Arc<Agent>,
    uris: Vec<String>,
    known: HashMap<String, bool>,
}

impl Decisions {
    async fn prepare(intentions: usize) -> Self {
        const CLUSTER_ID: &str = "11111111-2222-3333-4444-555555555555";
        let cluster = FakeCluster::new();
        let rule = |nth: usize| Intention {
            id: format!("id-{nth}"),
            source_namespace: "default".into(),
            source_name: format!("source{nth}"),
            destination_namespace: "default".into(),
            destination_name: "db".into(),
            action: IntentionAction::Allow,
            ..Intention::default()
        };
        cluster.set_intentions((0..intentions).map(rule).collect());
        let cluster: Arc<dyn Cluster> = cluster;
        let life = Life { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let settings = AgentSettings::default();
        let alone = agent::Alone::new(&settings);
        let agent = Agent::start(settings, cluster, alone, life);
        let agent = agent.await.expect("an agent without a folder starts");
        // A thousand sources spread over all: more than any one answer kept would serve.
        let sources = (0..intentions).step_by(intentions.div_ceil(1000));
        let uris: Vec<String> = sources
            .map(|nth| format!("spiffe://{CLUSTER_ID}.consul/ns/default/dc/dc1/svc/source{nth}"))
            .collect();
        let known = uris.iter().map(|uri| (uri.clone(), true)).collect();
        let decision = agent.authorize("db", &uris[0], "").await;
        assert!(decision.expect("the agent decides").authorized, "the intention allows it");
        Self { agent, uris, known }
    }

    /// Of one decision, or one look-up.
    fn nanos(&self, is_decision: bool) -> f64 {
        const ROUNDS: usize = 1_000_000;
        let begin = Instant::now();
        for uri in self.uris.iter().cycle().take(ROUNDS) {
            match is_decision {
                true => drop(black_box(self.agent.authorize_now("db", black_box(uri)))),
                false => _ = black_box(self.known.get(black_box(uri))),
            }
        }
        begin.elapsed().as_nanos() as f64 / ROUNDS as f64
    }
}

/// May source0 connect to db?
fn question(http: Client) -> Value {
    let roots = http.get("/v1/agent/connect/ca/roots").expect("the agent answers");
    let domain = roots.json()["TrustDomain"].as_str().unwrap_or_default().to_owned();
    json!({
        "Target": "db",
        "ClientCertURI": format!("spiffe://{domain}/ns/default/dc/dc1/svc/source0"),
        "ClientCertSerial": "01",
    })
}

/// Allows numbered sources to connect to db.
fn add_intentions(http: Client, numbers: Range<usize>) {
    for nth in numbers {
        let body = json!({
            "SourceName": format!("source{nth}"), "DestinationName": "db", "Action": "allow",
        });
        let body = body.to_string();
        let answer = http.send("POST", "/v1/connect/intentions", &[], body.as_bytes());
        assert_eq!(answer.expect("the agent answers").status, 200);
    }
}

/// Instances that join in A3, of the destination and of a source.
const JOINING: usize = 1000;

/// What goes over the server's network while instances join, with a client agent that follows the
/// intentions: it must not depend on how many of these there are.
pub(crate) fn bytes_of_joining(plan: &Plan) {
    let clusters = Clusters::start(plan, 1, 1);
    let sizes = [1, 1000];
    let (mut present, mut round) = (0, 0);
    let mut tables = Vec::new();
    for intentions in sizes {
        for cluster in [&clusters.ours, &clusters.theirs] {
            let (server, client) = (cluster.http(0), cluster.http(1));
            cluster.inside(|| {
                add_intentions(server, present..intentions);
                let service = json!({
                    "Name": "db", "Port": 8000, "Connect": { "SidecarService": { "Checks": [] } },
                });
                client.put("/v1/agent/service/register", service.to_string()).expect("answers");
                let body = question(client).to_string();
                let path = "/v1/agent/connect/authorize";
                let answer = client.send("POST", path, &[], body.as_bytes()).expect("answers");
                assert!(answer.text().contains("true"), "{answer}");
            });
        }
        present = intentions;
        let table = Table::measure(plan.passes, &[OURS, THEIRS], |subject| {
            round += 1;
            let cluster = clusters.of(subject);
            let pids = [cluster.pid(0), cluster.pid(1)];
            await_rest(&pids);
            let before = network_bytes(pids[0]);
            let address = cluster.http(1).address;
            cluster.inside(|| {
                let mut connection = Connection::open(address);
                for nth in 0..JOINING {
                    let service = ["db", "source0"][nth % 2];
                    let body = instance(service, round * JOINING + nth).to_string();
                    connection.ask("PUT", "/v1/catalog/register", body.as_bytes());
                }
            });
            await_rest(&pids);
            let bytes = network_bytes(pids[0]) - before;
            Sample::from([("bytes", bytes / JOINING as f64)])
        });
        table.print(&format!(
            "bytes on the server's network per instance, {JOINING} join under {intentions} intentions"
        ));
        tables.push(table);
    }
    for subject in [OURS, THEIRS] {
        let [few, many] = [0, 1].map(|nth: usize| tables[nth].median(subject, "bytes"));
        let more = sizes[1] - sizes[0];
        println!("{subject}: {:.1} bytes more per instance for {more} more intentions", many - few);
    }
    println!();
}
