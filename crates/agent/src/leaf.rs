//! Leaf certificates of the services here: one key and certificate per service, signed on first
//! use, renewed well before it ends or when another root becomes active, forgotten when unused.
//!
//! Keys are made here and stay in memory; the servers see the signing request alone. One task keeps
//! the schedule, so an issued leaf costs memory but no task.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use model::ca::{CaRoots, IssuedCert};
use model::error::{Error as ClusterError, ErrorKind};
use model::query::Token;
use model::time::Timestamp;
use parking_lot::Mutex;
use rand::Rng as _;
use rpc::Cluster;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Error;
use crate::roots::RootsView;
use crate::views::{CacheInfo, Cached, WaitOptions, backoff};

mod plan;
mod request;

use request::{make_request, signer_of};

/// Leaves kept at most, some 2 KiB each; beyond that the longest unused make room.
pub const LEAVES_MAX: usize = 65_536;
/// How long a leaf nobody asks for is kept and renewed.
pub const LEAF_IDLE: Duration = Duration::from_secs(3 * 24 * 3600);
/// Renewals under way at once; more would only queue at the servers.
const RENEWALS_AT_ONCE: usize = 16;
/// Longest wait of a renewal for the servers' answer.
const SIGN_TIMEOUT: Duration = Duration::from_secs(30);

/// The token takes part: what one token may have signed, another may not read.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    service: Arc<str>,
    token: Arc<str>,
}

#[derive(Clone, Default)]
struct LeafState {
    cert: Option<Arc<IssuedCert>>,
    index: u64,
    fetched_at: Option<Instant>,
    /// Why the last try failed, while there is no certificate or it is being renewed.
    error: Option<ClusterError>,
}

struct Entry {
    state: watch::Sender<LeafState>,
    used_at: Instant,
    /// A signing is under way.
    in_flight: bool,
    failures: u32,
    /// Key of its signer, compared with the active root's.
    signer: Option<String>,
    renew_at: Option<Instant>,
    due_at: Instant,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Entry, RandomState>,
    /// When each entry wants attention; exactly one row per entry.
    due: BTreeSet<(Instant, Key)>,
}

