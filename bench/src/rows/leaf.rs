//! Issuing leaf certificates for services nobody asked for before.

use super::servers::{OURS, Pair, THEIRS};
use crate::Plan;
use crate::load::{HttpLoad, wrk};
use crate::report::Table;

pub(crate) fn issuance(plan: &Plan) {
    let pair = Pair::start(plan);
    let mut round = 0;
    let table = Table::measure(plan.passes, &[OURS, THEIRS], |subject| {
        round += 1;
        let script = format!(
            "local counter = 0\nrequest = function()\n  counter = counter + 1\n  return \
             wrk.format(\"GET\", \"/v1/agent/connect/ca/leaf/s-{round}-\" .. counter)\nend\n"
        );
        let agent = pair.of(subject);
        wrk(&HttpLoad {
            address: agent.address(agent.ports.http),
            path: "/",
            script: Some(&script),
            connections: 8,
            seconds: plan.seconds,
            pids: &[agent.pid()],
        })
    });
    table.print("GET of leaves for distinct services, 8 connections, caps off");
}
