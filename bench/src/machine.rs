//! What must be known of the machine to read a figure.

use std::fs;

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("?").to_owned()
}

/// One paragraph: processor, kernel, congestion control, load.
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("?", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "Machine: {processors} x {model}; kernel {}; congestion control {}; load {}.",
        first_line("/proc/sys/kernel/osrelease"),
        first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
        first_line("/proc/loadavg"),
    )
}
