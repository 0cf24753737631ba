//! Processor time and memory of a process, as the kernel counts them.

use std::collections::BTreeMap;
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

/// Counts the processor time of processes from one moment on, finer than [`cpu_micros`]. What a
/// thread used that ends meanwhile is lost, so this is for short times.
pub(crate) struct CpuCounter<'a> {
    pids: &'a [u32],
    /// Nanoseconds used before, by thread.
    before: BTreeMap<String, f64>,
}

impl<'a> CpuCounter<'a> {
    pub(crate) fn start(pids: &'a [u32]) -> Self {
        Self { pids, before: thread_nanos(pids) }
    }

    pub(crate) fn micros(&self) -> f64 {
        let now = thread_nanos(self.pids);
        let used = now.iter().map(|(id, nanos)| nanos - self.before.get(id).unwrap_or(&0.0));
        used.sum::<f64>() / 1e3
    }
}

fn thread_nanos(pids: &[u32]) -> BTreeMap<String, f64> {
    let threads = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    let nanos = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanos = text.split_whitespace().next()?.parse().ok()?;
        Some((thread.file_name().to_string_lossy().into_owned(), nanos))
    };
    threads.flatten().filter_map(Result::ok).filter_map(nanos).collect()
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
