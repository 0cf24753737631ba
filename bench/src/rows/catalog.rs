//! A large catalog: how fast it fills, what it weighs, how long it takes to save and to read again.

use std::time::Instant;

use testkit::process::{Agent, Spec, consul};

use super::servers::{OURS, THEIRS, instance_on};
use crate::Plan;
use crate::clusters::settings;
use crate::http::Connection;
use crate::report::{Sample, Table};
use crate::usage::{cpu_micros, resident_mib};
use crate::watchers::await_rest;

/// A pass takes the peer some twenty seconds.
const PASSES_MAX: usize = 3;
/// Connections that register at once.
const LOADERS: usize = 32;
/// Instances of each service.
const WIDTH: usize = 100;
/// Instances on each node.
const PER_NODE: usize = 20;

pub(crate) fn size(plan: &Plan) {
    let count = plan.instances;
    let table = Table::measure(plan.passes.min(PASSES_MAX), &[OURS, THEIRS], |subject| {
        let program = if subject == OURS { plan.lictor.clone() } else { consul() };
        let mut agent = Spec::new(program).config(settings()).start();
        let empty = resident_mib(agent.pid());
        let (begin, cpu) = (Instant::now(), cpu_micros(agent.pid()));
        fill(&agent, count);
        let filled = begin.elapsed().as_secs_f64();
        let cpu = cpu_micros(agent.pid()) - cpu;
        await_rest(&[agent.pid()]);
        let full = resident_mib(agent.pid());
        let begin = Instant::now();
        let archive = agent.http().get("/v1/snapshot").expect("the agent answers");
        assert_eq!(archive.status, 200, "a snapshot");
        let saved = begin.elapsed();
        assert!(agent.terminate().code().is_some(), "an orderly stop ends by itself");
        let begin = Instant::now();
        agent.restart();
        let last = format!("/v1/health/service/wide{}", (count - 1) / WIDTH);
        let answer = agent.http().get(&last).expect("the agent answers");
        assert!(answer.text().contains(&format!("-{}\"", count - 1)), "{last} is incomplete");
        Sample::from([
            ("registrations/s", count as f64 / filled),
            ("cpu us", cpu / count as f64),
            ("MiB", full),
            ("KiB each", (full - empty) * 1024.0 / count as f64),
            ("snapshot ms", saved.as_secs_f64() * 1e3),
            ("snapshot MiB", archive.body.len() as f64 / 1048576.0),
            ("restart to first answers ms", begin.elapsed().as_secs_f64() * 1e3),
        ])
    });
    table.print(&format!("{count} instances registered over {LOADERS} connections, then saved"));
}

fn fill(agent: &Agent, count: usize) {
    let address = agent.address(agent.ports.http);
    std::thread::scope(|scope| {
        for loader in 0..LOADERS {
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                for nth in (loader..count).step_by(LOADERS) {
                    let (service, node) = (nth / WIDTH, nth % count.div_ceil(PER_NODE));
                    let body =
                        instance_on(&format!("wide{service}"), nth, &format!("node-{node}"), node);
                    connection.ask("PUT", "/v1/catalog/register", body.to_string().as_bytes());
                }
            });
        }
    });
}
