//! `/v1/connect/ca/*`, `/v1/agent/connect/*`: roots, settings, rotation, leaf certificates, authorization.

use std::time::Duration;

use testkit::command::Cli;
use testkit::differential::{Step, collect, delete, get, post, put, step};

use super::row;

/// Why some names get no identity.
const SEGMENTS: &str = "an identity's path is of the characters SPIFFE allows";
/// Why leaves begin at the index of their root.
const LEAF_INDEX: &str = "a leaf costs no entry of the log";
const LONGEST: &str = "leaf of the longest name";

#[test]
fn roots_and_leaves() {
    let steps = vec![
        get("/v1/connect/ca/roots").capture("domain", "/TrustDomain"),
        get("/v1/connect/ca/roots?pretty"),
        get("/v1/connect/ca/roots?pem=true"),
        get("/v1/connect/ca/roots?stale"),
        get("/v1/connect/ca/roots?dc=dc9"),
        get("/v1/agent/connect/ca/roots"),
        get("/v1/agent/connect/ca/roots"),
        get("/v1/agent/connect/ca/roots?pretty").capture_header("index", "X-Consul-Index"),
        get("/v1/agent/connect/ca/roots?index={index}&wait=50ms").waits(Duration::from_millis(50)),
        get("/v1/agent/connect/ca/roots?index=1&wait=50ms"),
        get("/v1/agent/connect/ca/roots?stale"),
        get("/v1/agent/connect/ca/roots?dc=dc9"),
        get("/v1/connect/ca/configuration"),
        get("/v1/connect/ca/configuration?pretty"),
        get("/v1/agent/connect/ca/leaf/web"),
        get("/v1/agent/connect/ca/leaf/web"),
        get("/v1/agent/connect/ca/leaf/web?pretty").capture_header("index", "X-Consul-Index"),
        get("/v1/agent/connect/ca/leaf/web?index={index}&wait=50ms")
            .waits(Duration::from_millis(50)),
        get("/v1/agent/connect/ca/leaf/web?index=1&wait=50ms"),
        get("/v1/agent/connect/ca/leaf/never-registered"),
        get("/v1/agent/connect/ca/leaf/"),
        get("/v1/agent/connect/ca/leaf"),
        get("/v1/agent/connect/ca/leaf/UPPER"),
        get("/v1/agent/connect/ca/leaf/sp%20ace"),
        get("/v1/agent/connect/ca/leaf/a%2Fb"),
        get("/v1/agent/connect/ca/leaf/uml%C3%BC"),
        get("/v1/agent/connect/ca/leaf/under_score"),
        get("/v1/agent/connect/ca/leaf/dot.ted"),
        get("/v1/agent/connect/ca/leaf/*"),
        get(format!("/v1/agent/connect/ca/leaf/{}", "l".repeat(200))).name(LONGEST),
        get("/v1/agent/connect/ca/leaf/web?dc=dc9"),
        get("/v1/agent/connect/ca/leaf/web?ns=default"),
        get("/v1/agent/connect/ca/leaf/web?stale"),
        post("/v1/agent/connect/ca/leaf/web", ""),
        post("/v1/agent/connect/ca/roots", ""),
        post("/v1/connect/ca/roots", ""),
        post("/v1/connect/ca/configuration", "{}"),
        delete("/v1/connect/ca/configuration"),
        step("OPTIONS", "/v1/connect/ca/configuration", ""),
        get("/v1/connect/ca/nothing"),
        get("/v1/agent/connect/nothing"),
    ];
    let mut wanted = super::whole(
        &[
            "GET /v1/agent/connect/ca/leaf/sp%20ace",
            "GET /v1/agent/connect/ca/leaf/a%2Fb",
            "GET /v1/agent/connect/ca/leaf/uml%C3%BC",
            "GET /v1/agent/connect/ca/leaf/*",
        ],
        SEGMENTS,
    );
    wanted.extend(
        ["header x-consul-index", "body/CreateIndex", "body/ModifyIndex"].into_iter().flat_map(
            |at| {
                [
                    "GET /v1/agent/connect/ca/leaf/web",
                    "GET /v1/agent/connect/ca/leaf/web (2)",
                    "GET /v1/agent/connect/ca/leaf/web?pretty",
                    "GET /v1/agent/connect/ca/leaf/web?index={index}&wait=50ms",
                    "GET /v1/agent/connect/ca/leaf/web?index=1&wait=50ms",
                    "GET /v1/agent/connect/ca/leaf/never-registered",
                    "GET /v1/agent/connect/ca/leaf/UPPER",
                    "GET /v1/agent/connect/ca/leaf/under_score",
                    "GET /v1/agent/connect/ca/leaf/dot.ted",
                    LONGEST,
                    "GET /v1/agent/connect/ca/leaf/web?stale",
                ]
                .map(|step| row(step, at, LEAF_INDEX))
            },
        ),
    );
    super::run("connect_ca_reading", steps, &wanted);
}

