//! Who does not fit is told why, ends with 1, and leaves the cluster as it was.

use std::net::TcpListener;

use serde_json::{Value, json};
use testkit::cluster::{Cluster, NodeSpec};
use testkit::process::consul;

use crate::cluster::steps::{
    PATIENCE, assert_kept, await_answer, await_leader, await_log, await_ready, get, ours, put,
    status_of, write,
};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// Starts an agent with `spec` on `host` and waits until it has ended with 1, saying each of `why`.
fn assert_refused(cluster: &mut Cluster, host: usize, case: &str, spec: NodeSpec, why: &[&str]) {
    let folder = cluster.dir(host).join(case).to_string_lossy().into_owned();
    cluster.replace(host, spec.config(json!({ "data_dir": folder })));
    let before = cluster.log(host).len();
    cluster.launch(host);
    let status = cluster.wait(host);
    let log = cluster.log(host)[before..].to_owned();
    assert_eq!(status.code(), Some(1), "{case}: {log}");
    let last = log.lines().last().unwrap_or_default();
    for text in why {
        assert!(log.contains(text), "{case}: `{text}` is not said: {log}");
    }
    assert!(!last.is_empty() && !log.contains("panicked"), "{case}: {log}");
}

fn newcomer(more: Value) -> NodeSpec {
    NodeSpec::client(ours())
        .config(json!({ "retry_max": 2, "retry_interval": "1s", "encrypt": KEY }))
        .config(more)
}

#[test]
fn newcomers_that_do_not_fit() {
    let keyed = json!({ "encrypt": KEY });
    let mut cluster = Cluster::prepare(vec![
        NodeSpec::server(ours(), 1).config(keyed.clone()),
        NodeSpec::client(ours()).config(keyed.clone()),
        NodeSpec::client(consul()).config(keyed.clone()),
        NodeSpec::client(ours()),
        // Nobody is ever there.
        NodeSpec::client(ours()),
    ]);
    for host in 0..3 {
        cluster.launch(host);
    }
    for host in 0..3 {
        await_ready(&cluster, host);
    }
    let victim = cluster.http(1);
    cluster.inside(|| {
        put(victim, "/v1/agent/service/register", &json!({ "Name": "web", "Port": 80 }));
    });
    write(&cluster, 1, "kept");
    let id = cluster.inside(|| get(victim, "/v1/agent/self")["Config"]["NodeID"].clone());
    let nobody = cluster.network.address(4).to_string();

    let elsewhere = newcomer(json!({ "datacenter": "dc2" }));
    assert_refused(
        &mut cluster,
        3,
        "datacenter",
        elsewhere,
        &["nobody could be joined", "datacenter 'dc1'"],
    );
    let locked_out = newcomer(json!({ "encrypt": OTHER_KEY }));
    assert_refused(&mut cluster, 3, "key", locked_out, &["nobody could be joined"]);
    let plain = newcomer(json!({ "encrypt": "" }));
    assert_refused(&mut cluster, 3, "plain", plain, &["nobody could be joined"]);
    let lost = newcomer(json!({ "retry_join": [nobody] }));
    assert_refused(&mut cluster, 3, "alone", lost, &["nobody could be joined", &nobody]);
    let early = newcomer(json!({ "retry_join": [], "start_join": [nobody] }));
    assert_refused(&mut cluster, 3, "early", early, &["nobody could be joined", &nobody]);

    for port in [8300, 8301] {
        let address = format!("{}:{port}", cluster.network.address(3));
        let taken = cluster.network.on(3, || TcpListener::bind(&address)).expect("it is free");
        let server = NodeSpec::server(ours(), 1).config(json!({ "retry_join": [] }));
        assert_refused(&mut cluster, 3, &format!("port-{port}"), server, &[&address, "in use"]);
        drop(taken);
    }
    await_log(&cluster, 0, "part of datacenter 'dc2'");
    await_log(&cluster, 0, "no gossip key (encrypt) known here opens the message");
    await_log(&cluster, 0, "message is not encrypted");

    let double = newcomer(json!({ "node_id": id }));
    assert_refused(
        &mut cluster,
        3,
        "id",
        double,
        &["nobody could be joined", "has our node ID", "node1"],
    );
    await_log(&cluster, 0, "member 'node3' has the node ID");
    assert_eq!(cluster.inside(|| status_of(&cluster, 0, 3)), None, "none of them was let in");

    // Of two with one name the first stays what it is.
    let namesake = newcomer(json!({ "node_name": "node1", "retry_max": 0 }));
    let folder = cluster.dir(3).join("name").to_string_lossy().into_owned();
    cluster.replace(3, namesake.config(json!({ "data_dir": folder })));
    cluster.launch(3);
    await_log(&cluster, 3, "node1 is at");
    await_log(&cluster, 0, "node1 is at");
    let address = cluster.network.address(1).to_string();
    cluster.inside(|| {
        let node = get(cluster.http(0), "/v1/catalog/node/node1");
        assert_eq!(node["Node"]["Address"], json!(address));
        assert_eq!(node["Node"]["ID"], json!(id));
        assert_eq!(node["Services"]["web"]["Port"], json!(80), "{node}");
    });
    cluster.kill(3);
    write(&cluster, 1, "after");
    for host in 0..3 {
        await_ready(&cluster, host);
        assert_kept(&cluster, host, &["kept", "after"]);
    }
}

