//! `snapshot inspect`: verifies a file and tells what is in it.

use archive::Inspection;

use super::{file_argument, open};
use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file.
    #[arg(value_name = "FILE")]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    let file = open(file_argument(&args.arguments)?)?;
    let inspection = archive::inspect(file).map_err(Failure::during("verifying snapshot"))?;
    output::line(&shown(&inspection));
    Ok(0)
}

fn shown(inspection: &Inspection) -> String {
    let Inspection { metadata, records } = inspection;
    let head = output::pairs(&[
        ("ID", metadata.id.clone()),
        ("Size", metadata.size.to_string()),
        ("Index", metadata.index.to_string()),
        ("Term", metadata.term.to_string()),
        ("Version", metadata.version.to_string()),
    ]);
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let rule = row(["----"; 3]);
    let mut rows = vec![row(["Type", "Count", "Size"]), rule.clone()];
    let mut counts: Vec<_> = records.iter().collect();
    // Largest first.
    counts.sort_by_key(|(_, counted)| std::cmp::Reverse(counted.bytes));
    for (kind, counted) in counts {
        rows.push(vec![kind.to_string(), counted.count.to_string(), size(counted.bytes)]);
    }
    let total = records.values().map(|counted| counted.bytes).sum();
    rows.extend([rule, row(["Total", "", &size(total)])]);
    format!("{head}\n\n{}", output::table(&rows))
}

/// Bytes with one digit behind the point where a larger unit fits.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let text = format!("{value:.1}");
    format!("{}{}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let check = |bytes, want: &str| assert_eq!(size(bytes), want);
        check(0, "0B");
        check(344, "344B");
        check(1024, "1KB");
        check(1740, "1.7KB");
        check(5 << 20, "5MB");
        check(4 << 40, "4TB");
        check(4000 << 40, "4000TB");
    }

    #[test]
    fn a_real_archive_is_shown() {
        let golden = &include_bytes!("../../../archive/testdata/consul-1.8.7.snap")[..];
        let text = shown(&archive::inspect(golden).unwrap());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[2..7],
            ["Index        62", "Term         2", "Version      1", "", lines[6]]
        );
        assert_eq!(lines[8].split_whitespace().collect::<Vec<_>>(), ["KVS", "7", "489.1KB"]);
        assert!(lines.last().unwrap().starts_with("Total"), "{text}");
    }
}
