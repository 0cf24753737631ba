//! Anti-entropy: bringing the catalog in line with what is registered here.
//!
//! The loop compares everything once a minute (less often in large clusters) and sends single
//! changes as they happen. What differs and what to send are plain functions in [`plan`].

use std::sync::Arc;
use std::time::Duration;

use model::command::Outcome;
use model::error::{Error as ClusterError, ErrorKind};
use model::query::{Query, QueryOptions, Reply, Token};
use rand::Rng as _;
use rpc::Cluster;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::local::Local;
use crate::metrics::Metrics;
use crate::settings::{NodeSettings, SyncSettings};

pub mod plan;

/// Longest wait for one answer of the servers.
const SYNC_TIMEOUT: Duration = Duration::from_secs(60);
/// Over this time agents compare themselves with the catalog after a new leader.
const NEW_LEADER_SPREAD: Duration = Duration::from_secs(3);
/// Changes that come together within this are sent together.
const GATHER: Duration = Duration::from_millis(5);

/// Who is to be kept in line, and how often.
#[derive(Clone)]
pub(crate) struct SyncTask {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) local: Arc<Local>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) node: NodeSettings,
    pub(crate) is_server: bool,
    pub(crate) settings: SyncSettings,
    /// A new leader: everything is compared again, soon.
    pub(crate) leader_changes: watch::Receiver<u64>,
    pub(crate) agent_token: Token,
    pub(crate) user_token: Token,
}

impl SyncTask {
    /// Runs until `stop` fires.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut failures = 0u32;
        let mut full_at = Instant::now();
        loop {
            let wake_at = match self.local.read().next_deferred() {
                Some(deferred) => full_at.min(deferred),
                None => full_at,
            };
            // Every branch only waits; a dropped one loses nothing (a notification is kept).
            tokio::select! {
                // First: not one word more once it fired.
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(wake_at) => {}
                () = self.local.unsynced.notified(), if failures == 0 => {
                    tokio::time::sleep(GATHER).await;
                }
                Ok(()) = self.leader_changes.changed() => {
                    // All agents hear of it at once.
                    let spread = NEW_LEADER_SPREAD.mul_f64(rand::rng().random_range(0.0..1.0));
                    full_at = full_at.min(Instant::now() + spread);
                    continue;
                }
            }
            let now = Instant::now();
            if self.local.read().next_deferred().is_some_and(|at| at <= now) {
                self.local.change(|state| state.end_deferrals(now));
            }
            let is_full = now >= full_at;
            let round = self.round(is_full);
            let result = tokio::select! {
                biased;
                // A change cut off here is found by the next comparison.
                () = stop.cancelled() => return,
                result = round => result,
            };
            match result {
                Ok(nodes) => {
                    failures = 0;
                    if let Some(nodes) = nodes {
                        let jitter = rand::rng().random_range(0.0..1.0);
                        full_at = now + plan::full_interval(self.settings.interval, nodes, jitter);
                    }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.metrics.counter("client.rpc.failed", 1.0, &[]);
                    let pause = self.retry_pause(&error, failures);
                    tracing::warn!(%error, "catalog was not brought in line");
                    full_at = Instant::now() + pause;
                }
            }
        }
    }

    /// A first failure, as while a leader is being chosen, is retried soon.
    fn retry_pause(&self, error: &ClusterError, failures: u32) -> Duration {
        let jitter = rand::rng().random_range(0.5..1.0);
        if error.kind == ErrorKind::NoLeader && failures < 20 {
            return Duration::from_millis(500).mul_f64(jitter);
        }
        let backoff = crate::views::backoff(failures, jitter);
        let limit = self.settings.retry_interval.mul_f64(1.0 + jitter);
        backoff.min(limit).max(error.retry_after.unwrap_or_default())
    }

    /// Compares when `is_full`, then sends what is out of line. Gives the size of the cluster after
    /// a comparison.
    async fn round(&self, is_full: bool) -> Result<Option<usize>, ClusterError> {
        let nodes = if is_full { Some(self.compare().await?) } else { None };
        self.send_changes().await?;
        Ok(nodes)
    }

    async fn compare(&self) -> Result<usize, ClusterError> {
        let node = self.node.name.clone();
        let services = match self.ask(Query::NodeServices { node: node.clone() }).await? {
            Reply::NodeServices(services) => services,
            _ => return Err(unexpected("services of a node")),
        };
        let checks = match self.ask(Query::NodeChecks { node }).await? {
            Reply::Checks(checks) => checks,
            _ => return Err(unexpected("checks of a node")),
        };
        let nodes = match self.ask(Query::Nodes { node_meta: Vec::new() }).await? {
            Reply::Nodes(nodes) => nodes.len(),
            _ => return Err(unexpected("nodes")),
        };
        let holder = services.as_ref().and_then(|found| found.node.as_ref());
        let is_ours = holder.is_none_or(|holder| is_same_node(&holder.id, &self.node.id));
        let catalog = if is_ours {
            plan::Catalog { services: services.as_ref(), checks: &checks }
        } else {
            // Another agent goes by our name. What it has registered is not ours to take back; what is ours is refused
            // as long as it lives, and takes its place once it does not.
            tracing::error!(name = %self.node.name, "the name of this node is another's in the catalog");
            plan::Catalog { services: None, checks: &[] }
        };
        self.local.change(|state| {
            plan::compare(state, &self.node, self.is_server, &catalog, &self.agent_token);
        });
        Ok(nodes)
    }

    async fn ask(&self, query: Query) -> Result<Reply, ClusterError> {
        let options = QueryOptions { token: self.agent_token.clone(), ..QueryOptions::default() };
        let answer = with_timeout(self.cluster.query(query, options)).await?;
        Ok(answer.body.reply.clone())
    }

    async fn send_changes(&self) -> Result<(), ClusterError> {
        let mut first_error = None;
        let changes = plan::changes(&self.local.read(), &self.node, &self.agent_token);
        for change in changes {
            let token = match change.token.0.is_empty() {
                true => self.user_token.clone(),
                false => change.token.clone(),
            };
            let sent = with_timeout(self.cluster.command(change.command.clone(), token)).await;
            match sent {
                Ok(Outcome::Refused(reason)) => {
                    tracing::warn!(what = %change.subject, %reason, "sync refused");
                    plan::settle(&mut self.local.read(), &change.effect);
                }
                Ok(_) => {
                    tracing::info!(what = %change.subject, "synced");
                    plan::settle(&mut self.local.read(), &change.effect);
                }
                Err(error) if plan::is_final(&error) => {
                    // Trying again before anything changes would fail again; the next full
                    // comparison does.
                    tracing::warn!(what = %change.subject, %error, "sync refused");
                    self.metrics.counter("acl.blocked.service.registration", 1.0, &[]);
                    plan::settle(&mut self.local.read(), &change.effect);
                }
                Err(error) => {
                    tracing::warn!(what = %change.subject, %error, "sync failed");
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

async fn with_timeout<T>(
    pending: impl Future<Output = Result<T, ClusterError>>,
) -> Result<T, ClusterError> {
    tokio::time::timeout(SYNC_TIMEOUT, pending).await.unwrap_or_else(|_| {
        Err(ClusterError::new(ErrorKind::Timeout, "no answer from the servers in time"))
    })
}

/// Whether two ids may be those of one node; old agents have none.
fn is_same_node(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one.eq_ignore_ascii_case(other)
}

fn unexpected(what: &str) -> ClusterError {
    ClusterError::internal(format!("servers answered the query for {what} with something else"))
}
