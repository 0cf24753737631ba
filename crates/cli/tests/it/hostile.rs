//! Bytes nobody should send, on every port we serve: whoever sends them is refused, everybody else goes on being served,
//! and memory stays bounded.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::background::Background;
use testkit::differential::{is_substituted, subject};
use testkit::ports::Ports;
use testkit::process::{Agent, Spec, peer};
use testkit::toy::{Application, dial, exchange};
use testkit::wait;

use crate::mesh::{Mesh, Side};

/// What a process may grow by under attack. Unit: KiB.
const GROWTH_KIB_MAX: u64 = 64 << 10;
/// Clients that never finish what they began, on each port: below the connections one address may have.
const STALLED: usize = 100;
/// Longest life of a connection whose other side stalls, with the timeouts of this test.
const STALL_MAX: Duration = Duration::from_secs(40);
/// Random packets sent to a port.
const PACKETS: usize = 300;
/// Silence after which a peer that closed nothing counts as waiting for more.
const PATIENCE: Duration = Duration::from_millis(300);

/// Random bytes from a seed: the low-order bits of a linear generator are poor, so the high ones are taken.
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }
}

/// The house under attack, and its memory before.
struct House {
    mesh: Mesh,
    before: Vec<(&'static str, u32, u64)>,
}

impl House {
    fn start() -> House {
        let mesh = Mesh::start(Side::Ours, Side::Ours, Side::Ours);
        mesh.until_allowed();
        let processes = [
            ("agent", mesh.agent.pid()),
            ("proxy of db", mesh.db.pid()),
            ("proxy of web", mesh.web.pid()),
        ];
        let before = processes.map(|(name, pid)| (name, pid, resident_kib(pid))).to_vec();
        House { mesh, before }
    }

