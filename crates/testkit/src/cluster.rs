//! A cluster: agents, real ones and ours, each on a host of its own.
//!
//! All use the usual ports, keep their data in a folder of their own and answer HTTP on every address of their host, so
//! requests are sent from inside the network: see [`Cluster::inside`].

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::{Cli, Output};
use crate::network::Network;
use crate::request::Client;
use crate::wait;

/// Longest orderly stop; a real agent that leaves lingers for some seconds.
const STOP_MAX: Duration = Duration::from_secs(30);
const HTTP_PORT: u16 = 8500;
/// How fast agents try again to join, so that tests need not wait for the usual half minute.
const RETRY_INTERVAL: &str = "1s";

/// How one agent is started.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    program: PathBuf,
    config: Value,
}

impl NodeSpec {
    /// One of `count` servers that wait for one another.
    pub fn server(program: impl AsRef<Path>, count: usize) -> NodeSpec {
        let spec = NodeSpec::client(program);
        let more = json!({
            "server": true,
            "bootstrap_expect": count,
            "connect": { "enabled": true },
            "performance": { "raft_multiplier": 1 },
        });
        // A lone server elects itself; told to expect itself, a real one warns and does so, too.
        spec.config(more)
    }

    pub fn client(program: impl AsRef<Path>) -> NodeSpec {
        let config = json!({
            "datacenter": "dc1",
            "client_addr": "0.0.0.0",
            "server": false,
            "retry_interval": RETRY_INTERVAL,
            "performance": { "leave_drain_time": "0s" },
            "check_update_interval": "0s",
            "disable_update_check": true,
            "enable_central_service_config": true,
            "ports": { "grpc": -1 },
            "log_level": "DEBUG",
        });
        NodeSpec { program: program.as_ref().to_owned(), config }
    }

    /// Sets top-level keys of the configuration.
    pub fn config(mut self, more: Value) -> NodeSpec {
        let all = self.config.as_object_mut().expect("the settings are an object");
        for (key, value) in more.as_object().expect("settings come as an object") {
            all.insert(key.clone(), value.clone());
        }
        self
    }
}

/// Agents on one network. All are killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    pub network: Network,
}

/// One agent on its host.
#[derive(Debug)]
struct Node {
    spec: NodeSpec,
    /// Before the folder it is in: it goes first.
    disk: Option<Disk>,
    dir: TempDir,
    child: Option<Child>,
}

/// A file system made for one agent; gone when dropped.
#[derive(Debug)]
struct Disk(PathBuf);

