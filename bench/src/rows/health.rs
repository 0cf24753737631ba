//! Health reads of services of several widths.

use super::servers::{OURS, Pair, THEIRS, register_instances};
use crate::Plan;
use crate::load::{HttpLoad, wrk};
use crate::report::Table;

pub(crate) fn reads(plan: &Plan) {
    let pair = Pair::start(plan);
    for width in [10, 100, 1000] {
        let service = format!("wide{width}");
        register_instances(&pair, &service, width);
        let table = Table::measure(plan.passes, &[OURS, THEIRS], |subject| {
            let agent = pair.of(subject);
            wrk(&HttpLoad {
                address: agent.address(agent.ports.http),
                path: &format!("/v1/health/service/{service}?passing"),
                script: None,
                connections: 32,
                seconds: plan.seconds,
                pids: &[agent.pid()],
            })
        });
        table.print(&format!("GET /v1/health/service of {width} instances, 32 connections"));
    }
}
