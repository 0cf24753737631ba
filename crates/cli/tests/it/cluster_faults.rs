//! What breaks in a cluster while it is in use, and what must hold all the same.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::json;
use testkit::background::Background;
use testkit::cluster::{Cluster, NodeSpec};
use testkit::command::Cli;
use testkit::process::peer;

use crate::cluster::history::History;
use crate::cluster::steps::{
    PATIENCE, await_answer, await_leader, await_log, await_ready, await_voters, ours, put,
    three_servers, write,
};

const SERVERS: [usize; 3] = [0, 1, 2];
/// How often a server is killed.
const KILLS: usize = 10;
/// Longest silence of a leader a follower has to have seen: many elections long. Unit: milliseconds.
const SILENCE_MILLIS: u64 = 4000;

fn others(host: usize) -> Vec<usize> {
    SERVERS.into_iter().filter(|other| *other != host).collect()
}

/// The term of a server; 0 while it does not answer.
fn term(cluster: &Cluster, host: usize) -> u64 {
    let ask = || {
        let info = cluster.http(host).get("/v1/agent/self").ok()?.json();
        info["Stats"]["raft"]["term"].as_str()?.parse().ok()
    };
    cluster.inside(|| ask().unwrap_or_default())
}

/// One leader, and every server follows it.
fn await_one_leader(cluster: &Cluster) -> usize {
    let leader = await_leader(cluster, 0, &SERVERS);
    for host in SERVERS {
        await_leader(cluster, host, &[leader]);
    }
    leader
}

#[test]
fn no_acknowledged_write_is_lost_by_frozen_and_killed_servers() {
    let mut cluster = three_servers();
    let history = History::during(&mut cluster, &[3, 4], "frozen", |cluster, history| {
        history.await_more(20);
        let frozen = await_leader(cluster, 3, &SERVERS);
        cluster.signal(frozen, Signal::STOP);
        await_leader(cluster, others(frozen)[0], &others(frozen));
        history.await_more(20);
        // It wakes in the belief that it leads.
        cluster.signal(frozen, Signal::CONT);
        history.await_more(20);
        await_leader(cluster, frozen, &others(frozen));
    });
    await_one_leader(&cluster);
    history.assert_kept(&cluster, &SERVERS);

    let mut seed = 7u64;
    let history = History::during(&mut cluster, &[3, 4], "killed", |cluster, history| {
        for _ in 0..KILLS {
            // Knuth's generator: which server is the same in every run.
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let victim = (seed >> 33) as usize % SERVERS.len();
            history.await_more(5);
            cluster.kill(victim);
            history.await_more(1);
            cluster.launch(victim);
        }
        history.await_more(20);
    });
    await_voters(&cluster, 3, 3);
    await_one_leader(&cluster);
    history.assert_kept(&cluster, &SERVERS);
}

/// Whoever is cut off from the leader alone must not take the others' leader from them.
#[test]
fn a_follower_that_does_not_hear_the_leader_disturbs_nobody() {
    let mut cluster = three_servers();
    let leader = await_one_leader(&cluster);
    let deaf = others(leader)[0];
    let before = term(&cluster, leader);
    for is_one_way in [true, false] {
        let prefix = if is_one_way { "one-way" } else { "both-ways" };
        let history = History::during(&mut cluster, &[3, 4], prefix, |cluster, history| {
            history.await_more(5);
            match is_one_way {
                true => cluster.network.cut_one_way(leader, deaf),
                false => cluster.network.partition(&[leader], &[deaf]),
            }
            await_answer(
                cluster,
                "the follower has not heard the leader for long",
                || cluster.http(deaf).get("/v1/kv/one-way?stale&recurse"),
                |answer| {
                    let age =
                        answer.header("X-Consul-LastContact").and_then(|age| age.parse().ok());
                    age.is_some_and(|age: u64| age > SILENCE_MILLIS)
                },
            );
            history.await_more(5);
            assert_eq!(term(cluster, leader), before, "there were elections");
            cluster.network.heal();
            history.await_more(5);
        });
        history.assert_kept(&cluster, &SERVERS);
        await_one_leader(&cluster);
        // One vote more may be needed until the one cut off follows again.
        assert!(term(&cluster, leader) <= before + 1, "there were elections");
    }
}