/// All leaves of this agent.
pub(crate) struct Leaves {
    cluster: Arc<dyn Cluster>,
    roots: RootsView,
    datacenter: String,
    root_change_spread: Duration,
    table: Mutex<Table>,
    /// The schedule has a new first row.
    rescheduled: Notify,
    renewals: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Leaves {
    pub(crate) fn start(
        cluster: Arc<dyn Cluster>,
        roots: RootsView,
        datacenter: String,
        root_change_spread: Duration,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let leaves = Arc::new(Self {
            cluster,
            roots,
            datacenter,
            root_change_spread,
            table: Mutex::default(),
            rescheduled: Notify::new(),
            renewals: Arc::new(Semaphore::new(RENEWALS_AT_ONCE)),
            stop,
            tasks: tasks.clone(),
        });
        tasks.spawn(Arc::clone(&leaves).keep_schedule());
        leaves
    }

    /// The certificate of `service`, signed now if there is none, newer than `wait` asks for or as
    /// it is when the wait is over.
    ///
    /// Errors: `Invalid` for a name no identity can carry, and those of [`Cluster::sign_leaf`].
    pub(crate) async fn get(
        self: &Arc<Self>,
        service: &str,
        wait: &WaitOptions,
        token: Token,
    ) -> Result<Cached<Arc<IssuedCert>>, Error> {
        if service.is_empty() {
            return Err(Error::refused("URI must be either service or agent"));
        }
        let key = Key { service: service.into(), token: token.0 };
        let mut state = self.subscribe(&key);
        let last = state.clone();
        let is_settled = |state: &LeafState| match (&state.cert, &state.error) {
            (Some(_), _) => wait.min_index == 0 || state.index > wait.min_index,
            // Over the rate limit the signing is tried again while the caller waits.
            (None, Some(error)) => error.retry_after.is_none(),
            (None, None) => false,
        };
        let hit = {
            let state = state.borrow();
            state.cert.is_some() && is_settled(&state)
        };
        let waited = tokio::time::timeout_at(wait.deadline(), state.wait_for(is_settled)).await;
        let current = match waited {
            Ok(Ok(current)) => current.clone(),
            Ok(Err(_)) => return Err(Error::ShuttingDown),
            Err(_) => last.borrow().clone(),
        };
        match (current.cert, current.error) {
            (Some(cert), _) => {
                let age = current.fetched_at.map(|at| at.elapsed()).unwrap_or_default();
                let cache = CacheInfo { hit, age };
                Ok(Cached { value: cert, index: current.index, cache })
            }
            (None, Some(error)) => Err(error.into()),
            (None, None) => {
                let message = "no signed certificate from the servers in time";
                Err(ClusterError::new(ErrorKind::Timeout, message).into())
            }
        }
    }

    /// Marks the leaf used and begins signing it when it is new here.
    fn subscribe(self: &Arc<Self>, key: &Key) -> watch::Receiver<LeafState> {
        let now = Instant::now();
        let mut table = self.table.lock();
        if let Some(entry) = table.entries.get_mut(key) {
            entry.used_at = now;
            let receiver = entry.state.subscribe();
            // A failed first signing is tried again for whoever asks, not in the background.
            let is_dormant =
                entry.state.borrow().cert.is_none() && !entry.in_flight && entry.renew_at.is_none();
            if is_dormant {
                entry.in_flight = true;
                entry.state.send_modify(|state| state.error = None);
                self.spawn_signing(key.clone());
            }
            return receiver;
        }
        if table.entries.len() >= LEAVES_MAX {
            table.drop_least_used(LEAVES_MAX / 16);
        }
        let (state, receiver) = watch::channel(LeafState::default());
        let due_at = now + LEAF_IDLE;
        table.due.insert((due_at, key.clone()));
        let entry = Entry {
            state,
            used_at: now,
            in_flight: true,
            failures: 0,
            signer: None,
            renew_at: None,
            due_at,
        };
        table.entries.insert(key.clone(), entry);
        drop(table);
        self.spawn_signing(key.clone());
        receiver
    }

    fn spawn_signing(self: &Arc<Self>, key: Key) {
        let leaves = Arc::clone(self);
        self.tasks.spawn(async move { leaves.sign_and_settle(&key).await });
    }

    async fn sign_and_settle(self: &Arc<Self>, key: &Key) {
        let signing = tokio::time::timeout(SIGN_TIMEOUT, self.sign(key));
        let result = tokio::select! {
            result = signing => result.unwrap_or_else(|_| {
                Err(ClusterError::new(ErrorKind::Timeout, "signing took too long"))
            }),
            () = self.stop.cancelled() => return,
        };
        self.settle(key, result);
    }

    /// Makes a key and has it certified.
    async fn sign(&self, key: &Key) -> Result<Signed, ClusterError> {
        let roots = self.roots.known().await.map_err(|error| match error {
            Error::Cluster(error) => error,
            other => ClusterError::new(ErrorKind::Unavailable, other.to_string()),
        })?;
        let (id, private_key, request) = make_request(&roots, &self.datacenter, &key.service)?;
        let token = Token(Arc::clone(&key.token));
        let mut cert = self.cluster.sign_leaf(request, token).await?;
        cert.private_key_pem = private_key
            .to_pem()
            .map_err(|error| ClusterError::internal(error.to_string()))?
            .to_string();
        cert.service = key.service.to_string();
        cert.service_uri = id.to_string();
        let signer = signer_of(&cert.cert_pem);
        Ok(Signed { cert, signer })
    }

    /// Takes in the outcome of a signing and sets the next date.
    fn settle(self: &Arc<Self>, key: &Key, result: Result<Signed, ClusterError>) {
        let now = Instant::now();
        let mut table = self.table.lock();
        let Table { entries, due } = &mut *table;
        let Some(entry) = entries.get_mut(key) else { return };
        entry.in_flight = false;
        match result {
            Ok(Signed { mut cert, signer }) => {
                let fraction = rand::rng().random_range(plan::RENEWAL_WINDOW);
                let span =
                    plan::renew_after(cert.valid_after, cert.valid_before, wall_now(), fraction);
                entry.failures = 0;
                entry.signer = signer;
                entry.renew_at = Some(now + span);
                entry.state.send_modify(|state| {
                    let index = cert.modify_index.max(state.index + 1);
                    cert.modify_index = index;
                    cert.create_index =
                        if cert.create_index == 0 { index } else { cert.create_index };
                    *state = LeafState {
                        cert: Some(Arc::new(cert)),
                        index,
                        fetched_at: Some(now),
                        error: None,
                    };
                });
            }
            Err(error) => {
                entry.failures = entry.failures.saturating_add(1);
                let pause = backoff(entry.failures, rand::rng().random_range(0.5..1.0));
                // A rate limit's hint is spread so that those refused together do not return so.
                let pause = match error.retry_after {
                    Some(hint) => pause.max(hint.mul_f64(rand::rng().random_range(1.0..2.0))),
                    None => pause,
                };
                let has_cert = entry.state.borrow().cert.is_some();
                let is_limited = error.retry_after.is_some();
                tracing::warn!(service = %key.service, %error, "leaf certificate was not signed");
                // Without a certificate and a reason to expect one, the next caller tries.
                entry.renew_at = (has_cert || is_limited).then_some(now + pause);
                entry.state.send_modify(|state| state.error = Some(error));
            }
        }
        let due_at = entry.renew_at.unwrap_or(now + LEAF_IDLE).min(now + LEAF_IDLE);
        reschedule(due, key, entry, due_at);
        drop(table);
        self.rescheduled.notify_one();
    }

    /// Renews what is due, forgets what is unused, reacts to a change of the active root.
    async fn keep_schedule(self: Arc<Self>) {
        let mut roots = self.roots.clone();
        loop {
            let next = self.table.lock().due.first().map(|(at, _)| *at);
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // Every branch only waits; a dropped one loses nothing.
            tokio::select! {
                () = sleep => self.attend_due().await,
                () = self.rescheduled.notified() => {}
                changed = roots.changed() => match changed {
                    Ok(Some(roots)) => self.turn_to_root(&roots),
                    Ok(None) => {}
                    Err(_) => return,
                },
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn attend_due(self: &Arc<Self>) {
        let now = Instant::now();
        let due: Vec<Key> = {
            let mut table = self.table.lock();
            let Table { entries, due } = &mut *table;
            let reached: Vec<Key> =
                due.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| key.clone()).collect();
            let mut renewals = Vec::new();
            for key in reached {
                let Some(entry) = entries.get_mut(&key) else { continue };
                let is_watched = entry.state.receiver_count() > 0;
                match plan::attend(now, entry.used_at, is_watched, entry.renew_at) {
                    plan::Attention::Forget => {
                        due.remove(&(entry.due_at, key.clone()));
                        entries.remove(&key);
                    }
                    plan::Attention::Renew => {
                        // Set anew when the signing settles; until then not due again.
                        reschedule(due, &key, entry, now + LEAF_IDLE);
                        if !entry.in_flight {
                            entry.in_flight = true;
                            renewals.push(key);
                        }
                    }
                    plan::Attention::Later(at) => reschedule(due, &key, entry, at),
                }
            }
            renewals
        };
        for key in due {
            let permit = tokio::select! {
                permit = Arc::clone(&self.renewals).acquire_owned() => permit,
                () = self.stop.cancelled() => return,
            };
            let leaves = Arc::clone(self);
            self.tasks.spawn(async move {
                let _permit = permit;
                leaves.sign_and_settle(&key).await;
            });
        }
    }

    /// Brings forward the renewal of every leaf another root signed, spread over time.
    fn turn_to_root(&self, roots: &CaRoots) {
        let Some(active) = roots.roots.iter().find(|root| root.id == roots.active_root_id) else {
            return;
        };
        let now = Instant::now();
        let mut table = self.table.lock();
        let Table { entries, due } = &mut *table;
        for (key, entry) in entries {
            let is_current =
                entry.signer.as_ref().is_none_or(|signer| *signer == active.signing_key_id);
            if is_current || entry.in_flight {
                continue;
            }
            let at = now + self.root_change_spread.mul_f64(rand::rng().random_range(0.0..1.0));
            if entry.renew_at.is_none_or(|planned| planned > at) {
                entry.renew_at = Some(at);
                reschedule(due, key, entry, at);
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let table = self.table.lock();
        assert_eq!(table.entries.len(), table.due.len());
        table.entries.len()
    }
}

impl Table {
    /// Forgets the `count` entries longest unused that nobody waits on.
    fn drop_least_used(&mut self, count: usize) {
        let mut unused: Vec<(Instant, Key)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state.receiver_count() == 0)
            .map(|(key, entry)| (entry.used_at, key.clone()))
            .collect();
        unused.sort();
        for (_, key) in unused.into_iter().take(count) {
            if let Some(entry) = self.entries.remove(&key) {
                self.due.remove(&(entry.due_at, key));
            }
        }
    }
}

/// Moves the one row of `entry` in the schedule.
fn reschedule(due: &mut BTreeSet<(Instant, Key)>, key: &Key, entry: &mut Entry, at: Instant) {
    due.remove(&(entry.due_at, key.clone()));
    entry.due_at = at;
    due.insert((at, key.clone()));
}

struct Signed {
    cert: IssuedCert,
    signer: Option<String>,
}

fn wall_now() -> Timestamp {
    std::time::SystemTime::now().into()
}

#[cfg(test)]
mod tests;
