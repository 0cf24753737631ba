//! A whole cluster moved: saved by the real program, restored into ours, saved by ours, restored into a fresh real one;
//! after each step every noun must answer as it did at first.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::command::Cli;
use testkit::differential::{is_substituted, subject};
use testkit::process::{Agent, Spec, consul};
use testkit::request::{Answer, Client};
use testkit::wait;

use crate::certificates::assert_verifies;
use crate::minted::key_pem;

/// Access token of the real agents' operator.
const MASTER: &str = "11111111-2222-3333-4444-555555555555";
/// Longest way of a real server through the restart of its leadership after a restore.
const SETTLED_MAX: Duration = Duration::from_secs(30);

/// Answers that must be the same everywhere.
const EVERYWHERE: &[&str] = &[
    "/v1/catalog/nodes",
    "/v1/catalog/services",
    "/v1/catalog/service/web",
    "/v1/catalog/service/db",
    "/v1/catalog/connect/web",
    "/v1/catalog/node/ext1",
    "/v1/catalog/node/ext2",
    "/v1/health/node/ext1",
    "/v1/health/checks/web",
    "/v1/health/service/web",
    "/v1/health/service/mesh-gateway",
    "/v1/health/connect/web",
    "/v1/health/state/warning",
    "/v1/kv/?recurse",
    "/v1/kv/bin?raw",
    "/v1/kv/large?raw",
    "/v1/session/list",
    "/v1/session/node/ext1",
    "/v1/connect/intentions",
    "/v1/connect/intentions/match?by=destination&name=db",
    "/v1/connect/ca/roots",
    "/v1/connect/ca/configuration",
    "/v1/config/service-defaults",
    "/v1/config/proxy-defaults",
];

/// Answers about what exists in the real one alone, and goes through ours untouched.
const REAL_ONLY: &[&str] = &[
    "/v1/config/service-resolver",
    "/v1/config/service-splitter",
    "/v1/config/service-router",
    "/v1/config/ingress-gateway",
    "/v1/config/terminating-gateway",
    "/v1/query",
    "/v1/acl/policies",
    "/v1/acl/roles",
    "/v1/acl/tokens",
    "/v1/acl/auth-methods",
    "/v1/acl/binding-rules",
    "/v1/coordinate/nodes",
    "/v1/operator/autopilot/configuration",
    "/v1/catalog/gateway-services/terminating-gateway",
    // A terminating gateway leads there.
    "/v1/catalog/connect/db",
    "/v1/kv/odd/%ff%fe",
];

fn ours() -> Agent {
    Spec::new(subject(env!("CARGO_BIN_EXE_lictor"))).start()
}

fn real() -> Agent {
    let acl = json!({ "enabled": true, "default_policy": "allow", "tokens": { "master": MASTER } });
    Spec::new(consul()).config(json!({ "acl": acl })).start()
}

fn cli(program: impl Into<PathBuf>, agent: &Agent) -> Cli {
    Cli::new(program.into())
        .env("CONSUL_HTTP_ADDR", agent.address(agent.ports.http))
        .env("CONSUL_HTTP_TOKEN", MASTER)
}

fn send(http: &Client, method: &str, path: &str, body: &[u8]) -> Answer {
    let token = [("X-Consul-Token".to_owned(), MASTER.to_owned())];
    let answer = http.send(method, path, &token, body);
    answer.unwrap_or_else(|error| panic!("{method} {path} is not answered: {error}"))
}

fn must(http: &Client, method: &str, path: &str, body: impl AsRef<[u8]>) -> Answer {
    let answer = send(http, method, path, body.as_ref());
    assert_eq!(answer.status, 200, "{method} {path}: {answer}");
    answer
}

/// The bodies of `paths`, without what an agent says of itself.
fn answers(http: &Client, paths: &[&str]) -> Vec<(String, String)> {
    let ask = |path: &&str| {
        let answer = must(http, "GET", path, "");
        let body = match serde_json::from_slice(&answer.body) {
            Ok(json) => format!("{:#}", scrubbed(json)),
            Err(_) => format!("{:?}", answer.body),
        };
        ((*path).to_owned(), body)
    };
    paths.iter().map(ask).collect()
}

