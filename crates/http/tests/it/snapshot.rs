//! Archives through the HTTP API, beside what a client may get wrong.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Answer, World};

/// The body of an answer that came in chunks.
fn joined(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let (mut rest, mut body) = (answer.body.as_slice(), Vec::new());
    loop {
        let at = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk has a length");
        let length = std::str::from_utf8(&rest[..at]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&rest[at + 2..][..length]);
        rest = &rest[at + 2 + length + 2..];
    }
}

#[tokio::test]
async fn an_archive_goes_out_and_in_again() {
    let world = World::new().await;
    assert_eq!(world.put("/v1/kv/kept", "x").await.text(), "true");
    let saved = world.get("/v1/snapshot").await;
    assert_eq!(saved.status, 200);
    assert_eq!(saved.header("content-type"), Some("application/x-gzip"));
    assert_eq!(saved.header("x-consul-knownleader"), Some("true"));
    assert_eq!(saved.header("x-consul-lastcontact"), Some("0"));
    assert!(saved.index() > 1);
    assert_eq!(world.get("/v1/snapshot?stale").await.status, 200);
    assert_eq!(world.put("/v1/kv/later", "x").await.text(), "true");

    let restored = world.put("/v1/snapshot", joined(&saved)).await;
    assert_eq!((restored.status, restored.text()), (200, ""));
    assert_eq!(restored.header("x-consul-index"), None);
    let keys = world.get("/v1/kv/?keys").await;
    assert_eq!(keys.text(), "[\"kept\"]");
    assert!(keys.index() > saved.index());
}

#[tokio::test]
async fn what_is_no_archive_is_refused_with_the_reason() {
    let world = World::new().await;
    assert_eq!(world.put("/v1/kv/kept", "x").await.text(), "true");
    let check = async |body: &[u8], want: &str| {
        let answer = world.put("/v1/snapshot", body).await;
        assert_eq!((answer.status, answer.text()), (500, want));
    };
    check(b"", "failed to decompress snapshot: EOF").await;
    check(b"garbage\n", "failed to decompress snapshot: unexpected EOF").await;
    // Refused at its first bytes; the rest is read, so that the answer arrives.
    check(&[b'x'; 3 << 20], "failed to decompress snapshot: gzip: invalid header").await;
    let saved = joined(&world.get("/v1/snapshot").await);
    let cut = &saved[..saved.len() - 4];
    assert_eq!(world.put("/v1/snapshot", cut).await.status, 500);
    // All of an archive, but not all of the body that was announced.
    let length = saved.len() + 10;
    let head = format!("PUT /v1/snapshot HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(world.put("/v1/kv/later", "x").await.text(), "true");
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(&[head.as_bytes(), &saved].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // Closed without an answer, or with one that says so.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = world.get("/v1/snapshot?dc=other").await;
    assert_eq!((answer.status, answer.text()), (500, "No path to datacenter"));
    let answer = world.send("POST", "/v1/snapshot", "", b"").await;
    assert_eq!(answer.header("allow"), Some("OPTIONS,GET,PUT"));
    assert_eq!(world.get("/v1/kv/?keys").await.text(), "[\"kept\",\"later\"]");
}
