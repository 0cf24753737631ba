//! The composition root: from one validated configuration to a running agent and back to nothing.
//!
//! [`run`] binds every socket first, so that a port in use stops the start before anything has
//! begun; then server, agent and edges are built, in the order they need each other, and signals
//! are obeyed until the end. Deliberately absent: any rule about what is served.

mod assemble;
mod bootstrap;
mod gossip;
mod identity;
mod members;
mod os;
mod port;
mod remote;
mod role;
mod signals;
mod sockets;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::monitor::{LogHub, LogLevel};
use agent::{Agent, Life};
use arc_swap::ArcSwap;
use config::AgentConfig;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::role::Role;
use crate::signals::{Request, Signals};
use crate::sockets::Sockets;

/// How long requests under way may take to end once the process is to stop.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Reasons to end that wait to be looked at; the first counts.
const FATAL_WAITING_MAX: usize = 4;
/// Reloads asked for and not yet done; more are answered when these are.
const RELOADS_WAITING_MAX: usize = 8;

/// What the caller gives beside the configuration.
pub struct Surroundings {
    /// Where the log goes; made before anything is logged.
    pub log: LogHub,
    /// Reads the configuration anew, for a reload.
    pub reread: Box<dyn Fn() -> Result<AgentConfig, config::Error> + Send + Sync>,
}

/// Why an agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {what}; is another agent running there?")]
    Bind { what: String, source: std::io::Error },
    #[error("cannot use {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot start the server")]
    Server(#[from] server::StartError),
    #[error("cannot start the agent: {0}")]
    Agent(#[from] agent::Error),
    #[error(transparent)]
    Dns(#[from] dns::ServeError),
    #[error("config_entries.bootstrap: {0}")]
    ConfigEntry(config::config_entry::EntryError),
    #[error("cannot serve HTTPS: {0}")]
    Https(String),
    #[error("cannot form the gossip pool: {0}")]
    Gossip(agent::pool::PoolError),
    #[error("{0}")]
    Keyring(String),
    #[error("nobody could be joined: {0}")]
    Join(String),
    #[error(
        "'{0}' is a server of another kind and lives in this pool; servers of two kinds cannot form one cluster: stop \
         those servers first, restore a snapshot of their state into these, or join as a client agent"
    )]
    ForeignServer(String),
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    #[error("the server had to stop: {0}")]
    ServerEnded(String),
    #[error("{0}")]
    AgentTls(rpc::tls::TlsSettingsError),
    #[error("a client agent finds its servers by gossip; give ports.serf_lan a port")]
    ClientWithoutGossip,
}

/// A wish for a reload, and where its result goes.
type Reload = oneshot::Sender<Result<(), String>>;

/// How an agent ends in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is expected back.
    Stop,
    /// For good.
    Leave,
}

/// One agent between its start and its end.
struct Running {
    config: AgentConfig,
    node_id: String,
    surroundings: Surroundings,
    role: Role,
    agent: Arc<Agent>,
    dns_settings: Arc<ArcSwap<dns::Settings>>,
    edges: Life,
    /// Why the process cannot go on, from the tasks that find out.
    fatal_errors: mpsc::Receiver<Error>,
}

/// Runs an agent until it is told to end. Must be called on a multi-threaded runtime.
///
/// Errors: what kept it from starting, with nothing left behind; or why it could not go on.
pub async fn run(config: AgentConfig, surroundings: Surroundings) -> Result<(), Error> {
    for line in config.unsupported.iter().chain(&config.warnings) {
        tracing::warn!("{line}");
    }
    os::raise_open_files();
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    let sockets = Sockets::bind(&config)?;
    let pid_file = match config.settings.pid_file.as_str() {
        "" => None,
        path => Some(
            os::PidFile::create(path.as_ref())
                .map_err(|source| Error::File { path: path.into(), source })?,
        ),
    };
    // From here on whatever is made is for this user alone: the log holds the authority's key.
    os::keep_files_private();
    let node_id = identity::node_id(&config)?;
    let (reloads, mut reload_requests) = mpsc::channel(RELOADS_WAITING_MAX);
    let mut running = Running::start(config, node_id, surroundings, sockets, reloads).await?;
    os::notify_service_manager("READY=1");
    let result = running.obey(&mut signals, &mut reload_requests).await;
    os::notify_service_manager("STOPPING=1");
    if let Ok(End::Leave) = result {
        running.agent.leave();
        running.role.leave().await;
    }
    running.stop().await;
    drop(pid_file);
    result.map(|_| ())
}

