//! Strangers at the server port, byte by byte.

use std::time::Duration;

use model::msgpack;
use model::query::Reply;
use rpc::{RemoteSettings, ServeSettings};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake::{World, until, world, world_with};

/// Everything is answered long before.
const ANSWER_MAX: Duration = Duration::from_secs(20);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Head<'a> {
    service_method: &'a str,
    seq: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ReplyHead {
    pub(crate) error: String,
    seq: u64,
    pub(crate) service_method: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Key<'a> {
    datacenter: &'a str,
    key: &'a str,
}

const KEY: Key<'_> = Key { datacenter: "dc1", key: "a" };

fn request(method: &str, args: &impl Serialize) -> Vec<u8> {
    let mut bytes = msgpack::to_vec(&Head { service_method: method, seq: 5 }).unwrap();
    msgpack::append(&mut bytes, args).unwrap();
    bytes
}

pub(crate) struct Stranger {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Stranger {
    pub(crate) async fn new(world: &World, first: u8) -> Self {
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        // Refused connections may be closed by now.
        let _ = socket.write_u8(first).await;
        Self { socket, buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    async fn value(&mut self) -> Option<Vec<u8>> {
        loop {
            let found = msgpack::front::<serde::de::IgnoredAny>(&self.buffer).unwrap();
            if let Some((_, length)) = found {
                let rest = self.buffer.split_off(length);
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            let read = self.socket.read_buf(&mut self.buffer);
            match tokio::time::timeout(ANSWER_MAX, read).await.expect("an answer in time") {
                Ok(1..) => {}
                _ => return None,
            }
        }
    }

    pub(crate) async fn reply(&mut self) -> Option<(ReplyHead, Vec<u8>)> {
        let head = msgpack::from_slice(&self.value().await?).unwrap();
        Some((head, self.value().await?))
    }

    async fn is_closed(&mut self) -> bool {
        self.value().await.is_none()
    }
}

#[tokio::test]
async fn one_stream_without_multiplexing() {
    let world = world().await;
    world.fake.reply(Reply::KvEntries(vec![]));
    let mut stranger = Stranger::new(&world, 0).await;
    // Two requests in one piece, a third byte by byte.
    let one = request("KVS.Get", &KEY);
    stranger.send(&[one.clone(), one.clone()].concat()).await;
    for byte in &one {
        stranger.send(&[*byte]).await;
    }
    for _ in 0..3 {
        let (head, body) = stranger.reply().await.unwrap();
        assert_eq!((head.error.as_str(), head.seq), ("", 5));
        assert_eq!(head.service_method, "KVS.Get");
        // No entries are `nil` or none; agents take both.
        assert!(body.windows(8).any(|window| window == b"\xa7Entries"));
    }
}

#[tokio::test]
async fn errors_carry_a_body_and_some_end_the_stream() {
    let world = world().await;
    world.fake.reply(Reply::KvEntries(vec![]));
    let check = async |bytes: &[u8], text: &str, goes_on: bool| {
        let mut stranger = Stranger::new(&world, 0).await;
        stranger.send(bytes).await;
        let (head, body) = stranger.reply().await.unwrap();
        assert_eq!((head.error.as_str(), body.as_slice()), (text, &[0x80][..]));
        if goes_on {
            stranger.send(&request("Status.Ping", &KEY)).await;
            assert_eq!(stranger.reply().await.unwrap().0.error, "");
        } else {
            assert!(stranger.is_closed().await);
        }
    };
    let elsewhere = Key { datacenter: "dc9", key: "a" };
    check(&request("KVS.Get", &elsewhere), "No path to datacenter", true).await;
    check(&request("Status.Leader", &elsewhere), "No path to datacenter", true).await;
    check(&request("Catalog.NodeServices", &KEY), "Must provide node", true).await;
    check(&request("Health.ServiceNodes", &KEY), "Must provide service name", true).await;
    check(&request("KVS.Bogus", &KEY), "rpc: can't find method KVS.Bogus", false).await;
    check(&request("Foo.Bar", &KEY), "rpc: can't find service Foo.Bar", false).await;
    let text = "rpc: service/method request ill-formed: Nodot";
    check(&request("Nodot", &KEY), text, false).await;
    check(&request("KVS.Get", &[1, 2]), "msgpack: a list where a map belongs", false).await;
    let bogus = serde_bytes::Bytes::new(b"\xa5bogus\x80");
    check(&request("ConfigEntry.Apply", &bogus), "invalid config entry kind: bogus", false).await;
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Operation<'a> {
        op: &'a str,
        operation: &'a str,
    }
    let zz = Operation { op: "zz", operation: "zz" };
    check(&request("KVS.Apply", &zz), "Must provide key", true).await;
    check(&request("Session.Apply", &zz), "Invalid Session operation 'zz'", true).await;
    check(&request("Intention.Apply", &zz), "Invalid Intention operation: zz", true).await;
    // These two end a real server.
    check(&request("Intention.Match", &zz), "Match must be specified on args", true).await;
    let text = "Invalid keyring operation \"zz\"";
    check(&request("Internal.KeyringOperation", &zz), text, true).await;
}

#[tokio::test]
async fn an_empty_datacenter_is_ours_and_nil_arguments_are_empty() {
    let world = world().await;
    world.fake.reply(Reply::KvEntries(vec![]));
    let mut stranger = Stranger::new(&world, 0).await;
    stranger.send(&request("KVS.Get", &Key { datacenter: "", key: "a" })).await;
    assert_eq!(stranger.reply().await.unwrap().0.error, "");
    stranger.send(&request("Status.Ping", &())).await;
    assert_eq!(stranger.reply().await.unwrap().0.error, "");
    stranger.send(&request("Status.Leader", &())).await;
    let (_, body) = stranger.reply().await.unwrap();
    assert_eq!(msgpack::from_slice::<String>(&body).unwrap(), "127.0.0.1:8300");
}

#[tokio::test]
async fn what_cannot_be_a_request_ends_its_connection_alone() {
    let mut serving = ServeSettings::new("dc1");
    serving.request_bytes_max = 100_000;
    let world = world_with(serving, RemoteSettings::new("dc1")).await;
    world.fake.reply(Reply::KvEntries(vec![]));
    let head = msgpack::to_vec(&Head { service_method: "KVS.Get", seq: 1 }).unwrap();
    let deep = [head.clone(), vec![0x91; 1000]].concat();
    let long = [head.clone(), vec![0xdb, 0x7f, 0xff, 0xff, 0xff]].concat();
    let just_too_long = [head.clone(), vec![0xdb, 0x00, 0x01, 0x86, 0xa0]].concat();
    for bytes in [
        vec![0xc1; 3],
        vec![0xdb, 0xff, 0xff, 0xff, 0xff],
        vec![0x91; 100],
        deep,
        long,
        just_too_long,
        // A head that is too long.
        vec![0xda, 0xff, 0xff],
        msgpack::to_vec(&[1, 2]).unwrap(),
    ] {
        let mut stranger = Stranger::new(&world, 0).await;
        stranger.send(&bytes).await;
        assert!(stranger.is_closed().await, "{bytes:x?}");
    }
    // Something just below the bound is read.
    let mut stranger = Stranger::new(&world, 0).await;
    let key = "k".repeat(99_000);
    stranger.send(&request("KVS.Get", &Key { datacenter: "dc1", key: &key })).await;
    assert_eq!(stranger.reply().await.unwrap().0.error, "");
    // The one client that behaves was never disturbed.
    use rpc::Cluster;
    let query = model::query::Query::KvGet { key: "a".into() };
    world.remote.query(query, Default::default()).await.unwrap();
}

#[tokio::test]
async fn protocols_that_are_not_spoken() {
    let world = world().await;
    for first in [1, 2, 3, 6, 7, 8, 9, 11, 19, 22, 255] {
        let mut stranger = Stranger::new(&world, first).await;
        stranger.send(&request("Status.Ping", &KEY)).await;
        assert!(stranger.is_closed().await, "{first}");
    }
}

#[tokio::test]
async fn links_of_our_servers_are_handed_over() {
    let mut world = world().await;
    let mut stranger = Stranger::new(&world, 10).await;
    stranger.send(b"hello").await;
    let mut link = world.links.recv().await.unwrap();
    assert!(!link.is_secured);
    assert_eq!(link.peer, stranger.socket.local_addr().unwrap());
    let mut got = [0; 5];
    link.socket.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
}

#[tokio::test]
async fn one_address_has_so_many_connections() {
    let mut serving = ServeSettings::new("dc1");
    serving.connections_per_ip_max = 3;
    let world = world_with(serving, RemoteSettings::new("dc1")).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stranger = Stranger::new(&world, 0).await;
        stranger.send(&request("Status.Ping", &KEY)).await;
        assert!(stranger.reply().await.is_some());
        held.push(stranger);
    }
    assert!(Stranger::new(&world, 0).await.is_closed().await);
    held.pop();
    // The place is free as soon as the server has seen the end.
    for _ in 0..200 {
        let mut stranger = Stranger::new(&world, 0).await;
        stranger.send(&request("Status.Ping", &KEY)).await;
        if stranger.reply().await.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the place was not given up");
}

#[tokio::test]
async fn one_bad_stream_does_not_end_its_session() {
    let world = world().await;
    world.fake.reply(Reply::KvEntries(vec![]));
    let socket = TcpStream::connect(world.address).await.unwrap();
    let mut socket = socket;
    socket.write_u8(4).await.unwrap();
    let (session, _incoming, driver) = rpc::yamux::open(socket, rpc::yamux::Side::Client, 100);
    tokio::spawn(driver);
    let mut bad = session.open_stream().unwrap();
    let mut good = session.open_stream().unwrap();
    bad.write_all(&[0xc1; 10]).await.unwrap();
    let mut rest = Vec::new();
    let _ = bad.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    for _ in 0..3 {
        good.write_all(&request("KVS.Get", &KEY)).await.unwrap();
        let mut first = [0; 1];
        good.read_exact(&mut first).await.unwrap();
        assert_eq!(first, [0x83]);
        // The rest of the reply is not looked at here.
        good = session.open_stream().unwrap();
    }
    assert!(session.is_usable());
}

#[tokio::test]
async fn who_goes_away_is_not_waited_for() {
    let world = world().await;
    world.fake.reply(Reply::KvEntries(vec![]));
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Waiting {
        min_query_index: u64,
    }
    let mut stranger = Stranger::new(&world, 0).await;
    stranger.send(&request("KVS.Get", &Waiting { min_query_index: 5 })).await;
    until(|| world.fake.waiting() == 1).await;
    drop(stranger);
    until(|| world.fake.waiting() == 0).await;
}

#[tokio::test]
async fn the_end_of_the_server_ends_its_connections() {
    let world = world().await;
    let mut stranger = Stranger::new(&world, 0).await;
    stranger.send(&request("Status.Ping", &KEY)).await;
    assert!(stranger.reply().await.is_some());
    world.stop.cancel();
    assert!(stranger.is_closed().await);
}
