//! A running fleet is moved over: real servers go, ours come under the same names and addresses with a snapshot of their
//! state, and the real client agents, untouched, carry on. The procedure is that of docs/migrate.md.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::cluster::{Cluster, NodeSpec};
use testkit::process::consul;
use testkit::request::Client;

const PATIENCE: Duration = Duration::from_secs(90);
const SERVERS: [usize; 3] = [0, 1, 2];
const CLIENTS: [usize; 3] = [3, 4, 5];

fn ours() -> &'static str {
    env!("CARGO_BIN_EXE_lictor")
}

fn json_of(http: Client, path: &str) -> Option<Value> {
    let answer = http.get(path).ok()?;
    (answer.status == 200).then(|| answer.json())
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks over and over until told to stop. Returns the longest time without an answer, and whether the value was ever
/// another than it should be.
fn read_all_along(http: Client, stop: &AtomicBool) -> (Duration, Option<String>) {
    let (mut answered_at, mut longest, mut wrong) = (Instant::now(), Duration::ZERO, None);
    while !stop.load(Ordering::Relaxed) {
        if let Ok(answer) = http.get("/v1/kv/kept?raw") {
            match answer.status {
                200 if answer.text() == "value" => {
                    longest = longest.max(answered_at.elapsed());
                    answered_at = Instant::now();
                }
                // Between the start of our servers and the end of the restore the key is not there yet.
                404 | 500 => {}
                _ => wrong = Some(answer.to_string()),
            }
        }
    }
    (longest, wrong)
}

/// What docs/migrate.md says to do on each server: the log of the old program goes aside, names and acquaintances stay.
fn set_aside(data: &Path) {
    fs::rename(data.join("raft"), data.join("raft.before")).expect("the old log can be moved");
}

#[test]
fn a_running_fleet_moves_over_without_a_restart_of_its_clients() {
    let mut specs = vec![NodeSpec::server(consul(), 3); 3];
    specs.extend(vec![NodeSpec::client(consul()); 3]);
    let mut cluster = Cluster::start(specs);
    let near = cluster.http(3);
    for client in CLIENTS {
        let (http, path) = (cluster.http(client), format!("/v1/health/node/node{client}"));
        cluster.until("the client is in the catalog", PATIENCE, || {
            http.get(&path).is_ok_and(|answer| answer.text().contains("\"passing\""))
        });
    }
    // What the fleet lives by.
    cluster.inside(|| {
        let put = |path: &str, body: Value| {
            let answer = near.put(path, body.to_string()).expect("the agent answers");
            assert_eq!(answer.status, 200, "PUT {path}: {answer}");
            answer
        };
        near.put("/v1/kv/kept", "value").expect("the agent answers");
        let check = json!({"TTL": "30m", "Status": "passing"});
        put("/v1/agent/service/register", json!({"Name": "web", "Port": 8080, "Check": check}));
        let id = put("/v1/session/create", json!({"TTL": "1h"})).json()["ID"].clone();
        let id = id.as_str().expect("an id").to_owned();
        put(&format!("/v1/kv/lock?acquire={id}"), json!("x"));
    });
    let roots = |http: Client| json_of(http, "/v1/connect/ca/roots");
    cluster.until("there is an authority", PATIENCE, || {
        roots(near).is_some_and(|roots| roots["Roots"].as_array().is_some_and(|all| all.len() == 1))
    });
    let before = cluster.inside(|| {
        // A leaf of the old authority, held by the client.
        let leaf = json_of(near, "/v1/agent/connect/ca/leaf/web").expect("a leaf");
        (roots(near).expect("roots"), leaf)
    });
    let pids: Vec<u32> = CLIENTS.iter().map(|client| cluster.pid(*client)).collect();

    let stop = AtomicBool::new(false);
    let reader = cluster.http(4);
    let network = cluster.network.door();
    let ((longest, wrong), began) = std::thread::scope(|scope| {
        let stop = &stop;
        // Also when the move fails, else nobody would hear why.
        let _stopping = StopOnDrop(stop);
        let reading = scope.spawn(move || network.inside(|| read_all_along(reader, stop)));
        let began = Instant::now();
        let archive = cluster.dir(0).join("fleet.snap");
        cluster.inside(|| {
            let answer = cluster.http(0).get("/v1/snapshot").expect("the server answers");
            assert_eq!(answer.status, 200);
            fs::write(&archive, &answer.body).expect("a temporary folder can be written");
        });
        for server in SERVERS {
            cluster.terminate(server);
            set_aside(&cluster.dir(server).join("data"));
        }
        for server in SERVERS {
            cluster.replace(server, NodeSpec::server(ours(), 3));
            cluster.launch(server);
        }
        let server = cluster.http(0);
        cluster.until("our servers have a leader", PATIENCE, || {
            json_of(server, "/v1/status/leader")
                .is_some_and(|leader| leader.as_str().is_some_and(|l| l.len() > 3))
        });
        let archive = fs::read(&archive).expect("the archive was written");
        cluster.until("the snapshot is restored", PATIENCE, || {
            server.put("/v1/snapshot", &archive).is_ok_and(|answer| answer.status == 200)
        });
        for client in CLIENTS {
            let http = cluster.http(client);
            cluster.until("the client is served", PATIENCE, || {
                http.get("/v1/kv/kept?raw").is_ok_and(|answer| answer.text() == "value")
            });
        }
        stop.store(true, Ordering::Relaxed);
        (reading.join().expect("reading does not panic"), began)
    });
    println!(
        "the move took {:?}; the longest time without an answer was {longest:?}",
        began.elapsed()
    );
    assert_eq!(wrong, None);

    // Nobody was restarted, nothing is missing, and the old trust goes on.
    for (client, pid) in CLIENTS.iter().zip(pids) {
        assert!(cluster.is_running(*client));
        assert_eq!(cluster.pid(*client), pid);
    }
    cluster.inside(|| {
        let server = cluster.http(1);
        let now = roots(near).expect("roots");
        assert_eq!(now["TrustDomain"], before.0["TrustDomain"]);
        assert_eq!(now["Roots"][0]["RootCert"], before.0["Roots"][0]["RootCert"]);
        let leaf = json_of(near, "/v1/agent/connect/ca/leaf/web").expect("a leaf");
        assert_eq!(leaf["SerialNumber"], before.1["SerialNumber"], "the leaf is still good");
        let lock = json_of(server, "/v1/kv/lock").expect("the lock");
        assert!(lock[0]["Session"].is_string(), "{lock}");
    });
    let far = cluster.http(5);
    cluster.until("the old authority signs new leaves", PATIENCE, || {
        let leaf = json_of(far, "/v1/agent/connect/ca/leaf/other");
        leaf.is_some_and(|leaf| leaf["CertPEM"].is_string())
    });
    let server = cluster.http(2);
    cluster.until("every node is there and well", PATIENCE, || {
        let Some(checks) = json_of(server, "/v1/health/state/any") else { return false };
        let checks = checks.as_array().cloned().unwrap_or_default();
        let gossip = checks.iter().filter(|check| check["CheckID"] == "serfHealth");
        let well = gossip.filter(|check| check["Status"] == "passing").count();
        well == 6 && checks.iter().any(|check| check["CheckID"] == "service:web")
    });
    // Registration goes on working both ways.
    cluster.inside(|| near.put("/v1/agent/service/deregister/web", "").expect("the agent answers"));
    cluster.until("the service goes", PATIENCE, || {
        json_of(server, "/v1/catalog/service/web").is_some_and(|rows| rows == json!([]))
    });
}
