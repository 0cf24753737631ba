//! The text format Prometheus reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Key, Kind, Series, Values};

pub(super) fn render(series: &BTreeMap<Key, Series>) -> String {
    let mut text = String::new();
    let mut headed = None;
    for (key, series) in series {
        let name = flat_name(&key.name);
        if headed != Some((key.kind, name.clone())) {
            let kind = match key.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
                Kind::Sample => "summary",
            };
            let _ = writeln!(text, "# HELP {name} {name}\n# TYPE {name} {kind}");
            headed = Some((key.kind, name.clone()));
        }
        let values = series.0.values.lock();
        let labels = |extra: Option<(&str, &str)>| label_set(&key.labels, extra);
        // Writing to a text cannot fail.
        let _ = match key.kind {
            Kind::Gauge => writeln!(text, "{name}{} {}", labels(None), values.total.latest),
            Kind::Counter => writeln!(text, "{name}{} {}", labels(None), values.total.sum),
            Kind::Sample => {
                for (quantile, shown) in [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")] {
                    let value = recent_quantile(&values, quantile);
                    let _ = writeln!(text, "{name}{} {value}", labels(Some(("quantile", shown))));
                }
                let (sum, count) = (values.total.sum, values.total.count);
                let set = labels(None);
                writeln!(text, "{name}_sum{set} {sum}\n{name}_count{set} {count}")
            }
        };
    }
    text
}

/// Over the latest samples, nearest rank; `NaN` when there are none.
fn recent_quantile(values: &Values, quantile: f64) -> f32 {
    let mut recent = values.recent.clone();
    recent.sort_by(f32::total_cmp);
    let rank = (quantile * recent.len() as f64).ceil() as usize;
    recent.get(rank.saturating_sub(1)).copied().unwrap_or(f32::NAN)
}

fn flat_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' }).collect()
}

fn label_set(labels: &[(String, String)], extra: Option<(&str, &str)>) -> String {
    let all: Vec<String> = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain(extra)
        .map(|(name, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{}=\"{value}\"", flat_name(name))
        })
        .collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}