/// Consensus of two kinds would end in two truths; the one that comes later ends, whichever it is.
#[test]
fn servers_of_two_kinds() {
    let mut cluster = Cluster::prepare(vec![
        NodeSpec::server(consul(), 1).config(json!({ "retry_join": [] })),
        NodeSpec::server(ours(), 1),
        NodeSpec::client(ours()).config(json!({
            "retry_join": ["10.77.0.250"],
            "performance": { "leave_drain_time": "0s", "rpc_hold_timeout": "500ms" },
        })),
    ]);
    cluster.launch(0);
    await_leader(&cluster, 0, &[0]);
    write(&cluster, 0, "kept");
    let why = ["'node0' is a server of another kind"];
    for (case, count) in [("alone", 1), ("expecting", 3), ("joining", 0)] {
        let spec = NodeSpec::server(ours(), count);
        assert_refused(&mut cluster, 1, case, spec, &why);
        // Nothing was ever written into a consensus of its own.
        assert_eq!(
            cluster.inside(|| get(cluster.http(0), "/v1/status/peers")),
            json!(["10.77.0.1:8300"])
        );
    }
    assert_kept(&cluster, 0, &["kept"]);

    // A client that knows no server says so in the words scripts look for.
    cluster.launch(2);
    let http = cluster.http(2);
    for path in ["/v1/kv/a", "/v1/kv/a?stale", "/v1/catalog/nodes", "/v1/status/leader"] {
        await_answer(
            &cluster,
            &format!("{path} tells that there are no servers"),
            || http.get(path),
            |answer| answer.status == 500 && answer.text().contains("No known Consul servers"),
        );
    }
    cluster.inside(|| {
        put(http, "/v1/agent/service/register", &json!({ "Name": "web", "Port": 80 }));
        assert_eq!(get(http, "/v1/agent/services")["web"]["Port"], json!(80));
        let written = http.put("/v1/kv/a", "x").expect("it answers");
        assert!(written.text().contains("No known Consul servers"), "{written}");
    });
    // What was registered meanwhile gets there.
    cluster.inside(|| put(http, "/v1/agent/join/10.77.0.1", &Value::Null));
    cluster.until("the service is in the catalog", PATIENCE, || {
        let found = cluster.http(0).get("/v1/catalog/service/web");
        found.is_ok_and(|answer| answer.text().contains("node2"))
    });
}