#[test]
fn configuration() {
    let write =
        |body: &str| put("/v1/connect/ca/configuration", body).name(&format!("write {body}"));
    let mut steps: Vec<Step> = Vec::new();
    for body in [
        r#""#,
        r#"{}"#,
        r#"null"#,
        r#"[]"#,
        r#"not json"#,
        r#"{"Provider":"nothing"}"#,
        r#"{"Provider":5}"#,
        r#"{"Provider":"consul","Config":{"LeafCertTTL":"1s"}}"#,
        r#"{"Provider":"consul","Config":{"LeafCertTTL":"x"}}"#,
        r#"{"Provider":"consul","Config":{"LeafCertTTL":"9000h"}}"#,
        r#"{"Provider":"consul","Config":{"PrivateKeyType":"dsa"}}"#,
        r#"{"Provider":"consul","Config":{"PrivateKeyType":"ec","PrivateKeyBits":100}}"#,
        r#"{"Provider":"consul","Config":{"PrivateKey":"junk","RootCert":"junk"}}"#,
        r#"{"Provider":"consul","Config":{"PrivateKey":"junk"}}"#,
        r#"{"Provider":"consul","Config":{"RotationPeriod":"x"}}"#,
        r#"{"Provider":"consul","Config":{"Unknown":1}}"#,
        r#"{"Provider":"consul","Unknown":1}"#,
        r#"{"Provider":"vault","Config":{}}"#,
        r#"{"Provider":"consul","Config":{"LeafCertTTL":"24h"}}"#,
        r#"{"Provider":"consul","Config":{"LeafCertTTL":"48h","RotationPeriod":"2160h","IntermediateCertTTL":"8760h","CSRMaxPerSecond":100,"CSRMaxConcurrent":2}}"#,
        r#"{"provider":"consul","config":{"leaf_cert_ttl":"25h"}}"#,
        r#"{"Config":{"LeafCertTTL":"26h"}}"#,
    ] {
        steps.push(write(body));
        steps
            .push(get("/v1/connect/ca/configuration").name(&format!("configuration after {body}")));
        steps.push(
            get("/v1/connect/ca/roots").unordered("/Roots").name(&format!("roots after {body}")),
        );
    }
    let wanted = [
        row("write null", "transport", "the real one breaks the connection"),
        row(
            r#"write {"Provider":"consul","Config":{"PrivateKey":"junk","RootCert":"junk"}}"#,
            "body",
            "the key is looked at first",
        ),
        row(
            r#"write {"Provider":"consul","Config":{"PrivateKey":"junk"}}"#,
            "body",
            "a private key is not said back",
        ),
        row(r#"write {"Provider":"vault","Config":{}}"#, "body", "there is no such provider yet"),
    ];
    super::run("connect_ca_configuration", steps, &wanted);
}

#[test]
fn rotation() {
    let other = other_root();
    let steps = vec![
        get("/v1/agent/connect/ca/roots").capture_header("roots", "X-Consul-Index"),
        get("/v1/agent/connect/ca/leaf/web").capture_header("leaf", "X-Consul-Index"),
        get("/v1/agent/connect/ca/roots?index={roots}&wait=60s").hold("roots"),
        get("/v1/connect/ca/roots?index={roots}&wait=60s").hold("server roots"),
        put("/v1/connect/ca/configuration", &other).name("rotate to a root of our own"),
        collect("roots").ignore_header("X-Consul-Index").unordered("/Roots"),
        collect("server roots").ignore_header("X-Consul-Index").unordered("/Roots"),
        get("/v1/connect/ca/configuration"),
        get("/v1/connect/ca/roots").unordered("/Roots"),
        put("/v1/connect/ca/configuration", &other).name("the same again"),
        get("/v1/connect/ca/roots").unordered("/Roots").name("roots are the same"),
        get("/v1/agent/connect/ca/leaf/fresh").name("a new leaf under the new root"),
        put(
            "/v1/connect/ca/configuration",
            r#"{"Provider":"consul","Config":{"PrivateKeyType":"ec","PrivateKeyBits":384}}"#,
        ),
        get("/v1/connect/ca/configuration").name("configuration with larger keys"),
        get("/v1/connect/ca/roots").unordered("/Roots").name("roots with larger keys"),
        get("/v1/agent/connect/ca/leaf/later"),
    ];
    let together = "roots and settings change in one entry of the log";
    let larger = "roots with larger keys";
    let wanted = [
        row("GET /v1/agent/connect/ca/leaf/web", "header x-consul-index", LEAF_INDEX),
        row("GET /v1/agent/connect/ca/leaf/web", "body/CreateIndex", LEAF_INDEX),
        row("GET /v1/agent/connect/ca/leaf/web", "body/ModifyIndex", LEAF_INDEX),
        row("GET /v1/connect/ca/configuration", "body/ModifyIndex", together),
        row("GET /v1/connect/ca/roots", "header x-consul-index", together),
        row("roots are the same", "header x-consul-index", together),
        row(larger, "body/Roots/0/ModifyIndex", together),
        row(larger, "body/Roots/1/CreateIndex", together),
        row(larger, "body/Roots/1/ModifyIndex", together),
        row(larger, "body/Roots/2/ModifyIndex", together),
    ];
    super::run("connect_ca_rotation", steps, &wanted);
}

/// Settings that bring a root certificate and key of our own, made for this run.
fn other_root() -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let openssl = Cli::new("openssl").current_dir(folder.path());
    let key = openssl.run(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        "key.pem",
    ]);
    assert_eq!(key.code, Some(0), "{}", key.stderr);
    let root = openssl.run(&[
        "req",
        "-x509",
        "-new",
        "-key",
        "key.pem",
        "-days",
        "3650",
        "-subj",
        "/CN=other root",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ]);
    assert_eq!(root.code, Some(0), "{}", root.stderr);
    // The real agent reads keys of the older form only.
    let key = openssl.run(&["ec", "-in", "key.pem"]);
    assert_eq!(key.code, Some(0), "{}", key.stderr);
    serde_json::json!({ "Provider": "consul", "Config": { "PrivateKey": key.stdout, "RootCert": root.stdout } }).to_string()
}

