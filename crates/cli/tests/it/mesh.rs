//! `db` and `web` with their proxies around one agent, each program ours or the real one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::background::Background;
use testkit::differential::subject;
use testkit::ports::free_port;
use testkit::process::{Agent, Spec, consul};
use testkit::toy::{Application, exchange, offer};
use testkit::wait;

/// Longest way from a change to its effect on new connections: a real proxy looks for instances, and a check of the
/// sidecar's port runs, every second or so.
const EFFECT_MAX: Duration = Duration::from_secs(30);
/// Lines of each log that a report shows.
const LOG_LINES_MAX: usize = 25;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Real,
}
use Side::{Ours, Real};

impl Side {
    pub(crate) fn program(self) -> PathBuf {
        match self {
            Ours => subject(env!("CARGO_BIN_EXE_lictor")),
            Real => consul(),
        }
    }
}

/// An agent with `db` and `web`, their proxies, and the port at which web's application finds db.
pub(crate) struct Mesh {
    pub(crate) agent: Agent,
    pub(crate) application: Application,
    pub(crate) upstream: u16,
    /// Where the proxy of db and that of web listen for others.
    pub(crate) public: [u16; 2],
    pub(crate) db: Background,
    pub(crate) web: Background,
}

/// What asks whether connections are carried.
pub(crate) const PROBE: &[u8] = b"are you there?";

impl Mesh {
    pub(crate) fn start(agent: Side, db: Side, web: Side) -> Mesh {
        let application = Application::start();
        let (upstream, db_port, web_port) = (free_port(), free_port(), free_port());
        let agent = Spec::new(agent.program())
            .file("db.hcl", &db_definition(application.port, db_port))
            .file("web.hcl", &web_definition(web_port, upstream))
            .start();
        let db = proxy(&db.program(), &agent, "db");
        let web = proxy(&web.program(), &agent, "web");
        Mesh { agent, application, upstream, public: [db_port, web_port], db, web }
    }

    /// Waits until a new connection carries a word.
    pub(crate) fn until_allowed(&self) {
        let carried = wait::poll(EFFECT_MAX, || exchange(self.upstream, PROBE).ok());
        assert!(carried.is_some(), "no connection is carried\n{}", self.logs());
    }

    /// Waits until a new connection ends without an answer.
    pub(crate) fn until_refused(&self) {
        let refused = wait::poll(EFFECT_MAX, || {
            offer(self.upstream, PROBE).is_ok_and(|bytes| bytes == 0).then_some(())
        });
        assert!(refused.is_some(), "connections are still carried\n{}", self.logs());
    }

    pub(crate) fn logs(&self) -> String {
        let [agent, db, web] =
            [self.agent.log(), self.db.log(), self.web.log()].map(|log| tail(&log));
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

/// The end of a log: attempts that are repeated until they succeed fill it.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
}