    /// Every TCP port we serve, by name.
    fn tcp(&self) -> [(&'static str, u16); 5] {
        let Ports { http, dns, .. } = self.mesh.agent.ports;
        let [db, web] = self.mesh.public;
        [("http", http), ("dns", dns), ("db", db), ("web", web), ("upstream", self.mesh.upstream)]
    }

    /// Asserts that everybody else is served: each interface once.
    fn assert_serves(&self, when: &str) {
        let http = self.mesh.agent.http();
        let written = http.put("/v1/kv/honest", when).expect("the agent answers");
        assert_eq!((written.status, written.text().as_str()), (200, "true"), "{when}");
        let read = http.get("/v1/kv/honest?raw").expect("the agent answers");
        assert_eq!(read.text(), when);
        let port = self.mesh.agent.ports.dns.to_string();
        for transport in ["+notcp", "+tcp"] {
            let args =
                ["@127.0.0.1", "-p", &port, "node1.node.consul", "+short", transport, "+tries=1"];
            let output = testkit::command::Cli::new(peer("dig")).run(&args);
            assert!(output.stdout.contains("127.0.0.1"), "DNS {transport} {when}: {output:?}");
        }
        if let Err(error) = exchange(self.mesh.upstream, when.as_bytes()) {
            panic!("the mesh carries nothing {when}: {error}\n{}", self.mesh.logs());
        }
    }

    /// Asserts that all processes live and none has grown beyond the bound.
    fn assert_sound(&self) {
        for (name, pid, before) in &self.before {
            let after = resident_kib(*pid);
            let grown = after.saturating_sub(*before);
            assert!(grown < GROWTH_KIB_MAX, "{name} has grown from {before} to {after} KiB");
        }
    }
}

/// The memory of a live process; panics when it is dead. Unit: KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.expect("a live process has memory")
}

/// Sends, optionally ends its side, and reads for a while; whatever happens on the way is the peer's choice.
fn throw(port: u16, bytes: &[u8], end: bool) {
    let thrown = || -> io::Result<()> {
        let mut stream = dial(port)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(bytes)?;
        if end {
            stream.shutdown(Shutdown::Write)?;
        }
        stream.take(1 << 20).read_to_end(&mut Vec::new())?;
        Ok(())
    };
    let _ = thrown();
}

#[test]
fn garbage_is_refused_on_every_port() {
    let house = House::start();
    let mut noise = Noise(7);
    let mut payloads: Vec<Vec<u8>> = vec![
        vec![0; 4096],
        vec![0xff; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n".to_vec(),
        b"\r\n\r\n\r\n\r\n".to_vec(),
        // A TLS record that announces more than a record may hold, one of no length, an alert, a hello cut short.
        b"\x16\x03\x01\xff\xff".to_vec(),
        b"\x16\x03\x01\x00\x00\x16\x03\x01\x00\x00".to_vec(),
        b"\x15\x03\x03\x00\x02\x02\x28".to_vec(),
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03".to_vec(),
        // A handshake message of sixteen mebibytes in pieces of a record each.
        [&b"\x16\x03\x01\x40\x00\x01\xff\xff\xff"[..], &[0; 0x3ffc]].concat(),
        // A DNS message that announces more than comes, and one of no length.
        b"\xff\xff\x00\x01".to_vec(),
        b"\x00\x00\x00\x00".to_vec(),
    ];
    for length in [1, 2, 11, 12, 13, 100, 1000, 10_000, 100_000] {
        payloads.push(noise.bytes(length));
    }
    for (_, port) in house.tcp() {
        std::thread::scope(|scope| {
            for payload in &payloads {
                scope.spawn(move || throw(port, payload, false));
                scope.spawn(move || throw(port, payload, true));
            }
        });
    }
    house.assert_serves("after garbage over TCP");

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let dns = (Ipv4Addr::LOCALHOST, house.mesh.agent.ports.dns);
    let question = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00";
    let mut packets: Vec<Vec<u8>> = vec![
        Vec::new(),
        question.to_vec(),
        // A name that points at itself, one that points behind the end, a label of 64 bytes, counts of 65535.
        [&question[..], b"\xc0\x0c\x00\x01\x00\x01"].concat(),
        [&question[..], b"\xff\xff\x00\x01\x00\x01"].concat(),
        [&question[..], b"\x40", &[b'a'; 64], b"\x00\x00\x01\x00\x01"].concat(),
        [&b"\x00\x01\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff"[..], &[0; 500]].concat(),
        // An answer where a question is awaited.
        [&b"\x00\x01\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00"[..], b"\x01a\x00\x00\x01\x00\x01"]
            .concat(),
    ];
    for n in 0..PACKETS {
        let mut packet = noise.bytes(n * 13 % 1400);
        // Half of them begin like a question.
        if n % 2 == 0 && packet.len() > question.len() {
            packet[..question.len()].copy_from_slice(question);
        }
        packets.push(packet);
    }
    for packet in &packets {
        // A full buffer loses packets as a network would.
        let _ = socket.send_to(packet, dns);
    }
    house.assert_serves("after garbage over UDP");
    house.assert_sound();
}

#[test]
fn clients_that_stall_hold_nobody_up() {
    let house = House::start();
    let beginnings: [(u16, &[u8]); 7] = [
        (house.mesh.agent.ports.http, b"GET /v1/kv/slow HTTP/1.1\r\nHost: x\r\nX-Slow: "),
        (
            house.mesh.agent.ports.http,
            b"PUT /v1/kv/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
        ),
        (house.mesh.agent.ports.dns, b"\x00"),
        (house.mesh.public[0], b"\x16\x03\x01\x00\xc8\x01\x00\x00"),
        (house.mesh.public[0], b""),
        (house.mesh.public[1], b"\x16"),
        (house.mesh.upstream, b""),
    ];
    let mut stalled: Vec<TcpStream> = Vec::new();
    for (port, beginning) in beginnings {
        // Two kinds share the HTTP port.
        for _ in 0..STALLED / 2 {
            let mut stream = dial(port).expect("the port takes connections");
            stream.write_all(beginning).expect("a new connection takes bytes");
            stalled.push(stream);
        }
    }
    house.assert_serves("beside stalled clients");
    // A header that comes byte by byte.
    for _ in 0..20 {
        for stream in stalled.iter_mut().take(STALLED / 2) {
            // A server may have lost its patience.
            let _ = stream.write_all(b"x");
        }
        house.assert_serves("beside headers byte by byte");
    }
    house.assert_sound();
    drop(stalled);
    house.assert_serves("after stalled clients");
}

#[test]
fn a_stalled_handshake_is_ended() {
    if is_substituted() {
        // The real proxy waits for ever.
        return;
    }
    let program = subject(env!("CARGO_BIN_EXE_lictor"));
    let application = Application::start();
    let public = testkit::ports::free_port();
    let sidecar = json!({ "port": public, "proxy": { "config": { "handshake_timeout_ms": 500 } } });
    let db = json!({ "name": "db", "port": application.port, "connect": { "sidecar_service": sidecar } });
    let agent = Spec::new(&program).file("db.json", &json!({ "service": db }).to_string()).start();
    let address = format!("-http-addr={}", agent.address(agent.ports.http));
    let args = ["connect", "proxy", &address, "-sidecar-for", "db"];
    let proxy = Background::start(&program, &args, agent.dir().join("proxy.log"));
    let mut stalled = wait::until("the proxy listens", STALL_MAX, || dial(public).ok());
    stalled.write_all(b"\x16\x03\x01\x00\xc8\x01\x00\x00").expect("a connection takes bytes");
    let mut silent = dial(public).expect("the proxy listens");
    let mut dns = dial(agent.ports.dns).expect("the agent listens");
    dns.write_all(b"\x00").expect("a connection takes bytes");
    for (name, stream) in [("cut hello", &mut stalled), ("silence", &mut silent), ("DNS", &mut dns)]
    {
        stream.set_read_timeout(Some(STALL_MAX)).expect("a timeout can be set");
        let end = stream.read_to_end(&mut Vec::new());
        let is_ended = match &end {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        };
        assert!(is_ended, "{name} is not ended: {end:?}\n{}", proxy.log());
    }
}

#[test]
fn oversize_requests_are_refused() {
    if is_substituted() {
        // The real one takes values of any size in chunks.
        return;
    }
    let house = House::start();
    let http = house.mesh.agent.http();
    let long = "x".repeat(2 << 20);
    let head = |line: &str, more: &str| format!("{line}\r\nHost: x\r\n{more}\r\n").into_bytes();
    let body = |path: &str, bytes: usize| {
        let mut request =
            head(&format!("PUT {path} HTTP/1.1"), &format!("Content-Length: {bytes}\r\n"));
        request.extend(vec![b'1'; bytes]);
        request
    };
    let chunks = |path: &str, bytes: usize| {
        let mut request = head(&format!("PUT {path} HTTP/1.1"), "Transfer-Encoding: chunked\r\n");
        for _ in 0..bytes >> 16 {
            request.extend(b"10000\r\n");
            request.extend([b'1'; 1 << 16]);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
        request
    };
    let many: String = (0..20_000).map(|n| format!("X-Header-{n}: {n}\r\n")).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a long path", head(&format!("GET /v1/kv/{long} HTTP/1.1"), "")),
        ("a long query", head(&format!("GET /v1/kv/a?{long} HTTP/1.1"), "")),
        ("a long header", head("GET /v1/kv/a HTTP/1.1", &format!("X-Long: {long}\r\n"))),
        ("a long header name", head("GET /v1/kv/a HTTP/1.1", &format!("{long}: x\r\n"))),
        ("many headers", head("GET /v1/kv/a HTTP/1.1", &many)),
        ("a long method", head(&format!("{long} /v1/kv/a HTTP/1.1"), "")),
        ("a large value", body("/v1/kv/large", (512 << 10) + 1)),
        ("a large value in chunks", chunks("/v1/kv/large", 1 << 20)),
        ("a large body", body("/v1/catalog/register", 20 << 20)),
        ("a large body in chunks", chunks("/v1/session/create", 20 << 20)),
        (
            "an endless body announced",
            head("PUT /v1/kv/large HTTP/1.1", "Content-Length: 1099511627776\r\n"),
        ),
    ];
    for (name, request) in cases {
        let answer = tell(http.address.port(), &request);
        let status = answer.status();
        assert!(
            matches!(status, None | Some(400 | 413 | 414 | 431)),
            "{name}: answered {status:?}\n{}",
            answer.text()
        );
    }
    let large = http.get("/v1/kv/large").expect("the agent answers");
    assert_eq!(large.status, 404, "nothing refused is stored");
    house.assert_serves("after oversize requests");
    house.assert_sound();
}

/// What came back over one connection, and whether it was closed.
struct Told {
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Told {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).chars().take(2000).collect()
    }

    /// The status of the first answer, none if there was none.
    fn status(&self) -> Option<u16> {
        let text = self.text();
        text.strip_prefix("HTTP/1.1 ").or(text.strip_prefix("HTTP/1.0 "))?.get(..3)?.parse().ok()
    }

    /// How many answers came.
    fn answers(&self) -> usize {
        String::from_utf8_lossy(&self.bytes).matches("HTTP/1.").count()
    }
}

/// Sends bytes, and reads until the other side closes or waits for more.
fn tell(port: u16, bytes: &[u8]) -> Told {
    let mut stream = dial(port).expect("the port takes connections");
    let mut writer = stream.try_clone().expect("a socket can be copied");
    let mut told = Told { bytes: Vec::new(), is_closed: false };
    std::thread::scope(|scope| {
        // A server may refuse before it has read all.
        scope.spawn(move || writer.write_all(bytes).is_ok());
        let mut buffer = vec![0; 64 << 10];
        // The first answer may take its time, what follows comes at once.
        let mut patience = Duration::from_secs(10);
        loop {
            stream.set_read_timeout(Some(patience)).expect("a timeout can be set");
            match stream.read(&mut buffer) {
                Ok(0) => told.is_closed = true,
                Ok(length) => {
                    told.bytes.extend_from_slice(&buffer[..length]);
                    patience = PATIENCE;
                    continue;
                }
                Err(error) => told.is_closed = error.kind() == io::ErrorKind::ConnectionReset,
            }
            break;
        }
        // Lets the writer go that nobody reads.
        let _ = stream.shutdown(Shutdown::Both);
    });
    told
}

/// What a proxy in front and a server behind could read differently. Each is followed by a second request, which must
/// never be seen as one.
#[test]
fn requests_of_two_readings_are_refused() {
    if is_substituted() {
        // Go's reader takes several of these.
        return;
    }
    let agent = Spec::new(subject(env!("CARGO_BIN_EXE_lictor"))).start();
    let http = agent.http();
    let put = |headers: &str, body: &str| {
        format!("PUT /v1/kv/first HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
    };
    let get = |headers: &str| format!("GET /v1/kv/none HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases: Vec<(&str, String)> = vec![
        ("two lengths", put("Content-Length: 1\r\nContent-Length: 2\r\n", "ab")),
        ("two equal lengths in one", put("Content-Length: 1, 2\r\n", "ab")),
        (
            "length and chunks",
            put(&format!("Content-Length: 1\r\n{chunked}"), "1\r\na\r\n0\r\n\r\n"),
        ),
        (
            "chunks and length",
            put(&format!("{chunked}Content-Length: 1\r\n"), "1\r\na\r\n0\r\n\r\n"),
        ),
        ("a signed length", put("Content-Length: +1\r\n", "a")),
        ("a negative length", put("Content-Length: -1\r\n", "a")),
        ("a hexadecimal length", put("Content-Length: 0x1\r\n", "a")),
        ("a length with a blank inside", put("Content-Length: 1 1\r\n", "aaaaaaaaaaa")),
        ("an empty length", put("Content-Length: \r\n", "")),
        ("a length beyond numbers", put("Content-Length: 99999999999999999999999\r\n", "a")),
        ("an unknown coding", put("Transfer-Encoding: xchunked\r\n", "1\r\na\r\n0\r\n\r\n")),
        ("chunks not last", put("Transfer-Encoding: chunked, identity\r\n", "1\r\na\r\n0\r\n\r\n")),
        ("identity", put("Transfer-Encoding: identity\r\nContent-Length: 1\r\n", "a")),
        ("a coding and chunks", put("Transfer-Encoding: gzip, chunked\r\n", "1\r\na\r\n0\r\n\r\n")),
        ("chunks twice", put(&format!("{chunked}{chunked}"), "1\r\na\r\n0\r\n\r\n")),
        ("a coding behind a tab", put("Transfer-Encoding:\x0bchunked\r\n", "1\r\na\r\n0\r\n\r\n")),
        ("chunks in HTTP/1.0", put(chunked, "1\r\na\r\n0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0")),
        ("a signed chunk size", put(chunked, "+1\r\na\r\n0\r\n\r\n")),
        ("a negative chunk size", put(chunked, "-1\r\na\r\n0\r\n\r\n")),
        ("a prefixed chunk size", put(chunked, "0x1\r\na\r\n0\r\n\r\n")),
        ("an empty chunk size", put(chunked, "\r\na\r\n0\r\n\r\n")),
        ("a chunk size beyond numbers", put(chunked, "fffffffffffffffff\r\na\r\n0\r\n\r\n")),
        ("a chunk longer than it says", put(chunked, "1\r\nabc\r\n0\r\n\r\n")),
        ("a bare line feed after a chunk size", put(chunked, "1\na\r\n0\r\n\r\n")),
        // A line feed alone may end a line (RFC 9112, 2.2), and Consul reads it so, too.
        ("a bare carriage return", get("X: y\rContent-Length: 5\r\n")),
        ("a folded header", get("X: y\r\n folded\r\n")),
        ("a folded first header", "GET /v1/kv/none HTTP/1.1\r\n Host: x\r\n\r\n".to_owned()),
        ("a folded length", put("Content-Length:\r\n 1\r\n", "a")),
        ("a blank before the colon", put("Content-Length : 1\r\n", "a")),
        ("a header without a name", get(": y\r\n")),
        ("a header without a colon", get("nothing\r\n")),
        ("a zero byte in a header", get("X: a\0b\r\n")),
        ("a zero byte in a name", get("X\0: b\r\n")),
        ("two hosts", "GET /v1/kv/none HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned()),
        ("no host", "GET /v1/kv/none HTTP/1.1\r\n\r\n".to_owned()),
        ("another version", get("").replace("HTTP/1.1", "HTTP/9.9")),
        ("no version", "GET /v1/kv/none\r\nHost: x\r\n\r\n".to_owned()),
        ("blanks in the path", get("").replace("/v1/kv/none", "/v1/kv/no ne")),
    ];
    let second = "PUT /v1/kv/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\ns";
    let mut wrong = String::new();
    for (name, first) in &cases {
        let told = tell(http.address.port(), format!("{first}{second}").as_bytes());
        // A length beside chunks may be overruled if nothing after it is believed (RFC 9112, 6.3).
        let is_overruled =
            ["length and chunks", "chunks and length"].contains(name) && told.answers() == 1;
        let refused = (is_overruled || matches!(told.status(), None | Some(400 | 501 | 505)))
            && told.is_closed;
        let smuggled = http.get("/v1/kv/smuggled").expect("the agent answers").status == 200;
        if !refused || smuggled || told.answers() > 1 {
            wrong.push_str(&format!(
                "{name}: status {:?}, {} answers, closed {}, second request served {smuggled}\n",
                told.status(),
                told.answers(),
                told.is_closed
            ));
            http.send("DELETE", "/v1/kv/smuggled", &[], b"").expect("the agent answers");
        }
    }
    assert!(wrong.is_empty(), "of {} requests these were not refused:\n{wrong}", cases.len());
    // Two requests of one reading each are two requests.
    let both = format!("{}{second}", put("Content-Length: 1\r\n", "a"));
    assert_eq!(tell(http.address.port(), both.as_bytes()).answers(), 2);
}

/// A configuration that must not start an agent.
struct Bad {
    name: &'static str,
    files: Vec<(&'static str, String)>,
    args: Vec<String>,
    /// What the line has to name: file, key, remedy.
    told: Vec<String>,
}

#[test]
fn a_bad_configuration_starts_nothing() {
    let program = subject(env!("CARGO_BIN_EXE_lictor"));
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let taken_port = taken.local_addr().expect("a bound socket has an address").port();
    let taken_udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let taken_udp_port = taken_udp.local_addr().expect("a bound socket has an address").port();
    let bad = |name, file: &'static str, text: &str, told: &[&str]| Bad {
        name,
        files: vec![(file, text.to_owned())],
        args: Vec::new(),
        told: told.iter().map(|word| (*word).to_owned()).collect(),
    };
    let all = vec![
        bad("an unknown key", "a.hcl", "nothing = true", &["a.hcl", "nothing"]),
        bad("an unknown key in JSON", "a.json", r#"{"nothing":true}"#, &["a.json", "nothing"]),
        bad("an unknown key inside", "a.hcl", "dns_config { nothing = 1 }", &["a.hcl", "nothing"]),
        bad(
            "an unknown key of a service",
            "a.hcl",
            "service { name = \"x\" nothing = 1 }",
            &["a.hcl", "nothing"],
        ),
        bad("a wrong type", "a.json", r#"{"server":"perhaps"}"#, &["a.json", "server"]),
        bad(
            "a wrong type inside",
            "a.json",
            r#"{"ports":{"http":"x"}}"#,
            &["a.json", "ports.http"],
        ),
        bad(
            "a bad duration",
            "a.json",
            r#"{"dns_config":{"node_ttl":"soon"}}"#,
            &["node_ttl", "soon"],
        ),
        bad(
            "a duration without a unit",
            "a.hcl",
            "check_update_interval = \"5\"",
            &["check_update_interval"],
        ),
        bad(
            "a bad interval",
            "a.hcl",
            "check { name = \"x\" tcp = \"127.0.0.1:1\" interval = \"often\" }",
            &["a.hcl", "often"],
        ),
        bad("a bad address", "a.hcl", "bind_addr = \"nowhere\"", &["bind_addr", "nowhere"]),
        bad("a bad port", "a.hcl", "ports { http = 70000 }", &["ports.http", "70000"]),
        bad("a bad node name", "a.hcl", "node_name = \"\\n\"", &["node_name"]),
        bad("a bad datacenter", "a.hcl", "datacenter = \"d c\"", &["datacenter", "d c"]),
        bad("broken JSON", "a.json", r#"{"server":"#, &["a.json"]),
        bad("broken HCL", "a.hcl", "server = [", &["a.hcl"]),
        bad("a service without a name", "a.hcl", "service { port = 1 }", &["a.hcl", "name"]),
        bad(
            "a bad service port",
            "a.hcl",
            "service { name = \"x\" port = 70000 }",
            &["a.hcl", "port"],
        ),
        bad("a check of nothing", "a.hcl", "check { name = \"x\" }", &["a.hcl"]),
        bad("a bad log level", "a.hcl", "log_level = \"loud\"", &["log_level", "loud"]),
        Bad {
            name: "a missing file",
            files: vec![],
            args: vec!["-config-file=none.hcl".into()],
            told: vec!["none.hcl".into()],
        },
        Bad {
            name: "a missing folder",
            files: vec![],
            args: vec!["-config-dir=none".into()],
            told: vec!["none".into()],
        },
        Bad {
            name: "an unknown flag",
            files: vec![],
            args: vec!["-nothing".into()],
            told: vec!["nothing".into()],
        },
        bad(
            "the HTTP port in use",
            "a.json",
            &json!({ "ports": { "http": taken_port } }).to_string(),
            &["ports.http", &taken_port.to_string()],
        ),
        bad(
            "the DNS port in use over UDP",
            "a.json",
            &json!({ "ports": { "dns": taken_udp_port } }).to_string(),
            &["ports.dns", &taken_udp_port.to_string()],
        ),
    ];
    let mut wrong = String::new();
    for bad in &all {
        // The real one takes any number for the port of a service.
        if is_substituted() && bad.name == "a bad service port" {
            continue;
        }
        for fault in faults(&program, bad) {
            wrong.push_str(&format!("{}: {fault}\n", bad.name));
        }
    }
    assert!(wrong.is_empty(), "of {} configurations:\n{wrong}", all.len());
}

/// Starts an agent that must not start, and tells what it does wrong.
fn faults(program: &Path, bad: &Bad) -> Vec<String> {
    let folder = TempDir::with_prefix("bad-").expect("a temporary folder can be made");
    let ports = Ports::reserve();
    let own: serde_json::Map<String, Value> = ports
        .own()
        .into_iter()
        .filter(|(name, _)| *name != "https")
        .map(|(name, port)| (name.to_owned(), port.into()))
        .collect();
    let good = json!({
        "server": true, "bootstrap": true, "bind_addr": "127.0.0.1", "ports": own,
        "data_dir": folder.path().join("data"),
    });
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a temporary folder is writable");
    };
    write("0-good.json", &good.to_string());
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let mut args = vec!["agent".to_owned(), format!("-config-file={}", file("0-good.json"))];
    for (name, text) in &bad.files {
        write(name, text);
        args.push(format!("-config-file={}", file(name)));
    }
    args.extend(bad.args.iter().cloned());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let cli = testkit::command::Cli::new(program).current_dir(folder.path());
    let mut running = cli.start(&args);
    let ended = wait::poll(Duration::from_secs(20), || {
        running.child.try_wait().expect("a child can be waited for")
    });
    let Some(status) = ended else { return vec!["it runs".to_owned()] };
    let read = |from: Option<&mut dyn Read>| {
        let mut text = String::new();
        let _ = from.expect("the streams are piped").read_to_string(&mut text);
        text
    };
    let stderr = read(running.child.stderr.as_mut().map(|stream| stream as &mut dyn Read));
    let mut faults = Vec::new();
    if status.code() != Some(1) {
        faults.push(format!("exit code {:?}", status.code()));
    }
    if let Some((name, port)) =
        ports.own().into_iter().find(|(_, port)| TcpStream::connect(("127.0.0.1", *port)).is_ok())
    {
        faults.push(format!("something still listens on the {name} port {port}"));
    }
    // The real one tells in other words, and in several lines.
    if is_substituted() {
        return faults;
    }
    // A wrong flag is followed by those there are.
    if bad.name != "an unknown flag" && stderr.trim_end().lines().count() != 1 {
        faults.push(format!("{} lines: {stderr:?}", stderr.lines().count()));
    }
    let missing: Vec<&String> = bad.told.iter().filter(|word| !stderr.contains(*word)).collect();
    if !missing.is_empty() {
        faults.push(format!("{missing:?} not named: {stderr:?}"));
    }
    faults
}

#[test]
fn two_agents_do_not_share_a_folder() {
    let first: Agent = Spec::new(subject(env!("CARGO_BIN_EXE_lictor"))).start();
    let program: PathBuf = subject(env!("CARGO_BIN_EXE_lictor"));
    let second = Bad {
        name: "a folder in use",
        files: vec![("a.json", json!({ "data_dir": first.dir().join("data") }).to_string())],
        args: Vec::new(),
        told: vec![first.dir().join("data").to_string_lossy().into_owned()],
    };
    if is_substituted() {
        // The real one waits for the other's lock for ever.
        return;
    }
    let faults = faults(&program, &second);
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(first.http().get("/v1/status/leader").expect("the first one goes on").status, 200);
}