#[test]
fn a_full_disk_stops_one_server_and_a_slow_one_hands_over() {
    let mut specs = vec![NodeSpec::server(ours(), 3); 3];
    specs.push(NodeSpec::client(ours()));
    let mut cluster = Cluster::prepare(specs);
    cluster.small_disk(0, 40);
    for host in 0..4 {
        cluster.launch(host);
    }
    await_voters(&cluster, 3, 3);

    // The disk of the leader answers each sync late.
    let slow = await_one_leader(&cluster);
    let pid = cluster.pid(slow).to_string();
    let delay = ["-f", "-p", &pid, "-e", "inject=fdatasync,fsync:delay_enter=300ms"];
    let log = cluster.dir(slow).join("strace.log");
    let history = History::during(&mut cluster, &[3], "slow", |cluster, history| {
        history.await_more(5);
        let strace = Background::start(&peer("strace"), &delay, log);
        await_log(cluster, slow, "the disk is slow, handing leadership over");
        await_leader(cluster, 3, &others(slow));
        drop(strace);
        history.await_more(20);
    });
    history.assert_kept(&cluster, &SERVERS);

    let history = History::during(&mut cluster, &[3], "full", |cluster, history| {
        history.await_more(5);
        let ballast = cluster.dir(0).join("data/ballast");
        let mut ballast = File::create(ballast).expect("there is room yet");
        // Until there is none.
        while ballast.write_all(&[0; 64 << 10]).is_ok() {}
        let http = cluster.http(3);
        let large = "x".repeat(500 << 10);
        let mut number = 0;
        while cluster.is_running(0) {
            number += 1;
            assert!(number < 200, "100 MiB were written and the full server still runs");
            let key = format!("/v1/kv/large/{number}");
            cluster.until("a large value is written", PATIENCE, || {
                http.put(&key, &large).is_ok_and(|answer| answer.status == 200)
            });
        }
        assert_eq!(cluster.wait(0).code(), Some(1), "{}", cluster.log(0));
        history.await_more(20);
    });
    let log = cluster.log(0);
    let last = log.lines().rev().find(|line| line.starts_with("==>")).unwrap_or_default();
    assert!(last.contains("No space left on device"), "the cause is not told: {log}");
    await_leader(&cluster, 3, &[1, 2]);
    history.assert_kept(&cluster, &[1, 2]);

    // With room again it goes on where it was.
    std::fs::remove_file(cluster.dir(0).join("data/ballast")).expect("it was made");
    let roomy = NodeSpec::server(ours(), 3);
    cluster.replace(0, roomy.config(json!({ "raft_snapshot_threshold": 200 })));
    cluster.launch(0);
    await_ready(&cluster, 0);
    history.assert_kept(&cluster, &SERVERS);
}

/// Every process is restarted in turn, and neither a writer nor who looks for a service notices.
#[test]
fn restarts_in_turn_are_not_noticed() {
    let mut specs = vec![NodeSpec::server(ours(), 3); 3];
    specs.extend([NodeSpec::client(ours()), NodeSpec::client(ours())]);
    let mut cluster = Cluster::start(specs);
    await_voters(&cluster, 3, 3);
    for host in 0..5 {
        await_ready(&cluster, host);
    }
    let definition =
        json!({ "Name": "web", "Port": 80, "Check": { "TTL": "10m", "Status": "passing" } });
    cluster.inside(|| put(cluster.http(4), "/v1/agent/service/register", &definition));
    let door = cluster.network.door();
    let (asked, wanted) = (cluster.network.address(3), cluster.network.address(4).to_string());
    let server = format!("@{asked}");
    let dig = Cli::new(peer("dig"));
    let question =
        [&server, "-p", "8600", "+short", "+tries=1", "+time=5", "web.service.consul", "A"];
    let is_found = || door.inside(|| dig.run(&question)).stdout.trim() == wanted;
    cluster.until("the service is found", PATIENCE, is_found);

    let is_over = AtomicBool::new(false);
    let history = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut answers = 0;
            while !is_over.load(Ordering::Relaxed) {
                let output = door.inside(|| dig.run(&question));
                assert_eq!(output.stdout.trim(), wanted, "after {answers} answers: {output:?}");
                answers += 1;
            }
            answers
        });
        let history = History::during(&mut cluster, &[3], "rolling", |cluster, history| {
            for server in SERVERS {
                history.await_more(5);
                assert!(cluster.terminate(server).success());
                history.await_more(5);
                cluster.launch(server);
                await_ready(cluster, server);
                await_answer(
                    cluster,
                    "all servers are healthy",
                    || cluster.http(server).get("/v1/operator/autopilot/health"),
                    |answer| answer.status == 200 && answer.json()["FailureTolerance"] == json!(1),
                );
            }
            // The agent of the service itself.
            for _ in 0..2 {
                assert!(cluster.terminate(4).success());
                cluster.launch(4);
                await_ready(cluster, 4);
            }
            write(cluster, 4, "back");
            history.await_more(5);
        });
        is_over.store(true, Ordering::Relaxed);
        assert!(looking.join().expect("the service was always found") > 0);
        history
    });
    history.assert_no_failure();
    history.assert_kept(&cluster, &SERVERS);
}
