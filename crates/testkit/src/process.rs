//! Starts agents, the real one and ours, alike: same settings, ports of their own, a folder of their own.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::command;
use crate::ports::Ports;
use crate::request::Client;
use crate::wait;

/// Longest start of an agent until it answers everything: a real one elects itself within a few seconds even on a busy
/// machine.
const READY_MAX: Duration = Duration::from_secs(40);
/// Longest orderly stop.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How often a start is tried again with other ports, when a foreign program took one of them in between.
const STARTS_MAX: usize = 3;

/// Whose indexes show what an agent has registered by itself.
const STARTED: [&str; 4] =
    ["/v1/catalog/nodes", "/v1/catalog/services", "/v1/health/state/any", "/v1/connect/ca/roots"];

/// The node id every agent of a test carries, so that two agents differ in nothing but ports and folder.
pub const NODE_ID: &str = "6f1c5ad0-7c1e-4c3c-9c55-0d4f1e6a9b11";

/// The real agent of [`scripts/peers`]; panics with what to do when it is not installed.
pub fn consul() -> PathBuf {
    peer("consul")
}

/// A program installed by `scripts/peers`.
pub fn peer(program: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.peers/bin").join(program);
    assert!(path.exists(), "{program} is not installed: run scripts/peers test");
    path
}

/// How an agent is to be started.
#[derive(Clone, Debug)]
pub struct Spec {
    program: PathBuf,
    config: Value,
    dev: bool,
    args: Vec<String>,
    files: Vec<(String, String)>,
}

