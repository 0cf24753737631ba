//! What clients may not do, and that others do not notice.

use http::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::World;

#[tokio::test]
async fn large_values_are_refused() {
    let world = World::with(Settings { kv_value_bytes_max: 100, ..Settings::default() }).await;
    assert_eq!(world.put("/v1/kv/a", [b'x'; 100]).await.text(), "true");
    let answer = world.put("/v1/kv/a", [b'x'; 101]).await;
    let text = "Request body(101 bytes) too large, max size: 100 bytes. See https://www.consul.io/docs/agent/options.html#kv_max_value_size.";
    assert_eq!((answer.status, answer.text()), (413, text));
    assert_eq!(answer.header("connection"), Some("close"));
    // Without an announced length the limit holds as well.
    let chunk = format!("c8\r\n{}\r\n0\r\n\r\n", "x".repeat(200));
    let head = "PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = world.raw(format!("{head}{chunk}").as_bytes()).await;
    assert_eq!(answer.status, 413);
    let answer = world.get("/v1/kv/a?raw").await;
    assert_eq!(answer.body, [b'x'; 100]);
}

#[tokio::test]
async fn garbage_is_refused() {
    let world = World::new().await;
    assert_eq!(world.raw(b"GARBAGE\r\n\r\n").await.status, 400);
    let answer = world.raw(b"GET /v1/kv/a HTTP/1.1\r\n\r\n").await;
    assert_eq!(answer.text(), "400 Bad Request: missing required Host header");
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(2 << 20));
    assert_eq!(world.raw(long.as_bytes()).await.status, 431);
    let narrow = World::with(Settings { header_bytes_max: 10_000, ..Settings::default() }).await;
    for (length, status) in [(9_000, 200), (100_000, 431)] {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(length));
        assert_eq!(narrow.raw(head.as_bytes()).await.status, status, "{length}");
    }
    assert_eq!(world.raw_bytes(&[0x16, 3, 1, 0, 5, 1]).await.first(), Some(&b'H'), "a TLS hello");
    assert_eq!(world.get("/v1/kv/a").await.status, 404, "others are served");
}

#[tokio::test]
async fn stalled_heads_are_closed() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET /v1/kv/a HTTP/1.1\r\nHo").await.unwrap();
    let mut answer = Vec::new();
    // Ends by itself, though this side stays open.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{answer:?}");
}

#[tokio::test]
async fn connections_of_one_client_are_limited() {
    let world =
        World::with(Settings { connections_per_client_max: 2, ..Settings::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream
            .write_all(b"GET /v1/kv/a?index=1000&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        held.push(stream);
    }
    // Those before it are counted once they are accepted, which is in their order.
    let mut refused = TcpStream::connect(world.address).await.unwrap();
    let mut answer = Vec::new();
    let _ = refused.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn open_requests_end_with_the_server() {
    let world = World::new().await;
    let mut held = TcpStream::connect(world.address).await.unwrap();
    held.write_all(b"GET /v1/kv/a?index=1000&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut idle = TcpStream::connect(world.address).await.unwrap();
    idle.write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    world.stop.cancel();
    world.serving.await.unwrap();
    let mut rest = Vec::new();
    let _ = held.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP/1.1 2"), "the wait was not over");
    assert!(TcpStream::connect(world.address).await.is_err());
}
