//! What an operator does to a cluster of ours, with our command line and the real one.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::cluster::{Cluster, NodeSpec};
use testkit::command::Cli;
use testkit::process::consul;
use testkit::wait;

use crate::cluster::steps::{
    PATIENCE, assert_kept, await_answer, await_leader, await_ready, await_status, await_voters,
    get, ours, put, votes, write,
};

const LEFT: u64 = 3;
const FAILED: u64 = 4;

/// Our command line and the real one.
fn programs() -> [PathBuf; 2] {
    [ours().into(), consul()]
}

fn run(cluster: &Cluster, host: usize, program: impl AsRef<Path>, args: &[&str]) -> String {
    let output = cluster.command(host, program, args);
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    output.stdout
}

/// Both command lines say the same, whatever the order of lines.
fn assert_same(cluster: &Cluster, host: usize, args: &[&str]) -> String {
    let [our, real] = programs().map(|program| run(cluster, host, program, args));
    let sorted = |text: &str| {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut lines: Vec<Vec<String>> = text.lines().map(words).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&our), sorted(&real), "{args:?}");
    our
}

fn await_vote(cluster: &Cluster, host: usize, vote: Option<bool>) {
    let what = format!("the vote of host {host} is {vote:?}");
    cluster.until(&what, PATIENCE, || votes(cluster, 0, host) == vote);
}

/// Servers 0 and 1 stay throughout: questions go to them.
fn await_follower(cluster: &Cluster, host: usize) {
    let leader = await_leader(cluster, 0, &[0, 1, 2, 3]);
    if leader == host {
        run(cluster, 0, ours(), &["operator", "raft", "transfer-leader"]);
        await_leader(cluster, 0, &[0, 1, 2, 3].map(|other| if other == host { 0 } else { other }));
    }
}

#[test]
fn servers_come_and_go() {
    let sooner = json!({ "sync_coordinate_interval_min": "1s" });
    let server = NodeSpec::server(ours(), 3).config(sooner.clone());
    let late = server.clone().config(json!({ "bootstrap_expect": 0 }));
    let mut cluster = Cluster::prepare(vec![
        server.clone(),
        server.clone(),
        server,
        late.clone(),
        late.config(json!({ "read_replica": true })),
        NodeSpec::client(ours()).config(sooner),
        NodeSpec::client(consul()),
    ]);
    for host in [0, 1, 2, 5, 6] {
        cluster.launch(host);
    }
    await_voters(&cluster, 0, 3);
    for host in [0, 1, 2, 5, 6] {
        await_ready(&cluster, host);
    }
    write(&cluster, 5, "kept");

    // Views, the same from either command line and through any agent.
    let peers = assert_same(&cluster, 0, &["operator", "raft", "list-peers"]);
    assert_eq!(peers.matches("follower").count(), 2, "{peers}");
    assert_eq!(run(&cluster, 6, consul(), &["operator", "raft", "list-peers"]).lines().count(), 4);
    let members = assert_same(&cluster, 5, &["members"]);
    assert_eq!(members.matches("alive").count(), 5, "{members}");
    assert_same(&cluster, 0, &["operator", "autopilot", "get-config"]);
    monitors(&cluster);

    // Leadership moves when told.
    let leader = await_leader(&cluster, 0, &[0, 1, 2]);
    let rest: Vec<usize> = (0..3).filter(|host| *host != leader).collect();
    run(&cluster, leader, ours(), &["operator", "raft", "transfer-leader"]);
    await_leader(&cluster, 0, &rest);

    // More servers: one gets a vote, one never.
    let settle = ["operator", "autopilot", "set-config", "-server-stabilization-time=1s"];
    run(&cluster, 6, consul(), &settle);
    cluster.launch(4);
    await_vote(&cluster, 4, Some(false));
    await_answer(
        &cluster,
        "the replica is healthy",
        || cluster.http(0).get("/v1/operator/autopilot/health"),
        |answer| answer.status == 200 && server_health(&answer.json(), "node4") == json!(true),
    );
    cluster.launch(3);
    await_vote(&cluster, 3, Some(true));
    await_vote(&cluster, 4, Some(false));
    assert_kept(&cluster, 4, &["kept"]);

    // A dead one goes now that there is a replacement.
    await_follower(&cluster, 2);
    cluster.kill(2);
    await_vote(&cluster, 2, None);
    await_answer(
        &cluster,
        "the cluster is healthy without it",
        || cluster.http(0).get("/v1/operator/autopilot/health"),
        |answer| answer.status == 200 && answer.json()["FailureTolerance"] == json!(1),
    );
    cluster.launch(2);
    await_vote(&cluster, 2, Some(true));
    assert_kept(&cluster, 2, &["kept"]);

    // One leaves for good.
    cluster.inside(|| put(cluster.http(3), "/v1/agent/leave", &Value::Null));
    assert!(cluster.wait(3).success());
    await_vote(&cluster, 3, None);
    await_status(&cluster, 0, 3, LEFT);
    await_voters(&cluster, 0, 3);

    // Agents have told where they stand by now.
    let nodes = ["node0", "node1", "node2", "node4", "node5", "node6"];
    await_answer(
        &cluster,
        "all nodes have coordinates",
        || cluster.http(0).get("/v1/coordinate/nodes"),
        |answer| answer.status == 200 && nodes.iter().all(|node| answer.text().contains(node)),
    );
    for program in programs() {
        let rtt = run(&cluster, 5, &program, &["rtt", "node0", "node6"]);
        assert!(rtt.contains("Estimated node0 <-> node6 rtt"), "{rtt}");
        for client in [5, 6] {
            let info = run(&cluster, client, &program, &["info"]);
            assert!(info.contains("server = false"), "{info}");
        }
    }

    // A dead client is taken for gone.
    cluster.kill(6);
    await_status(&cluster, 0, 6, FAILED);
    run(&cluster, 5, consul(), &["force-leave", "node6"]);
    await_status(&cluster, 0, 6, LEFT);
    await_answer(
        &cluster,
        "it is gone from the catalog",
        || cluster.http(0).get("/v1/catalog/node/node6"),
        |answer| answer.text().trim() == "null",
    );

    // A dead server that nobody cleans up is taken out by hand.
    run(
        &cluster,
        0,
        ours(),
        &["operator", "autopilot", "set-config", "-cleanup-dead-servers=false"],
    );
    await_follower(&cluster, 2);
    cluster.kill(2);
    await_status(&cluster, 0, 2, FAILED);
    assert_eq!(cluster.inside(|| votes(&cluster, 0, 2)), Some(true));
    let address = format!("-address={}:8300", cluster.network.address(2));
    run(&cluster, 5, consul(), &["operator", "raft", "remove-peer", &address]);
    await_vote(&cluster, 2, None);
    let again = cluster.command(5, consul(), &["operator", "raft", "remove-peer", &address]);
    assert_eq!(again.code, Some(1), "{again:?}");
    write(&cluster, 5, "still");
    for host in [0, 1, 4, 5] {
        assert_kept(&cluster, host, &["kept", "still"]);
    }
}

