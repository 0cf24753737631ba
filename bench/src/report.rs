//! Passes over several subjects in turn, and the table that comes of them.

use std::collections::BTreeMap;

/// One measurement of one subject. Units are in the column titles.
pub(crate) type Sample = BTreeMap<&'static str, f64>;

/// Columns where less is better.
fn less_is_better(column: &str) -> bool {
    ["us", "ms", "ns", "MiB", "KiB", "bytes", "s", "failed", "dropped", "lost"]
        .iter()
        .any(|unit| column.ends_with(unit))
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

    /// As [`Table::measure`], where one measurement yields a sample for each of several tables,
    /// always the same ones in the same order.
    pub(crate) fn measure_series(
        passes: usize,
        subjects: &[&'static str],
        mut measure: impl FnMut(&'static str) -> Vec<Sample>,
    ) -> Vec<Self> {
        let mut tables: Vec<Self> = Vec::new();
        // The protocol is that of one table; what it keeps of each series is of no use.
        Self::measure(passes, subjects, |subject| {
            let series = measure(subject);
            let nth = subjects.iter().position(|name| *name == subject).unwrap_or_default();
            tables.resize_with(series.len().max(tables.len()), || Self {
                subjects: subjects.to_vec(),
                samples: vec![Vec::new(); subjects.len()],
            });
            for (table, sample) in tables.iter_mut().zip(series) {
                table.samples[nth].push(sample);
            }
            Sample::new()
        });
        tables
    }

    /// The median of a column of one subject.
    pub(crate) fn median(&self, subject: &str, column: &str) -> f64 {
        self.quantile(subject, column, 0.5)
    }

    /// What `share` of the samples of a column of one subject do not exceed.
    pub(crate) fn quantile(&self, subject: &str, column: &str, share: f64) -> f64 {
        let nth = self.subjects.iter().position(|name| *name == subject);
        let mut values = nth.map_or(Vec::new(), |nth| values(&self.samples[nth], column));
        values.sort_by(f64::total_cmp);
        let rank = (values.len() as f64 * share) as usize;
        values.get(rank.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn subjects(&self) -> &[&'static str] {
        &self.subjects
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

/// Prints for each subject the line `cost = a + b * size` that fits `column` best over all tables, each
/// of which was measured at one of `sizes`. Points are weighed by their own size, so that all decades
/// count alike.
pub(crate) fn print_growth(tables: &[Table], sizes: &[usize], column: &str, unit: &str) {
    for subject in tables.first().map(Table::subjects).unwrap_or_default() {
        let points: Vec<(f64, f64)> = sizes
            .iter()
            .zip(tables)
            .map(|(size, table)| (*size as f64, table.median(subject, column)))
            .collect();
        let (a, b) = line_through(&points);
        println!("{subject}: {column} = {} + {} x {unit}", number(a), number(b));
    }
    println!();
}

/// Least squares of relative distance.
fn line_through(points: &[(f64, f64)]) -> (f64, f64) {
    let (mut w, mut wx, mut wy, mut wxx, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in points {
        let weight = 1.0 / (y * y).max(1e-9);
        w += weight;
        wx += weight * x;
        wy += weight * y;
        wxx += weight * x * x;
        wxy += weight * x * y;
    }
    let b = (w * wxy - wx * wy) / (w * wxx - wx * wx);
    ((wy - b * wx) / w, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let points: Vec<(f64, f64)> =
            [1.0, 10.0, 100.0, 1000.0].map(|x| (x, 40.0 + 8.0 * x)).to_vec();
        let (a, b) = line_through(&points);
        assert!((a - 40.0).abs() < 1e-6 && (b - 8.0).abs() < 1e-6, "{a} {b}");
    }

    #[test]
    fn a_series_of_samples_becomes_as_many_tables() {
        let mut nth = 0.0;
        let tables = Table::measure_series(3, &["one", "two"], |_| {
            nth += 1.0;
            vec![Sample::from([("us", nth)]), Sample::from([("us", nth * 10.0)])]
        });
        // Order: one two, two one, one two.
        assert_eq!(tables.len(), 2);
        assert_eq!(tables[0].median("one", "us"), 4.0);
        assert_eq!(tables[1].median("two", "us"), 30.0);
    }
}
