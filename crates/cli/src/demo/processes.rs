//! The agent and the two proxies, as child processes of the demo.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use api::{Client, ClientConfig, QueryParams};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::{DemoError, DemoOptions, STEP_MAX, toys};

/// How often a condition is looked at again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Where users' tools look for an agent.
const HTTP_PORT_USUAL: u16 = 8500;

/// Everything the demo started; it ends with this value.
pub(super) struct Household {
    pub(super) client: Client,
    /// Local port that leads `web` to `db`.
    pub(super) upstream_port: u16,
    program: PathBuf,
    http_port: u16,
    folder: tempfile::TempDir,
    children: Mutex<Vec<Named>>,
}

/// A child process, killed when dropped.
struct Named {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Household {
    pub(super) async fn start(options: &DemoOptions, db_port: u16) -> Result<Self, DemoError> {
        let folder = tempfile::tempdir().map_err(|source| start_error("a folder", source))?;
        let http_port = free_port(HTTP_PORT_USUAL)?;
        let upstream_port = free_port(0)?;
        write_config(folder.path(), http_port, db_port, upstream_port)?;
        let address = format!("127.0.0.1:{http_port}");
        let client =
            Client::new(ClientConfig { address: address.parse()?, ..ClientConfig::default() })?;
        let household = Self {
            client,
            upstream_port,
            program: options.program.clone(),
            http_port,
            folder,
            children: Mutex::default(),
        };
        let config = household.folder.path().join("config");
        let agent = ["agent", "-dev", "-config-dir", &config.display().to_string()];
        household.launch("agent", &agent).await?;
        household
            .until("the agent leads and knows its services", async |demo| {
                let services = demo.client.agent_services(&QueryParams::default()).await;
                let leader = demo.client.leader().await;
                let roots = demo.client.agent_roots(&QueryParams::default()).await;
                services.is_ok_and(|services| services.len() >= 4)
                    && leader.is_ok_and(|leader| !leader.is_empty())
                    && roots.is_ok_and(|roots| !roots.value.roots.is_empty())
            })
            .await?;
        for (name, service) in [("proxy of db", "db"), ("proxy of web", "web")] {
            let flags = ["connect", "proxy", "-sidecar-for", service, "-http-addr", &address];
            household.launch(name, &flags).await?;
        }
        household
            .until("web reaches db through both proxies", async |demo| {
                toys::attempt(demo.upstream_port).await.is_answered()
            })
            .await?;
        Ok(household)
    }

    async fn launch(&self, name: &'static str, args: &[&str]) -> Result<(), DemoError> {
        let log = self.folder.path().join(format!("{}.log", name.replace(' ', "-")));
        let open = || std::fs::File::create(&log).map_err(|source| start_error(name, source));
        let (stdout, stderr) = (open()?, open()?);
        let child = Command::new(&self.program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| start_error(name, source))?;
        self.children.lock().await.push(Named { name, child, log });
        Ok(())
    }

    /// Waits until `condition` holds, noticing when a child has ended.
    pub(super) async fn until(
        &self,
        what: &str,
        condition: impl AsyncFn(&Self) -> bool,
    ) -> Result<Duration, DemoError> {
        let start = Instant::now();
        while !condition(self).await {
            if let Some(ended) = self.first_ended().await {
                return Err(ended);
            }
            if start.elapsed() > STEP_MAX {
                return Err(DemoError::Step(what.to_owned()));
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(start.elapsed())
    }

    async fn first_ended(&self) -> Option<DemoError> {
        for named in self.children.lock().await.iter_mut() {
            if let Ok(Some(_)) = named.child.try_wait() {
                return Some(DemoError::Ended { what: named.name.to_owned(), log: named.tail() });
            }
        }
        None
    }

    /// Resolves when a child has ended.
    pub(super) async fn ended(&self) -> DemoError {
        loop {
            if let Some(error) = self.first_ended().await {
                return error;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    pub(super) fn introduce(&self) {
        println!("agent       http://127.0.0.1:{}", self.http_port);
        println!("db          plain TCP on localhost, known to its own proxy alone");
        println!("web -> db   localhost:{} -> proxy of web", self.upstream_port);
        println!("            -> mutual TLS 1.3 -> proxy of db -> db");
    }

    /// Says what the user can do from another terminal.
    pub(super) fn explain(&self) -> Result<(), DemoError> {
        let rotate = self.folder.path().join("rotate.json");
        let config = rotation()?;
        std::fs::write(&rotate, config.to_string())
            .map_err(|source| start_error("the rotation file", source))?;
        let program = self.program.display();
        let address = match self.http_port {
            HTTP_PORT_USUAL => String::new(),
            port => format!(" -http-addr=127.0.0.1:{port}"),
        };
        println!("\nIn another terminal:\n");
        println!("  {program} intention create{address} -deny web db     # refuse");
        println!("  {program} intention create{address} -replace -allow web db");
        println!("  {program} connect ca set-config{address} -config-file {}", rotate.display());
        println!("  logs: {}\n\nCtrl-C ends the demo.\n", self.folder.path().display());
        Ok(())
    }
}

/// A configuration of the authority that brings a new key, and with it a new root.
pub(super) fn rotation() -> Result<serde_json::Value, pki::key::KeyError> {
    let key = pki::key::PrivateKey::generate(pki::key::KeyKind::LEAF)?;
    Ok(json!({ "Provider": "consul", "Config": { "PrivateKey": key.to_pem()?.as_str() } }))
}

impl Named {
    /// The end of what the child has logged.
    fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

fn start_error(what: &str, source: io::Error) -> DemoError {
    DemoError::Start { what: what.to_owned(), source }
}

/// A free port of loopback, `wanted` if it is one.
fn free_port(wanted: u16) -> Result<u16, DemoError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| start_error("a listener", source))
}

fn write_config(
    folder: &Path,
    http_port: u16,
    db_port: u16,
    upstream_port: u16,
) -> Result<(), DemoError> {
    let ports = json!({
        "http": http_port, "dns": free_port(8600)?, "grpc": -1, "server": free_port(0)?,
        "serf_lan": free_port(0)?, "serf_wan": -1,
    });
    let config = json!({
        "node_name": "demo",
        "ports": ports,
        // Agents spread the renewal of leaves after a new root over half a minute, to spare the
        // servers of a large cluster. Here it is to be seen.
        "connect": { "test_ca_leaf_root_change_spread": "1s" },
        "services": [
            { "name": "db", "port": db_port,
              "connect": { "sidecar_service": { "port": free_port(0)? } } },
            { "name": "web", "port": free_port(0)?,
              "connect": { "sidecar_service": {
                  "port": free_port(0)?,
                  "proxy": { "upstreams": [
                      { "destination_name": "db", "local_bind_port": upstream_port } ] } } } },
        ],
    });
    let config_folder = folder.join("config");
    std::fs::create_dir(&config_folder)
        .and_then(|()| std::fs::write(config_folder.join("demo.json"), config.to_string()))
        .map_err(|source| start_error("the configuration", source))
}
