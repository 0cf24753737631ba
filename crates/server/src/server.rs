//! The handle of a running server.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use model::ca::{CaConfiguration, IssuedCert};
use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::query::{Consistency, Query, QueryOptions, Token};
use model::session::Session;
use rand::SeedableRng;
use rand::rngs::StdRng;
use replica::{Input, Leadership, Replica, ReplicaConfig};
use rpc::{Answer, Archive, Chunks, Cluster, Pending, Status};
use state::State;
use tokio::sync::oneshot;

use crate::backup::{self, Backups};
use crate::ca::Authority;
use crate::config::ServerConfig;
use crate::driver::Driver;
use crate::metrics::{MetricsSnapshot, add};
use crate::shared::{Job, ReplyTo, Shared};
use crate::snapshotter::Snapshotter;
use crate::storage;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("could not use the data directory {}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Storage(#[from] wal::Error),
    #[error("the stored data does not fit together: {0}")]
    Replica(replica::HaltCause),
    #[error("could not start a thread of the server")]
    Thread(#[source] io::Error),
}

/// A running server. Dropping it stops it.
pub struct Server {
    pub(crate) shared: Arc<Shared>,
    authority: Arc<Authority>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(crate) backups: Backups,
}

impl Server {
    /// Opens the data directory, recovers what it holds and starts. Blocks for the recovery only.
    /// Requests made before there is a leader wait for it.
    pub fn start(config: ServerConfig) -> Result<Self, StartError> {
        let (mut storage, recovered, id) = storage::open(config.data_dir.as_deref())?;
        let replica_config = ReplicaConfig {
            rules: config.rules.clone(),
            snapshot_threshold: config.tunables.snapshot_threshold,
            trailing_entries: config.tunables.trailing_entries,
            ..ReplicaConfig::new(id, config.datacenter.clone())
        };
        let replica = Replica::new(replica_config, recovered, StdRng::from_os_rng())
            // A snapshot that does not read back is then the reason, and names its file.
            .map_err(|cause| match storage.damaged.drain(..).next() {
                Some(damaged) => StartError::Storage(damaged),
                None => StartError::Replica(cause),
            })?;
        let (sender, jobs) = mpsc::channel();
        let member = config.member.clone();
        let shared = Arc::new(Shared::new(config, replica.state().clone(), sender));
        let snapshotter = match storage.snapshots.take() {
            Some(store) => {
                Some(Snapshotter::start(shared.clone(), store).map_err(StartError::Thread)?)
            }
            None => None,
        };
        let mut driver = Driver::new(shared.clone(), replica, storage, snapshotter, jobs);
        driver.take_in(Input::Members(member.into_iter().collect()));
        let thread = std::thread::Builder::new()
            .name("consensus".into())
            .spawn(move || driver.run())
            .map_err(StartError::Thread)?;
        let authority = Arc::new(Authority::new(shared.clone(), shared.config.ca.clone()));
        let watched = authority.clone();
        std::thread::Builder::new()
            .name("authority".into())
            .spawn(move || watched.watch_over())
            .map_err(StartError::Thread)?;
        Ok(Self {
            shared,
            authority,
            thread: Mutex::new(Some(thread)),
            backups: Backups::default(),
        })
    }

    /// Resolves once this server leads and may serve.
    ///
    /// Errors: `NoLeader` after a bounded wait, `Unavailable` when it has ended.
    pub async fn ready(&self) -> Result<(), Error> {
        self.shared.await_leader().await
    }

    /// Resolves when the server has ended: with the cause if it could not go on, `None` if it was
    /// asked to stop. An essential task: its owner should end with it.
    pub async fn ended(&self) -> Option<String> {
        loop {
            let ended = self.shared.ended.listen();
            if self.shared.is_closed() {
                return self.shared.failure().cloned();
            }
            ended.await;
        }
    }

    /// Stops and waits until the log is closed. Waiting queries are answered `Unavailable`.
    pub async fn shutdown(&self) {
        let thread = self.stop();
        if let Some(thread) = thread {
            // Joining blocks; the thread ends within one log write.
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the consensus thread ended in a panic");
            }
        }
    }

    fn stop(&self) -> Option<JoinHandle<()>> {
        // It may have ended already.
        let _ = self.shared.submit(Job::Stop);
        self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    pub fn metrics(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            queue_depth: self.shared.queued() as u64,
            ..self.shared.metrics.snapshot()
        }
    }

    /// The state as readers see it now. For leader duties outside the replica, and tests.
    pub fn state(&self) -> Arc<State> {
        self.shared.state.load_full()
    }

    pub fn leadership(&self) -> Leadership {
        **self.shared.leadership.load()
    }

    /// Replaces who is alive, as failure detection sees it.
    pub fn set_members(&self, members: Vec<replica::duty::Member>) -> Result<(), Error> {
        self.shared.submit(Job::Input(Input::Members(members)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = self.stop() {
            // A panic there has been shown already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Hands a job to the consensus thread and waits for its reply, a bounded time.
    pub(crate) async fn ask<T>(&self, job: impl FnOnce(ReplyTo<T>) -> Job) -> Result<T, Error> {
        self.await_leader().await.inspect_err(|_| add(&self.metrics.commands_dropped, 1))?;
        let (reply, replied) = oneshot::channel();
        self.submit(job(reply)).inspect_err(|_| add(&self.metrics.commands_dropped, 1))?;
        // Dropping this future abandons the wait; what was queued may still take effect.
        match tokio::time::timeout(self.config.tunables.command_timeout, replied).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.closed_error()),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                "the change was not confirmed in time and may still take effect",
            )),
        }
    }
}

impl Cluster for Server {
    fn query(&self, query: Query, options: QueryOptions) -> Pending<'_, Answer> {
        Box::pin(self.shared.query(query, options))
    }

    fn query_now(&self, query: &Query, options: &QueryOptions) -> Option<Result<Answer, Error>> {
        self.shared.query_now(query, options)
    }

    fn command(&self, command: Command, _token: Token) -> Pending<'_, Outcome> {
        Box::pin(self.shared.ask(|reply| Job::Command(Box::new(command), reply)))
    }

    fn renew_session(&self, id: String, _token: Token) -> Pending<'_, Option<Arc<Session>>> {
        Box::pin(self.shared.ask(|reply| Job::Renew(id, reply)))
    }

    fn sign_leaf(&self, csr_pem: String, _token: Token) -> Pending<'_, IssuedCert> {
        Box::pin(self.authority.sign_leaf(csr_pem))
    }

    fn configure_ca(&self, config: CaConfiguration, _token: Token) -> Pending<'_, ()> {
        Box::pin(self.authority.configure(config))
    }

    fn status(&self) -> Status {
        let leadership = self.leadership();
        let own = self.shared.config.advertise.clone();
        Status {
            leader: leadership.is_leader.then(|| own.clone()),
            peers: vec![own],
            is_leader: leadership.is_leader,
            applied_index: self.shared.state.load().index(),
            term: leadership.term,
        }
    }

    fn save_snapshot(&self, consistency: Consistency, _token: Token) -> Pending<'_, Archive> {
        Box::pin(backup::save(self, consistency))
    }

    fn restore_snapshot(&self, archive: Chunks, token: Token) -> Pending<'_, ()> {
        Box::pin(backup::restore(self, archive, token))
    }

    fn version(&self) -> Option<u64> {
        Some(self.shared.version())
    }
}
