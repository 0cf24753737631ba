//! Encrypted gossip of ours and real agents, and the rotation of its key by either command line.

use std::path::Path;

use serde_json::json;
use testkit::cluster::{Cluster, NodeSpec};
use testkit::command::Output;
use testkit::process::consul;

use crate::cluster::steps::{PATIENCE, await_log, await_ready, await_status, ours, status_of};

const FIRST: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const SECOND: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
const STRANGE: &str = "c3RyYW5nZXJzdHJhbmdlcg==";
const STRANGER: &str = "ZXZlbnN0cmFuZ2VyLi4uLg==";
const ALIVE: u64 = 1;

/// Has both command lines list the keys on `host` until both show the same and `is_wanted`.
fn await_keys(cluster: &Cluster, host: usize, is_wanted: impl Fn(&str) -> bool + Send + Sync) {
    let list = |program: &str| cluster.command(host, program, &["keyring", "-list"]);
    let real = consul();
    let real = real.to_str().expect("a path of words");
    let sorted = |output: Output| {
        let mut lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    cluster.until("the keys are as wanted", PATIENCE, || {
        let (one, other) = (list(real), list(ours()));
        is_wanted(&one.stdout) && is_wanted(&other.stdout) && sorted(one) == sorted(other)
    });
}

fn rotate(cluster: &Cluster, host: usize, program: impl AsRef<Path>, step: &str, key: &str) {
    let output = cluster.command(host, program, &["keyring", step, key]);
    assert_eq!(output.code, Some(0), "{step}: {output:?}");
}

#[test]
fn a_key_is_rotated_under_both_kinds() {
    let key = |key: &str| json!({ "encrypt": key });
    let mut cluster = Cluster::prepare(vec![
        NodeSpec::server(ours(), 1).config(key(FIRST)),
        NodeSpec::client(consul()).config(key(FIRST)),
        NodeSpec::client(ours()).config(key(FIRST)),
        NodeSpec::client(ours()).config(key(STRANGE)),
        NodeSpec::client(consul()).config(key(STRANGER)),
    ]);
    for host in 0..3 {
        cluster.launch(host);
    }
    for host in 0..3 {
        await_ready(&cluster, host);
    }
    await_keys(&cluster, 0, |list| list.contains(&format!("{FIRST} [3/3]")));

    // Strangers stay out, and both sides say why.
    for host in [3, 4] {
        cluster.launch(host);
    }
    await_log(&cluster, 0, "no gossip key (encrypt) known here opens the message");
    await_log(&cluster, 3, "nobody could be joined");
    await_log(&cluster, 4, "Join cluster failed");
    for stranger in [3, 4] {
        for member in 0..3 {
            assert_eq!(cluster.inside(|| status_of(&cluster, member, stranger)), None);
        }
        cluster.kill(stranger);
    }

    // One key in use cannot go, one that nobody has cannot be used, one of a wrong length is none.
    for (step, key) in [("-remove", FIRST), ("-use", SECOND), ("-install", "c2hvcnQ=")] {
        for program in [ours().into(), consul()] {
            let output = cluster.command(0, &program, &["keyring", step, key]);
            assert_eq!(output.code, Some(1), "{step} {key} by {program:?}: {output:?}");
        }
    }
    await_keys(&cluster, 0, |list| list.contains(&format!("{FIRST} [3/3]")));

    rotate(&cluster, 0, ours(), "-install", SECOND);
    await_keys(&cluster, 0, |list| list.contains(&format!("{SECOND} [3/3]")));
    rotate(&cluster, 0, consul(), "-use", SECOND);
    rotate(&cluster, 0, ours(), "-remove", FIRST);
    let is_rotated =
        |list: &str| list.contains(&format!("{SECOND} [3/3]")) && !list.contains(FIRST);
    await_keys(&cluster, 0, is_rotated);
    for (client, program) in [(1, ours().into()), (2, consul())] {
        let output = cluster.command(client, program, &["keyring", "-list"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains("must run against a server"), "{output:?}");
    }

    // Files keep what was agreed on, whatever the configuration says.
    for host in 0..3 {
        cluster.kill(host);
    }
    for host in 0..3 {
        cluster.launch(host);
    }
    for host in 0..3 {
        await_ready(&cluster, host);
        await_status(&cluster, 0, host, ALIVE);
    }
    await_keys(&cluster, 0, is_rotated);
}
