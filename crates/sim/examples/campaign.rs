//! Many seeds in slices that can be resumed: each slice goes on where the ledger ends and adds a
//! line to it.
//!
//!     cargo run --release -p sim --example campaign -- [--minutes N] [--seeds N] [--first N] [--drift]
//!
//! With `--first` it begins there and writes nothing down, which is for looking.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use sim::{Cluster, ClusterReport, ClusterSettings, Drift};

const LEDGER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ledger.tsv");
const HEADING: &str = "commit\tfirst seed\tlast seed\tdrift\tsimulated hours\tfaults\tcrashes\t\
    elections\tmembership changes\toperations\tjudged\tundecided\tstale reads\twoken\tverdict";

struct Slice {
    first: Option<u64>,
    seeds: u64,
    minutes: u64,
    drift: Drift,
}

impl Slice {
    fn from_arguments() -> Result<Self, String> {
        let mut slice = Self { first: None, seeds: u64::MAX, minutes: 5, drift: Drift::Within };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--drift" {
                slice.drift = Drift::Beyond;
                continue;
            }
            let value = arguments.next().and_then(|text| text.parse().ok());
            let value = value.ok_or_else(|| format!("{name} wants a number"))?;
            match name.as_str() {
                "--first" => slice.first = Some(value),
                "--seeds" => slice.seeds = value,
                "--minutes" => slice.minutes = value,
                _ => return Err(format!("{name} is unknown")),
            }
        }
        Ok(slice)
    }
}

fn main() -> ExitCode {
    let slice = match Slice::from_arguments() {
        Ok(slice) => slice,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::from(2);
        }
    };
    match run(&slice) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("could not keep the ledger: {e}");
            ExitCode::from(2)
        }
    }
}

fn run(slice: &Slice) -> io::Result<usize> {
    let first = match slice.first {
        Some(first) => first,
        None => last_seed(slice.drift)? + 1,
    };
    // A panic is a violation; its own words are in it.
    std::panic::set_hook(Box::new(|_| {}));
    let deadline = Instant::now() + Duration::from_secs(60 * slice.minutes);
    let mut total = ClusterReport::default();
    let mut broken = Vec::new();
    let mut seed = first;
    while Instant::now() < deadline && seed - first < slice.seeds {
        let settings = ClusterSettings { drift: slice.drift, ..ClusterSettings::drawn(seed) };
        match Cluster::run(seed, settings) {
            Ok(report) => total.add(&report),
            Err(violation) => {
                // The whole story of one, a line of each of many.
                let lines = if slice.seeds == 1 { usize::MAX } else { 1 };
                let what: Vec<&str> = violation.what.lines().take(lines).collect();
                println!("seed {}: {}", violation.seed, what.join("\n"));
                broken.push(violation.seed);
            }
        }
        seed += 1;
    }
    println!("seeds {first} to {}: {total:?}", seed - 1);
    if slice.first.is_none() && seed > first {
        write_down(first, seed - 1, slice.drift, &total, &broken)?;
    }
    Ok(broken.len())
}

fn last_seed(drift: Drift) -> io::Result<u64> {
    if !Path::new(LEDGER).exists() {
        return Ok(0);
    }
    let mut last = 0;
    for line in BufReader::new(File::open(LEDGER)?).lines() {
        let line = line?;
        let columns: Vec<&str> = line.split('\t').collect();
        if columns.get(3) == Some(&name(drift)) {
            last = last.max(columns[2].parse().unwrap_or_default());
        }
    }
    Ok(last)
}

fn write_down(
    first: u64,
    last: u64,
    drift: Drift,
    total: &ClusterReport,
    broken: &[u64],
) -> io::Result<()> {
    let is_new = !Path::new(LEDGER).exists();
    let mut ledger = OpenOptions::new().create(true).append(true).open(LEDGER)?;
    if is_new {
        writeln!(ledger, "{HEADING}")?;
    }
    let hours = total.simulated.as_secs_f64() / 3600.0;
    let verdict = match broken {
        [] => "kept".to_owned(),
        broken => format!("broken by seeds {broken:?}"),
    };
    let ClusterReport { faults, crashes, elections, membership_changes, answered, .. } = total;
    let ClusterReport { judged, undecided, stale_reads, woken, .. } = total;
    writeln!(
        ledger,
        "{}\t{first}\t{last}\t{}\t{hours:.1}\t{faults}\t{crashes}\t{elections}\t\
         {membership_changes}\t{answered}\t{judged}\t{undecided}\t{stale_reads}\t{woken}\t{verdict}",
        commit(),
        name(drift)
    )
}

fn name(drift: Drift) -> &'static str {
    match drift {
        Drift::Within => "within",
        Drift::Beyond => "beyond",
    }
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| "unknown".into(), |text| text.trim().to_owned())
}
