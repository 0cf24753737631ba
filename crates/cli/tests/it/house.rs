//! Holds the workspace against the table in ARCHITECTURE.md, and its dependencies against what may
//! be used: licences, banned crates, sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Licence terms a dependency may be under; one of the alternatives of an `OR` is enough.
const LICENSES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates under other terms, each with the reason it may stay.
const LICENSE_EXCEPTIONS: &[(&str, &str)] = &[
    ("imbl", "MPL-2.0, unmodified dependency: copyleft by file"),
    ("imbl-sized-chunks", "MPL-2.0, unmodified dependency: copyleft by file"),
];

/// Crates that must not come in, not even by way of others.
const BANNED: &[(&str, &str)] = &[
    ("ring", "one crypto provider: aws-lc-rs"),
    ("openssl", "one crypto provider: aws-lc-rs"),
    ("native-tls", "one crypto provider: aws-lc-rs"),
    ("boring", "one crypto provider: aws-lc-rs"),
    ("rsa", "timing attack RUSTSEC-2023-0071, never fixed"),
    ("im", "unmaintained"),
    ("bincode", "RUSTSEC-2025-0141"),
    ("backoff", "RUSTSEC-2025-0012"),
    ("serde_yml", "RUSTSEC-2025-0068"),
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn metadata() -> Value {
    // What other systems would need is neither built nor fetched here.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// One row of the table: which of our crates this one may use.
struct Room {
    ring: String,
    may_use: String,
}

fn table() -> BTreeMap<String, Room> {
    let page = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let mut rooms = BTreeMap::new();
    let mut ring = String::new();
    for line in page.lines().skip_while(|line| !line.starts_with("| ring |")).skip(2) {
        let Some(row) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            break;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if !cells[0].is_empty() {
            ring = cells[0].split(' ').next().unwrap().to_owned();
        }
        for name in cells[1].split('`').filter(|name| !name.trim().is_empty()) {
            let room = Room { ring: ring.clone(), may_use: cells[3].to_owned() };
            rooms.insert(name.to_owned(), room);
        }
    }
    rooms
}

fn is_allowed(user: &Room, used: &str, rooms: &BTreeMap<String, Room>) -> bool {
    let used_ring = rooms[used].ring.as_str();
    user.may_use.split(", ").any(|item| match item {
        "all" => used_ring != "dev",
        "rings 0-2" => matches!(used_ring, "0" | "1" | "2"),
        names => names.split('`').any(|name| name == used),
    })
}

#[test]
fn arrows_run_as_the_table_says() {
    let metadata = metadata();
    let rooms = table();
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let packages: Vec<&Value> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| members.contains(text(package, "id")))
        .collect();
    let named: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    let in_table: BTreeSet<&str> = rooms.keys().map(String::as_str).collect();
    assert_eq!(named, in_table, "the crates of the workspace and of the table");
    let mut wrong = Vec::new();
    for package in &packages {
        let user = text(package, "name");
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = text(dependency, "name");
            let is_ours = dependency["path"].is_string();
            let is_dev = dependency["kind"].as_str() == Some("dev");
            if is_ours && !is_dev && !is_allowed(&rooms[user], used, &rooms) {
                wrong.push(format!("{user} -> {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows the table does not have: {wrong:?}");
}

#[test]
fn every_crate_forbids_unsafe_code() {
    for name in table().keys() {
        let folder = if name == "bench" { "bench".into() } else { format!("crates/{name}") };
        let manifest = workspace().join(folder).join("Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} has its own lints");
    }
    let root = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    assert!(root.contains("unsafe_code = \"forbid\""));
}

#[test]
fn rooms_without_io_are_linted_for_it() {
    for (name, room) in table() {
        let rules = workspace().join(format!("crates/{name}/clippy.toml"));
        assert_eq!(rules.exists(), matches!(room.ring.as_str(), "0" | "1"), "{name}");
    }
}

#[test]
fn dependencies_are_of_known_licence_and_source() {
    let mut wrong = Vec::new();
    for (name, license) in built() {
        if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            wrong.push(format!("{name}: banned, {reason}"));
        }
        let is_excepted = LICENSE_EXCEPTIONS.iter().any(|(excepted, _)| *excepted == name);
        if !is_excepted && !is_licensed(&license) {
            wrong.push(format!("{name}: licence {license:?}"));
        }
    }
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    for source in lock.lines().filter_map(|line| line.strip_prefix("source = ")) {
        if source.trim_matches('"') != REGISTRY {
            wrong.push(format!("a dependency from {source}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Names and licences of all crates that are built here. The lock file names more: those that only a
/// feature nobody asks for would bring.
fn built() -> Vec<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--edges", "all", "--locked", "--offline"])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}\t{l}"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut rows: Vec<(String, String)> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(package, license)| {
            let name = package.split(' ').next().unwrap_or_default();
            (name.to_owned(), license.to_owned())
        })
        .collect();
    rows.sort();
    rows.dedup();
    assert!(rows.len() > 100, "the tree was not understood: {rows:?}");
    rows
}

/// Whether a licence expression (conjunctions of parenthesised alternatives) can be met.
fn is_licensed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    expression.split(" AND ").all(|conjunct| {
        conjunct
            .trim_matches(['(', ')', ' '])
            .split(" OR ")
            .any(|term| LICENSES.contains(&term.trim_matches(['(', ')', ' '])))
    })
}

#[test]
fn licence_expressions() {
    let check = |expression, want| assert_eq!(is_licensed(expression), want, "{expression}");
    check("MIT OR Apache-2.0", true);
    check("MIT/Apache-2.0", true);
    check("(MIT OR GPL-3.0) AND Unicode-3.0", true);
    check("MIT AND GPL-3.0", false);
    check("MPL-2.0", false);
    check("", false);
}
