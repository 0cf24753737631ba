//! TLS between agents, ours and real ones, in every mode that is documented.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::cluster::{Cluster, NodeSpec};
use testkit::command::Cli;
use testkit::process::consul;

use crate::cluster::steps::{
    assert_kept, await_answer, await_leader, await_log, await_ready, await_status, await_voters,
    ours, votes, write,
};

const ALIVE: u64 = 1;

/// An authority with a certificate for servers and one for clients, as `consul tls` makes them.
struct Authority(TempDir);

impl Authority {
    fn new() -> Authority {
        let folder = TempDir::with_prefix("tls-").expect("a temporary folder can be made");
        let cli = Cli::new(consul()).current_dir(folder.path());
        for args in [
            &["tls", "ca", "create"][..],
            &["tls", "cert", "create", "-server", "-dc", "dc1"],
            &["tls", "cert", "create", "-client", "-dc", "dc1"],
        ] {
            let output = cli.run(args);
            assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
        }
        Authority(folder)
    }

    /// Settings that name the files of `role`.
    fn files(&self, role: &str) -> Value {
        let path = |name: String| Path::new(self.0.path()).join(name);
        json!({
            "ca_file": path("consul-agent-ca.pem".into()),
            "cert_file": path(format!("dc1-{role}-consul-0.pem")),
            "key_file": path(format!("dc1-{role}-consul-0-key.pem")),
        })
    }

    fn server(&self, program: impl AsRef<Path>, count: usize, mode: &Value) -> NodeSpec {
        NodeSpec::server(program, count).config(self.files("server")).config(mode.clone())
    }

    fn client(&self, program: impl AsRef<Path>, mode: &Value) -> NodeSpec {
        NodeSpec::client(program).config(self.files("client")).config(mode.clone())
    }
}

fn strict() -> Value {
    json!({ "verify_incoming": true, "verify_outgoing": true, "verify_server_hostname": true })
}

/// Writes through each of `hosts`, and reads through each what the others wrote.
fn assert_works(cluster: &Cluster, hosts: &[usize]) {
    let keys: Vec<String> = hosts.iter().map(|host| format!("through-{host}")).collect();
    for (host, key) in hosts.iter().zip(&keys) {
        await_ready(cluster, *host);
        write(cluster, *host, key);
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for host in hosts {
        assert_kept(cluster, *host, &keys);
    }
}

/// It is in the pool, but no server talks to it.
fn assert_shut_out(cluster: &Cluster, host: usize) {
    await_status(cluster, 0, host, ALIVE);
    await_answer(
        cluster,
        "it knows of servers and gets no answer",
        || cluster.http(host).get("/v1/kv/through-0"),
        |answer| answer.status == 500 && !answer.text().contains("No known Consul servers"),
    );
}

#[test]
fn servers_that_verify_everything() {
    let authority = Authority::new();
    let mode = strict();
    let mut specs = vec![authority.server(ours(), 3, &mode); 3];
    specs.push(authority.client(ours(), &mode));
    specs.push(authority.client(consul(), &mode));
    // Without TLS; as a server with a client's certificate; with certificates of somebody else.
    specs.push(NodeSpec::client(ours()));
    let impostor = NodeSpec::server(ours(), 3).config(authority.files("client")).config(strict());
    specs.push(impostor.config(json!({ "bootstrap_expect": 0 })));
    let strange = Authority::new();
    specs.push(strange.client(ours(), &mode));
    let cluster = Cluster::start(specs);
    let leader = await_leader(&cluster, 3, &[0, 1, 2]);
    await_voters(&cluster, 0, 3);
    assert_works(&cluster, &[0, 1, 2, 3, 4]);

    assert_shut_out(&cluster, 5);
    assert_shut_out(&cluster, 7);
    await_log(&cluster, leader, "it is plain, and TLS is required here");

    // Gossip takes the impostor in; nobody shows it the log, and it gets no vote.
    await_status(&cluster, 0, 6, ALIVE);
    write(&cluster, 3, "beside-the-impostor");
    let stale = cluster.inside(|| cluster.http(6).get("/v1/kv/through-0?stale"));
    let stale = stale.expect("it answers");
    assert_ne!(stale.status, 200, "the impostor has the data: {stale}");
    assert_ne!(cluster.inside(|| votes(&cluster, 0, 6)), Some(true));
    assert_works(&cluster, &[0, 3, 4]);
}

#[test]
fn lenient_modes_of_our_servers() {
    let authority = Authority::new();
    for mode in [
        json!({ "verify_outgoing": true, "verify_server_hostname": true }),
        json!({ "verify_incoming": true, "verify_outgoing": true }),
        json!({ "verify_incoming_rpc": true, "verify_outgoing": true }),
        json!({ "verify_outgoing": true }),
        json!({}),
    ] {
        let mut specs = vec![authority.server(ours(), 3, &mode); 3];
        specs.push(authority.client(ours(), &mode));
        specs.push(authority.client(consul(), &mode));
        let has_plain = mode["verify_incoming"] != true && mode["verify_incoming_rpc"] != true;
        specs.push(NodeSpec::client(ours()));
        let cluster = Cluster::start(specs);
        await_voters(&cluster, 0, 3);
        assert_works(&cluster, &[0, 3, 4]);
        if has_plain {
            assert_works(&cluster, &[0, 5]);
        } else {
            assert_shut_out(&cluster, 5);
        }
    }
}

#[test]
fn our_clients_of_real_servers() {
    let authority = Authority::new();
    let mode = strict();
    let cluster = Cluster::start(vec![
        authority.server(consul(), 3, &mode),
        authority.server(consul(), 3, &mode),
        authority.server(consul(), 3, &mode),
        authority.client(ours(), &mode),
        authority.client(ours(), &json!({ "verify_outgoing": true })),
        NodeSpec::client(ours()),
    ]);
    await_leader(&cluster, 3, &[0, 1, 2]);
    assert_works(&cluster, &[3, 4, 0]);
    assert_shut_out(&cluster, 5);
}
