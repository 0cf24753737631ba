//! Clusters on hosts of their own: our servers and clients, and real ones among them.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::cluster::{Cluster, NodeSpec};
use testkit::process::consul;
use testkit::request::Answer;

pub(crate) mod history;
pub(crate) mod steps;

use steps::{
    PATIENCE, assert_kept, await_answer, await_leader, await_ready, await_voters, get, ours, put,
    status_of, three_servers, write,
};

/// Everything an application does through the client agent on `client`, looked at through it and
/// through `server`.
fn use_client(cluster: &Cluster, client: usize, server: usize) {
    await_ready(cluster, server);
    await_ready(cluster, client);
    let (near, far) = (cluster.http(client), cluster.http(server));

    // Registration and checks reach the catalog.
    let definition = json!({
        "Name": "web", "Port": 8080, "Tags": ["blue"], "Meta": {"k": "v"},
        "Check": {"TTL": "10m", "Status": "critical"},
        "Connect": {"SidecarService": {"Port": 21000, "Checks": []}},
    });
    cluster.inside(|| put(near, "/v1/agent/service/register", &definition));
    let in_catalog = |status: &'static str| {
        move || far.get(&format!("/v1/health/service/web?filter=Checks.Status==%22{status}%22"))
    };
    await_answer(cluster, "the service is registered", in_catalog("critical"), |a| {
        a.json()[0].is_object()
    });
    cluster.inside(|| put(near, "/v1/agent/check/pass/service:web", &Value::Null));
    for http in [near, far] {
        await_answer(
            cluster,
            "the service passes",
            || http.get("/v1/health/service/web?passing"),
            |answer| answer.json()[0]["Service"]["Tags"] == json!(["blue"]),
        );
    }
    await_answer(
        cluster,
        "the sidecar is found",
        || near.get("/v1/health/connect/web"),
        |answer| answer.json()[0]["Service"]["Proxy"]["DestinationServiceName"] == "web",
    );

    cluster.inside(|| {
        // Keys, conditions, locks.
        put(near, "/v1/kv/a/b?flags=7", &json!("value"));
        let rows = get(far, "/v1/kv/a?recurse");
        assert_eq!((&rows[0]["Key"], &rows[0]["Flags"]), (&json!("a/b"), &json!(7)));
        let index = rows[0]["ModifyIndex"].as_u64().expect("an index");
        let stale = near.put(&format!("/v1/kv/a/b?cas={}", index + 1), "x").expect("answers");
        assert_eq!((stale.status, stale.text().trim()), (200, "false"));
        let fresh = near.put(&format!("/v1/kv/a/b?cas={index}"), "y").expect("answers");
        assert_eq!((fresh.status, fresh.text().trim()), (200, "true"));
        let session = put(near, "/v1/session/create", &json!({"TTL": "10m"})).json();
        let id = session["ID"].as_str().expect("an id").to_owned();
        let locked = near.put(&format!("/v1/kv/lock?acquire={id}"), "x").expect("answers");
        assert_eq!(locked.text().trim(), "true");
        assert_eq!(get(far, "/v1/kv/lock")[0]["Session"], json!(id));
        assert_eq!(get(near, &format!("/v1/session/info/{id}"))[0]["ID"], json!(id));
        put(near, &format!("/v1/session/renew/{id}"), &Value::Null);
        put(near, &format!("/v1/session/destroy/{id}"), &Value::Null);
        assert_eq!(get(near, &format!("/v1/session/info/{id}")), json!([]));

        // The mesh: roots, a leaf whose key is made here, decisions by intentions.
        let roots = get(near, "/v1/agent/connect/ca/roots");
        let trust_domain = roots["TrustDomain"].as_str().expect("a domain").to_owned();
        let leaf = get(near, "/v1/agent/connect/ca/leaf/web");
        assert!(leaf["PrivateKeyPEM"].as_str().is_some_and(|key| key.contains("PRIVATE KEY")));
        let uri = format!("spiffe://{trust_domain}/ns/default/dc/dc1/svc/web");
        assert_eq!(leaf["ServiceURI"], json!(uri));
        let rule = json!({"SourceName": "web", "DestinationName": "db", "Action": "deny"});
        let made = far
            .send("POST", "/v1/connect/intentions", &[], rule.to_string().as_bytes())
            .expect("answers");
        assert_eq!(made.status, 200, "{made}");
    });
    let question = cluster.inside(|| {
        let uri = get(near, "/v1/agent/connect/ca/leaf/web")["ServiceURI"].clone();
        json!({"Target": "db", "ClientCertURI": uri, "ClientCertSerial": "1"}).to_string()
    });
    await_answer(
        cluster,
        "the intention refuses",
        || near.send("POST", "/v1/agent/connect/authorize", &[], question.as_bytes()),
        |answer| answer.json()["Authorized"] == json!(false),
    );

    // A held question is answered when something changes elsewhere.
    cluster.inside(|| {
        let before = near.get("/v1/kv/watched?index=0").expect("answers");
        let index = before.index().expect("an index");
        std::thread::scope(|scope| {
            let path = format!("/v1/kv/watched?index={index}&wait=30s");
            let waiting = scope.spawn(move || {
                // The thread of a scope begins where its maker is: in the network of the test.
                near.get_within(&path, Duration::from_secs(40)).expect("answers")
            });
            put(far, "/v1/kv/watched", &json!("now"));
            let woken = waiting.join().expect("asking does not panic");
            assert_eq!(woken.status, 200);
            assert!(woken.index().expect("an index") > index);
        });
    });

    // Events go to everybody.
    cluster.inside(|| {
        let fired = near.put("/v1/event/fire/deploy", "now").expect("answers");
        assert_eq!(fired.status, 200, "{fired}");
    });
    await_answer(
        cluster,
        "the event arrives",
        || far.get("/v1/event/list?name=deploy"),
        |answer| answer.json()[0]["Name"] == "deploy",
    );

    // What is taken back goes from the catalog.
    cluster.inside(|| put(near, "/v1/agent/service/deregister/web", &Value::Null));
    await_answer(
        cluster,
        "the service is gone",
        || far.get("/v1/catalog/service/web"),
        |answer| answer.json() == json!([]),
    );
}

