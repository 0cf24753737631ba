//! Two services talk through two proxies: ours and the real one in every combination, against our agent and a real one.
//!
//! Each combination carries a mebibyte both ways, is denied by an intention without one byte coming through, and carries
//! again once allowed.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::background::Background;
use testkit::differential::{is_substituted, subject};
use testkit::ports::free_port;
use testkit::process::{Agent, Spec, consul};
use testkit::toy::{Application, FAREWELL, dial, exchange, exchange_over, offer};
use testkit::wait;

/// What is sent both ways: more than all buffers on the way hold.
const BULK_BYTES: usize = 1 << 20;
/// Longest way from a change to its effect on new connections: a real proxy looks for instances, and a check of the
/// sidecar's port runs, every second or so.
const EFFECT_MAX: Duration = Duration::from_secs(30);
/// Refused connections in a row that are looked at.
const REFUSALS: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Real,
}
use Side::{Ours, Real};

impl Side {
    fn program(self) -> PathBuf {
        match self {
            Ours => subject(env!("CARGO_BIN_EXE_lictor")),
            Real => consul(),
        }
    }
}

#[test]
fn our_agent_our_proxies() {
    check(Ours, Ours, Ours);
}

#[test]
fn our_agent_real_proxies() {
    check(Ours, Real, Real);
}

#[test]
fn our_agent_our_db_real_web() {
    check(Ours, Ours, Real);
}

#[test]
fn our_agent_real_db_our_web() {
    check(Ours, Real, Ours);
}

#[test]
fn real_agent_our_proxies() {
    check(Real, Ours, Ours);
}

#[test]
fn real_agent_our_db_real_web() {
    check(Real, Ours, Real);
}

#[test]
fn real_agent_real_db_our_web() {
    check(Real, Real, Ours);
}

/// The control: what the others are held against holds for the real programs among themselves.
#[test]
fn real_agent_real_proxies() {
    check(Real, Real, Real);
}

/// An agent with `db` and `web`, their proxies, and the port at which web's application finds db.
struct Mesh {
    agent: Agent,
    application: Application,
    upstream: u16,
    db: Background,
    web: Background,
}

impl Mesh {
    fn start(agent: Side, db: Side, web: Side) -> Mesh {
        let application = Application::start();
        let (upstream, db_port, web_port) = (free_port(), free_port(), free_port());
        let agent = Spec::new(agent.program())
            .file("db.hcl", &db_definition(application.port, db_port))
            .file("web.hcl", &web_definition(web_port, upstream))
            .start();
        let db = proxy(&db.program(), &agent, "db");
        let web = proxy(&web.program(), &agent, "web");
        Mesh { agent, application, upstream, db, web }
    }

    /// Waits until a new connection carries a word.
    fn until_allowed(&self) {
        let carried = wait::poll(EFFECT_MAX, || exchange(self.upstream, b"are you there?").ok());
        assert!(carried.is_some(), "no connection is carried\n{}", self.logs());
    }

    /// Waits until a new connection ends without an answer.
    fn until_refused(&self) {
        let refused = wait::poll(EFFECT_MAX, || {
            offer(self.upstream, b"are you there?").is_ok_and(|bytes| bytes == 0).then_some(())
        });
        assert!(refused.is_some(), "connections are still carried\n{}", self.logs());
    }

    fn logs(&self) -> String {
        let (agent, db, web) = (self.agent.log(), self.db.log(), self.web.log());
        format!("agent:\n{agent}\nproxy of db:\n{db}\nproxy of web:\n{web}")
    }
}

/// `db` as the documentation shows it, with a check that finds the proxy sooner than the default one's ten seconds.
fn db_definition(port: u16, proxy_port: u16) -> String {
    format!(
        r#"
service {{
  name = "db"
  port = {port}
  connect {{
    sidecar_service {{
      port  = {proxy_port}
      check {{ name = "listening" tcp = "127.0.0.1:{proxy_port}" interval = "1s" }}
    }}
  }}
}}
"#
    )
}

fn web_definition(proxy_port: u16, upstream: u16) -> String {
    format!(
        r#"
service {{
  name = "web"
  port = 9
  connect {{
    sidecar_service {{
      port  = {proxy_port}
      check {{ name = "listening" tcp = "127.0.0.1:{proxy_port}" interval = "1s" }}
      proxy {{
        upstreams = [{{ destination_name = "db", local_bind_port = {upstream} }}]
      }}
    }}
  }}
}}
"#
    )
}

fn proxy(program: &Path, agent: &Agent, service: &str) -> Background {
    let address = format!("-http-addr={}", agent.address(agent.ports.http));
    let args = ["connect", "proxy", &address, "-sidecar-for", service, "-log-level=debug"];
    Background::start(program, &args, agent.dir().join(format!("{service}-proxy.log")))
}

fn check(agent: Side, db: Side, web: Side) {
    let mesh = Mesh::start(agent, db, web);
    mesh.until_allowed();

    let bulk: Vec<u8> = (0..BULK_BYTES).map(|n| (n * 31 + n / 251) as u8).collect();
    let mut stream = dial(mesh.upstream).expect("the upstream listens");
    if let Err(error) = exchange_over(&mut stream, &bulk) {
        panic!("a mebibyte does not come back: {error}\n{}", mesh.logs());
    }
    // The real proxy ends both directions as soon as one ends.
    let passes_half_close = db == Ours && web == Ours && !is_substituted();
    stream.shutdown(Shutdown::Write).expect("an open socket");
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    if passes_half_close {
        ended.expect("an orderly end");
        assert_eq!(rest, FAREWELL, "what the server says after the client's end arrives");
    }

    let mut held = dial(mesh.upstream).expect("the upstream listens");
    exchange_over(&mut held, b"before").expect("an open connection carries");
    let intention = |action: &str| {
        format!(
            r#"{{"SourceName":"web","DestinationName":"db","SourceType":"consul","Action":"{action}"}}"#
        )
    };
    let http = mesh.agent.http();
    let created = http.send("POST", "/v1/connect/intentions", &[], intention("deny").as_bytes());
    let id = created.expect("the agent answers").json()["ID"].as_str().expect("an id").to_owned();
    mesh.until_refused();
    // The real proxy lets an open connection go on; ours decides it again.
    if db == Ours && !is_substituted() {
        let mut byte = [0];
        let end = held.read(&mut byte);
        let is_cut = match &end {
            Ok(length) => *length == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(is_cut, "the open connection is not cut: {end:?}\n{}", mesh.logs());
    }
    let before = mesh.application.seen();
    for _ in 0..REFUSALS {
        let back = offer(mesh.upstream, b"must not arrive").expect("a refusal is an end");
        assert_eq!(back, 0, "bytes come back from behind a refusal");
    }
    assert_eq!(mesh.application.seen(), before, "refused bytes reached the application");

    let changed = http.put(&format!("/v1/connect/intentions/{id}"), intention("allow"));
    assert_eq!(changed.expect("the agent answers").status, 200);
    mesh.until_allowed();
}
