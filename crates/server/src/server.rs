//! The handle of a running server.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use model::ca::{CaConfiguration, IssuedCert};
use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::event::UserEvent;
use model::keyring::{KeyringRequest, KeyringResponse};
use model::operator::{OperatorReply, OperatorRequest};
use model::query::{Consistency, Query, QueryOptions, Token};
use model::session::Session;
use rand::SeedableRng;
use rand::rngs::StdRng;
use replica::duty::Member;
use replica::{Input, Leadership, Membership, Peer, Replica, ReplicaConfig, Snapshot};
use rpc::{Answer, Archive, Chunks, Cluster, Pending, Status};
use state::State;

use crate::backup::{self, Backups};
use crate::bootstrap;
use crate::ca::Authority;
use crate::config::{Bootstrap, ServerConfig};
use crate::driver::Driver;
use crate::link::{self, Links, Stream};
use crate::metrics::MetricsSnapshot;
use crate::shared::{Job, Shared};
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
    #[error("could not do what {} says: {reason}", path.display())]
    PeersFile { path: PathBuf, reason: String },
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

/// How long an orderly stop waits for another server to take over, in ticks of consensus: the
/// longest an election takes, and some for requests in flight.
const HAND_OVER_TICKS: u32 = 20;

impl Server {
    /// Opens the data directory, recovers what it holds and starts, within a runtime. Blocks for the
    /// recovery only. Requests made before there is a leader wait for it.
    pub fn start(mut config: ServerConfig) -> Result<Self, StartError> {
        let data_dir = config.data_dir.clone();
        let (lock, id) = storage::identity(data_dir.as_deref())?;
        let tunables = &config.tunables;
        let defaults = ReplicaConfig::new(id, config.datacenter.clone());
        let replica_config = ReplicaConfig {
            rules: config.rules.clone(),
            tick: defaults.tick * tunables.raft_multiplier.max(1),
            snapshot_threshold: tunables.snapshot_threshold,
            trailing_entries: tunables.trailing_entries,
            autopilot: config.autopilot.clone(),
            ..defaults
        };
        let opened = storage::open(data_dir.as_deref(), lock, &replica_config)?;
        let storage::Opened { mut storage, mut recovered, promise } = opened;
        if let Some(server) = config.member.as_mut().and_then(|member| member.server.as_mut()) {
            server.consensus_id = Some(id);
            if server.address.is_empty() {
                server.address.clone_from(&config.advertise);
            }
        }
        let is_new = recovered.snapshot.is_none() && recovered.membership.voters.is_empty();
        if is_new && config.bootstrap == Bootstrap::Alone && promise.to.is_none() {
            let founding = Snapshot::founding(Membership::founded_by(id, own_peer(id, &config)));
            recovered.hard_state = storage.begin_anew(&founding)?;
            recovered.snapshot = Some(founding);
        }
        let replica = Replica::new(replica_config.clone(), recovered, StdRng::from_os_rng())
            // A snapshot that does not read back is then the reason, and names its file.
            .map_err(|cause| match storage.damaged.drain(..).next() {
                Some(damaged) => StartError::Storage(damaged),
                None => StartError::Replica(cause),
            })?;
        let (sender, jobs) = mpsc::channel();
        let members: Vec<Member> = config.member.clone().into_iter().collect();
        let snapshots = storage.snapshots.clone();
        let state = replica.state().clone();
        let shared = Arc::new(Shared::new(config, id, state, snapshots.clone(), promise, sender));
        let links = Links::new(Arc::downgrade(&shared));
        // Nobody else sets it.
        let _ = shared.links.set(links);
        shared.set_membership(replica.membership().clone());
        let snapshotter = match snapshots {
            Some(store) => {
                Some(Snapshotter::start(shared.clone(), store).map_err(StartError::Thread)?)
            }
            None => None,
        };
        let mut driver =
            Driver::new(shared.clone(), replica, replica_config, storage, snapshotter, jobs);
        shared.set_members(members.clone());
        driver.take_in(Input::Members(members));
        let thread = std::thread::Builder::new()
            .name("consensus".into())
            .spawn(move || driver.run())
            .map_err(StartError::Thread)?;
        let authority = Arc::new(Authority::new(shared.clone(), shared.config.ca.clone()));
        let _ = shared.authority.set(Arc::downgrade(&authority));
        let watched = authority.clone();
        std::thread::Builder::new()
            .name("authority".into())
            .spawn(move || watched.watch_over())
            .map_err(StartError::Thread)?;
        if let Bootstrap::Expect(expect) = shared.config.bootstrap
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Ends with the server.
            runtime.spawn(bootstrap::run(shared.clone(), expect));
        }
        Ok(Self {
            shared,
            authority,
            thread: Mutex::new(Some(thread)),
            backups: Backups::default(),
        })
    }

    /// Consensus id of this server, which gossip tells the others.
    pub fn consensus_id(&self) -> u64 {
        self.shared.id
    }

    /// Serves a connection that another server dialled, to its end. The stream must be
    /// authenticated: whoever speaks on it is believed to be a server.
    pub async fn accept_link(&self, stream: Stream) {
        link::accept(self.shared.clone(), stream).await;
    }

    /// Resolves once there is a leader, here or elsewhere.
    ///
    /// Errors: `NoLeader` after a bounded wait, `Unavailable` when it has ended.
    pub async fn ready(&self) -> Result<(), Error> {
        self.shared.await_leader().await.map(|_| ())
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

    /// Hands leadership over, stops and waits until the log is closed. Waiting queries are answered
    /// `Unavailable`.
    pub async fn shutdown(&self) {
        self.hand_over().await;
        self.abort().await;
    }

    /// Stops and waits until the log is closed; a leader is missed by the others only in time.
    pub async fn abort(&self) {
        let thread = self.stop();
        if let Some(thread) = thread {
            // Joining blocks; the thread ends within one log write.
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the consensus thread ended in a panic");
            }
        }
    }

    /// As [`Server::shutdown`], and takes no part in the cluster any more: the others no longer
    /// count on this server.
    pub async fn leave(&self) {
        self.hand_over().await;
        let membership = self.shared.membership.load_full();
        let id = self.shared.id;
        let others = membership.servers().into_iter().any(|other| other != id);
        if others && membership.servers().contains(&id) {
            let name = match membership.peers.get(&id) {
                Some(peer) if !peer.node_id.is_empty() => peer.node_id.clone(),
                _ => format!("{id:016x}"),
            };
            if let Err(e) = self.shared.operate(OperatorRequest::RemovePeerById(name)).await {
                tracing::warn!(error = %e, "left without being let go by the leader");
            }
        }
        self.shutdown().await;
    }

    /// Lets another server lead, if there is one that can.
    async fn hand_over(&self) {
        let leadership = self.leadership();
        if !leadership.is_leader || leadership.is_alone {
            return;
        }
        let tick = Duration::from_millis(50) * self.shared.config.tunables.raft_multiplier.max(1);
        let deadline = tokio::time::Instant::now() + tick * HAND_OVER_TICKS;
        let transfer = Input::TransferLeadership { to: None };
        if self.shared.submit(Job::Input(transfer)).is_err() {
            return;
        }
        loop {
            let changed = self.shared.leadership_changed.listen();
            let now = self.leadership();
            // Followed by another, so that what was in flight here has been decided there.
            if !now.is_leader && now.leader.is_some() || self.shared.is_closed() {
                return;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                tracing::warn!("no other server took over in time");
                return;
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

    /// Who takes part in consensus, as far as this server knows.
    pub fn membership(&self) -> Arc<Membership> {
        self.shared.membership.load_full()
    }

    /// Replaces who is alive, as failure detection sees it.
    pub fn set_members(&self, members: Vec<Member>) -> Result<(), Error> {
        self.shared.set_members(members.clone());
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

fn own_peer(id: u64, config: &ServerConfig) -> BTreeMap<u64, Peer> {
    let member = config.member.clone().unwrap_or_default();
    let address = config.advertise.clone();
    [(id, Peer { node_id: member.id, name: member.name, address })].into()
}

impl Cluster for Server {
    fn query(&self, query: Query, options: QueryOptions) -> Pending<'_, Answer> {
        Box::pin(self.shared.query(query, options))
    }

    fn query_now(&self, query: &Query, options: &QueryOptions) -> Option<Result<Answer, Error>> {
        self.shared.query_now(query, options)
    }

    fn command(&self, command: Command, _token: Token) -> Pending<'_, Outcome> {
        Box::pin(self.shared.command(command))
    }

    fn renew_session(&self, id: String, _token: Token) -> Pending<'_, Option<Arc<Session>>> {
        Box::pin(self.shared.renew_session(id))
    }

    fn sign_leaf(&self, csr_pem: String, _token: Token) -> Pending<'_, IssuedCert> {
        Box::pin(self.authority.sign_leaf(csr_pem))
    }

    fn configure_ca(&self, config: CaConfiguration, _token: Token) -> Pending<'_, ()> {
        Box::pin(self.authority.configure(config))
    }

    fn status(&self) -> Status {
        let leadership = self.leadership();
        let membership = self.shared.membership.load();
        let address = |id: u64| self.shared.address_of(id).unwrap_or_default();
        let mut peers: Vec<String> = membership.voters.iter().map(|id| address(*id)).collect();
        peers.sort();
        Status {
            leader: leadership.leader.map(address).filter(|address| !address.is_empty()),
            peers,
            is_leader: leadership.is_leader,
            applied_index: self.shared.state.load().index(),
            term: leadership.term,
        }
    }

    fn operator(&self, request: OperatorRequest, _token: Token) -> Pending<'_, OperatorReply> {
        Box::pin(self.shared.operate(request))
    }

    fn fire_event(&self, event: UserEvent, _token: Token) -> Pending<'_, ()> {
        match self.shared.config.pools.get() {
            Some(pools) => pools.fire_event(event),
            None => no_pools(),
        }
    }

    fn keyring(&self, request: KeyringRequest, _token: Token) -> Pending<'_, Vec<KeyringResponse>> {
        match self.shared.config.pools.get() {
            Some(pools) => pools.keyring(request),
            None => no_pools(),
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

fn no_pools<'a, T>() -> Pending<'a, T> {
    let message = "this server takes no part in gossip";
    Box::pin(async move { Err(Error::new(ErrorKind::Unavailable, message)) })
}
