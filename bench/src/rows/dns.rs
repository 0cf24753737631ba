//! DNS answers by the width of the service asked for.

use super::servers::{OURS, Pair, THEIRS, register_instances};
use crate::Plan;
use crate::load::dnsperf;
use crate::report::{Sample, Table, print_growth};

/// Up to how many questions a second dnsperf sends at the rate it is told, on this sort of machine.
const PACED_MAX: f64 = 100_000.0;

const WIDTHS: [usize; 4] = [1, 10, 100, 1000];

pub(crate) fn by_width(plan: &Plan) {
    let pair = Pair::start(plan);
    let mut by_type = [Vec::new(), Vec::new()];
    for width in WIDTHS {
        let service = format!("wide{width}");
        register_instances(&pair, &service, width);
        for (qtype, tables) in ["A", "SRV"].into_iter().zip(&mut by_type) {
            tables.push(ask(plan, &pair, &format!("{service}.service.consul {qtype}"), &[]));
        }
    }
    for (qtype, tables) in ["A", "SRV"].into_iter().zip(&by_type) {
        println!("{qtype}:");
        print_growth(tables, &WIDTHS, "cpu us", "instances");
    }
}

pub(crate) fn others(plan: &Plan) {
    let pair = Pair::start(plan);
    ask(plan, &pair, "nobody.service.consul A", &[]);
    register_instances(&pair, "wide10", 10);
    ask(plan, &pair, "wide10.service.consul A", &["-m", "tcp"]);
    overload(plan, &pair, "wide10.service.consul A");
}

/// Twice the questions each can answer, as far as the generator can ask them: how many are still
/// answered within a second?
fn overload(plan: &Plan, pair: &Pair, question: &str) {
    let table = Table::measure(plan.passes, &[OURS, THEIRS], |subject| {
        let agent = pair.of(subject);
        let load = |options: &[&str]| {
            let address = agent.address(agent.ports.dns);
            dnsperf(address, question, plan.seconds, agent.pid(), options)
        };
        let capacity = load(&[])["queries/s"];
        let rate = format!("{:.0}", capacity * 2.0);
        let asked = match capacity * 2.0 < PACED_MAX {
            true => load(&["-t", "1", "-q", "60000", "-Q", &rate]),
            // Faster than the generator keeps time for: as fast as it can. It slows down itself when
            // it has more questions open.
            false => load(&["-t", "1", "-q", "5000"]),
        };
        let sent = asked["sent/s"];
        Sample::from([
            ("capacity/s", capacity),
            ("times capacity asked", sent / capacity),
            ("answered within 1 s %", 100.0 * asked["answered share"]),
            ("average us", asked["average us"]),
        ])
    });
    table.print(&format!("{question}, twice as many as can be answered"));
}

fn ask(plan: &Plan, pair: &Pair, question: &str, options: &[&str]) -> Table {
    let table = Table::measure(plan.passes, &[OURS, THEIRS], |subject| {
        let agent = pair.of(subject);
        let address = agent.address(agent.ports.dns);
        let mut sample = dnsperf(address, question, plan.seconds, agent.pid(), options);
        sample.retain(|column, _| !["sent/s", "answered share"].contains(column));
        sample
    });
    table.print(&[&[question], options].concat().join(" "));
    table
}
