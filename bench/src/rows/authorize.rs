//! Authorization of a connection, asked over HTTP.

use serde_json::json;

use super::servers::{OURS, Pair, THEIRS};
use crate::Plan;
use crate::load::{HttpLoad, wrk};
use crate::report::Table;

pub(crate) fn over_http(plan: &Plan) {
    let pair = Pair::start(plan);
    let mut present = 0;
    for intentions in [1, 1000] {
        for nth in present..intentions {
            let body = json!({
                "SourceName": format!("source{nth}"), "DestinationName": "db", "Action": "allow",
            });
            for agent in pair.both() {
                let body = body.to_string();
                let answer =
                    agent.http().send("POST", "/v1/connect/intentions", &[], body.as_bytes());
                assert_eq!(answer.expect("the agent answers").status, 200);
            }
        }
        present = intentions;
        let script = |agent: &testkit::process::Agent| {
            let roots = agent.http().get("/v1/agent/connect/ca/roots").expect("the agent answers");
            let domain = roots.json()["TrustDomain"].as_str().unwrap_or_default().to_owned();
            format!(
                "wrk.method = \"POST\"\nwrk.body = '{}'\n",
                json!({
                    "Target": "db",
                    "ClientCertURI": format!("spiffe://{domain}/ns/default/dc/dc1/svc/source0"),
                    "ClientCertSerial": "01",
                })
            )
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
