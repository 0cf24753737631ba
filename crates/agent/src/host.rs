//! Facts about the machine for the host endpoint, read from the kernel's own files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

/// Answer of the host endpoint. Units: bytes, seconds, percent.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Host {
    memory: Value,
    #[serde(rename = "CPU")]
    cpu: Vec<Value>,
    host: Value,
    disk: Value,
    /// Nanoseconds since the epoch.
    collection_time: i64,
    /// What could not be read.
    errors: Option<Vec<String>>,
}

/// Reads a few small files; errors are listed in the answer.
pub fn collect(disk_path: &Path) -> Host {
    let mut errors = Vec::new();
    let mut read = |path: &str| {
        fs::read_to_string(path).unwrap_or_else(|error| {
            errors.push(format!("{path}: {error}"));
            String::new()
        })
    };
    let memory = memory(&read("/proc/meminfo"));
    let cpus = cpus(&read("/proc/cpuinfo"));
    let stat = read("/proc/stat");
    let uptime = read("/proc/uptime");
    let release = read("/etc/os-release");
    let machine_id = read("/etc/machine-id");
    let host = host(&stat, &uptime, &release, &machine_id);
    let disk = disk(disk_path).unwrap_or_else(|error| {
        errors.push(error);
        Value::Null
    });
    let now: model::time::Timestamp = std::time::SystemTime::now().into();
    Host {
        memory,
        cpu: cpus,
        host,
        disk,
        collection_time: now.unix_seconds * 1_000_000_000 + i64::from(now.nanos),
        errors: Some(errors).filter(|errors| !errors.is_empty()),
    }
}

/// Rows of `/proc/meminfo` under the names the endpoint gives them.
fn memory(text: &str) -> Value {
    let bytes: BTreeMap<&str, u64> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let number: u64 = rest.split_whitespace().next()?.parse().ok()?;
            Some((name, if rest.ends_with("kB") { number * 1024 } else { number }))
        })
        .collect();
    let of = |name: &str| bytes.get(name).copied().unwrap_or(0);
    let cached = of("Cached") + of("SReclaimable");
    let used = of("MemTotal").saturating_sub(of("MemFree") + of("Buffers") + cached);
    let used_percent =
        if of("MemTotal") == 0 { 0.0 } else { used as f64 / of("MemTotal") as f64 * 100.0 };
    json!({
        "total": of("MemTotal"), "available": of("MemAvailable"), "used": used,
        "usedPercent": used_percent, "free": of("MemFree"), "active": of("Active"),
        "inactive": of("Inactive"), "wired": 0, "laundry": 0, "buffers": of("Buffers"),
        "cached": cached, "writeback": of("Writeback"), "dirty": of("Dirty"),
        "writebacktmp": of("WritebackTmp"), "shared": of("Shmem"), "slab": of("Slab"),
        "sreclaimable": of("SReclaimable"), "sunreclaim": of("SUnreclaim"),
        "pagetables": of("PageTables"), "swapcached": of("SwapCached"),
        "commitlimit": of("CommitLimit"), "committedas": of("Committed_AS"),
        "hightotal": of("HighTotal"), "highfree": of("HighFree"), "lowtotal": of("LowTotal"),
        "lowfree": of("LowFree"), "swaptotal": of("SwapTotal"), "swapfree": of("SwapFree"),
        "mapped": of("Mapped"), "vmalloctotal": of("VmallocTotal"), "vmallocused": of("VmallocUsed"),
        "vmallocchunk": of("VmallocChunk"), "hugepagestotal": of("HugePages_Total"),
        "hugepagesfree": of("HugePages_Free"), "hugepagesize": of("Hugepagesize"),
    })
}