fn server_health(health: &Value, name: &str) -> Value {
    let servers = health["Servers"].as_array().cloned().unwrap_or_default();
    let server = servers.into_iter().find(|server| server["Name"] == name);
    server.unwrap_or_default()["Healthy"].clone()
}

/// Either command line is shown what an agent logs.
fn monitors(cluster: &Cluster) {
    for program in programs() {
        let address = format!("-http-addr={}:8500", cluster.network.address(0));
        let cli = Cli::new(program);
        let mut running = cluster.inside(|| cli.start(&["monitor", "-log-level=debug", &address]));
        let output = running.child.stdout.take().expect("standard output is piped");
        let (lines, seen) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // The receiver goes away once it has seen enough.
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .all(|line| lines.send(line).is_ok())
        });
        let shown = wait::poll(PATIENCE, || {
            // Again and again: the first may come before the monitor listens.
            let _ = cluster.inside(|| cluster.http(0).get("/v1/kv/monitored"));
            seen.try_iter().find(|line| line.contains("/v1/kv/monitored"))
        });
        assert!(shown.is_some(), "no line of the log came");
    }
}

#[test]
fn state_moves_and_survives_the_loss_of_most_servers() {
    let apart = json!({ "retry_join": [] });
    let mut specs = vec![NodeSpec::server(ours(), 3); 3];
    specs.push(NodeSpec::client(ours()));
    specs.push(NodeSpec::client(consul()));
    specs.push(NodeSpec::server(ours(), 1).config(apart));
    specs.push(NodeSpec::client(ours()).config(json!({ "retry_join": ["10.77.0.6"] })));
    for spec in &mut specs[0..5] {
        let others = ["10.77.0.1", "10.77.0.2", "10.77.0.3"];
        *spec = spec.clone().config(json!({ "retry_join": others }));
    }
    let mut cluster = Cluster::start(specs);
    await_voters(&cluster, 0, 3);
    for host in 0..7 {
        await_ready(&cluster, host);
    }
    let leader = await_leader(&cluster, 0, &[0, 1, 2]);
    let follower = (leader + 1) % 3;

    // Saved through clients and a follower, restored into the other cluster through its client, and back.
    let ways = [(3, ours().into()), (4, consul()), (follower, ours().into()), (follower, consul())];
    for (number, (host, program)) in ways.into_iter().enumerate() {
        let key = format!("saved-{number}");
        write(&cluster, host, &key);
        let file = cluster.dir(host).join(format!("{number}.snap"));
        let file = file.to_str().expect("a path of words");
        run(&cluster, host, &program, &["snapshot", "save", file]);
        run(&cluster, 6, &program, &["snapshot", "restore", file]);
        assert_kept(&cluster, 6, &[&key]);
        write(&cluster, host, "later");
        run(&cluster, host, &program, &["snapshot", "restore", file]);
        for host in 0..5 {
            assert_kept(&cluster, host, &[&key]);
        }
        let later = cluster.inside(|| cluster.http(follower).get("/v1/kv/later?consistent"));
        assert_eq!(later.expect("it answers").status, 404, "the state is that of the file");
    }
    await_ready(&cluster, 3);
    write(&cluster, 3, "kept");

    // Two of three are lost for good: the third goes on alone once told so.
    let survivor = follower;
    assert_kept(&cluster, survivor, &["kept"]);
    let node_id = cluster
        .inside(|| get(cluster.http(survivor), "/v1/agent/self")["Config"]["NodeID"].clone());
    for server in 0..3 {
        match server == survivor {
            true => assert!(cluster.terminate(server).success()),
            false => cluster.kill(server),
        }
    }
    let peers = json!([{ "id": node_id, "address": format!("{}:8300", cluster.network.address(survivor)) }]);
    let file = cluster.dir(survivor).join("data/raft/peers.json");
    fs::write(&file, peers.to_string()).expect("the folder is there");
    cluster.launch(survivor);
    await_leader(&cluster, survivor, &[survivor]);
    await_voters(&cluster, survivor, 1);
    assert!(!file.exists(), "the file has come about");
    for host in [survivor, 3, 4] {
        assert_kept(&cluster, host, &["kept", "saved-3"]);
        write(&cluster, host, &format!("alone-{host}"));
    }
    cluster.signal(survivor, Signal::INT);
    assert!(cluster.wait(survivor).success());
}
