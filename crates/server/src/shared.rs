//! What the consensus thread publishes and everybody else reads.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use event_listener::Event;
use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::session::Session;
use model::topic::Topic;
use replica::{Input, Leadership};
use state::State;
use tokio::sync::oneshot;

use crate::config::ServerConfig;
use crate::metrics::Metrics;
use crate::reply_cache::ReplyCache;
use crate::watch::Registry;

pub(crate) type ReplyTo<T> = oneshot::Sender<Result<T, Error>>;

/// Work for the consensus thread.
pub(crate) enum Job {
    Command(Box<Command>, ReplyTo<Outcome>),
    Renew(String, ReplyTo<Option<Arc<Session>>>),
    Confirm(ReplyTo<()>),
    /// From this server's own threads: never refused.
    Input(Input),
    Stop,
}

pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    /// The state readers see.
    pub(crate) state: ArcSwap<State>,
    pub(crate) leadership: ArcSwap<Leadership>,
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
    pub(crate) fn new(config: ServerConfig, state: State, jobs: mpsc::Sender<Job>) -> Self {
        let tunables = &config.tunables;
        let replies = ReplyCache::new(tunables.cached_replies_max, tunables.cached_rows_max);
        Self {
            config,
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
        let is_own = matches!(job, Job::Input(_) | Job::Stop);
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
