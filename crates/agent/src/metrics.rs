//! Measurements of this process: counters, gauges and samples in intervals of ten seconds, as the
//! metrics endpoint shows them.
//!
//! Recording costs one short lock of its own series and no clock; a ticker closes the intervals.
//! Whoever records often keeps a [`Series`]. The numbers say something about speed and load, never
//! about names of users' data beyond the labels given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::time::Timestamp;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;

mod prometheus;

/// Length of an interval.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Different series kept at most; further ones are dropped, for labels may come from requests.
pub const SERIES_MAX: usize = 10_000;
/// Latest samples of a series kept for quantiles.
const RECENT_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Gauge,
    Counter,
    Sample,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    name: String,
    labels: Vec<(String, String)>,
}

/// One measured thing. Cheap to clone and to record into.
#[derive(Clone, Debug)]
pub struct Series(Arc<Cell>);

#[derive(Debug, Default)]
struct Cell {
    values: Mutex<Values>,
}

#[derive(Debug, Default)]
struct Values {
    current: Aggregate,
    last: Aggregate,
    total: Aggregate,
    /// Ring of the latest samples.
    recent: Vec<f32>,
    next: usize,
}

/// What is known of the values recorded in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Aggregate {
    count: u64,
    sum: f64,
    square_sum: f64,
    min: f64,
    max: f64,
    latest: f64,
}

impl Aggregate {
    fn add(&mut self, value: f64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += value;
        self.square_sum += value * value;
        self.latest = value;
    }

    fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// Deviation of the sample, zero for fewer than two values.
    fn deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let count = self.count as f64;
        let spread = count * self.square_sum - self.sum * self.sum;
        (spread.max(0.0) / (count * (count - 1.0))).sqrt()
    }
}

impl Series {
    /// Adds to a counter, sets a gauge, or takes a sample, as the series was made.
    pub fn record(&self, value: f64) {
        let mut values = self.0.values.lock();
        values.current.add(value);
        values.total.add(value);
        if values.recent.len() < RECENT_MAX {
            values.recent.push(value as f32);
        } else {
            let next = values.next % RECENT_MAX;
            values.recent[next] = value as f32;
        }
        values.next = values.next.wrapping_add(1);
    }

    /// Takes the time since `start` as a sample. Unit: milliseconds.
    pub fn record_since(&self, start: std::time::Instant) {
        self.record(start.elapsed().as_secs_f64() * 1000.0);
    }
}

/// The registry of all series.
#[derive(Debug)]
pub struct Metrics {
    prefix: String,
    /// Put between prefix and name of gauges, when shown at all.
    hostname: Option<String>,
    series: RwLock<BTreeMap<Key, Series>>,
    interval_started: Mutex<Started>,
    has_prometheus: bool,
}

#[derive(Debug)]
struct Started {
    current: Timestamp,
    /// `None` until the first interval is over.
    last: Option<Timestamp>,
}

impl Metrics {
    /// `hostname` is put into the names of gauges; `None` leaves it out.
    pub fn new(prefix: &str, hostname: Option<String>, has_prometheus: bool) -> Self {
        let now: Timestamp = std::time::SystemTime::now().into();
        Self {
            prefix: prefix.to_owned(),
            hostname,
            series: RwLock::default(),
            interval_started: Mutex::new(Started { current: align(now), last: None }),
            has_prometheus,
        }
    }

    /// Adds `value` to the counter `name` (without the prefix).
    pub fn counter(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.counter_series(name, labels).record(value);
    }

    pub fn gauge(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.find(Kind::Gauge, name, labels).record(value);
    }

    pub fn sample(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.sample_series(name, labels).record(value);
    }

    pub fn counter_series(&self, name: &str, labels: &[(&str, &str)]) -> Series {
        self.find(Kind::Counter, name, labels)
    }

    pub fn sample_series(&self, name: &str, labels: &[(&str, &str)]) -> Series {
        self.find(Kind::Sample, name, labels)
    }

