//! Passes over several subjects in turn, and the table that comes of them.

use std::collections::BTreeMap;

/// One measurement of one subject. Units are in the column titles.
pub(crate) type Sample = BTreeMap<&'static str, f64>;

/// Columns where less is better.
fn less_is_better(column: &str) -> bool {
    ["us", "ms", "ns", "MiB", "s", "failed"].iter().any(|unit| column.ends_with(unit))
        && !column.ends_with("/s")
}

/// All samples of one table: per subject one per pass.
pub(crate) struct Table {
    subjects: Vec<&'static str>,
    samples: Vec<Vec<Sample>>,
}

impl Table {
    /// Measures every subject once per pass, in turn, the order reversed every other pass. The
    /// first subject is ours.
    pub(crate) fn measure(
        passes: usize,
        subjects: &[&'static str],
        mut measure: impl FnMut(&'static str) -> Sample,
    ) -> Self {
        let mut samples = vec![Vec::new(); subjects.len()];
        for pass in 0..passes {
            let mut order: Vec<usize> = (0..subjects.len()).collect();
            if pass % 2 == 1 {
                order.reverse();
            }
            for nth in order {
                samples[nth].push(measure(subjects[nth]));
            }
        }
        Self { subjects: subjects.to_vec(), samples }
    }

    /// Prints medians with their range, then our ratio to each peer pass by pass (above 1: ours is
    /// better).
    pub(crate) fn print(&self, title: &str) {
        let columns: Vec<&'static str> = self
            .samples
            .first()
            .and_then(|samples| samples.first())
            .map(|sample| sample.keys().copied().collect())
            .unwrap_or_default();
        println!("{title}\n");
        println!("| | {} |", columns.join(" | "));
        println!("|---|{}", "---|".repeat(columns.len()));
        for (subject, samples) in self.subjects.iter().zip(&self.samples) {
            let cells: Vec<String> =
                columns.iter().map(|column| spread(values(samples, column))).collect();
            println!("| {subject} | {} |", cells.join(" | "));
        }
        for (peer, theirs) in self.subjects.iter().zip(&self.samples).skip(1) {
            let cells: Vec<String> = columns
                .iter()
                .map(|column| {
                    let ratios = values(&self.samples[0], column)
                        .into_iter()
                        .zip(values(theirs, column))
                        .filter(|(ours, theirs)| *ours > 0.0 && *theirs > 0.0)
                        .map(|(ours, theirs)| match less_is_better(column) {
                            true => theirs / ours,
                            false => ours / theirs,
                        })
                        .collect();
                    format!("x {}", spread(ratios))
                })
                .collect();
            println!("| ratio to {peer} | {} |", cells.join(" | "));
        }
        println!();
    }
}

fn values(samples: &[Sample], column: &str) -> Vec<f64> {
    samples.iter().filter_map(|sample| sample.get(column).copied()).collect()
}

/// `median (min-max)`.
fn spread(mut values: Vec<f64>) -> String {
    if values.is_empty() {
        return "-".to_owned();
    }
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    match values.as_slice() {
        [_] => number(median),
        [min, .., max] => format!("{} ({}-{})", number(median), number(*min), number(*max)),
        [] => unreachable!("checked above"),
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