impl Spec {
    /// One server on loopback that elects itself, with Connect and central service configuration on, keeping its data.
    pub fn new(program: impl AsRef<Path>) -> Spec {
        let config = json!({
            "datacenter": "dc1",
            "node_name": "node1",
            "node_id": NODE_ID,
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "server": true,
            "bootstrap": true,
            "connect": { "enabled": true },
            "enable_central_service_config": true,
            "performance": { "raft_multiplier": 1, "leave_drain_time": "0s" },
            "check_update_interval": "0s",
            "disable_update_check": true,
            "leave_on_terminate": false,
        });
        Spec {
            program: program.as_ref().to_owned(),
            config,
            dev: false,
            args: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Starts with `-dev`: in memory, answers always indented.
    pub fn dev(mut self) -> Spec {
        self.dev = true;
        for key in ["server", "bootstrap", "connect", "performance"] {
            self.config.as_object_mut().expect("the settings are an object").remove(key);
        }
        self
    }

    /// Sets top-level keys of the configuration.
    pub fn config(mut self, more: Value) -> Spec {
        let all = self.config.as_object_mut().expect("the settings are an object");
        for (key, value) in more.as_object().expect("settings come as an object") {
            all.insert(key.clone(), value.clone());
        }
        self
    }

    /// Adds an argument to the command line.
    pub fn arg(mut self, arg: impl Into<String>) -> Spec {
        self.args.push(arg.into());
        self
    }

    /// Writes one more file into the configuration folder, for instance `web.hcl`.
    pub fn file(mut self, name: &str, text: &str) -> Spec {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Starts and waits until the agent leads, answers and has registered itself; panics with its log otherwise.
    pub fn start(&self) -> Agent {
        for _ in 1..STARTS_MAX {
            match self.try_start() {
                Ok(agent) => return agent,
                Err(log) if log.contains("address already in use") => continue,
                Err(log) => {
                    panic!("{} did not become ready; its log ends:\n{log}", self.program.display())
                }
            }
        }
        match self.try_start() {
            Ok(agent) => agent,
            Err(log) => {
                panic!("{} did not become ready; its log ends:\n{log}", self.program.display())
            }
        }
    }

    fn try_start(&self) -> Result<Agent, String> {
        let dir = TempDir::with_prefix("agent-").expect("a temporary folder can be made");
        let mut agent = Agent { spec: self.clone(), ports: Ports::reserve(), dir, child: None };
        agent.write_config();
        agent.launch();
        agent.wait_ready()?;
        Ok(agent)
    }
}

/// A running agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    spec: Spec,
    pub ports: Ports,
    dir: TempDir,
    child: Option<Child>,
}

impl Agent {
    /// Its HTTP interface.
    pub fn http(&self) -> Client {
        Client::new(self.address(self.ports.http))
    }

    /// One of its ports on loopback.
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// The highest index of what it does by itself when it starts.
    pub fn start_index(&self) -> u64 {
        let index = |path| self.http().get(path).ok().and_then(|answer| answer.index());
        STARTED.into_iter().filter_map(index).max().unwrap_or_default()
    }

    /// Its folder: `config/`, `data/` and `agent.log`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir().join("agent.log")).unwrap_or_default())
            .into_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running agent has a process").id()
    }

    /// Writes or overwrites a file of the configuration folder; the agent reads it at the next reload or start.
    pub fn write_file(&self, name: &str, text: &str) {
        fs::write(self.dir().join("config").join(name), text)
            .expect("the configuration folder can be written");
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Ended already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process id is not zero");
        kill_process(pid, signal).expect("an own child can be signalled");
    }

    /// Stops it in order and returns how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end it was told to come to, and returns how it ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running agent has a process");
        let status = wait::poll(STOP_MAX, || child.try_wait().expect("a child can be waited for"));
        status.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("the agent did not stop; its log ends:\n{}", tail(&self.log()))
        })
    }

    /// Starts it again after [`Agent::kill`] or [`Agent::terminate`], on the same ports and data.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "stop the agent before starting it again");
        self.launch();
        if let Err(log) = self.wait_ready() {
            panic!("the agent did not come back; its log ends:\n{log}");
        }
    }

    fn write_config(&self) {
        let mut config = self.spec.config.clone();
        let all = config.as_object_mut().expect("the settings are an object");
        let mut ports = serde_json::Map::new();
        for (name, port) in self.ports.own() {
            // Nobody here speaks HTTPS to an agent that was given no certificate.
            if name != "https" {
                ports.insert(name.to_owned(), port.into());
            }
        }
        ports.insert("sidecar_min_port".into(), self.ports.sidecar_min.into());
        ports.insert("sidecar_max_port".into(), self.ports.sidecar_max.into());
        if let Some(more) = all.remove("ports") {
            ports.extend(more.as_object().expect("ports are an object").clone());
        }
        all.insert("ports".into(), ports.into());
        if !self.spec.dev {
            all.insert("data_dir".into(), self.dir().join("data").to_string_lossy().into());
        }
        fs::create_dir(self.dir().join("config")).expect("a temporary folder can be written");
        self.write_file("agent.json", &format!("{config:#}"));
        for (name, text) in &self.spec.files {
            self.write_file(name, text);
        }
    }

    fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir().join("agent.log"));
        let log = log.expect("a temporary folder can be written");
        let mut command = command(&self.spec.program);
        command.arg("agent");
        if self.spec.dev {
            command.arg("-dev");
        }
        command
            .arg(format!("-config-dir={}", self.dir().join("config").display()))
            .args(&self.spec.args);
        command.current_dir(self.dir()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file handle can be copied")).stderr(log);
        match command.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => panic!("cannot start {}: {error}", self.spec.program.display()),
        }
    }

    /// Waits for the leader, for the agent's own entry in the catalog and for its certificate authority.
    fn wait_ready(&mut self) -> Result<(), String> {
        let http = self.http();
        let child = self.child.as_mut().expect("a launched agent has a process");
        let connect = self.spec.dev || self.spec.config["connect"]["enabled"] == json!(true);
        let ready = wait::poll(READY_MAX, || {
            if !matches!(child.try_wait(), Ok(None)) {
                return Some(false);
            }
            is_ready(&http, connect).unwrap_or(false).then_some(true)
        });
        match ready {
            Some(true) => Ok(()),
            _ => Err(tail(&self.log())),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether an agent has done all that it does by itself when it starts.
fn is_ready(http: &Client, connect: bool) -> io::Result<bool> {
    let leader = http.get("/v1/status/leader")?;
    if leader.status != 200 || leader.text().trim().len() < 3 {
        return Ok(false);
    }
    // The catalog knows the agent's id and all its addresses only after the agent's own synchronisation, which comes after
    // the leader's.
    let node = http.get("/v1/catalog/node/node1")?;
    if node.status != 200
        || !node.text().contains(NODE_ID)
        || !node.text().contains("lan_ipv4")
        || !node.text().contains("\"consul\"")
    {
        return Ok(false);
    }
    let health = http.get("/v1/health/node/node1")?;
    if !health.text().contains("serfHealth") {
        return Ok(false);
    }
    Ok(!connect || http.get("/v1/connect/ca/roots")?.text().contains("BEGIN CERTIFICATE"))
}

/// The end of a log, enough to see why an agent gave up.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
