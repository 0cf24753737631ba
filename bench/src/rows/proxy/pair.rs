//! Starting the proxies compared, and what stands behind them.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::ports::free_port;
use testkit::process::{Agent, Spec, consul, peer};

use crate::Plan;

const START_MAX: Duration = Duration::from_secs(15);

/// A child process, killed when dropped.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The service behind the pair.
pub(in crate::rows) struct Backend {
    pub(in crate::rows) port: u16,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Backend {
    pub(super) fn iperf3() -> Self {
        Self::start(|port, _| {
            let mut command = Command::new(peer("iperf3"));
            command.args(["-s", "-p", &port.to_string()]);
            command
        })
    }

    pub(super) fn sockperf() -> Self {
        Self::start(|port, _| {
            let mut command = Command::new(peer("sockperf"));
            command.args(["server", "--tcp", "-i", "127.0.0.1", "-p", &port.to_string()]);
            command
        })
    }

    pub(in crate::rows) fn nginx() -> Self {
        Self::start(|port, folder| {
            let config = format!(
                "master_process off; daemon off; pid nginx.pid; error_log stderr crit;\n\
                 events {{ worker_connections 4096; }}\n\
                 http {{ access_log off; keepalive_requests 100000000; \
                 client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; \
                 uwsgi_temp_path t4; scgi_temp_path t5;\n\
                 server {{ listen 127.0.0.1:{port} backlog=4096; \
                 location / {{ return 200 'ok'; }} }} }}\n"
            );
            fs::write(folder.join("nginx.conf"), config).expect("a file can be written");
            let mut command = Command::new(peer("nginx"));
            command.arg("-p").arg(folder).args(["-c", "nginx.conf"]);
            command
        })
    }

    fn start(command: impl FnOnce(u16, &Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let port = free_port();
        let process = Process::start(&mut command(port, folder.path()));
        wait_for_port(port);
        Self { port, _process: process, _folder: folder }
    }
}

fn wait_for_port(port: u16) {
    let deadline = Instant::now() + START_MAX;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Two proxies: the application connects to `port` and reaches the backend.
pub(super) struct ProxyPair {
    pub(super) name: &'static str,
    pub(super) port: u16,
    processes: Vec<Process>,
    /// The agent the proxies are configured by.
    agent: Option<Agent>,
    _folder: tempfile::TempDir,
}

impl ProxyPair {
    pub(super) fn start_all(plan: &Plan, names: &[&'static str], backend: u16) -> Vec<Self> {
        // The certificates of those that bring no authority of their own.
        let issuer = Spec::new(&plan.lictor).start();
        let pairs: Vec<Self> = names
            .iter()
            .map(|name| match *name {
                "lictor" => Self::builtin(name, &plan.lictor, backend),
                "envoy" => Self::envoy(name, &issuer, backend),
                "haproxy" => Self::haproxy(name, &issuer, backend),
                _ => Self::builtin(name, &consul(), backend),
            })
            .collect();
        for pair in &pairs {
            pair.wait_until_it_leads_through();
        }
        pairs
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(|process| process.0.id()).collect()
    }

    /// The agent that configures the proxies, if they have one.
    pub(super) fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// A proxy without instances accepts and closes at once; one that leads through stays open.
    fn wait_until_it_leads_through(&self) {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                stream
                    .set_read_timeout(Some(Duration::from_millis(700)))
                    .expect("the timeout is not zero");
                let mut byte = [0];
                let is_open = matches!(stream.peek(&mut byte), Err(error)
                    if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
                if is_open {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "{} does not lead through", self.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn builtin(name: &'static str, program: &Path, backend: u16) -> Self {
        let (port, inbound, outbound) = (free_port(), free_port(), free_port());
        let agent = Spec::new(program)
            .config(json!({
                "log_level": "WARN",
                "services": [
                    { "name": "db", "port": backend,
                      "connect": { "sidecar_service": { "port": inbound } } },
                    { "name": "web", "port": 1, "connect": { "sidecar_service": {
                        "port": outbound,
                        "proxy": { "upstreams": [
                            { "destination_name": "db", "local_bind_port": port } ] } } } },
                ],
            }))
            .start();
        let address = agent.address(agent.ports.http).to_string();
        let processes = ["db", "web"]
            .map(|service| {
                Process::start(
                    Command::new(program)
                        .args(["connect", "proxy", "-sidecar-for", service, "-log-level", "WARN"])
                        .args(["-http-addr", &address]),
                )
            })
            .into();
        Self {
            name,
            port,
            processes,
            agent: Some(agent),
            _folder: tempfile::tempdir().expect("a temporary folder can be made"),
        }
    }

    fn envoy(name: &'static str, issuer: &Agent, backend: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (port, inbound) = (free_port(), free_port());
        let certificates = Certificates::of(issuer, folder.path());
        let tls = |kind: &str, service: &str| {
            let (leaf, roots) = certificates.of_service(service);
            json!({
                "name": "tls",
                "typed_config": {
                    "@type": format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}"),
                    "common_tls_context": {
                        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3",
                                        "tls_maximum_protocol_version": "TLSv1_3" },
                        "tls_certificates": [ { "certificate_chain": { "filename": leaf },
                                                "private_key": { "filename": leaf } } ],
                        "validation_context": { "trusted_ca": { "filename": roots } },
                    },
                },
            })
        };
        let mut server_tls = tls("DownstreamTlsContext", "db");
        server_tls["typed_config"]["require_client_certificate"] = json!(true);
        let client_tls = tls("UpstreamTlsContext", "web");
        let config = |listen: u16, to: u16, listener_tls: Option<_>, cluster_tls: Option<_>| {
            let mut chain = json!({ "filters": [ { "name": "tcp", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "tcp", "cluster": "to" } } ] });
            if let Some(tls) = listener_tls {
                chain["transport_socket"] = tls;
            }
            let mut cluster = json!({
                "name": "to", "type": "STATIC", "connect_timeout": "5s",
                "circuit_breakers": { "thresholds": [
                    { "max_connections": 20_000, "max_pending_requests": 20_000 } ] },
                "load_assignment": { "cluster_name": "to", "endpoints": [ { "lb_endpoints": [
                    { "endpoint": { "address": { "socket_address": {
                        "address": "127.0.0.1", "port_value": to } } } } ] } ] },
            });
            if let Some(tls) = cluster_tls {
                cluster["transport_socket"] = tls;
            }
            json!({ "static_resources": {
                "listeners": [ { "name": "in", "address": { "socket_address": {
                    "address": "127.0.0.1", "port_value": listen } }, "filter_chains": [ chain ] } ],
                "clusters": [ cluster ],
            } })
        };
        let start = |nth: &str, config: serde_json::Value| {
            let path = folder.path().join(format!("{nth}.json"));
            fs::write(&path, config.to_string()).expect("a file can be written");
            Process::start(
                Command::new(peer("envoy"))
                    .arg("-c")
                    .arg(&path)
                    .args(["--concurrency", "1", "--use-dynamic-base-id"])
                    .args(["--log-level", "error", "--disable-hot-restart"]),
            )
        };
        let processes = vec![
            start("db", config(inbound, backend, Some(server_tls), None)),
            start("web", config(port, inbound, None, Some(client_tls))),
        ];
        Self { name, port, processes, agent: None, _folder: folder }
    }

    fn haproxy(name: &'static str, issuer: &Agent, backend: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (port, inbound) = (free_port(), free_port());
        let certificates = Certificates::of(issuer, folder.path());
        let head = "global\n  nbthread 1\n  maxconn 9300\n  \
                    ssl-default-bind-options ssl-min-ver TLSv1.3\n  \
                    ssl-default-server-options ssl-min-ver TLSv1.3\n\
                    defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
                    timeout server 60s\n";
        let start = |nth: &str, body: String| {
            let path = folder.path().join(format!("{nth}.cfg"));
            fs::write(&path, format!("{head}{body}")).expect("a file can be written");
            Process::start(Command::new(peer("haproxy")).arg("-db").arg("-f").arg(&path))
        };
        let (db, roots) = certificates.of_service("db");
        let (web, _) = certificates.of_service("web");
        let processes = vec![
            start(
                "db",
                format!(
                    "listen in\n  bind 127.0.0.1:{inbound} ssl crt {} verify required ca-file {}\n  \
                     server app 127.0.0.1:{backend}\n",
                    db.display(),
                    roots.display()
                ),
            ),
            start(
                "web",
                format!(
                    "listen out\n  bind 127.0.0.1:{port}\n  server db 127.0.0.1:{inbound} ssl \
                     crt {} verify required ca-file {}\n",
                    web.display(),
                    roots.display()
                ),
            ),
        ];
        Self { name, port, processes, agent: None, _folder: folder }
    }
}

/// Leaves and roots of an agent's authority, in files.
struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    fn of(issuer: &Agent, folder: &Path) -> Self {
        let get = |path: &str| issuer.http().get(path).expect("the agent answers").json();
        let roots = get("/v1/agent/connect/ca/roots");
        let pem = roots["Roots"][0]["RootCert"].as_str().expect("there is a root").to_owned();
        fs::write(folder.join("roots.pem"), pem).expect("a file can be written");
        for service in ["db", "web"] {
            let leaf = get(&format!("/v1/agent/connect/ca/leaf/{service}"));
            let text = |key: &str| leaf[key].as_str().expect("a leaf has it").to_owned();
            let pem = format!("{}{}", text("CertPEM"), text("PrivateKeyPEM"));
            fs::write(folder.join(format!("{service}.pem")), pem).expect("a file can be written");
        }
        Self { folder: folder.to_owned() }
    }

    fn of_service(&self, service: &str) -> (PathBuf, PathBuf) {
        (self.folder.join(format!("{service}.pem")), self.folder.join("roots.pem"))
    }
}
