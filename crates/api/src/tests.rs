//! The client against an agent that answers from a script over real sockets.

use std::time::Duration;

use model::query::Token;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::{Address, Client, ClientConfig, Error, QueryParams};

/// Reads one request without a body; returns its head.
async fn read_head<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the client closed early"));
    }
    String::from_utf8(head).unwrap()
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

async fn agent() -> (TcpListener, ClientConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = Address::Tcp { host: "127.0.0.1".into(), port, tls: false };
    (listener, ClientConfig { address, ..ClientConfig::default() })
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

#[tokio::test]
async fn one_connection_serves_many_calls_and_its_end_is_repaired() {
    let (listener, config) = agent().await;
    let client = Client::new(ClientConfig { token: Token("t0ken".into()), ..config }).unwrap();
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        for _ in 0..2 {
            let head = read_head(&mut stream).await;
            assert!(head.starts_with("GET /v1/kv/a%20b?index=3 HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("x-consul-token: t0ken\r\n"), "{head}");
            let headers = "X-Consul-Index: 9\r\nX-Consul-KnownLeader: true\r\n";
            stream.write_all(&answer("200 OK", headers, "[]")).await.unwrap();
        }
        // The third call finds the connection gone and dials again.
        drop(stream);
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        stream.write_all(&answer("404 Not Found", "", "")).await.unwrap();
    });
    let params = QueryParams { index: 3, ..QueryParams::default() };
    for _ in 0..2 {
        let response = client.get("/v1/kv/a b", &params).await.unwrap();
        assert_eq!((response.status, response.meta.index), (200, 9));
        assert!(response.meta.known_leader);
    }
    assert_eq!(client.get("/v1/kv/a b", &params).await.unwrap().status, 404);
    server.await.unwrap();
}

#[tokio::test]
async fn failures_are_told_apart() {
    let (listener, mut config) = agent().await;
    config.answer_bytes_max = 8;
    config.answer_timeout = Duration::from_millis(50);
    let client = Client::new(config.clone()).unwrap();
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        stream.write_all(&answer("403 Forbidden", "", "denied\n")).await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(&answer("200 OK", "", "\"more than eight\"")).await.unwrap();
        // The next call comes over a new connection and is never answered.
        let mut silent = accept(&listener).await;
        read_head(&mut silent).await;
        let _ = silent.read_u8().await;
    });
    let params = QueryParams::default();
    let error = client.get_json::<String>("/v1/x", &params).await.unwrap_err();
    assert_eq!(error.to_string(), "Unexpected response code: 403 (denied)");
    let error = client.get("/v1/x", &params).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 8, .. }), "{error}");
    let error = client.get("/v1/x", &params).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    server.await.unwrap();
    let error = client.get("/v1/x", &params).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().contains(&config.address.to_string()), "{error}");
}

#[tokio::test]
async fn unix_sockets_and_streams() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}3\r\none\r\n0\r\n\r\n").as_bytes()).await.unwrap();
    });
    let config = ClientConfig { address: Address::Unix(path), ..ClientConfig::default() };
    let mut stream = Client::new(config).unwrap().monitor("", false).await.unwrap();
    assert_eq!(stream.chunk().await.unwrap().unwrap(), "one");
    assert_eq!(stream.chunk().await.unwrap(), None);
    server.await.unwrap();
}