    fn find(&self, kind: Kind, name: &str, labels: &[(&str, &str)]) -> Series {
        let labels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let key = Key { kind, name: self.full_name(kind, name), labels };
        if let Some(series) = self.series.read().get(&key) {
            return series.clone();
        }
        let mut all = self.series.write();
        if all.len() >= SERIES_MAX && !all.contains_key(&key) {
            return Series(Arc::default());
        }
        all.entry(key).or_insert_with(|| Series(Arc::default())).clone()
    }

    fn full_name(&self, kind: Kind, name: &str) -> String {
        match (&self.hostname, kind) {
            (Some(host), Kind::Gauge) => format!("{}.{host}.{name}", self.prefix),
            _ => format!("{}.{name}", self.prefix),
        }
    }

    /// Closes the current interval. Called every [`INTERVAL`].
    pub fn turn(&self, now: Timestamp) {
        for series in self.series.read().values() {
            let mut values = series.0.values.lock();
            values.last = std::mem::take(&mut values.current);
        }
        let mut started = self.interval_started.lock();
        started.last = Some(started.current);
        started.current = align(now);
    }

    /// The last finished interval, or the running one before there is any.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let (at, is_first) = {
            let started = self.interval_started.lock();
            (started.last.unwrap_or(started.current), started.last.is_none())
        };
        let mut snapshot = MetricsSnapshot {
            timestamp: go_time(at),
            gauges: Vec::new(),
            points: Vec::new(),
            counters: Vec::new(),
            samples: Vec::new(),
        };
        for (key, series) in self.series.read().iter() {
            let values = series.0.values.lock();
            let aggregate = if is_first { values.current } else { values.last };
            let labels = key.labels.iter().cloned().collect();
            if key.kind == Kind::Gauge {
                // A gauge holds until it is set again.
                let value = values.total.latest;
                snapshot.gauges.push(Gauge { name: key.name.clone(), value, labels });
                continue;
            }
            if aggregate.count == 0 {
                continue;
            }
            let sampled = Sampled {
                name: key.name.clone(),
                count: aggregate.count,
                rate: aggregate.sum / INTERVAL.as_secs_f64(),
                sum: aggregate.sum,
                min: aggregate.min,
                max: aggregate.max,
                mean: aggregate.mean(),
                stddev: aggregate.deviation(),
                labels,
            };
            match key.kind {
                Kind::Counter => snapshot.counters.push(sampled),
                _ => snapshot.samples.push(sampled),
            }
        }
        snapshot
    }

    /// All series in Prometheus' text format; `None` when its retention time is zero.
    pub fn prometheus(&self) -> Option<String> {
        self.has_prometheus.then(|| prometheus::render(&self.series.read()))
    }
}

/// Answer of the metrics endpoint.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetricsSnapshot {
    /// Start of the interval, as Go prints times.
    pub timestamp: String,
    pub gauges: Vec<Gauge>,
    /// Always empty; kept for the shape.
    pub points: Vec<()>,
    pub counters: Vec<Sampled>,
    pub samples: Vec<Sampled>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Gauge {
    pub name: String,
    #[serde(serialize_with = "go_number")]
    pub value: f64,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sampled {
    pub name: String,
    pub count: u64,
    /// Sum per second.
    #[serde(serialize_with = "go_number")]
    pub rate: f64,
    #[serde(serialize_with = "go_number")]
    pub sum: f64,
    #[serde(serialize_with = "go_number")]
    pub min: f64,
    #[serde(serialize_with = "go_number")]
    pub max: f64,
    #[serde(serialize_with = "go_number")]
    pub mean: f64,
    #[serde(serialize_with = "go_number")]
    pub stddev: f64,
    pub labels: BTreeMap<String, String>,
}

/// Whole numbers without a fraction, as Go writes floats.
pub(crate) fn go_number<S: serde::Serializer>(
    value: &f64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        serializer.serialize_i64(*value as i64)
    } else {
        serializer.serialize_f64(*value)
    }
}

