//! DNS answers by the width of the service asked for.

use super::servers::{OURS, Pair, THEIRS, register_instances};
use crate::Plan;
use crate::load::dnsperf;
use crate::report::Table;

pub(crate) fn by_width(plan: &Plan) {
    let pair = Pair::start(plan);
    for width in [1, 10, 100, 1000] {
        let service = format!("wide{width}");
        register_instances(&pair, &service, width);
        for qtype in ["A", "SRV"] {
            ask(plan, &pair, &format!("{service}.service.consul {qtype}"));
        }
    }
}

pub(crate) fn others(plan: &Plan) {
    let pair = Pair::start(plan);
    ask(plan, &pair, "nobody.service.consul A");
}

fn ask(plan: &Plan, pair: &Pair, question: &str) {
    let table = Table::measure(plan.passes, &[OURS, THEIRS], |subject| {
        let agent = pair.of(subject);
        dnsperf(agent.address(agent.ports.dns), question, plan.seconds, agent.pid())
    });
    table.print(question);
}
