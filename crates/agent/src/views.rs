//! Answers of the servers kept up to date here: the one loop that follows a query, and the views
//! that share it.
//!
//! A view lives while somebody holds it or has asked for it lately. Where the cluster can answer in
//! this process there is nothing to keep: it is asked each time.

use std::collections::HashMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use model::error::{Error as ClusterError, ErrorKind};
use model::query::{Query, QueryOptions, Token};
use parking_lot::Mutex;
use rand::Rng as _;
use rpc::{Answer, Cluster};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Error;

/// Views kept at most; each holds one answer and one parked query. A question beyond that is asked
/// of the servers directly.
pub const VIEWS_MAX: usize = 8192;
/// How long a view nobody asks for is kept.
pub const VIEW_IDLE: Duration = Duration::from_secs(600);
/// Longest wait of one turn of a following loop; also how often an idle view looks at itself.
const FOLLOW_WAIT: Duration = Duration::from_secs(300);
/// Longest pause between tries while the servers cannot be reached.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Wait of a caller who names none.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(300);
/// How long a caller who does not wait for a change waits for the first answer.
pub const FIRST_ANSWER_WAIT: Duration = Duration::from_secs(10);

/// From a caller who may wait for a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitOptions {
    /// Answer once the index is greater than this; 0 answers at once.
    pub min_index: u64,
    /// `None`: [`WAIT_DEFAULT`].
    pub wait: Option<Duration>,
}

impl WaitOptions {
    pub(crate) fn deadline(&self) -> Instant {
        let wait = match self.min_index {
            0 => FIRST_ANSWER_WAIT,
            _ => self.wait.unwrap_or(WAIT_DEFAULT),
        };
        Instant::now() + wait
    }
}

/// How an answer was come by: the `X-Cache` and `Age` of those endpoints that show them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheInfo {
    /// It was there before it was asked for.
    pub hit: bool,
    /// Since it was fetched; zero while the loop that follows it is connected.
    pub age: Duration,
}

#[derive(Clone, Debug)]
pub struct Cached<T> {
    pub value: T,
    pub index: u64,
    pub cache: CacheInfo,
}