#[test]
fn authorize() {
    let ask =
        |body: &str| post("/v1/agent/connect/authorize", body).name(&format!("authorize {body}"));
    let uri = |service: &str| format!("spiffe://{{domain}}/ns/default/dc/dc1/svc/{service}");
    let question = |target: &str, client: &str| {
        format!(
            r#"{{"Target":"{target}","ClientCertURI":"{}","ClientCertSerial":"04:2c:1a"}}"#,
            uri(client)
        )
    };
    let intention = |source: &str, destination: &str, action: &str| {
        post("/v1/connect/intentions", format!(r#"{{"SourceName":"{source}","DestinationName":"{destination}","Action":"{action}"}}"#))
            .capture(&format!("{source}-{destination}"), "/ID")
    };
    let mut steps = vec![get("/v1/connect/ca/roots").capture("domain", "/TrustDomain")];
    for body in [
        question("web", "api"),
        question("", "api"),
        r#"{"Target":"web"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":""}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"not a uri"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"http://x/ns/default/dc/dc1/svc/api"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"spiffe://x"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"spiffe://x.consul/ns/default/dc/dc1/svc/api"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/api"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"spiffe://{domain}/ns/default/dc/dc9/svc/api"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"spiffe://{domain}/ns/team/dc/dc1/svc/api"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"spiffe://{domain}/ns/default/dc/dc1/svc/"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"spiffe://{domain}/ns/default/dc/dc1/svc/a%2Fb"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"spiffe://{domain}/agent/client/dc/dc1/id/node1"}"#.to_owned(),
        r#"{"Target":"web","ClientCertURI":"spiffe://{domain}"}"#.to_owned(),
        r#"{"target":"web","clientcerturi":"spiffe://{domain}/ns/default/dc/dc1/svc/api"}"#.to_owned(),
        r#"{"Target":"web","client_cert_uri":"spiffe://{domain}/ns/default/dc/dc1/svc/api"}"#.to_owned(),
        r#"{"Target":5}"#.to_owned(),
        r#"{"Target":"web","Unknown":1}"#.to_owned(),
        "{}".to_owned(),
        "".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "not json".to_owned(),
    ] {
        steps.push(ask(&body));
    }
    steps.extend([
        get("/v1/agent/connect/authorize"),
        put("/v1/agent/connect/authorize", question("web", "api")),
        intention("api", "web", "deny"),
        ask(&question("web", "api")).until("false"),
        ask(&question("web", "other")),
        intention("*", "web", "deny"),
        ask(&question("web", "other")).until("false"),
        intention("other", "web", "allow"),
        ask(&question("web", "other")).until("true"),
        intention("*", "*", "deny"),
        ask(&question("db", "web")).until("false"),
        intention("web", "*", "allow"),
        ask(&question("db", "web")).until("true"),
        intention("web", "db", "deny"),
        ask(&question("db", "web")).until("false"),
        delete("/v1/connect/intentions/{web-db}"),
        ask(&question("db", "web")).until("true"),
        put(
            "/v1/connect/intentions/{api-web}",
            r#"{"SourceName":"api","DestinationName":"web","Action":"allow"}"#,
        ),
        ask(&question("web", "api")).until("true"),
        post("/v1/agent/connect/authorize?pretty", question("web", "api"))
            .name("authorize indented"),
    ]);
    let wanted = super::whole(
        &[
            r#"authorize {"Target":"web","ClientCertURI":"spiffe://{domain}/ns/default/dc/dc1/svc/a%2Fb"}"#,
        ],
        SEGMENTS,
    );
    super::run("connect_authorize", steps, &wanted);
}
