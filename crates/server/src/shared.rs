//! What the consensus thread publishes and everybody else reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use event_listener::Event;
use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::operator::{OperatorReply, OperatorRequest};
use model::session::Session;
use model::topic::Topic;
use parking_lot::Mutex;
use replica::duty::Member;
use replica::{Input, Leadership, Membership, Mono, Position};
use state::State;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use wal::{ReceivedSnapshot, SnapshotStore};

use crate::ca::Authority;
use crate::config::ServerConfig;
use crate::confirm::Confirmers;
use crate::faults::LinkFaults;
use crate::link::Links;
use crate::metrics::Metrics;
use crate::reply_cache::ReplyCache;
use crate::storage::Promise;
use crate::watch::Registry;

pub(crate) type ReplyTo<T> = oneshot::Sender<Result<T, Error>>;

/// Work for the consensus thread.
pub(crate) enum Job {
    Command(Box<Command>, ReplyTo<Outcome>),
    Renew(String, ReplyTo<Option<Arc<Session>>>),
    /// Answers with the log index a read is good from.
    Confirm {
        by_lease: bool,
        reply: ReplyTo<u64>,
    },
    Operate(Box<OperatorRequest>, ReplyTo<OperatorReply>),
    /// From this server's own threads: never refused.
    Input(Input),
    /// From another server, which waits while too much of it is here.
    Peer(Input, OwnedSemaphorePermit),
    /// A snapshot, with its file.
    Received(Input, Option<ReceivedSnapshot>),
    /// Found a cluster, unless this server belongs to one.
    Found(Box<Membership>),
    Stop,
}

pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    /// Consensus id of this server.
    pub(crate) id: u64,
    /// The zero of [`Mono`] here.
    started: Instant,
    /// The state readers see.
    pub(crate) state: ArcSwap<State>,
    pub(crate) leadership: ArcSwap<Leadership>,
    pub(crate) membership: ArcSwap<Membership>,
    /// As gossip tells them.
    pub(crate) members: ArcSwap<Vec<Member>>,
    /// Fires with a change of either.
    pub(crate) members_changed: Event,
    /// What the disk holds for certain.
    pub(crate) position: Mutex<Position>,
    /// Log index of the last entry in `state`.
    applied: AtomicU64,
    /// What others may know to be committed, from before they are told.
    committed: AtomicU64,
    applied_changed: Event,
    /// In [`Mono`]: until when a ready leader answers without asking, and when a follower last
    /// heard its leader.
    lease_until: AtomicU64,
    leader_heard: AtomicU64,
    pub(crate) confirmers: Confirmers,
    pub(crate) links: OnceLock<Links>,
    renewing_links: Mutex<()>,
    pub(crate) link_faults: LinkFaults,
    pub(crate) snapshots: Option<SnapshotStore>,
    pub(crate) receiving: tokio::sync::Mutex<()>,
    pub(crate) received_serial: AtomicU64,
    pub(crate) promise: Mutex<Promise>,
    pub(crate) authority: OnceLock<Weak<Authority>>,
    /// Grows with everything that may change an answer.
    version: AtomicU64,
    pub(crate) leadership_changed: Event,
    pub(crate) registry: Registry,
    pub(crate) replies: ReplyCache,
    pub(crate) metrics: Metrics,
    pub(crate) waiters: AtomicUsize,
    jobs: mpsc::Sender<Job>,
    queued: AtomicUsize,
    is_closed: AtomicBool,
    /// Why the consensus thread ended, when it was not asked to.
    failure: OnceLock<String>,
    pub(crate) ended: Event,
}

impl Shared {
    pub(crate) fn new(
        config: ServerConfig,
        id: u64,
        state: State,
        snapshots: Option<SnapshotStore>,
        promise: Promise,
        jobs: mpsc::Sender<Job>,
    ) -> Self {
        let tunables = &config.tunables;
        let replies = ReplyCache::new(tunables.cached_replies_max, tunables.cached_rows_max);
        Self {
            config,
            id,
            started: Instant::now(),
            membership: ArcSwap::default(),
            members: ArcSwap::default(),
            members_changed: Event::new(),
            position: Mutex::default(),
            applied: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            applied_changed: Event::new(),
            lease_until: AtomicU64::new(0),
            leader_heard: AtomicU64::new(0),
            confirmers: Confirmers::default(),
            links: OnceLock::new(),
            renewing_links: Mutex::new(()),
            link_faults: LinkFaults::default(),
            snapshots,
            receiving: tokio::sync::Mutex::new(()),
            received_serial: AtomicU64::new(0),
            promise: Mutex::new(promise),
            authority: OnceLock::new(),
            state: ArcSwap::from_pointee(state),
            leadership: ArcSwap::from_pointee(Leadership::default()),
            version: AtomicU64::new(1),
            leadership_changed: Event::new(),
            registry: Registry::default(),
            replies,
            metrics: Metrics::default(),
            waiters: AtomicUsize::new(0),
            jobs,
            queued: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            failure: OnceLock::new(),
            ended: Event::new(),
        }
    }