/// Without rows of the agent's own node, and without keys that are no text, which ours keeps and does not show.
fn scrubbed(mut json: Value) -> Value {
    if let Value::Array(rows) = &mut json {
        rows.retain(|row| {
            let is_odd = row["Key"].as_str().is_some_and(|key| key.starts_with("odd/"));
            let is_own = row["Node"] == json!("node1");
            !is_odd && !is_own
        });
    }
    // Tags of a service, which a real server lists in any order.
    for tags in json.as_object_mut().into_iter().flat_map(|object| object.values_mut()) {
        if let Value::Array(tags) = tags {
            tags.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
    if let Value::Object(object) = &mut json
        && object.contains_key("ForceWithoutCrossSigning")
    {
        // A real server writes its authority's settings again, as they are, whenever it comes to lead.
        object.remove("ModifyIndex");
    }
    json
}

fn assert_same(want: &[(String, String)], found: &[(String, String)], whose: &str) {
    let mut report = String::new();
    for ((path, want), (_, found)) in want.iter().zip(found) {
        let first = want.lines().zip(found.lines()).find(|(want, found)| want != found);
        if want != found {
            report.push_str(&format!("{path}: {first:?}\n"));
        }
    }
    assert!(report.is_empty(), "{whose} answers otherwise:\n{report}");
}

fn register(http: &Client, registration: Value) {
    must(http, "PUT", "/v1/catalog/register", registration.to_string());
}

/// One of everything.
fn fill(http: &Client) {
    fill_catalog(http);
    fill_keys(http);
    fill_mesh(http);
    fill_what_ours_has_not(http);
}

fn fill_catalog(http: &Client) {
    register(
        http,
        json!({
            "Node": "ext1", "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Address": "10.0.0.1",
            "TaggedAddresses": { "lan": "10.0.0.1", "wan": "1.2.3.4" },
            "NodeMeta": { "rack": "r1", "external-node": "true" },
            "Service": {
                "ID": "web1", "Service": "web", "Tags": ["a", "b"], "Address": "10.0.0.2", "Port": 80,
                "TaggedAddresses": { "wan": { "Address": "9.9.9.9", "Port": 81 } },
                "Meta": { "v": "1" }, "Weights": { "Passing": 10, "Warning": 2 }, "EnableTagOverride": true,
            },
            "Checks": [
                {
                    "Name": "h", "CheckID": "web:1", "ServiceID": "web1", "Status": "passing", "Notes": "n",
                    "Output": "o", "Definition": {
                        "HTTP": "http://x/", "Interval": "10s", "Timeout": "5s", "Header": { "A": ["b"] },
                        "Method": "GET", "Body": "x", "TLSSkipVerify": true, "DeregisterCriticalServiceAfter": "1m",
                    },
                },
                { "Name": "node", "CheckID": "n1", "Status": "warning", "Definition": { "TCP": "x:1", "Interval": "10s" } },
            ],
        }),
    );
    let proxy = json!({
        "DestinationServiceName": "web", "DestinationServiceID": "web1",
        "LocalServiceAddress": "127.0.0.1", "LocalServicePort": 80,
        "Config": { "a": 1, "b": 2.5, "c": { "d": ["x", true] } },
        "Upstreams": [
            {
                "DestinationType": "service", "DestinationName": "db", "LocalBindPort": 1234,
                "LocalBindAddress": "127.0.0.1", "Datacenter": "dc2", "Config": { "x": 7 },
                "MeshGateway": { "Mode": "local" },
            },
            { "DestinationType": "prepared_query", "DestinationName": "pq", "LocalBindPort": 1235, "Config": { "y": "z" } },
        ],
        "MeshGateway": { "Mode": "remote" },
        "Expose": {
            "Checks": true,
            "Paths": [{ "ListenerPort": 1, "Path": "/p", "LocalPathPort": 2, "Protocol": "http" }],
        },
    });
    let on = |node: &str, service: Value| json!({ "Node": node, "Address": "10.0.0.1", "SkipNodeUpdate": true, "Service": service });
    let sidecar = json!({
        "Kind": "connect-proxy", "ID": "web1-sidecar-proxy", "Service": "web-sidecar-proxy", "Port": 21000,
        "Proxy": proxy,
    });
    register(http, on("ext1", sidecar));
    register(
        http,
        on("ext1", json!({ "Service": "db", "Port": 5432, "Connect": { "Native": true } })),
    );
    for kind in ["mesh-gateway", "terminating-gateway", "ingress-gateway"] {
        register(http, on("ext2", json!({ "Kind": kind, "Service": kind, "Port": 8443 })));
    }
}

fn fill_keys(http: &Client) {
    let create = |session: Value| -> String {
        let answer = must(http, "PUT", "/v1/session/create", session.to_string());
        answer.json()["ID"].as_str().expect("a session has an id").to_owned()
    };
    let session = create(json!({
        "Name": "s1", "Node": "ext1", "NodeChecks": ["n1"], "ServiceChecks": [{ "ID": "web:1" }],
        "Behavior": "delete", "TTL": "3600s", "LockDelay": "30s",
    }));
    create(json!({ "Node": "ext1", "Checks": [] }));
    let put = |key: &str, value: &[u8]| must(http, "PUT", &format!("/v1/kv/{key}"), value);
    put(&format!("lock/a?acquire={session}"), b"held");
    put("plain?flags=42", b"hello");
    put("bin", &(0..=255).collect::<Vec<u8>>());
    put("empty", b"");
    put("uml/%C3%A4", "ü".as_bytes());
    put("odd/%ff%fe", b"not UTF-8");
    put("large", &[b'z'; 500_000]);
    for key in ["gone", "tree/a", "tree/b"] {
        put(key, b"x");
    }
    must(http, "DELETE", "/v1/kv/gone", "");
    must(http, "DELETE", "/v1/kv/tree?recurse", "");
}

fn fill_mesh(http: &Client) {
    for intention in [
        json!({
            "SourceName": "web", "DestinationName": "db", "Action": "allow", "Description": "d", "Meta": { "k": "v" },
        }),
        json!({ "SourceName": "*", "DestinationName": "db", "Action": "deny" }),
    ] {
        must(http, "POST", "/v1/connect/intentions", intention.to_string());
    }
    for entry in [
        json!({
            "Kind": "proxy-defaults", "Name": "global", "Config": { "protocol": "http", "n": 3 },
            "MeshGateway": { "Mode": "local" },
        }),
        json!({
            "Kind": "service-defaults", "Name": "web", "Protocol": "http", "MeshGateway": { "Mode": "remote" },
            "ExternalSNI": "sni", "Expose": { "Checks": true },
        }),
        json!({ "Kind": "service-defaults", "Name": "db", "Protocol": "http" }),
        json!({ "Kind": "service-defaults", "Name": "api", "Protocol": "http" }),
    ] {
        must(http, "PUT", "/v1/config", entry.to_string());
    }
    // A new root, that the old one vouches for. A real server fills in the second span after a restore if it is missing.
    let rotation = json!({
        "Provider": "consul",
        "Config": { "LeafCertTTL": "48h", "IntermediateCertTTL": "8760h", "RotationPeriod": "2160h", "PrivateKey": key_pem(), "RootCert": "" },
    });
    must(http, "PUT", "/v1/connect/ca/configuration", rotation.to_string());
}

fn fill_what_ours_has_not(http: &Client) {
    for entry in [
        json!({
            "Kind": "service-resolver", "Name": "api", "DefaultSubset": "v1", "ConnectTimeout": "5s",
            "Subsets": {
                "v1": { "Filter": "Service.Meta.v == 1" },
                "v2": { "Filter": "Service.Meta.v == 2", "OnlyPassing": true },
            },
            "Failover": { "*": { "Datacenters": ["dc2"] } },
        }),
        json!({
            "Kind": "service-splitter", "Name": "api",
            "Splits": [{ "Weight": 90, "ServiceSubset": "v1" }, { "Weight": 10, "ServiceSubset": "v2" }],
        }),
        json!({
            "Kind": "service-router", "Name": "web",
            "Routes": [{
                "Match": { "HTTP": {
                    "PathPrefix": "/a", "Header": [{ "Name": "x", "Exact": "y" }],
                    "QueryParam": [{ "Name": "q", "Present": true }], "Methods": ["GET"],
                } },
                "Destination": {
                    "Service": "db", "PrefixRewrite": "/", "RequestTimeout": "3s", "NumRetries": 2,
                    "RetryOnConnectFailure": true, "RetryOnStatusCodes": [503],
                },
            }],
        }),
        json!({
            "Kind": "ingress-gateway", "Name": "ingress-gateway", "TLS": { "Enabled": true },
            "Listeners": [{
                "Port": 8080, "Protocol": "http", "Services": [{ "Name": "web", "Hosts": ["web.example.com"] }],
            }],
        }),
        json!({
            "Kind": "terminating-gateway", "Name": "terminating-gateway",
            "Services": [{ "Name": "db", "CAFile": "/ca", "CertFile": "/c", "KeyFile": "/k", "SNI": "s" }],
        }),
    ] {
        must(http, "PUT", "/v1/config", entry.to_string());
    }
    for query in [
        json!({
            "Name": "pq", "DNS": { "TTL": "10s" },
            "Service": {
                "Service": "web", "Tags": ["a"], "OnlyPassing": true, "Near": "_agent", "NodeMeta": { "rack": "r1" },
                "Failover": { "NearestN": 2, "Datacenters": ["dc2"] },
            },
        }),
        json!({
            "Name": "", "Template": { "Type": "name_prefix_match", "Regexp": "^geo-(.*)$" },
            "Service": { "Service": "${match(1)}" },
        }),
    ] {
        must(http, "POST", "/v1/query", query.to_string());
    }
    let rules = r#"key_prefix "" { policy = "read" }"#;
    let put = |path: &str, body: Value| must(http, "PUT", path, body.to_string());
    put("/v1/acl/policy", json!({ "Name": "p1", "Description": "d", "Rules": rules }));
    put(
        "/v1/acl/role",
        json!({ "Name": "r1", "Policies": [{ "Name": "p1" }], "ServiceIdentities": [{ "ServiceName": "web" }] }),
    );
    put(
        "/v1/acl/token",
        json!({
            "Description": "t", "Policies": [{ "Name": "p1" }], "Roles": [{ "Name": "r1" }], "ExpirationTTL": "10h",
            "ServiceIdentities": [{ "ServiceName": "db", "Datacenters": ["dc1"] }],
        }),
    );
    let claims = json!({ "sub": "name" });
    put(
        "/v1/acl/auth-method",
        json!({
            "Name": "j1", "Type": "jwt", "Description": "m", "MaxTokenTTL": "5m",
            "Config": { "JWTValidationPubKeys": [public_key()], "ClaimMappings": claims },
        }),
    );
    put(
        "/v1/acl/binding-rule",
        json!({ "AuthMethod": "j1", "BindType": "service", "BindName": "x", "Selector": "value.name==a" }),
    );
    let coord = json!({ "Vec": [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], "Error": 0.5, "Adjustment": 0.01, "Height": 0.001 });
    put("/v1/coordinate/update", json!({ "Node": "ext1", "Segment": "", "Coord": coord }));
    put(
        "/v1/operator/autopilot/configuration",
        json!({ "LastContactThreshold": "300ms", "MaxTrailingLogs": 100, "ServerStabilizationTime": "7s" }),
    );
    // Coordinates are kept a few seconds before they are written.
    wait::until("the coordinate", SETTLED_MAX, || {
        let answer = must(http, "GET", "/v1/coordinate/nodes", "");
        answer.text().contains("ext1").then_some(())
    });
}

/// A public key as tokens are signed by.
fn public_key() -> String {
    let folder = tempfile::TempDir::with_prefix("key-").expect("a temporary folder can be made");
    fs::write(folder.path().join("key.pem"), key_pem()).expect("a temporary folder is writable");
    let args = ["pkey", "-in", "key.pem", "-pubout"];
    Cli::new("openssl").current_dir(folder.path()).run(&args).stdout
}

fn run(cli: &Cli, args: &[&str], want: &str) {
    let output = cli.run(args);
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    assert!(output.stdout.contains(want), "{args:?}: {output:?}");
}

/// Waits until a real server leads again after a restore.
fn settle(http: &Client) {
    wait::until("the server to lead again", SETTLED_MAX, || {
        let answer = send(http, "GET", "/v1/kv/plain", b"");
        (answer.status == 200).then_some(())
    });
}

#[test]
fn a_cluster_goes_through_ours_and_back_without_loss() {
    let lictor = subject(env!("CARGO_BIN_EXE_lictor"));
    let first = real();
    fill(&first.http());
    let want = answers(&first.http(), EVERYWHERE);
    let want_real = answers(&first.http(), REAL_ONLY);
    let indexes: BTreeSet<u64> =
        EVERYWHERE.iter().filter_map(|path| must(&first.http(), "GET", path, "").index()).collect();

    // Each program's commands against the other's agent.
    let folder =
        tempfile::TempDir::with_prefix("snapshot-").expect("a temporary folder can be made");
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (from_real, from_ours) = (file("real.snap"), file("ours.snap"));
    run(
        &cli(&lictor, &first),
        &["snapshot", "save", &from_real],
        "Saved and verified snapshot to index ",
    );
    run(&cli(consul(), &first), &["snapshot", "inspect", &from_real], "Version      1\n");
    run(&cli(&lictor, &first), &["snapshot", "inspect", &from_real], "Version      1\n");

    let ours = ours();
    must(&ours.http(), "PUT", "/v1/kv/mine", "goes");
    run(&cli(consul(), &ours), &["snapshot", "restore", &from_real], "Restored snapshot\n");
    assert_same(&want, &answers(&ours.http(), EVERYWHERE), "ours");
    for path in EVERYWHERE {
        // Whoever waited with an index of the real one gets an answer at once.
        let index = must(&ours.http(), "GET", path, "").index();
        assert!(
            is_substituted() || index.is_none() || index > indexes.last().copied(),
            "{path}: {index:?}"
        );
    }
    let root = active_root(&ours.http());
    let leaf = must(&ours.http(), "GET", "/v1/agent/connect/ca/leaf/web", "").json();
    let chain = leaf["CertPEM"].as_str().expect("a leaf has a certificate");
    assert_verifies(&active_root(&first.http()), chain, "signed by ours under the real one's root");

    run(
        &cli(consul(), &ours),
        &["snapshot", "save", &from_ours],
        "Saved and verified snapshot to index ",
    );
    run(&cli(consul(), &ours), &["snapshot", "inspect", &from_ours], "Version      1\n");
    let second = real();
    run(&cli(&lictor, &second), &["snapshot", "restore", &from_ours], "Restored snapshot\n");
    settle(&second.http());
    assert_same(&want, &answers(&second.http(), EVERYWHERE), "the second real one");
    assert_same(&want_real, &answers(&second.http(), REAL_ONLY), "the second real one");
    let leaf = must(&second.http(), "GET", "/v1/agent/connect/ca/leaf/web", "").json();
    let chain = leaf["CertPEM"].as_str().expect("a leaf has a certificate");
    assert_verifies(&root, chain, "signed by the second real one under the same root");
}

fn active_root(http: &Client) -> String {
    let roots = must(http, "GET", "/v1/connect/ca/roots", "").json();
    let rows = roots["Roots"].as_array().expect("roots are a list");
    let active =
        rows.iter().find(|root| root["Active"] == json!(true)).expect("one root is active");
    active["RootCert"].as_str().expect("a root has a certificate").to_owned()
}

/// What an operator sees of a restore: it survives a kill, and a damaged file changes nothing.
#[test]
fn a_restored_state_survives_a_kill_and_damage_changes_nothing() {
    let mut ours = ours();
    let lictor = cli(subject(env!("CARGO_BIN_EXE_lictor")), &ours);
    let file = ours.dir().join("backup.snap").to_string_lossy().into_owned();
    must(&ours.http(), "PUT", "/v1/kv/kept", "x");
    run(&lictor, &["snapshot", "save", &file], "Saved and verified snapshot to index ");
    must(&ours.http(), "PUT", "/v1/kv/later", "x");

    let mut damaged = fs::read(&file).expect("the snapshot was saved");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let bad = ours.dir().join("bad.snap").to_string_lossy().into_owned();
    fs::write(&bad, &damaged).expect("a temporary folder is writable");
    for args in [["snapshot", "restore", &bad], ["snapshot", "inspect", &bad]] {
        let output = lictor.run(&args);
        assert_eq!(output.code, Some(1), "{output:?}");
    }
    let answer = must(&ours.http(), "GET", "/v1/kv/?keys", "");
    assert_eq!(answer.json(), json!(["kept", "later"]));

    run(&lictor, &["snapshot", "restore", &file], "Restored snapshot\n");
    ours.kill();
    ours.restart();
    assert_eq!(must(&ours.http(), "GET", "/v1/kv/?keys", "").json(), json!(["kept"]));
}
