//! Measures what the HTTP edge costs per request, beyond the socket: one client and one connection
//! over an in-memory pipe, agent and server in this process.
//!
//! `cargo run --release -p http@0.1.0 --example hot_paths`

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::{Agent, AgentSettings, Life};
use http::{Api, Settings};
use server::{Server, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const REQUESTS: u32 = 20_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(measure());
}

async fn measure() {
    let server = Arc::new(Server::start(ServerConfig::new("dc1")).expect("a server starts"));
    server.ready().await.expect("a lone server leads");
    let life = Life { stop: CancellationToken::new(), tasks: TaskTracker::new() };
    let settings = AgentSettings::default();
    let alone = agent::Alone::new(&settings);
    let agent = Agent::start(settings, server, alone, life).await.expect("an agent starts");
    let api = Api::new(agent, Settings::default()).build();
    let (mut client, edge) = tokio::io::duplex(64 * 1024);
    let address = ([127, 0, 0, 1], 1).into();
    tokio::spawn(async move {
        api.serve_connection(edge, address, CancellationToken::new()).await;
    });

    for instance in 0..100 {
        let body = format!(
            r#"{{"Node":"n{}","Address":"10.0.0.1","Service":{{"ID":"w{instance}","Service":"web","Port":80}},
            "Check":{{"CheckID":"c{instance}","Status":"passing","ServiceID":"w{instance}"}}}}"#,
            instance / 10
        );
        ask(&mut client, &put("/v1/catalog/register", &body)).await;
    }
    ask(&mut client, &put("/v1/kv/a/key", "value")).await;
    let question = r#"{"Target":"db","ClientCertURI":"spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web","ClientCertSerial":"04"}"#;

    for (name, request) in [
        ("status leader", get("/v1/status/leader")),
        ("kv get", get("/v1/kv/a/key")),
        ("kv get, unknown", get("/v1/kv/none")),
        ("health, 100 instances", get("/v1/health/service/web")),
        ("health, none", get("/v1/health/service/none")),
        ("services", get("/v1/catalog/services")),
        ("authorize", post("/v1/agent/connect/authorize", question)),
        ("kv put", put("/v1/kv/a/key", "value")),
    ] {
        let requests = if name == "kv put" { REQUESTS / 10 } else { REQUESTS };
        for _ in 0..requests / 10 {
            ask(&mut client, &request).await;
        }
        let start = Instant::now();
        let mut length = 0;
        for _ in 0..requests {
            length = ask(&mut client, &request).await;
        }
        report(name, start.elapsed(), requests, length);
    }
}

fn report(name: &str, took: Duration, requests: u32, length: usize) {
    let each = took.as_secs_f64() * 1e6 / f64::from(requests);
    println!("{name:24} {each:8.2} us a request, {length} bytes");
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn put(path: &str, body: &str) -> String {
    with_body("PUT", path, body)
}

fn post(path: &str, body: &str) -> String {
    with_body("POST", path, body)
}

fn with_body(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// The length of the answer's body.
async fn ask(client: &mut DuplexStream, request: &str) -> usize {
    client.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut answer = Vec::with_capacity(4096);
    loop {
        client.read_buf(&mut answer).await.expect("the edge answers");
        let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&answer[..head]).expect("a head is text");
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        if answer.len() >= head + 4 + length {
            return length;
        }
    }
}