/// Follows `query` until `on` breaks or `stop` fires: asks, hands over the answer or error, asks
/// again for what is newer.
///
/// An unchanged answer (the wait ran out) is handed over too, so that `on` learns that the servers
/// were reached. Errors are retried with growing, jittered pauses.
pub(crate) async fn follow<F, Fut>(
    cluster: Arc<dyn Cluster>,
    query: Query,
    options: QueryOptions,
    stop: CancellationToken,
    mut on: F,
) where
    F: FnMut(Result<Answer, ClusterError>) -> Fut,
    Fut: Future<Output = ControlFlow<()>>,
{
    let mut min_index = 0;
    let mut failures = 0u32;
    loop {
        let asked = QueryOptions { min_index, max_wait: Some(FOLLOW_WAIT), ..options.clone() };
        let result = tokio::select! {
            // Dropping the query abandons its wait; nothing is lost.
            result = cluster.query(query.clone(), asked) => result,
            () = stop.cancelled() => return,
        };
        let pause = match &result {
            Ok(answer) => {
                failures = 0;
                min_index = next_min_index(min_index, answer.meta.index);
                None
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let pause = backoff(failures, rand::rng().random_range(0.5..1.0));
                Some(error.retry_after.map_or(pause, |hint| hint.max(pause)))
            }
        };
        if on(result).await.is_break() {
            return;
        }
        if let Some(pause) = pause {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// What to wait for after an answer with `index`: an index that went backwards starts anew.
fn next_min_index(min_index: u64, index: u64) -> u64 {
    if index < min_index { 0 } else { index.max(1) }
}

/// Pause after the given number of failures in a row: doubles from half a second to a minute, times
/// `jitter`.
pub(crate) fn backoff(failures: u32, jitter: f64) -> Duration {
    let base =
        Duration::from_millis(500).saturating_mul(1 << failures.clamp(1, 8).saturating_sub(1));
    base.min(BACKOFF_MAX).mul_f64(jitter)
}

/// What a view holds at the moment.
#[derive(Clone, Debug)]
pub(crate) struct ViewState {
    pub(crate) answer: Option<Answer>,
    /// The last try failed; `answer` is what was known before.
    pub(crate) error: Option<ClusterError>,
    pub(crate) reached_at: Instant,
}

impl ViewState {
    fn age(&self) -> Duration {
        match self.error {
            Some(_) => self.reached_at.elapsed(),
            None => Duration::ZERO,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    query: Query,
    token: Token,
    filter: String,
}

struct Slot {
    state: watch::Receiver<ViewState>,
    used_at: Instant,
}

/// All views of this agent.
pub struct Views {
    cluster: Arc<dyn Cluster>,
    slots: Mutex<HashMap<Key, Slot, RandomState>>,
    /// Questions the cluster answers in place, by last use; tells a first asking from later ones.
    seen: Mutex<HashMap<Key, Instant, RandomState>>,
    /// Grows with every answer that comes in.
    version: AtomicU64,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Views {
    pub(crate) fn new(
        cluster: Arc<dyn Cluster>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            slots: Mutex::default(),
            seen: Mutex::default(),
            version: AtomicU64::new(1),
            stop,
            tasks,
        })
    }

    /// Answers from what is kept here, beginning to keep it on the first asking.
    ///
    /// Errors: those of [`Cluster::query`]; `Timeout` when no first answer came in time.
    pub async fn get(
        self: &Arc<Self>,
        query: Query,
        options: QueryOptions,
    ) -> Result<Cached<Answer>, Error> {
        let consistency = options.consistency;
        let key = Key { query, token: options.token.clone(), filter: options.filter.clone() };
        if options.min_index == 0
            && let Some(result) = self.cluster.query_now(&key.query, &options)
        {
            let answer = result?;
            let hit = self.mark_seen(key);
            let cache = CacheInfo { hit, age: Duration::ZERO };
            return Ok(Cached { index: answer.meta.index, value: answer, cache });
        }
        let Some(mut state) = self.subscribe_key(key.clone()) else {
            let answer = self.cluster.query(key.query, options).await?;
            let cache = CacheInfo::default();
            return Ok(Cached { index: answer.meta.index, value: answer, cache });
        };
        let wait = WaitOptions { min_index: options.min_index, wait: options.max_wait };
        let mut cached = wait_newer(&mut state, &wait).await?;
        // One view serves all who ask, however they ask.
        cached.value.meta.consistency = consistency;
        Ok(cached)
    }

    /// Begins to follow `query`, unless there are too many views.
    pub(crate) fn begin(self: &Arc<Self>, query: Query, options: &QueryOptions) {
        let key = Key { query, token: options.token.clone(), filter: options.filter.clone() };
        self.subscribe_key(key);
    }

    /// What is kept of `query`, if it is followed and as fresh as asked for.
    pub(crate) fn kept(&self, query: &Query, options: &QueryOptions) -> Option<Answer> {
        let key = Key {
            query: query.clone(),
            token: options.token.clone(),
            filter: options.filter.clone(),
        };
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(&key)?;
        slot.used_at = Instant::now();
        let state = slot.state.borrow();
        if options.max_stale.is_some_and(|bound| state.age() > bound) {
            return None;
        }
        let mut answer = state.answer.clone()?;
        answer.meta.consistency = options.consistency;
        answer.meta.last_contact = state.age();
        Some(answer)
    }

    /// Changes whenever anything kept does.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Follows `query` for as long as the receiver is held.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        query: Query,
        token: Token,
    ) -> Option<watch::Receiver<ViewState>> {
        self.subscribe_key(Key { query, token, filter: String::new() })
    }

    fn subscribe_key(self: &Arc<Self>, key: Key) -> Option<watch::Receiver<ViewState>> {
        let mut slots = self.slots.lock();
        let now = Instant::now();
        if let Some(slot) = slots.get_mut(&key) {
            slot.used_at = now;
            return Some(slot.state.clone());
        }
        if slots.len() >= VIEWS_MAX {
            return None;
        }
        let (sender, receiver) =
            watch::channel(ViewState { answer: None, error: None, reached_at: now });
        slots.insert(key.clone(), Slot { state: receiver.clone(), used_at: now });
        drop(slots);
        let views = Arc::clone(self);
        self.tasks.spawn(async move { views.keep(key, sender).await });
        Some(receiver)
    }

    /// Follows the query of one view until nobody wants it any more.
    async fn keep(self: Arc<Self>, key: Key, sender: watch::Sender<ViewState>) {
        let options = QueryOptions {
            token: key.token.clone(),
            filter: key.filter.clone(),
            ..QueryOptions::default()
        };
        let (cluster, stop) = (Arc::clone(&self.cluster), self.stop.clone());
        follow(cluster, key.query.clone(), options, stop, |result| {
            publish(&sender, result, Instant::now());
            self.version.fetch_add(1, Ordering::Release);
            let wanted = !self.remove_if_idle(&key, &sender);
            async move { if wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) } }
        })
        .await;
        self.slots.lock().remove(&key);
    }

    /// Removes the view when only its slot holds it and it was not asked for lately.
    fn remove_if_idle(&self, key: &Key, sender: &watch::Sender<ViewState>) -> bool {
        let mut slots = self.slots.lock();
        let idle = slots.get(key).is_none_or(|slot| slot.used_at.elapsed() >= VIEW_IDLE);
        // One receiver is the slot's own.
        let is_unused = idle && sender.receiver_count() <= 1;
        if is_unused {
            slots.remove(key);
        }
        is_unused
    }

    /// Whether the question was asked before; all instances and those that pass are one question.
    fn mark_seen(&self, mut key: Key) -> bool {
        if let Query::Health { passing_only, .. } = &mut key.query {
            *passing_only = false;
        }
        let mut seen = self.seen.lock();
        let now = Instant::now();
        if seen.len() >= VIEWS_MAX {
            seen.retain(|_, used_at| now.duration_since(*used_at) < VIEW_IDLE);
            if seen.len() >= VIEWS_MAX {
                seen.clear();
            }
        }
        seen.insert(key, now).is_some_and(|used_at| now.duration_since(used_at) < VIEW_IDLE)
    }

    #[cfg(test)]
    pub(crate) fn is_following(&self, query: &Query) -> bool {
        self.slots.lock().keys().any(|key| key.query == *query)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.slots.lock().len()
    }
}

fn publish(sender: &watch::Sender<ViewState>, result: Result<Answer, ClusterError>, now: Instant) {
    sender.send_modify(|state| match result {
        Ok(answer) => *state = ViewState { answer: Some(answer), error: None, reached_at: now },
        Err(error) => state.error = Some(error),
    });
}

/// Waits until the view is newer than the caller's index or the wait runs out; then answers with
/// what there is.
pub(crate) async fn wait_newer(
    state: &mut watch::Receiver<ViewState>,
    wait: &WaitOptions,
) -> Result<Cached<Answer>, Error> {
    let last = state.clone();
    let is_newer = |state: &ViewState| match &state.answer {
        Some(answer) => answer.meta.index > wait.min_index || wait.min_index == 0,
        // A caller without anything learns of the failure at once.
        None => state.error.is_some(),
    };
    let hit = {
        let state = state.borrow();
        state.answer.is_some() && is_newer(&state)
    };
    let waited = tokio::time::timeout_at(wait.deadline(), state.wait_for(is_newer)).await;
    let current = match waited {
        Ok(Ok(current)) => current.clone(),
        Ok(Err(_)) => return Err(Error::ShuttingDown),
        Err(_) => last.borrow().clone(),
    };
    let age = current.age();
    match (current.answer, current.error) {
        (Some(answer), _) => {
            Ok(Cached { index: answer.meta.index, value: answer, cache: CacheInfo { hit, age } })
        }
        (None, Some(error)) => Err(error.into()),
        (None, None) => {
            Err(ClusterError::new(ErrorKind::Timeout, "no answer from the servers in time").into())
        }
    }
}

#[cfg(test)]
mod tests;
