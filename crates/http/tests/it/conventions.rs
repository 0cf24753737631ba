//! Paths, methods, and what every question may say of itself.

use std::collections::BTreeMap;

use http::{Network, Settings};

use crate::world::World;

#[tokio::test]
async fn paths_and_methods() {
    let world = World::new().await;
    let check = async |method: &str, path: &str, status: u16, body: &str, header: &str| {
        let answer = world.send(method, path, "", b"").await;
        assert_eq!((answer.status, answer.text()), (status, body), "{method} {path}");
        if let Some((name, value)) = header.split_once(": ") {
            assert_eq!(answer.header(name), Some(value), "{method} {path}");
        }
    };
    check("GET", "/", 200, "Consul Agent", "content-type: text/plain; charset=utf-8").await;
    for path in ["/v1", "/v1/", "/v1/nothing", "/V1/catalog/nodes", "/v1/catalog/nodes/", "/ui"] {
        check("GET", path, 404, "", "content-length: 0").await;
    }
    let moved = |to: &str| format!("<a href=\"{to}\">Moved Permanently</a>.\n\n");
    check(
        "GET",
        "/v1//catalog/nodes",
        301,
        &moved("/v1/catalog/nodes"),
        "location: /v1/catalog/nodes",
    )
    .await;
    check(
        "GET",
        "/v1/kv/x/../y?a=b&c=%3Cd",
        301,
        &moved("/v1/kv/y?a=b&amp;c=%3Cd"),
        "location: /v1/kv/y?a=b&c=%3Cd",
    )
    .await;
    check("GET", "/v1/kv?recurse", 301, &moved("/v1/kv/?recurse"), "location: /v1/kv/?recurse")
        .await;
    check("PUT", "/v1/kv", 301, "", "location: /v1/kv/").await;
    check("GET", "/v1//kv/%C3%A9%22%3Cx%3E%20y", 301, &moved("/v1/kv/%C3%A9%22%3Cx%3E%20y"), "")
        .await;
    check("BREW", "/v1/catalog/nodes", 405, "method BREW not allowed", "allow: OPTIONS,GET").await;
    check("POST", "/v1/kv/a", 405, "method POST not allowed", "allow: OPTIONS,GET,PUT,DELETE")
        .await;
    check("HEAD", "/v1/kv/a", 405, "", "allow: OPTIONS,GET,PUT,DELETE").await;
    check("OPTIONS", "/v1/connect/intentions", 200, "", "allow: OPTIONS,GET,POST").await;
    check("OPTIONS", "*", 200, "", "").await;
    check("GET", "/v1/kv/tab%09", 400, "", "content-length: 0").await;
    check("GET", "/v1/kv/bad%zz", 400, "400 Bad Request", "connection: close").await;
    check("GET", "/v1/kv/a?b=%zz", 500, "", "vary: Accept-Encoding").await;
    check("GET", "/v1/status/leader", 200, "\"127.0.0.1:8300\"", "content-type: application/json")
        .await;
    check("GET", "/v1/status/peers?pretty", 200, "[\n    \"127.0.0.1:8300\"\n]\n", "").await;
}

#[tokio::test]
async fn what_questions_say_of_themselves() {
    let world = World::new().await;
    let check = async |query: &str, status: u16, body: &str| {
        let answer = world.get(&format!("/v1/catalog/service/none?{query}")).await;
        assert_eq!((answer.status, answer.text()), (status, body), "{query}");
    };
    let conflict =
        |with: &str| format!("Cannot specify ?{with} with ?consistent, conflicting semantics.");
    check("stale&consistent", 400, &conflict("stale")).await;
    check("consistent&max_stale=10s", 400, &conflict("stale")).await;
    check("cached&consistent", 400, &conflict("cached")).await;
    check("max_stale=x", 400, "Invalid max_stale value \"x\"").await;
    check("index=-1", 400, "Invalid index").await;
    check("index=18446744073709551616", 400, "Invalid index").await;
    check("wait=5", 400, "Invalid wait time").await;
    check("dc=dc9", 500, "No path to datacenter").await;
    check("dc=dc1", 200, "[]").await;
    check("ns=", 200, "[]").await;
    let no_namespaces =
        "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature";
    check("ns=default", 400, no_namespaces).await;
    check(
        "filter=Bad+==+1",
        500,
        "Failed to create boolean expression evaluator: Selector \"Bad\" is not valid",
    )
    .await;

    for (query, consistency) in
        [("", "leader"), ("?stale", "stale"), ("?consistent", "consistent"), ("?leader", "leader")]
    {
        let answer = world.get(&format!("/v1/catalog/nodes{query}")).await;
        assert_eq!(answer.header("x-consul-effective-consistency"), Some(consistency));
        assert_eq!(answer.header("x-consul-knownleader"), Some("true"));
        assert_eq!(answer.header("x-consul-lastcontact"), Some("0"));
    }
    let failed = world.get("/v1/catalog/nodes?dc=dc9").await;
    assert_eq!(failed.header("x-consul-knownleader"), Some("false"));
    assert_eq!(failed.header("x-consul-index"), Some("1"));
    let kv = world.get("/v1/kv/none?dc=dc9").await;
    assert_eq!(kv.header("x-consul-index"), None, "keys show nothing beside a failure");

    let header = "Cache-Control: max-age=x\r\n";
    let answer = world.send("GET", "/v1/catalog/nodes", header, b"").await;
    assert_eq!((answer.status, answer.text()), (400, "Invalid Cache-Control header."));
    let header = "X-Consul-Namespace: default\r\n";
    let answer = world.send("GET", "/v1/health/service/x", header, b"").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn compressed_answers() {
    let world = World::new().await;
    let header = "Accept-Encoding: gzip\r\n";
    let answer = world.send("GET", "/v1/catalog/nodes", header, b"").await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    let mut plain = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*answer.body), &mut plain)
        .unwrap();
    assert_eq!(plain, world.get("/v1/catalog/nodes").await.text());
    let empty = world.send("GET", "/v1/kv/none", header, b"").await;
    assert_eq!((empty.status, empty.header("content-encoding")), (404, None));
}

#[tokio::test]
async fn configured_restrictions() {
    let world = World::with(Settings {
        block_endpoints: vec!["/v1/session".into()],
        response_headers: BTreeMap::from([("X-Team".into(), "blue".into())]),
        allow_write_from: vec![Network { address: "10.0.0.0".parse().unwrap(), bits: 8 }],
        ui_path: Some("/ui/".into()),
        always_pretty: true,
        ..Settings::default()
    })
    .await;
    for method in ["GET", "OPTIONS"] {
        let answer = world.send(method, "/v1/session/list", "", b"").await;
        let text = "Endpoint is blocked by agent configuration";
        assert_eq!((answer.status, answer.text()), (403, text));
        assert_eq!(answer.header("x-team"), Some("blue"));
    }
    let answer = world.put("/v1/kv/a", "x").await;
    assert_eq!((answer.status, answer.text()), (403, "Access is restricted"));
    let answer = world.get("/v1/nothing").await;
    assert_eq!(answer.header("x-team"), None, "only endpoints carry the headers");
    assert_eq!(world.get("/").await.header("location"), Some("/ui/"));
    assert_eq!(world.get("/v1/kv/?keys").await.text(), "[]\n");
}