impl Running {
    async fn start(
        config: AgentConfig,
        node_id: String,
        surroundings: Surroundings,
        mut sockets: Sockets,
        reloads: mpsc::Sender<Reload>,
    ) -> Result<Self, Error> {
        let life = Life { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let (fatal, fatal_errors) = mpsc::channel(FATAL_WAITING_MAX);
        let settings = assemble::agent(&config, &node_id);
        let role = Role::start(&config, &settings, sockets.take_cluster(), fatal, &life).await?;
        let cluster = role.cluster();
        let membership = role.membership(&settings);
        let agent = Agent::start(settings, cluster.clone(), membership, life.clone()).await?;
        let api = http::Api::new(agent.clone(), assemble::http(&config))
            .logs(surroundings.log.clone())
            .reload(ask_for_reload(reloads))
            .build();
        let dns_settings = Arc::new(ArcSwap::from_pointee(assemble::dns(&config)));
        for bound in sockets.serve_http(&api, &life.stop, &life.tasks) {
            let (settings, stop) = (dns_settings.clone(), life.stop.clone());
            bound.serve(agent.remembered(), settings, stop, &life.tasks)?;
        }
        bootstrap::spawn(&config, cluster, &life)?;
        tracing::info!(node = %config.node_name, id = %node_id, "agent started");
        Ok(Self {
            config,
            node_id,
            surroundings,
            role,
            agent,
            dns_settings,
            edges: life,
            fatal_errors,
        })
    }

    /// Obeys signals and requests until the end. Errors: the server could not go on.
    async fn obey(
        &mut self,
        signals: &mut Signals,
        reloads: &mut mpsc::Receiver<Reload>,
    ) -> Result<End, Error> {
        let leaving = self.agent.leaving();
        loop {
            // Dropping any of these waits loses nothing: signals and requests stay queued.
            tokio::select! {
                request = signals.next() => match request {
                    Request::Interrupt if !self.config.skip_leave_on_interrupt => {
                        tracing::info!("told to leave by a signal");
                        return Ok(End::Leave);
                    }
                    Request::Terminate if self.config.leave_on_terminate => {
                        tracing::info!("told to leave by a signal");
                        return Ok(End::Leave);
                    }
                    Request::Interrupt | Request::Terminate => {
                        tracing::info!("told to stop by a signal");
                        return Ok(End::Stop);
                    }
                    Request::Reload => match self.reload().await {
                        Ok(()) => tracing::info!("configuration reloaded"),
                        Err(error) => tracing::error!(%error, "configuration not reloaded"),
                    },
                    Request::DumpMetrics => self.dump_metrics(),
                },
                Some(done) = reloads.recv() => {
                    // Whoever asked may be gone.
                    let _ = done.send(self.reload().await);
                }
                () = leaving.cancelled() => return Ok(End::Leave),
                Some(error) = self.fatal_errors.recv() => return Err(error),
                cause = self.role.ended() => return Err(Error::ServerEnded(cause)),
            }
        }
    }

    /// Reads the configuration anew and takes over what can change at run time.
    async fn reload(&self) -> Result<(), String> {
        let config = (self.surroundings.reread)().map_err(|error| error.to_string())?;
        for change in self.config.changes(&config).iter().filter(|change| !change.is_reloadable) {
            tracing::warn!(setting = %change.key, "a change of this setting needs a restart");
        }
        let settings = assemble::agent(&config, &self.node_id);
        self.agent.reload(settings).await.map_err(|error| error.to_string())?;
        self.dns_settings.store(Arc::new(assemble::dns(&config)));
        if let Some(level) = LogLevel::parse(&config.settings.log_level) {
            self.surroundings.log.set_level(level);
        }
        Ok(())
    }

    fn dump_metrics(&self) {
        match self.agent.metrics().prometheus() {
            Some(text) => eprintln!("{text}"),
            None => eprintln!("{:?}", self.agent.metrics().snapshot()),
        }
    }

    async fn stop(self) {
        self.edges.stop.cancel();
        self.edges.tasks.close();
        if timeout(DRAIN_MAX, self.edges.tasks.wait()).await.is_err() {
            tracing::warn!("some requests did not end in time and are cut");
        }
        self.role.shutdown().await;
        tracing::info!("agent stopped");
    }
}

/// What the API's reload endpoint does: it asks the task that obeys and waits for the result.
fn ask_for_reload(reloads: mpsc::Sender<Reload>) -> http::Reload {
    Arc::new(move || {
        let reloads = reloads.clone();
        Box::pin(async move {
            let (done, result) = oneshot::channel();
            let stopping = || "the agent is stopping".to_owned();
            reloads.send(done).await.map_err(|_| stopping())?;
            result.await.map_err(|_| stopping())?
        })
    })
}
