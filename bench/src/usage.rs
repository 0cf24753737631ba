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

/// Nanoseconds of processor time used so far by all threads that still run: finer than
/// [`cpu_micros`], for short times between which no thread ends.
pub(crate) fn cpu_nanos(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().filter_map(Result::ok);
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .sum()
}

/// Bytes received and sent so far by the first network card (`eth0`) of the host `pid` runs on.
pub(crate) fn network_bytes(pid: u32) -> f64 {
    let table = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let line = table.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap_or("");
    let fields: Vec<f64> = line.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    fields.first().unwrap_or(&0.0) + fields.get(8).unwrap_or(&0.0)
}

/// Established connections from the host `pid` runs on to `port` of others.
pub(crate) fn connections_to(pid: u32, port: u16) -> usize {
    let remote = format!(":{port:04X}");
    let tables = ["tcp", "tcp6"].map(|table| format!("/proc/{pid}/net/{table}"));
    let tables = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines());
    // Columns: number, local address, remote address, state (01: established).
    lines
        .filter(|line| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next().is_some_and(|to| to.ends_with(&remote)) && fields.next() == Some("01")
        })
        .count()
}