impl Drop for Disk {
    fn drop(&mut self) {
        // A second panic would hide the first.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect("a program of the system runs");
    assert!(
        output.status.success(),
        "{program} failed, are you root? {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Cluster {
    /// Starts an agent on each host, in order. Each tries to join all others.
    pub fn start(specs: Vec<NodeSpec>) -> Cluster {
        let mut cluster = Cluster::prepare(specs);
        for host in 0..cluster.nodes.len() {
            cluster.launch(host);
        }
        cluster
    }

    /// Hosts with their agents' settings, none started yet.
    pub fn prepare(specs: Vec<NodeSpec>) -> Cluster {
        let network = Network::new(specs.len());
        let nodes = specs.into_iter().map(|spec| {
            let dir = TempDir::with_prefix("node-").expect("a temporary folder can be made");
            Node { spec, disk: None, dir, child: None }
        });
        Cluster { nodes: nodes.collect(), network }
    }

    /// Gives an agent that was not started yet a disk of its own, of so many MiB.
    pub fn small_disk(&mut self, host: usize, mebibytes: u32) {
        let data = self.dir(host).join("data");
        fs::create_dir(&data).expect("a temporary folder can be written");
        let size = format!("size={mebibytes}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &data.to_string_lossy()]);
        self.nodes[host].disk = Some(Disk(data));
    }

    /// Another program or other settings for a host whose agent is stopped; its data stays.
    pub fn replace(&mut self, host: usize, spec: NodeSpec) {
        assert!(self.nodes[host].child.is_none(), "stop the agent before replacing it");
        self.nodes[host].spec = spec;
    }

    pub fn launch(&mut self, host: usize) {
        assert!(self.nodes[host].child.is_none(), "the agent runs already");
        self.write_config(host);
        let node = &self.nodes[host];
        let log = File::options().create(true).append(true).open(node.dir.path().join("agent.log"));
        let log = log.expect("a temporary folder can be written");
        let mut command = self.network.command(host, &node.spec.program);
        command.arg("agent").arg(format!("-config-file={}", node.config_file().display()));
        command.current_dir(node.dir.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file handle can be copied")).stderr(log);
        match command.spawn() {
            Ok(child) => self.nodes[host].child = Some(child),
            Err(error) => panic!("cannot start {}: {error}", node.spec.program.display()),
        }
    }

    fn write_config(&self, host: usize) {
        let node = &self.nodes[host];
        let mut config = node.spec.config.clone();
        let all = config.as_object_mut().expect("the settings are an object");
        let others = (0..self.nodes.len()).filter(|other| *other != host);
        let others: Vec<String> =
            others.map(|other| self.network.address(other).to_string()).collect();
        let mut put = |key: &str, value: Value| {
            all.entry(key).or_insert(value);
        };
        put("node_name", self.name(host).into());
        put("bind_addr", self.network.address(host).to_string().into());
        put("data_dir", node.dir.path().join("data").to_string_lossy().into());
        put("retry_join", others.into());
        fs::write(node.config_file(), format!("{config:#}"))
            .expect("a temporary folder can be written");
    }

    pub fn name(&self, host: usize) -> String {
        format!("node{host}")
    }

    /// The folder of an agent: `data/`, `agent.json` and `agent.log`.
    pub fn dir(&self, host: usize) -> &Path {
        self.nodes[host].dir.path()
    }

    /// All an agent has logged.
    pub fn log(&self, host: usize) -> String {
        let log = self.nodes[host].dir.path().join("agent.log");
        String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
    }

    /// The HTTP interface of an agent; ask it [`Cluster::inside`].
    pub fn http(&self, host: usize) -> Client {
        Client::new(SocketAddr::from((self.network.address(host), HTTP_PORT)))
    }

    /// Runs a command of `program` with the agent on `host` as the one it asks.
    pub fn command(&self, host: usize, program: impl AsRef<Path>, args: &[&str]) -> Output {
        let address = format!("{}:{HTTP_PORT}", self.network.address(host));
        let cli = Cli::new(program).env("CONSUL_HTTP_ADDR", address);
        self.inside(|| cli.run(args))
    }

    /// Runs `work` where every host can be reached.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.network.inside(work)
    }

    /// Waits until `ask` of every one of `hosts` comes true, told with what it last saw otherwise.
    pub fn until(&self, what: &str, limit: Duration, ask: impl Fn() -> bool + Send + Sync) {
        self.inside(|| wait::until(what, limit, || ask().then_some(())));
    }

    pub fn signal(&self, host: usize, signal: Signal) {
        let child = self.nodes[host].child.as_ref().expect("a running agent has a process");
        // `ip netns exec` becomes the program it runs.
        let pid = Pid::from_raw(child.id() as i32).expect("a process id is not zero");
        kill_process(pid, signal).expect("an own child can be signalled");
    }

    /// Kills an agent as a power cut would.
    pub fn kill(&mut self, host: usize) {
        if let Some(mut child) = self.nodes[host].child.take() {
            // Ended already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops an agent in order and returns how it ended.
    pub fn terminate(&mut self, host: usize) -> ExitStatus {
        self.signal(host, Signal::TERM);
        self.wait(host)
    }

    /// Waits for the end an agent was told to come to.
    pub fn wait(&mut self, host: usize) -> ExitStatus {
        let mut child = self.nodes[host].child.take().expect("a running agent has a process");
        let status = wait::poll(STOP_MAX, || child.try_wait().expect("a child can be waited for"));
        status.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("the agent on host {host} did not stop; its log:\n{}", self.log(host))
        })
    }

    pub fn is_running(&mut self, host: usize) -> bool {
        let child = self.nodes[host].child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub fn pid(&self, host: usize) -> u32 {
        self.nodes[host].child.as_ref().expect("a running agent has a process").id()
    }
}

impl Node {
    fn config_file(&self) -> PathBuf {
        self.dir.path().join("agent.json")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for host in 0..self.nodes.len() {
            if std::thread::panicking() {
                let log = self.log(host);
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(30)..].join("\n");
                eprintln!("--- the log of host {host} ends:\n{tail}");
            }
            self.kill(host);
        }
    }
}