/// One row per processor of `/proc/cpuinfo`.
fn cpus(text: &str) -> Vec<Value> {
    text.split("\n\n")
        .filter_map(|block| {
            let fields: BTreeMap<&str, &str> = block
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.trim(), value.trim()))
                .collect();
            let of = |name: &str| fields.get(name).copied().unwrap_or_default();
            let number = |name: &str| of(name).parse::<u64>().unwrap_or(0);
            let cache_kib: u64 =
                of("cache size").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            fields.contains_key("processor").then(|| {
                json!({
                    "cpu": number("processor"), "vendorId": of("vendor_id"),
                    "family": of("cpu family"), "model": of("model"),
                    "stepping": number("stepping"), "physicalId": of("physical id"),
                    "coreId": of("core id"), "cores": 1, "modelName": of("model name"),
                    "mhz": of("cpu MHz").parse::<f64>().unwrap_or(0.0), "cacheSize": cache_kib,
                    "flags": of("flags").split_whitespace().collect::<Vec<_>>(),
                    "microcode": of("microcode"),
                })
            })
        })
        .collect()
}

fn host(stat: &str, uptime: &str, release: &str, machine_id: &str) -> Value {
    let boot_time: u64 = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse().ok())
        .unwrap_or(0);
    let up: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let release = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let processes = fs::read_dir("/proc").map_or(0, |entries| {
        let is_process = |entry: &fs::DirEntry| {
            entry.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
        };
        entries.flatten().filter(is_process).count()
    });
    let system = rustix::system::uname();
    json!({
        "hostname": system.nodename().to_string_lossy(),
        "uptime": up as u64,
        "bootTime": boot_time,
        "procs": processes,
        "os": "linux",
        "platform": release("ID"),
        "platformFamily": release("ID"),
        "platformVersion": release("VERSION_ID"),
        "kernelVersion": system.release().to_string_lossy(),
        "kernelArch": system.machine().to_string_lossy(),
        "virtualizationSystem": "",
        "virtualizationRole": "",
        "hostid": dashed(machine_id.trim()),
    })
}

/// A machine id in the form of a UUID; as it is when it is none.
fn dashed(id: &str) -> String {
    if id.len() != 32 || !id.is_ascii() {
        return id.to_owned();
    }
    [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-")
}

fn disk(path: &Path) -> Result<Value, String> {
    let stat = rustix::fs::statvfs(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let unit = stat.f_frsize;
    let used = (stat.f_blocks - stat.f_bfree) * unit;
    let free = stat.f_bavail * unit;
    let inodes_used = stat.f_files - stat.f_ffree;
    let percent = |part: u64, whole: u64| {
        if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
    };
    Ok(json!({
        "path": path.display().to_string(), "fstype": "",
        "total": stat.f_blocks * unit, "free": free, "used": used,
        "usedPercent": percent(used, used + free),
        "inodesTotal": stat.f_files, "inodesUsed": inodes_used, "inodesFree": stat.f_ffree,
        "inodesUsedPercent": percent(inodes_used, stat.f_files),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_tables() {
        let shown = memory(
            "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 40 kB\nSReclaimable: 10 kB\nHugePages_Total:   3\n",
        );
        assert_eq!(shown["total"], 1_024_000);
        assert_eq!(shown["used"], 800 * 1024);
        assert_eq!(shown["hugepagestotal"], 3);

        let rows = cpus(
            "processor\t: 0\nmodel name\t: X 1\ncache size\t: 512 KB\nflags\t: a b\n\nprocessor\t: 1\n\n",
        );
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0]["modelName"], "X 1");
        assert_eq!(rows[0]["flags"], json!(["a", "b"]));
    }

    #[test]
    fn strange_files_do_no_harm() {
        memory("\0:::\nMemTotal: x\n");
        cpus("::::\n\n:");
        assert_eq!(dashed("é"), "é");
        assert_eq!(dashed(&"a".repeat(32)).len(), 36);
    }

    #[test]
    fn collects_from_this_machine() {
        let facts = serde_json::to_value(collect(Path::new("/"))).unwrap();
        assert!(facts["Memory"]["total"].as_u64().is_some_and(|bytes| bytes > 0));
        assert_eq!(facts["Host"]["os"], "linux");
    }
}
