//! What it costs to be there: memory at rest, size on disk, time to the first answer.

use std::time::Instant;

use testkit::process::{Spec, consul};

use super::servers::{OURS, THEIRS};
use crate::Plan;
use crate::report::{Sample, Table};
use crate::usage::{cpu_micros, resident_mib};

pub(crate) fn idle(plan: &Plan) {
    let table = Table::measure(plan.passes, &[OURS, THEIRS], |subject| {
        let program = if subject == OURS { plan.lictor.clone() } else { consul() };
        let size = std::fs::metadata(&program).map_or(0, |data| data.len());
        let start = Instant::now();
        let agent = Spec::new(&program).start();
        let ready = start.elapsed();
        let cpu = cpu_micros(agent.pid());
        std::thread::sleep(std::time::Duration::from_secs(plan.seconds));
        Sample::from([
            ("idle MiB", resident_mib(agent.pid())),
            ("binary MiB", size as f64 / 1048576.0),
            ("to first answers ms", ready.as_secs_f64() * 1e3),
            ("idle cpu per second us", (cpu_micros(agent.pid()) - cpu) / plan.seconds as f64),
        ])
    });
    table.print("one server with data on disk");
}