    /// Queues work. Errors: `Unavailable` when the queue is full or the server ended.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Error> {
        if self.is_closed() {
            return Err(self.closed_error());
        }
        let is_own = !matches!(
            job,
            Job::Command(..) | Job::Renew(..) | Job::Confirm { .. } | Job::Operate(..)
        );
        let before = self.queued.fetch_add(1, Ordering::Relaxed);
        if before >= self.config.tunables.queue_max && !is_own {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            return Err(Error {
                kind: ErrorKind::Unavailable,
                message: "too many writes in flight, try again later".into(),
                retry_after: Some(std::time::Duration::from_secs(1)),
            });
        }
        self.jobs.send(job).map_err(|_| {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            self.closed_error()
        })
    }

    /// Shows readers `state`, then wakes who watches what it changed. Returns how many topics fired.
    pub(crate) fn publish(&self, state: State, touched: &[Topic]) -> usize {
        let restored_at = state.restored_at();
        let before = self.state.swap(Arc::new(state));
        self.version.fetch_add(1, Ordering::Release);
        if before.restored_at() != restored_at {
            // Whoever saw to the state before looks at this one.
            self.leadership_changed.notify(usize::MAX);
        }
        self.registry.wake(touched)
    }

    /// Shows readers a state that came whole.
    pub(crate) fn replace(&self, state: State) {
        self.state.store(Arc::new(state));
        self.version.fetch_add(1, Ordering::Release);
        self.registry.wake_all();
    }

    pub(crate) fn now(&self) -> Mono {
        Mono(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn set_applied(&self, index: u64) {
        if self.applied.swap(index, Ordering::AcqRel) != index {
            self.applied_changed.notify(usize::MAX);
        }
    }

    /// Comes before anything is sent that may tell others of it.
    pub(crate) fn set_committed(&self, index: u64) {
        self.committed.store(index, Ordering::Release);
    }

    /// Whether the state here is behind what others may show already: the disk of a leader may be
    /// slower than a majority of the others.
    pub(crate) fn is_behind(&self) -> bool {
        let committed = self.committed.load(Ordering::Acquire);
        self.applied.load(Ordering::Acquire) < committed
    }

    /// Waits a bounded time until the state has applied `index`.
    pub(crate) async fn await_applied(&self, index: u64) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + self.config.tunables.leader_hold;
        loop {
            let changed = self.applied_changed.listen();
            if self.applied.load(Ordering::Acquire) >= index {
                return Ok(());
            }
            if self.is_closed() {
                return Err(self.closed_error());
            }
            // Nothing is lost when this future is dropped while it listens.
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "this server lags too far behind its leader",
                ));
            }
        }
    }

    pub(crate) fn set_lease(&self, until: Mono) {
        self.lease_until.store(until.0, Ordering::Release);
    }

    pub(crate) fn has_lease(&self) -> bool {
        self.now().0 < self.lease_until.load(Ordering::Acquire)
    }

    pub(crate) fn set_leader_heard(&self, at: Mono) {
        self.leader_heard.store(at.0, Ordering::Relaxed);
    }

    /// Time since the leader was last heard; zero for the leader itself.
    pub(crate) fn last_contact(&self) -> Duration {
        if self.leadership.load().is_leader {
            return Duration::ZERO;
        }
        self.now().since(Mono(self.leader_heard.load(Ordering::Relaxed)))
    }

    pub(crate) fn set_membership(&self, membership: Membership) {
        self.membership.store(Arc::new(membership));
        self.renew_links();
        self.members_changed.notify(usize::MAX);
    }

    pub(crate) fn set_members(&self, members: Vec<Member>) {
        self.members.store(Arc::new(members));
        self.renew_links();
        self.members_changed.notify(usize::MAX);
    }

    /// Links lead to all who take part, and to those who might come to.
    fn renew_links(&self) {
        let Some(links) = self.links.get() else { return };
        // Two at once must not end with what the earlier one saw.
        let _turn = self.renewing_links.lock();
        let (membership, members) = (self.membership.load(), self.members.load());
        let mut addresses: BTreeMap<u64, String> = BTreeMap::new();
        for (id, peer) in &membership.peers {
            addresses.insert(*id, peer.address.clone());
        }
        for member in members.iter().filter(|member| member.is_alive()) {
            if let Some(server) = &member.server
                && let Some(id) = server.consensus_id
            {
                addresses.insert(id, server.address.clone());
            }
        }
        addresses.remove(&self.id);
        links.set_peers(&addresses);
    }

    /// `host:port` of a server, as far as it is known.
    pub(crate) fn address_of(&self, id: u64) -> Option<String> {
        if id == self.id {
            return Some(self.config.advertise.clone());
        }
        let members = self.members.load();
        let servers = members.iter().filter(|m| m.is_alive()).filter_map(|m| m.server.as_ref());
        let known = servers.filter(|server| server.consensus_id == Some(id));
        known
            .map(|server| server.address.clone())
            .next()
            .or_else(|| self.membership.load().peers.get(&id).map(|peer| peer.address.clone()))
    }

    pub(crate) fn set_leadership(&self, leadership: Leadership) {
        self.leadership.store(Arc::new(leadership));
        self.version.fetch_add(1, Ordering::Release);
        self.leadership_changed.notify(usize::MAX);
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn taken(&self, count: usize) {
        self.queued.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Ends all waiting. `failure` is why, unless it was asked for.
    pub(crate) fn close(&self, failure: Option<String>) {
        if let Some(cause) = failure {
            // Only the first cause counts.
            let _ = self.failure.set(cause);
        }
        self.is_closed.store(true, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::Release);
        self.registry.wake_all();
        self.leadership_changed.notify(usize::MAX);
        self.applied_changed.notify(usize::MAX);
        self.members_changed.notify(usize::MAX);
        if let Some(links) = self.links.get() {
            links.close();
        }
        self.ended.notify(usize::MAX);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    pub(crate) fn failure(&self) -> Option<&String> {
        self.failure.get()
    }

    pub(crate) fn closed_error(&self) -> Error {
        let message = match self.failure() {
            Some(cause) => format!("the server has stopped: {cause}"),
            None => "the server is shutting down".into(),
        };
        Error::new(ErrorKind::Unavailable, message)
    }
}