/// Gone in order is left, gone without a word is failed; either way the catalog tells.
fn lose_client(cluster: &mut Cluster, client: usize, server: usize) {
    let (far, name) = (cluster.http(server), cluster.name(client));
    cluster.kill(client);
    cluster.until("the killed client has failed", PATIENCE, || {
        status_of(cluster, server, client) == Some(4)
    });
    await_answer(
        cluster,
        "the check of gossip is critical",
        || far.get(&format!("/v1/health/node/{name}")),
        |answer| answer.text().contains("Agent not live or unreachable"),
    );
    cluster.launch(client);
    cluster.until("the client is back", PATIENCE, || status_of(cluster, server, client) == Some(1));
    await_ready(cluster, client);
    cluster.inside(|| put(cluster.http(client), "/v1/agent/leave", &Value::Null));
    cluster.wait(client);
    cluster
        .until("the client has left", PATIENCE, || status_of(cluster, server, client) == Some(3));
    // A real client may register itself once more while it leaves; the leader finds that within a minute.
    cluster.until("the node is gone from the catalog", 2 * PATIENCE, || {
        let found = far.get(&format!("/v1/catalog/node/{name}"));
        found.is_ok_and(|answer| answer.text().trim() == "null")
    });
}

#[test]
fn our_client_with_our_server() {
    let mut cluster = Cluster::start(vec![NodeSpec::server(ours(), 1), NodeSpec::client(ours())]);
    use_client(&cluster, 1, 0);
    lose_client(&mut cluster, 1, 0);
}

#[test]
fn a_real_client_with_our_server() {
    let mut cluster = Cluster::start(vec![NodeSpec::server(ours(), 1), NodeSpec::client(consul())]);
    use_client(&cluster, 1, 0);
    lose_client(&mut cluster, 1, 0);
}

#[test]
fn our_client_with_a_real_server() {
    let mut cluster = Cluster::start(vec![NodeSpec::server(consul(), 1), NodeSpec::client(ours())]);
    use_client(&cluster, 1, 0);
    lose_client(&mut cluster, 1, 0);
}

