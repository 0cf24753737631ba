//! A real client agent (1.8.7) served by our server port, which asks a real server by our client.
//!
//! Gossip is the real server's: it tells the agent an address where ours listens in its place.

use std::io::{Read, Write};
use std::time::Duration;

use rpc::{LinkHandler, RemoteSettings, ServeSettings, serve};
use serde_json::{Value, json};
use testkit::background::Background;
use testkit::ports::free_port;
use testkit::process::{Agent, Spec, consul};
use testkit::toy::Application;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::real::remote_of;

/// Where the real server is said to be.
const ELSEWHERE: &str = "127.0.0.2";

struct Chain {
    server: Agent,
    client: Agent,
    stop: CancellationToken,
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start(spec: Spec) -> Agent {
    tokio::task::spawn_blocking(move || spec.start()).await.unwrap()
}

impl Chain {
    async fn start() -> Self {
        let server = Spec::new(consul())
            .config(json!({ "serf_lan": ELSEWHERE, "advertise_addr": ELSEWHERE }));
        let server = start(server).await;
        let listener = TcpListener::bind((ELSEWHERE, server.ports.server)).await.unwrap();
        let remote = remote_of(&server, RemoteSettings::new("dc1"));
        let stop = CancellationToken::new();
        let running = (remote.clone(), stop.clone());
        tokio::spawn(async move { running.0.run(running.1).await });
        let on_link: LinkHandler = std::sync::Arc::new(|_| ());
        tokio::spawn(serve(listener, ServeSettings::new("dc1"), remote, on_link, stop.clone()));
        let client = Spec::new(consul()).config(json!({
            "server": false,
            "bootstrap": false,
            "node_name": "node2",
            "limits": { "http_max_conns_per_client": 1000 },
            "node_id": "7f1c5ad0-7c1e-4c3c-9c55-0d4f1e6a9b12",
            "retry_join": [format!("{ELSEWHERE}:{}", server.ports.serf_lan)],
        }));
        let client = start(client).await;
        Self { server, client, stop }
    }

    /// What both show under `path` is the same.
    fn same(&self, path: &str) {
        let get = |agent: &Agent| {
            let answer = agent.http().get(path).unwrap();
            assert!(matches!(answer.status, 200 | 404), "{path}: {}", answer.text());
            (answer.status, answer.text())
        };
        // Where the user interface looks, lists never made are shown as such; we do not keep that.
        let is_raw = path.contains("/ui/");
        let value = |text: &str| {
            let text = if is_raw { text.replace(":[]", ":null") } else { text.to_owned() };
            serde_json::from_str::<Value>(&text).ok()
        };
        let ((status, ours), (want_status, want)) = (get(&self.client), get(&self.server));
        assert_eq!((status, value(&ours)), (want_status, value(&want)), "{path}");
    }

