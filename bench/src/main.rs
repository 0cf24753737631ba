//! The benchmark driver: runs rows of `docs/benchmarks.md`, ours and the peers' in turn within one
//! run, and prints them as tables with ratios, processor time per unit and memory.
//!
//!     cargo run --release -p bench -- [--passes N] [--seconds S] [--instances N] [--agents N] [ROW ...]
//!
//! `--instances` is the size of the catalog in C11, `--agents` the number of idle client agents in G2.
//!
//! Needs `scripts/peers bench` and a release build of the binary (`cargo build --release`).

mod clusters;
mod etcd;
mod http;
mod load;
mod machine;
mod report;
mod rows;
mod usage;
mod watchers;

use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long and how often everything is measured.
pub(crate) struct Plan {
    pub(crate) passes: usize,
    pub(crate) seconds: u64,
    /// Size of the large catalog.
    pub(crate) instances: usize,
    /// Idle client agents of each kind.
    pub(crate) agents: usize,
    /// Our binary.
    pub(crate) lictor: PathBuf,
}

fn main() -> ExitCode {
    raise_open_files();
    let mut plan = Plan { passes: 5, seconds: 3, instances: 20_000, agents: 50, lictor: binary() };
    let mut wanted = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|text| text.parse().ok());
        match arg.as_str() {
            "--passes" => plan.passes = number().unwrap_or(5) as usize,
            "--seconds" => plan.seconds = number().unwrap_or(3),
            "--instances" => plan.instances = number().unwrap_or(20_000) as usize,
            "--agents" => plan.agents = number().unwrap_or(50) as usize,
            row => wanted.push(row.to_uppercase()),
        }
    }
    if !plan.lictor.exists() {
        eprintln!("{} is missing: run cargo build --release first", plan.lictor.display());
        return ExitCode::FAILURE;
    }
    let unknown: Vec<&String> =
        wanted.iter().filter(|name| rows::ALL.iter().all(|row| row.id != **name)).collect();
    if !unknown.is_empty() {
        let known: Vec<&str> = rows::ALL.iter().map(|row| row.id).collect();
        eprintln!("no row {unknown:?}; there are {}", known.join(" "));
        return ExitCode::FAILURE;
    }
    println!("{}", machine::describe());
    let mut result = ExitCode::SUCCESS;
    for row in rows::ALL {
        if wanted.is_empty() || wanted.iter().any(|name| name == row.id) {
            println!("\n### {}: {}\n", row.id, row.title);
            // What one row stumbles over does not cost the others their figures.
            if std::panic::catch_unwind(|| (row.run)(&plan)).is_err() {
                println!("{} was not measured.\n", row.id);
                result = ExitCode::FAILURE;
            }
        }
    }
    result
}

/// The release build beside which this driver was built.
fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().map(|folder| folder.join("lictor")).unwrap_or_default()
}

/// Watchers and their servers need a file each: as many as are allowed, for everything started here.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // A smaller limit shows where it matters.
    let _ = setrlimit(Resource::Nofile, raised);
}
