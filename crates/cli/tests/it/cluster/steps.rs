//! Steps that the tests of clusters share: asking until something is so, and looking at who leads, votes and lives.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::cluster::{Cluster, NodeSpec};
use testkit::process::consul;
use testkit::request::{Answer, Client};
use testkit::wait;

/// Longest wait for a cluster to agree on something: elections and gossip on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn ours() -> &'static str {
    env!("CARGO_BIN_EXE_lictor")
}

/// Asks until `is_wanted`.
pub(crate) fn await_answer(
    cluster: &Cluster,
    what: &str,
    ask: impl Fn() -> std::io::Result<Answer> + Send + Sync,
    is_wanted: impl Fn(&Answer) -> bool + Send + Sync,
) {
    cluster.until(what, PATIENCE, || ask().is_ok_and(|answer| is_wanted(&answer)));
}

/// Waits until `host` knows a leader and has itself in the catalog with a passing check of gossip.
pub(crate) fn await_ready(cluster: &Cluster, host: usize) {
    let (http, name) = (cluster.http(host), cluster.name(host));
    await_answer(
        cluster,
        &format!("{name} is in the catalog"),
        || http.get(&format!("/v1/health/node/{name}")),
        |answer| answer.status == 200 && answer.text().contains("\"passing\""),
    );
}

pub(crate) fn put(http: Client, path: &str, body: &Value) -> Answer {
    let answer = http.put(path, body.to_string()).expect("the agent answers");
    assert_eq!(answer.status, 200, "PUT {path}: {answer}");
    answer
}

pub(crate) fn get(http: Client, path: &str) -> Value {
    let answer = http.get(path).expect("the agent answers");
    assert_eq!(answer.status, 200, "GET {path}: {answer}");
    answer.json()
}

pub(crate) fn status_of(cluster: &Cluster, seen_by: usize, host: usize) -> Option<u64> {
    let members = cluster.http(seen_by).get("/v1/agent/members").ok()?.json();
    let name = json!(cluster.name(host));
    members.as_array()?.iter().find(|member| member["Name"] == name)?["Status"].as_u64()
}

/// The host that leads, as `seen_by` says.
pub(crate) fn leader(cluster: &Cluster, seen_by: usize) -> Option<usize> {
    let answer = cluster.http(seen_by).get("/v1/status/leader").ok()?;
    let answer = (answer.status == 200).then(|| answer.json())?;
    let address = answer.as_str()?.split(':').next()?.to_owned();
    (0..cluster.network.hosts()).find(|host| cluster.network.address(*host).to_string() == address)
}

/// Waits until `seen_by` says that one of `may_lead` leads.
pub(crate) fn await_leader(cluster: &Cluster, seen_by: usize, may_lead: &[usize]) -> usize {
    let what = format!("one of {may_lead:?} leads, as {seen_by} sees it");
    cluster.inside(|| {
        wait::until(&what, PATIENCE, || {
            leader(cluster, seen_by).filter(|host| may_lead.contains(host))
        })
    })
}

pub(crate) fn await_voters(cluster: &Cluster, seen_by: usize, count: usize) {
    let http = cluster.http(seen_by);
    await_answer(
        cluster,
        &format!("{count} servers vote"),
        || http.get("/v1/operator/raft/configuration"),
        |answer| {
            if answer.status != 200 {
                return false;
            }
            let servers = answer.json()["Servers"].as_array().cloned().unwrap_or_default();
            servers.iter().filter(|server| server["Voter"] == json!(true)).count() == count
        },
    );
}

/// Writes through `host` until that works, and returns what was written.
pub(crate) fn write(cluster: &Cluster, host: usize, key: &str) {
    let http = cluster.http(host);
    await_answer(
        cluster,
        &format!("{key} is written through host {host}"),
        || http.put(&format!("/v1/kv/{key}"), key),
        |answer| answer.status == 200 && answer.text().trim() == "true",
    );
}

pub(crate) fn assert_kept(cluster: &Cluster, host: usize, keys: &[&str]) {
    let http = cluster.http(host);
    for key in keys {
        await_answer(
            cluster,
            &format!("{key} is read through host {host}"),
            || http.get(&format!("/v1/kv/{key}?raw&consistent")),
            |answer| answer.status == 200 && answer.text() == *key,
        );
    }
}

pub(crate) fn three_servers() -> Cluster {
    let mut specs = vec![NodeSpec::server(ours(), 3); 3];
    specs.extend([NodeSpec::client(ours()), NodeSpec::client(consul())]);
    let cluster = Cluster::start(specs);
    await_leader(&cluster, 3, &[0, 1, 2]);
    await_voters(&cluster, 0, 3);
    for host in 0..5 {
        await_ready(&cluster, host);
    }
    cluster
}

pub(crate) fn await_status(cluster: &Cluster, seen_by: usize, host: usize, status: u64) {
    let what = format!("{} has status {status} for {seen_by}", cluster.name(host));
    cluster.until(&what, PATIENCE, || status_of(cluster, seen_by, host) == Some(status));
}

/// Waits until an agent has logged `text`.
pub(crate) fn await_log(cluster: &Cluster, host: usize, text: &str) {
    let what = format!("`{text}` is in the log of host {host}");
    cluster.until(&what, PATIENCE, || cluster.log(host).contains(text));
}

/// Whether `host` is a member of consensus and votes; `None` when it is no member.
pub(crate) fn votes(cluster: &Cluster, seen_by: usize, host: usize) -> Option<bool> {
    let answer = cluster.http(seen_by).get("/v1/operator/raft/configuration").ok()?;
    let servers = (answer.status == 200).then(|| answer.json()["Servers"].take())?;
    let address = format!("{}:8300", cluster.network.address(host));
    servers.as_array()?.iter().find(|server| server["Address"] == address)?["Voter"].as_bool()
}