    fn put(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.http().put(path, body.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_str(&answer.text()).unwrap_or(Value::Null)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_agent_is_served() {
    let chain = Chain::start().await;
    let asked = tokio::task::spawn_blocking(move || {
        drive(&chain);
        chain
    });
    let chain = asked.await.unwrap();
    let log = chain.client.log();
    for trouble in ["rpc error", "yamux:", "msgpack", "can't find"] {
        let said = log.lines().filter(|line| line.contains(trouble));
        let unexpected = said.filter(|line| !line.contains("duplicate intention found"));
        assert_eq!(unexpected.collect::<Vec<_>>(), Vec::<&str>::new());
    }
}

fn drive(chain: &Chain) {
    chain.put(
        "/v1/agent/service/register",
        &json!({
            "Name": "web", "Port": 8080, "Tags": ["a"], "Check": {"TTL": "60s"},
            "Connect": {"SidecarService": {"Proxy": {"Upstreams": [
                {"DestinationName": "db", "LocalBindPort": 9191}
            ]}}},
        }),
    );
    // The agent's own synchronisation is not waited for by who registers.
    testkit::wait::poll(Duration::from_secs(20), || {
        let answer = chain.server.http().get("/v1/health/service/web").unwrap();
        answer.text().contains("node2").then_some(())
    })
    .expect("the service is registered");
    chain.put("/v1/kv/a/b?flags=42", &json!("x"));
    assert_eq!(chain.put("/v1/kv/a/b?cas=1", &json!("y")), json!(false));
    chain.put("/v1/kv/a/c/d", &json!("z"));
    let session = chain.put("/v1/session/create", &json!({"TTL": "3600s"}));
    let id = session["ID"].as_str().unwrap().to_owned();
    assert_eq!(chain.put(&format!("/v1/kv/lock?acquire={id}"), &json!("me")), json!(true));
    chain.put(&format!("/v1/session/renew/{id}"), &json!({}));
    let intention = json!({"SourceName": "web", "DestinationName": "db", "SourceType": "consul", "Action": "allow"});
    let create = |body: &Value| {
        let body = body.to_string();
        chain.client.http().send("POST", "/v1/connect/intentions", &[], body.as_bytes()).unwrap()
    };
    let created = create(&intention);
    assert_eq!(created.status, 200, "{}", created.text());
    let again = create(&intention);
    assert!(again.text().contains("duplicate intention found"), "{}", again.text());
    chain
        .put("/v1/config", &json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http"}));
    chain.put(
        "/v1/config",
        &json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"n": 5}}),
    );
    chain.put("/v1/event/fire/deploy", &json!("v1"));

    for path in [
        "/v1/catalog/datacenters",
        "/v1/catalog/nodes",
        "/v1/catalog/nodes?near=node2",
        "/v1/catalog/service/web",
        "/v1/catalog/service/web?tag=a",
        "/v1/catalog/connect/web",
        "/v1/catalog/node/node2",
        "/v1/catalog/node-services/node2",
        "/v1/catalog/node/none",
        "/v1/catalog/gateway-services/g",
        "/v1/health/service/web",
        "/v1/health/service/web?passing",
        "/v1/health/connect/web",
        "/v1/health/state/any",
        "/v1/health/node/node2",
        "/v1/health/checks/web",
        "/v1/kv/a/b",
        "/v1/kv/a?recurse",
        "/v1/kv/?keys&separator=/",
        "/v1/kv/none",
        "/v1/session/list",
        "/v1/session/node/node2",
        "/v1/connect/intentions",
        "/v1/connect/intentions/match?by=destination&name=db",
        "/v1/connect/intentions/check?source=web&destination=db",
        "/v1/connect/ca/roots",
        "/v1/connect/ca/configuration",
        "/v1/config/service-defaults",
        "/v1/config/proxy-defaults/global",
        "/v1/config/service-defaults/none",
        "/v1/operator/raft/configuration",
        "/v1/operator/autopilot/configuration",
        "/v1/status/leader",
        "/v1/status/peers",
        "/v1/internal/ui/node/node2",
        "/v1/internal/ui/nodes",
        "/v1/discovery-chain/web",
        "/v1/discovery-chain/db",
    ] {
        chain.same(path);
    }
    let leaf = chain.client.http().get("/v1/agent/connect/ca/leaf/web").unwrap();
    assert!(leaf.text().contains("BEGIN CERTIFICATE"), "{}", leaf.text());
    let snapshot = chain.client.http().get("/v1/snapshot").unwrap();
    assert_eq!((snapshot.status, &snapshot.body[..2]), (200, &[0x1f, 0x8b][..]));

    // A watch of the agent wakes when something changes at the server.
    let index = chain.client.http().get("/v1/kv/a/b").unwrap().index().unwrap();
    let client = chain.client.http();
    let watch = std::thread::spawn(move || {
        client.get_within(&format!("/v1/kv/a/b?index={index}"), Duration::from_secs(60)).unwrap()
    });
    chain.server.http().put("/v1/kv/a/b", "new").unwrap();
    let woken = watch.join().unwrap();
    assert!(woken.index().unwrap() > index);
    // Three hundred of them disturb nobody.
    let index = woken.index().unwrap();
    let watches: Vec<_> = (0..300)
        .map(|_| {
            let client = chain.client.http();
            let path = format!("/v1/kv/a/b?index={index}&wait=60s");
            std::thread::spawn(move || client.get_within(&path, Duration::from_secs(90)).unwrap())
        })
        .collect();
    for _ in 0..20 {
        chain.same("/v1/session/list");
    }
    chain.server.http().put("/v1/kv/a/b", "newer").unwrap();
    for watch in watches {
        assert!(watch.join().unwrap().index().unwrap() > index);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_proxies_of_a_real_agent_connect() {
    let chain = Chain::start().await;
    tokio::task::spawn_blocking(move || mesh(&chain)).await.unwrap();
}

/// Client application, its proxy, the other proxy, echo: names, leaves, roots, chain and intentions
/// come by way of our port.
fn mesh(chain: &Chain) {
    let application = Application::start();
    let [upstream, public] = [free_port(), free_port()];
    chain.put(
        "/v1/agent/service/register",
        &json!({
            "Name": "web", "Port": application.port,
            "Connect": {"SidecarService": {
                "Port": public, "Proxy": {"Config": {"bind_address": "127.0.0.1"}},
                "Checks": [{"TTL": "60s", "Status": "passing"}],
            }},
        }),
    );
    chain.put(
        "/v1/agent/service/register",
        &json!({
            "Name": "caller", "Port": 1,
            "Connect": {"SidecarService": {
                "Port": free_port(),
                "Proxy": {"Upstreams": [{"DestinationName": "web", "LocalBindPort": upstream}]},
            }},
        }),
    );
    let address = format!("-http-addr={}", chain.client.address(chain.client.ports.http));
    let proxy = |of: &str| {
        let of = format!("-sidecar-for={of}");
        let log = chain.client.dir().join(format!("proxy{of}.log"));
        Background::start(&consul(), &["connect", "proxy", &address, &of], log)
    };
    let proxies = [proxy("web"), proxy("caller")];
    let shown = || proxies.iter().map(Background::log).collect::<String>();
    let echoed = || {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", upstream)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.write_all(b"hello").ok()?;
        let mut got = [0; 5];
        socket.read_exact(&mut got).ok()?;
        Some(got == *b"hello")
    };
    let connected = testkit::wait::poll(Duration::from_secs(40), echoed);
    assert_eq!(connected, Some(true), "{}", shown());
    // Denied from now on, and nothing reaches the application any more.
    let deny = json!({
        "SourceName": "caller", "DestinationName": "web", "SourceType": "consul", "Action": "deny",
    });
    let body = deny.to_string();
    let http = chain.client.http();
    let denied = http.send("POST", "/v1/connect/intentions", &[], body.as_bytes()).unwrap();
    assert_eq!(denied.status, 200, "{}", denied.text());
    let refused = testkit::wait::poll(Duration::from_secs(40), || echoed().is_none().then_some(()));
    assert!(refused.is_some(), "{}", shown());
}