/// The start of the interval `now` falls into.
fn align(now: Timestamp) -> Timestamp {
    let seconds = INTERVAL.as_secs() as i64;
    Timestamp::from_unix(now.unix_seconds - now.unix_seconds.rem_euclid(seconds))
}

/// `2026-11-23 04:08:40 +0000 UTC`.
fn go_time(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} +0000 UTC", text.trim_end_matches('Z').replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregates_like_a_textbook() {
        let mut aggregate = Aggregate::default();
        for value in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            aggregate.add(value);
        }
        assert_eq!((aggregate.count, aggregate.sum, aggregate.mean()), (8, 40.0, 5.0));
        assert_eq!((aggregate.min, aggregate.max), (2.0, 9.0));
        assert!((aggregate.deviation() - 2.138_089_935).abs() < 1e-6);
    }

    #[test]
    fn shows_the_last_finished_interval() {
        let metrics = Metrics::new("consul", None, false);
        let http = metrics.sample_series("http.GET.v1.kv._", &[]);
        http.record(2.0);
        metrics.counter("rpc.query", 1.0, &[]);
        metrics.gauge("session_ttl.active", 3.0, &[("node", "n")]);
        // Before any interval is over, the running one is shown.
        assert_eq!(metrics.snapshot().samples.len(), 1);

        metrics.turn(Timestamp::from_unix(1_795_406_923));
        http.record(8.0);
        let shown = metrics.snapshot();
        assert_eq!(shown.samples[0].sum, 2.0);
        assert_eq!(shown.counters[0].name, "consul.rpc.query");
        assert_eq!(shown.counters[0].rate, 0.1);

        metrics.turn(Timestamp::from_unix(1_795_406_931));
        let shown = metrics.snapshot();
        assert_eq!(shown.timestamp, "2026-11-23 04:08:40 +0000 UTC");
        assert_eq!(shown.samples[0].sum, 8.0);
        assert!(shown.counters.is_empty(), "nothing counted in the interval");
        assert_eq!(shown.gauges[0].value, 3.0, "a gauge holds");
    }

    #[test]
    fn hostname_stands_in_gauges_alone() {
        let metrics = Metrics::new("consul", Some("vm".into()), false);
        metrics.gauge("a", 1.0, &[]);
        metrics.counter("b", 1.0, &[]);
        let shown = metrics.snapshot();
        assert_eq!(shown.gauges[0].name, "consul.vm.a");
        assert_eq!(shown.counters[0].name, "consul.b");
    }

    #[test]
    fn series_are_bounded() {
        let metrics = Metrics::new("consul", None, false);
        for at in 0..SERIES_MAX + 5 {
            metrics.counter("x", 1.0, &[("at", &at.to_string())]);
        }
        assert_eq!(metrics.snapshot().counters.len(), SERIES_MAX);
    }

    #[test]
    fn prometheus_is_off_without_retention() {
        assert!(Metrics::new("consul", None, false).prometheus().is_none());
        let metrics = Metrics::new("consul", None, true);
        metrics.counter("kvs.apply-x", 2.0, &[("op", "a\"b")]);
        metrics.gauge("runtime.alloc", 1.5, &[]);
        metrics.sample("http.GET.v1.kv._", 4.0, &[]);
        let want = "\
# HELP consul_runtime_alloc consul_runtime_alloc
# TYPE consul_runtime_alloc gauge
consul_runtime_alloc 1.5
# HELP consul_kvs_apply_x consul_kvs_apply_x
# TYPE consul_kvs_apply_x counter
consul_kvs_apply_x{op=\"a\\\"b\"} 2
# HELP consul_http_GET_v1_kv__ consul_http_GET_v1_kv__
# TYPE consul_http_GET_v1_kv__ summary
consul_http_GET_v1_kv__{quantile=\"0.5\"} 4
consul_http_GET_v1_kv__{quantile=\"0.9\"} 4
consul_http_GET_v1_kv__{quantile=\"0.99\"} 4
consul_http_GET_v1_kv___sum 4
consul_http_GET_v1_kv___count 1
";
        assert_eq!(metrics.prometheus().as_deref(), Some(want));
    }
}