#[test]
fn three_servers_lose_their_leader_and_go_on() {
    let mut cluster = three_servers();
    for host in 0..5 {
        write(&cluster, host, &format!("through-{host}"));
    }
    let first = await_leader(&cluster, 3, &[0, 1, 2]);
    cluster.kill(first);
    let others: Vec<usize> = (0..3).filter(|host| *host != first).collect();
    write(&cluster, 3, "after-the-kill");
    write(&cluster, 4, "after-the-kill-too");
    await_leader(&cluster, others[0], &others);
    cluster.launch(first);
    for host in 0..5 {
        assert_kept(
            &cluster,
            host,
            &["through-0", "through-4", "after-the-kill", "after-the-kill-too"],
        );
    }
    // An orderly stop hands over.
    let second = await_leader(&cluster, first, &[0, 1, 2]);
    assert!(cluster.terminate(second).success());
    write(&cluster, 3, "after-the-stop");
    cluster.launch(second);
    assert_kept(&cluster, second, &["after-the-stop"]);
    await_voters(&cluster, 3, 3);
}

#[test]
fn a_minority_cut_off_serves_nothing_it_cannot_know() {
    let cluster = three_servers();
    write(&cluster, 3, "before");
    let cut_off = await_leader(&cluster, 3, &[0, 1, 2]);
    let rest: Vec<usize> = (0..5).filter(|host| *host != cut_off).collect();
    let servers: Vec<usize> = rest.iter().copied().filter(|host| *host < 3).collect();
    cluster.network.partition(&[cut_off], &rest);
    await_leader(&cluster, servers[0], &servers);
    write(&cluster, servers[1], "meanwhile");
    cluster.inside(|| {
        let http = cluster.http(cut_off);
        for path in ["/v1/kv/before", "/v1/kv/before?consistent"] {
            let answer = http.get(path).expect("it answers");
            assert_eq!(answer.status, 500, "{path}: {answer}");
            assert!(answer.text().contains("No cluster leader"), "{answer}");
        }
        let answer = http.put("/v1/kv/lost", "x").expect("it answers");
        assert_eq!(answer.status, 500, "{answer}");
        // Whoever takes an old answer gets one, with its age.
        let stale = http.get("/v1/kv/before?stale&raw").expect("it answers");
        assert_eq!((stale.status, stale.text().as_str()), (200, "before"));
        assert_eq!(stale.header("X-Consul-KnownLeader"), Some("false"));
        let age: u64 = stale.header("X-Consul-LastContact").expect("an age").parse().unwrap();
        assert!(age > 0);
    });
    cluster.network.heal();
    assert_kept(&cluster, cut_off, &["before", "meanwhile"]);
    cluster.inside(|| {
        let lost = cluster.http(cut_off).get("/v1/kv/lost?consistent").expect("it answers");
        assert_eq!(lost.status, 404, "what was not acknowledged did not happen: {lost}");
    });
}

/// With every server gone the mesh decides from memory, and everything comes back by itself.
#[test]
fn an_agent_goes_on_without_servers() {
    let mut cluster = three_servers();
    let near = cluster.http(3);
    let question = cluster.inside(|| {
        put(near, "/v1/agent/service/register", &json!({"Name": "web", "Port": 8080}));
        let uri = get(near, "/v1/agent/connect/ca/leaf/web")["ServiceURI"].clone();
        json!({"Target": "db", "ClientCertURI": uri, "ClientCertSerial": "1"}).to_string()
    });
    let authorize = || near.send("POST", "/v1/agent/connect/authorize", &[], question.as_bytes());
    let is_allowed =
        |answer: &Answer| answer.status == 200 && answer.json()["Authorized"] == json!(true);
    await_answer(&cluster, "the connection is allowed", authorize, is_allowed);
    for server in 0..3 {
        cluster.kill(server);
    }
    cluster.inside(|| {
        let answer = authorize().expect("it answers");
        assert!(is_allowed(&answer), "{answer}");
        let leaf = near.get("/v1/agent/connect/ca/leaf/web").expect("it answers");
        assert_eq!(leaf.status, 200, "{leaf}");
        let services = near.get("/v1/agent/services").expect("it answers");
        assert!(services.text().contains("\"web\""), "{services}");
    });
    for server in 0..3 {
        cluster.launch(server);
    }
    write(&cluster, 3, "back");
    await_answer(
        &cluster,
        "the service is still in the catalog",
        || cluster.http(4).get("/v1/catalog/service/web"),
        |answer| answer.text().contains("node3"),
    );
}
