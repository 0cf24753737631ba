//! Authorization of a connection, asked over HTTP.

use std::ops::Range;

use serde_json::{Value, json};
use testkit::request::Client;

use super::servers::{OURS, Pair, THEIRS, instance};
use crate::Plan;
use crate::clusters::Clusters;
use crate::http::Connection;
use crate::load::{HttpLoad, wrk};
use crate::report::{Sample, Table};
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
