//! The load generators and what they print.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use testkit::process::peer;

use crate::report::Sample;
use crate::usage::{cpu_micros, resident_mib};

/// A request for wrk, as a Lua script.
pub(crate) struct HttpLoad<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'a str,
    pub(crate) script: Option<&'a str>,
    pub(crate) connections: usize,
    pub(crate) seconds: u64,
    /// Process whose processor time is counted.
    pub(crate) pids: &'a [u32],
}

/// Runs wrk once. Columns: requests/s, p50 us, p99 us, cpu us (per request), failed.
pub(crate) fn wrk(load: &HttpLoad<'_>) -> Sample {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut command = Command::new(peer("wrk"));
    command.args(["-t1", "--latency", "--timeout", "10s"]);
    command.arg(format!("-c{}", load.connections));
    command.arg(format!("-d{}s", load.seconds));
    if let Some(script) = load.script {
        let path = folder.path().join("load.lua");
        std::fs::write(&path, script).expect("a temporary file can be written");
        command.arg("-s").arg(path);
    }
    command.arg(format!("http://{}{}", load.address, load.path));
    let before: f64 = load.pids.iter().map(|pid| cpu_micros(*pid)).sum();
    let output = command.output().expect("wrk can be run");
    let cpu: f64 = load.pids.iter().map(|pid| cpu_micros(*pid)).sum::<f64>() - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let after =
        |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label).map(str::trim));
    let total: f64 = text
        .lines()
        .find_map(|line| line.split_once(" requests in "))
        .and_then(|(count, _)| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("wrk says: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let failed = after("Non-2xx or 3xx responses:").and_then(|text| text.parse().ok());
    let mut sample = Sample::from([
        ("requests/s", after("Requests/sec:").and_then(|text| text.parse().ok()).unwrap_or(0.0)),
        ("p50 us", after("50%").map_or(0.0, micros)),
        ("p99 us", after("99%").map_or(0.0, micros)),
        ("cpu us", if total > 0.0 { cpu / total } else { 0.0 }),
        ("MiB", load.pids.iter().map(|pid| resident_mib(*pid)).sum()),
    ]);
    if let Some(failed) = failed {
        sample.insert("failed", failed);
    }
    sample
}

/// wrk's times: `123.45us`, `1.23ms`, `1.00s`.
fn micros(text: &str) -> f64 {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let value: f64 = text[..unit_at].parse().unwrap_or(0.0);
    match &text[unit_at..] {
        "us" => value,
        "ms" => value * 1e3,
        _ => value * 1e6,
    }
}

/// Runs dnsperf once over `question` (`name TYPE`), with more `options`. Columns: queries/s, average us,
/// lost, cpu us, sent/s, answered share (of those sent).
pub(crate) fn dnsperf(
    address: SocketAddr,
    question: &str,
    seconds: u64,
    pid: u32,
    options: &[&str],
) -> Sample {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let questions = folder.path().join("questions");
    std::fs::write(&questions, format!("{question}\n")).expect("a file can be written");
    let before = cpu_micros(pid);
    let output = Command::new(peer("dnsperf"))
        .args(["-s", &address.ip().to_string(), "-p", &address.port().to_string()])
        .args(["-c", "8", "-T", "2", "-q", "200", "-l", &seconds.to_string()])
        .args(options)
        .arg("-d")
        .arg(&questions)
        .output()
        .expect("dnsperf can be run");
    let cpu = cpu_micros(pid) - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let value = |label: &str| -> f64 {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(label))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0.0)
    };
    let completed = value("Queries completed:");
    assert!(completed > 0.0, "dnsperf says: {text}{}", String::from_utf8_lossy(&output.stderr));
    Sample::from([
        ("queries/s", value("Queries per second:")),
        ("average us", value("Average Latency (s):") * 1e6),
        ("lost", value("Queries lost:")),
        ("cpu us", cpu / completed),
        ("MiB", resident_mib(pid)),
        ("sent/s", value("Queries sent:") / seconds as f64),
        ("answered share", completed / value("Queries sent:").max(1.0)),
    ])
}

/// One stream of iperf3 through `port`. Columns: Gbit/s, cpu ns per byte of `pids`.
pub(crate) fn iperf3(port: u16, seconds: u64, pids: &[u32], congestion: &str) -> Sample {
    let before: f64 = pids.iter().map(|pid| cpu_micros(*pid)).sum();
    let output = Command::new(peer("iperf3"))
        .args(["-c", "127.0.0.1", "-p", &port.to_string(), "-t", &seconds.to_string(), "-J"])
        .args(["-C", congestion])
        .stderr(Stdio::null())
        .output()
        .expect("iperf3 can be run");
    let cpu: f64 = pids.iter().map(|pid| cpu_micros(*pid)).sum::<f64>() - before;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let received = &json["end"]["sum_received"];
    let bytes = received["bytes"].as_f64().unwrap_or(0.0);
    assert!(bytes > 0.0, "iperf3 says: {}", String::from_utf8_lossy(&output.stdout));
    Sample::from([
        ("Gbit/s", received["bits_per_second"].as_f64().unwrap_or(0.0) / 1e9),
        ("cpu per byte ns", cpu * 1e3 / bytes),
        ("MiB", pids.iter().map(|pid| resident_mib(*pid)).sum()),
    ])
}

/// Ping-pong of 64 bytes. Columns: one-way latencies.
pub(crate) fn sockperf(port: u16, seconds: u64) -> Sample {
    let output = Command::new(peer("sockperf"))
        .args(["ping-pong", "--tcp", "-i", "127.0.0.1", "-p", &port.to_string()])
        .args(["-m", "64", "-t", &seconds.to_string()])
        .output()
        .expect("sockperf can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    let percentile = |label: &str| -> f64 {
        text.lines()
            .find(|line| line.contains(label))
            .and_then(|line| line.rsplit('=').next()?.trim().parse().ok())
            .unwrap_or(0.0)
    };
    Sample::from([
        ("p50 us", percentile("percentile 50.000")),
        ("p99 us", percentile("percentile 99.000")),
        ("p99.9 us", percentile("percentile 99.900")),
    ])
}
