//! Processor time and memory of a process, as the kernel counts them.

use std::fs;

/// Microseconds of processor time used so far, user and system, all threads.
pub(crate) fn cpu_micros(pid: u32) -> f64 {
    // Fields 14 and 15 of stat count ticks of 10 ms; schedstat would count the main thread only.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |nth: usize| -> f64 {
        after_name.split_whitespace().nth(nth).and_then(|text| text.parse().ok()).unwrap_or(0.0)
    };
    (field(11) + field(12)) * 10_000.0
}

/// Resident memory. Unit: MiB.
pub(crate) fn resident_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
        .map_or(0.0, |kib| kib / 1024.0)
}
