//! Pools of real agents and ours.

use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command as Process, Stdio};

use bytes::Bytes;
use gossip::consul::{self, LanIdentity};
use gossip::wire::message::{Alive, Message};
use gossip::{
    Admission, Command, Config, Counters, Event, Filter, Key, KeyRequest, Keyring, Member,
    OperationId, Profile, Query, Snapshot, Status, Tags,
};
use serde_json::{Value, json};
use testkit::ports::{Ports, free_port};
use testkit::process::{Agent, Spec, consul as real};
use testkit::request::Client;
use testkit::wait;

use crate::driver::{Node, WAIT_MAX};

const KEY: &str = "pUqJrVyVRj5jsiYEkM/tFQ==";
const OTHER_KEY: &str = "HS5lJ+XuTlYKWaeGYyG+/A==";

/// As a client agent of 1.8 says.
fn client_tags(id: &str) -> Tags {
    [
        ("role", "node"),
        ("dc", "dc1"),
        ("segment", ""),
        ("id", id),
        ("vsn", "2"),
        ("vsn_min", "2"),
        ("vsn_max", "3"),
        ("build", "1.8.7:"),
        ("acls", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn as_client(config: &mut Config) {
    config.tags = client_tags("0d8f6b1e-3c45-4f0e-9d8a-57a1c9e2b301");
}

fn server() -> Agent {
    Spec::new(real()).dev().start()
}

fn join(node: &Node, to: SocketAddr) {
    let operation = OperationId(1);
    node.command(Command::Join { operation, addresses: vec![to] });
    let joined = node.wait_event("the join to end", |event| match event {
        Event::JoinDone { operation: ended, joined, errors } if *ended == operation => {
            Some((*joined, errors.clone()))
        }
        _ => None,
    });
    assert_eq!(joined, (1, Vec::new()));
}

/// The status of a member as a real agent tells it, in the numbers of the wire.
fn status(http: Client, name: &str) -> Option<u64> {
    let members = http.get("/v1/agent/members").ok()?.json();
    let members = members.as_array()?;
    members.iter().find(|member| member["Name"] == name)?["Status"].as_u64()
}

fn wait_status(http: Client, name: &str, want: Status) {
    let what = format!("{name} to be {want}");
    wait::until(&what, WAIT_MAX, || (status(http, name)? == want as u64).then_some(()));
}

fn wait_health(http: Client, name: &str, want: &str) {
    let path = format!("/v1/health/node/{name}");
    wait::until(&format!("serfHealth of {name} to be {want}"), WAIT_MAX, || {
        let checks = http.get(&path).ok()?.json();
        let check =
            checks.as_array()?.iter().find(|check| check["CheckID"] == "serfHealth")?.clone();
        (check["Status"] == want).then_some(())
    });
}

#[test]
fn a_member_of_a_real_pool_until_it_leaves() {
    let server = server();
    let http = server.http();
    let node = Node::start("ours", as_client);
    join(&node, server.address(server.ports.serf_lan));

    wait_status(http, "ours", Status::Alive);
    wait_health(http, "ours", "passing");
    let seen = node.inspect(|gossip| gossip.member("node1").cloned()).expect("it is known");
    assert_eq!(seen.status, Status::Alive);
    assert_eq!(seen.address, server.address(server.ports.serf_lan));
    assert_eq!(seen.tags["role"], "consul");
    assert_eq!(seen.tags["id"], testkit::process::NODE_ID);
    assert_eq!(seen.versions, gossip::Versions::OURS);

    // The real one probes at each interval, too: were we silent, it would suspect us and we would refute.
    wait::until("four probes and an answer with a coordinate", WAIT_MAX, || {
        let is_there = node.inspect(|gossip| {
            answered(&gossip.counters()) >= 4 && gossip.coordinates().contains_key("node1")
        });
        is_there.then_some(())
    });
    let counters = node.inspect(|gossip| gossip.counters());
    assert_healthy(&counters);
    assert_eq!(counters.packets_refused + counters.messages_refused, 0, "{counters:?}");
    assert_eq!(status(http, "ours"), Some(Status::Alive as u64));

    events_go_both_ways(&node, http);
    acks_come(&node);
    tags_change(&node, http);

    let node1: SocketAddr = server.address(server.ports.serf_lan);
    assert_eq!(node.snapshot().alive, [("node1".to_owned(), node1)].into());

    node.command(Command::Leave);
    node.wait_event("the leave to end", |event| (*event == Event::LeaveDone).then_some(()));
    wait_status(http, "ours", Status::Left);
    wait::until("the node to leave the catalog", WAIT_MAX, || {
        let nodes = http.get("/v1/catalog/nodes").ok()?.text();
        (!nodes.contains("\"ours\"")).then_some(())
    });
    assert_eq!(node.snapshot(), Snapshot::default());
    assert_quiet(&server.log());
}

/// Probes of ours that were answered.
fn answered(counters: &Counters) -> u64 {
    // One may be under way.
    counters.probes.saturating_sub(counters.probes_failed + 1)
}

/// Both sides answer probes. On a busy machine one may come late; were they not understood, each would.
#[track_caller]
fn assert_healthy(counters: &Counters) {
    assert!(counters.probes_failed * 2 <= counters.probes, "{counters:?}");
    assert!(counters.refutations * 2 <= counters.probes, "{counters:?}");
}

/// A real agent warns of all it does not understand or believe.
fn assert_quiet(log: &str) {
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("memberlist") || line.contains("serf:"))
        .filter(|line| line.contains("[WARN]") || line.contains("[ERR"))
        // What a busy machine brings about.
        .filter(|line| !line.contains("Was able to connect") && !line.contains("Refuting"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn events_go_both_ways(node: &Node, http: Client) {
    let fired = http.put("/v1/event/fire/deploy", "payload").expect("the agent answers");
    assert_eq!(fired.status, 200);
    let payload = node.wait_event("the event of the real agent", |event| match event {
        Event::UserEvent { name, payload, .. } if name == "consul:event:deploy" => {
            Some(payload.clone())
        }
        _ => None,
    });
    let id = fired.json()["ID"].as_str().expect("an event has an id").to_owned();
    assert!(String::from_utf8_lossy(&payload).contains(&id), "{payload:?}");

    // {"ID": ..., "n": "ours", "p": "hi", "v": 1}, with str8 and bin8 as agents write it.
    let event = [
        &b"\x84\xa2ID\xd9\x24"[..],
        b"6e2b1f0c-8a5f-4b0e-9f53-2f1d3a4b5c6d",
        b"\xa1n\xa6upload\xa1p\xc4\x02hi\xa1v\x01",
    ]
    .concat();
    let name = "consul:event:upload".to_owned();
    node.command(Command::UserEvent { name, payload: event.into(), coalesce: false });
    wait::until("our event in the real agent's list", WAIT_MAX, || {
        let events = http.get("/v1/event/list?name=upload").ok()?.json();
        let event = events.as_array()?.first()?.clone();
        (event["ID"] == "6e2b1f0c-8a5f-4b0e-9f53-2f1d3a4b5c6d").then_some(())
    });
}

/// Consul answers no queries of users, but serf says whether they came.
fn acks_come(node: &Node) {
    let filter =
        |expression: &str| vec![Filter::Tag { tag: "role".into(), expression: expression.into() }];
    for (operation, filters, want) in
        [(11, vec![], 2), (12, filter("^consul$"), 1), (13, filter("^node$"), 1)]
    {
        let operation = OperationId(operation);
        let query = Query {
            name: "anybody".into(),
            payload: Bytes::from_static(b"?"),
            filters,
            wants_ack: true,
            relay_factor: 1,
            timeout: None,
        };
        node.command(Command::Query { operation, query });
        let acks = node.wait_event("the query to end", |event| match event {
            Event::QueryDone { operation: ended, acks, .. } if *ended == operation => Some(*acks),
            _ => None,
        });
        assert_eq!(acks, want, "{operation:?}");
    }
    let from = |name: &str| {
        node.count_events(|event| matches!(event, Event::QueryAck { from, .. } if from == name))
    };
    assert_eq!((from("node1"), from("ours")), (2, 2));
}

fn tags_change(node: &Node, http: Client) {
    let mut tags = client_tags("0d8f6b1e-3c45-4f0e-9d8a-57a1c9e2b301");
    tags.insert("colour".into(), "green".into());
    node.command(Command::SetTags(tags));
    wait::until("the new tag to be seen", WAIT_MAX, || {
        let members = http.get("/v1/agent/members").ok()?.json();
        let ours = members.as_array()?.iter().find(|member| member["Name"] == "ours")?.clone();
        (ours["Tags"]["colour"] == "green").then_some(())
    });
}

#[test]
fn a_member_that_dies_is_failed_and_comes_back() {
    let server = server();
    let http = server.http();
    let lan = server.address(server.ports.serf_lan);
    let node = Node::start("ours", as_client);
    join(&node, lan);
    wait_status(http, "ours", Status::Alive);
    wait_health(http, "ours", "passing");
    wait::until("the clocks in the snapshot", WAIT_MAX, || {
        (node.snapshot().clock > 0).then_some(())
    });
    let (snapshot, address) = (node.snapshot(), node.address);
    node.stop();
    wait_status(http, "ours", Status::Failed);
    wait_health(http, "ours", "critical");

    // On its old address, with nothing but the memory of its last run.
    let node = Node::start_at(address, "ours", |config| {
        as_client(config);
        config.snapshot = snapshot;
    });
    let through = node.wait_event("the end of the rejoin", |event| match event {
        Event::RejoinDone { through } => Some(*through),
        _ => None,
    });
    assert_eq!(through, Some(lan));
    wait_status(http, "ours", Status::Alive);
    wait_health(http, "ours", "passing");
}

#[test]
fn a_member_of_an_encrypted_pool() {
    let server = Spec::new(real()).dev().config(json!({ "encrypt": KEY })).start();
    let http = server.http();
    let lan = server.address(server.ports.serf_lan);
    let (key, other) = (Key::from_base64(KEY).unwrap(), Key::from_base64(OTHER_KEY).unwrap());

    let stranger = Node::start("stranger", as_client);
    let operation = OperationId(1);
    stranger.command(Command::Join { operation, addresses: vec![lan] });
    stranger.wait_event("the join to fail", |event| match event {
        Event::JoinDone { joined: 0, errors, .. } => Some(errors.len()),
        _ => None,
    });
    stranger.stop();

    let ring = Keyring::new([key.clone()]).unwrap();
    let node = Node::start("ours", |config| {
        as_client(config);
        config.keyring = Some(ring);
    });
    join(&node, lan);
    wait_status(http, "ours", Status::Alive);
    assert_eq!(status(http, "stranger"), None);

    // What the real one asks of us.
    wait_keys(http, &[(KEY, 2)]);
    let installed = http.send("POST", "/v1/operator/keyring", &[], keyed(OTHER_KEY).as_bytes());
    assert_eq!(installed.expect("the agent answers").status, 200);
    let keys = vec![key.clone(), other.clone()];
    node.wait_event("the keyring to change", |event| {
        (*event == Event::KeyringChanged(keys.clone())).then_some(())
    });
    wait_keys(http, &[(KEY, 2), (OTHER_KEY, 2)]);

    // What we ask of the real one: the new key becomes the primary, the old one goes.
    let report = ask_keys(&node, 21, KeyRequest::List);
    assert_eq!((report.nodes, report.answers), (2, 2));
    assert_eq!(report.keys, [(KEY.to_owned(), 2), (OTHER_KEY.to_owned(), 2)].into());
    let report = ask_keys(&node, 22, KeyRequest::Remove(key.clone()));
    assert_eq!((report.answers, report.errors.len()), (2, 2), "the primary stays: {report:?}");
    let report = ask_keys(&node, 23, KeyRequest::Use(other));
    assert_eq!((report.answers, report.errors.len()), (2, 0), "{report:?}");
    let report = ask_keys(&node, 24, KeyRequest::Remove(key));
    assert_eq!((report.answers, report.errors.len()), (2, 0), "{report:?}");
    wait_keys(http, &[(OTHER_KEY, 2)]);
    let counters = node.inspect(|gossip| gossip.counters());
    assert_healthy(&counters);
    assert_eq!(status(http, "ours"), Some(Status::Alive as u64));
}

fn ask_keys(node: &Node, operation: u64, request: KeyRequest) -> gossip::KeyringReport {
    let operation = OperationId(operation);
    node.command(Command::Key { operation, request });
    node.wait_event("the answers about keys", |event| match event {
        Event::KeyringReport { operation: ended, report } if *ended == operation => {
            Some(report.clone())
        }
        _ => None,
    })
}

fn keyed(key: &str) -> String {
    json!({ "Key": key }).to_string()
}

/// Waits until the real agent counts these keys in its LAN pool of two.
fn wait_keys(http: Client, want: &[(&str, u64)]) {
    let want: Value = want.iter().map(|(key, count)| (key.to_string(), json!(count))).collect();
    wait::until(&format!("keys {want}"), WAIT_MAX, || {
        let rings = http.get("/v1/operator/keyring").ok()?;
        let rings = (rings.status == 200).then(|| rings.json())?;
        let lan = rings.as_array()?.iter().find(|ring| ring["WAN"] != json!(true))?.clone();
        (lan["NumNodes"] == 2 && lan["Keys"] == want).then_some(())
    });
}

/// A real client agent without any server; killed when dropped.
struct RealClient {
    ports: Ports,
    child: Child,
    dir: tempfile::TempDir,
}

impl RealClient {
    /// On the same loopback address as whom it joins.
    fn start(name: &str, join: SocketAddr) -> RealClient {
        let dir = tempfile::TempDir::with_prefix("client-").expect("a temporary folder");
        let ports = Ports::reserve();
        let numbers: serde_json::Map<String, Value> = ports
            .own()
            .into_iter()
            .filter(|(name, _)| !matches!(*name, "https" | "serf_wan"))
            .map(|(name, port)| (name.to_owned(), port.into()))
            .collect();
        let config = json!({
            "node_name": name,
            "bind_addr": join.ip().to_string(),
            "client_addr": "127.0.0.1",
            "data_dir": dir.path().join("data").to_string_lossy(),
            "ports": numbers,
            "retry_join": [join.to_string()],
            "retry_interval": "1s",
            "disable_update_check": true,
        });
        fs::write(dir.path().join("agent.json"), config.to_string()).expect("a file");
        let log = File::create(dir.path().join("agent.log")).expect("a file");
        let child = Process::new(real())
            .arg("agent")
            .arg(format!("-config-file={}", dir.path().join("agent.json").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be copied"))
            .stderr(log)
            .spawn()
            .expect("the real agent starts");
        RealClient { ports, child, dir }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("agent.log")).expect("a log can be read")
    }

    fn http(&self) -> Client {
        Client::new(SocketAddr::from(([127, 0, 0, 1], self.ports.http)))
    }
}

impl Drop for RealClient {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_seed_for_real_clients() {
    let node = Node::start("ours", as_client);
    let first = RealClient::start("first", node.address);
    let second = RealClient::start("second", node.address);
    for name in ["first", "second"] {
        let member = node.wait_event(&format!("{name} to join"), |event| match event {
            Event::MemberJoin(member) if member.name == name => Some(member.clone()),
            _ => None,
        });
        assert_eq!(member.tags["role"], "node");
    }
    for http in [first.http(), second.http()] {
        for name in ["ours", "first", "second"] {
            wait_status(http, name, Status::Alive);
        }
    }
    // Its snapshot file names the same pool, once it has reason to write again.
    let file = first.dir.path().join("data/serf/local.snapshot");
    wait::until("the real agent's snapshot to name ours", WAIT_MAX, || {
        let (name, payload) = ("any".to_owned(), Bytes::new());
        node.command(Command::UserEvent { name, payload, coalesce: false });
        let snapshot = Snapshot::parse(&fs::read_to_string(&file).ok()?, false);
        (snapshot.alive.get("ours") == Some(&node.address) && snapshot.clock > 0).then_some(())
    });
    assert_quiet(&first.log());
    // With three, a silent one is also asked after through the other: both must call it failed.
    drop(second);
    node.wait_event("the killed client to fail", |event| match event {
        Event::MemberFailed(member) if member.name == "second" => Some(()),
        _ => None,
    });
    wait_status(first.http(), "second", Status::Failed);

    // Forced out by the real one, forgotten through us.
    let http = first.http();
    let forced = http.put("/v1/agent/force-leave/second", "").expect("the agent answers");
    assert_eq!(forced.status, 200);
    node.wait_event("the failed client to be left", |event| match event {
        Event::MemberLeave(member) if member.name == "second" => Some(()),
        _ => None,
    });
    wait_status(http, "second", Status::Left);
    node.command(Command::ForceLeave { node: "second".into(), prune: true });
    wait::until("the real agent to forget it", WAIT_MAX, || {
        let members = http.get("/v1/agent/members").ok()?.text();
        (!members.contains("\"second\"")).then_some(())
    });

    let left = http.put("/v1/agent/leave", "").expect("the agent answers");
    assert_eq!(left.status, 200);
    node.wait_event("the client to leave", |event| match event {
        Event::MemberLeave(member) if member.name == "first" => Some(()),
        _ => None,
    });
    let failures =
        |event: &Event| matches!(event, Event::MemberFailed(member) if member.name == "first");
    assert_eq!(node.count_events(failures), 0);
}

/// Who judges by Consul's rules as member `ours` of a datacenter.
struct Lan(LanIdentity);

impl Admission for Lan {
    fn admit(&self, members: &[Member]) -> Result<(), String> {
        consul::admit_lan(&self.0, members)
    }
}

/// A real agent answers every join before it judges: only our own judgement tells that we do not belong together.
#[test]
fn another_datacenter_is_not_joined() {
    let server = server();
    let lan = server.address(server.ports.serf_lan);
    for (datacenter, is_joined) in [("dc9", false), ("dc1", true)] {
        let identity = LanIdentity {
            name: "ours".into(),
            id: "0d8f6b1e-3c45-4f0e-9d8a-57a1c9e2b301".into(),
            datacenter: datacenter.into(),
            segment: String::new(),
        };
        let node = Node::start_judging(Box::new(Lan(identity)), "ours", |config| {
            as_client(config);
            config.tags.insert("dc".into(), datacenter.into());
        });
        let operation = OperationId(1);
        node.command(Command::Join { operation, addresses: vec![lan] });
        let joined = node.wait_event("the join to end", |event| match event {
            Event::JoinDone { joined, errors, .. } => Some((*joined, errors.clone())),
            _ => None,
        });
        assert_eq!(joined.0, usize::from(is_joined), "{joined:?}");
        let knows = node.inspect(|gossip| gossip.member("node1").is_some());
        assert_eq!(knows, is_joined);
        if is_joined {
            wait_status(server.http(), "ours", Status::Alive);
        } else {
            assert_eq!(status(server.http(), "ours"), None);
        }
    }
}

#[test]
fn a_member_of_a_wan_pool_with_a_long_key() {
    // 32 bytes: AES-256.
    let long_key = "T6jFZzYl3q2oV7Yx8m1kq4WcN5bR0sUeJ9tHdLgPaXY=";
    let server = Spec::new(real()).dev().config(json!({ "encrypt": long_key })).start();
    let wan = server.address(server.ports.serf_wan);
    let node = Node::start("ours.dc2", |config| {
        config.profile = Profile::wan();
        config.keyring = Some(Keyring::new([Key::from_base64(long_key).unwrap()]).unwrap());
        config.tags = client_tags("0d8f6b1e-3c45-4f0e-9d8a-57a1c9e2b301");
        for (tag, value) in [("role", "consul"), ("dc", "dc2"), ("port", "8300"), ("raft_vsn", "3")]
        {
            config.tags.insert(tag.into(), value.into());
        }
    });
    join(&node, wan);
    wait::until("our node in the real one's WAN pool", WAIT_MAX, || {
        let members = server.http().get("/v1/agent/members?wan=1").ok()?.json();
        let ours = members.as_array()?.iter().find(|m| m["Name"] == "ours.dc2")?.clone();
        (ours["Status"] == Status::Alive as u64).then_some(())
    });
    let seen = node.inspect(|gossip| gossip.member("node1.dc1").cloned()).expect("it is known");
    assert_eq!(seen.status, Status::Alive);
    assert!(gossip::consul::is_server(&seen), "{seen:?}");
    // A WAN pool probes every five seconds.
    wait::until("two probes and an answer with a coordinate", WAIT_MAX, || {
        let is_there = node.inspect(|gossip| {
            answered(&gossip.counters()) >= 2 && gossip.coordinates().contains_key("node1.dc1")
        });
        is_there.then_some(())
    });
    let counters = node.inspect(|gossip| gossip.counters());
    assert_healthy(&counters);
}

#[test]
fn a_pool_on_ipv6() {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, free_port()));
    let node = Node::start_at(address, "ours", as_client);
    let client = RealClient::start("first", address);
    let seen = node.wait_event("the client to join", |event| match event {
        Event::MemberJoin(member) if member.name == "first" => Some(member.clone()),
        _ => None,
    });
    assert_eq!(seen.address.ip(), Ipv6Addr::LOCALHOST);
    wait_status(client.http(), "ours", Status::Alive);
    wait::until("two probes and an answer with a coordinate", WAIT_MAX, || {
        let is_there = node.inspect(|gossip| {
            answered(&gossip.counters()) >= 2 && gossip.coordinates().contains_key("first")
        });
        is_there.then_some(())
    });
    let counters = node.inspect(|gossip| gossip.counters());
    assert_healthy(&counters);
    assert_quiet(&client.log());
}

/// More members than the table of the compression holds codes for, through both implementations of it.
#[test]
fn a_large_state_goes_both_ways() {
    const GHOSTS: usize = 400;
    let tell = |node: &Node| {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("any port can be bound");
        for ghost in 0..GHOSTS {
            let alive = Alive {
                incarnation: 1,
                node: format!("ghost-{ghost}"),
                address: Bytes::copy_from_slice(&[127, 0, 0, 1]),
                port: 9,
                meta: ghost_meta(ghost),
                versions: Bytes::copy_from_slice(&gossip::Versions::OURS.to_bytes()),
            };
            let message = Message::Alive(alive).encode();
            udp.send_to(&message, node.address).expect("loopback takes packets");
        }
    };
    let knows = |node: &Node| node.inspect(|gossip| gossip.members().count()) > GHOSTS;
    let node = Node::start("ours", as_client);
    // Packets may be lost even here.
    wait::until("all ghosts to be known", WAIT_MAX, || {
        tell(&node);
        knows(&node).then_some(())
    });
    let client = RealClient::start("first", node.address);
    wait::until("the real agent to know them all", WAIT_MAX, || {
        let members = client.http().get("/v1/agent/members").ok()?.json();
        (members.as_array()?.len() >= GHOSTS + 2).then_some(())
    });
    let first = wait::until("the real agent at its address", WAIT_MAX, || {
        node.inspect(|gossip| gossip.member("first").map(|member| member.address))
    });
    let other = Node::start("other", as_client);
    join(&other, first);
    assert!(knows(&other), "the answer to the join holds them all");
}

/// As large as tags may be, and different in each.
fn ghost_meta(ghost: usize) -> Bytes {
    let noise: String =
        (0..200).map(|i| char::from(b'a' + (ghost * 31 + i * i) as u8 % 26)).collect();
    let mut meta =
        b"\xff\x84\xa4role\xa4node\xa2dc\xa3dc1\xa7segment\xa0\xa5noise\xda\x00\xc8".to_vec();
    meta.extend(noise.bytes());
    meta.into()
}
