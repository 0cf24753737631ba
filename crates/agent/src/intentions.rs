//! Whether a client may connect to a service here: answered from memory.
//!
//! The first question about a destination begins to follow its intentions; from then on a decision
//! is two hash lookups, and a change of the rules is there as soon as the servers tell. With the
//! servers out of reach the last known rules stand; with none ever known nothing is allowed.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use authz::intention::{IntentionTable, Reason};
use foldhash::fast::RandomState;
use model::error::{Error as ClusterError, ErrorKind};
use model::intention::MatchSide;
use model::query::{Query, QueryOptions, Reply, Token};
use model::spiffe::SpiffeId;
use parking_lot::{Mutex, RwLock};
use rpc::{Answer, Cluster};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Error;
use crate::views::{CacheInfo, FIRST_ANSWER_WAIT, follow};

/// Destinations followed at once. An agent has hundreds of services at most; beyond this each
/// question is asked of the servers.
pub const DESTINATIONS_MAX: usize = if cfg!(test) { 64 } else { 4096 };
/// Client identities remembered; when there are more, all are forgotten and read anew.
const SOURCES_MAX: usize = 4096;
/// How long a destination nobody asks about is followed.
pub const DESTINATION_IDLE: Duration = Duration::from_secs(3 * 24 * 3600);

/// A decision and why; serializes as the answer of the authorize endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Authorization {
    pub authorized: bool,
    pub reason: String,
    #[serde(skip)]
    pub cache: CacheInfo,
}

/// What decides when no intention does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultPolicy {
    pub allow: bool,
    pub acls_enabled: bool,
}

impl DefaultPolicy {
    fn reason(self) -> &'static str {
        match self {
            Self { acls_enabled: true, .. } => "Default behavior configured by ACLs",
            Self { allow: true, .. } => "ACLs disabled, access is allowed by default",
            Self { allow: false, .. } => "Default intention policy denies access",
        }
    }
}

/// Who is asking, read from a client certificate's URI.
///
/// Errors: `Invalid` with the text of the authorize endpoint. As in 1.8.7, neither trust domain nor
/// datacenter take part: the certificate chain was verified by who asks.
fn source_of(client_uri: &str) -> Result<SpiffeId, Error> {
    let id: SpiffeId = client_uri
        .parse()
        .map_err(|_| Error::invalid("ClientCertURI not a valid Connect identifier"))?;
    match id.as_service() {
        Some(_) => Ok(id),
        None => Err(Error::invalid("ClientCertURI not a valid Service identifier")),
    }
}

fn require_target(target: &str) -> Result<(), Error> {
    match target {
        "" => Err(Error::invalid("Target service must be specified")),
        _ => Ok(()),
    }
}

/// The rules for one destination.
struct Destination {
    rules: watch::Receiver<Rules>,
    /// Compiled rules for the path that takes no lock; empty until first known.
    table: ArcSwap<Option<Compiled>>,
    /// Asked about since the last look; a plain flag because a clock on every question would cost
    /// more than the decision.
    is_used: AtomicBool,
}

struct Compiled {
    table: Arc<IntentionTable>,
    /// When the servers were last heard from, while they do not answer.
    failing_since: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    is_known: bool,
    error: Option<ClusterError>,
}

type Destinations = HashMap<Box<str>, Arc<Destination>, RandomState>;

/// All destinations this agent decides for.
pub(crate) struct Intentions {
    cluster: Arc<dyn Cluster>,
    token: Token,
    policy: ArcSwap<DefaultPolicy>,
    /// Replaced as a whole when a destination comes or goes, which is rare.
    destinations: ArcSwap<Destinations>,
    writing: Mutex<()>,
    /// Service names by client URI, for reading an identity costs more than deciding on it.
    sources: RwLock<HashMap<Box<str>, Box<str>, RandomState>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Intentions {
    pub(crate) fn new(
        cluster: Arc<dyn Cluster>,
        token: Token,
        policy: DefaultPolicy,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            token,
            policy: ArcSwap::from_pointee(policy),
            destinations: ArcSwap::default(),
            writing: Mutex::default(),
            sources: RwLock::default(),
            stop,
            tasks,
        })
    }

    pub(crate) fn set_policy(&self, policy: DefaultPolicy) {
        self.policy.store(Arc::new(policy));
    }

    /// Decides if the rules of `target` are in memory; `None` sends the caller to
    /// [`Intentions::authorize`]. Never waits.
    pub(crate) fn authorize_now(
        &self,
        target: &str,
        client_uri: &str,
    ) -> Option<Result<Authorization, Error>> {
        if let Err(error) = require_target(target) {
            return Some(Err(error));
        }
        if let Some(source) = self.sources.read().get(client_uri) {
            return self.answer_now(target, source).map(Ok);
        }
        let id = match source_of(client_uri) {
            Ok(id) => id,
            Err(error) => return Some(Err(error)),
        };
        let source = id.as_service()?.service.as_str();
        let mut sources = self.sources.write();
        if sources.len() >= SOURCES_MAX {
            sources.clear();
        }
        sources.insert(client_uri.into(), source.into());
        drop(sources);
        self.answer_now(target, source).map(Ok)
    }

    fn answer_now(&self, target: &str, source: &str) -> Option<Authorization> {
        self.decide(target, source, |authorized, reason, failing_since| {
            let age = failing_since.map(|since| since.elapsed()).unwrap_or_default();
            let cache = CacheInfo { hit: true, age };
            Authorization { authorized, reason: self.describe(reason), cache }
        })
    }

    /// Whether `source`, a service name, may connect; `None` when the rules of `target` are not in
    /// memory.
    pub(crate) fn is_allowed_now(&self, target: &str, source: &str) -> Option<bool> {
        self.decide(target, source, |authorized, _, _| authorized)
    }

    fn decide<T>(
        &self,
        target: &str,
        source: &str,
        answer: impl FnOnce(bool, Reason<'_>, Option<Instant>) -> T,
    ) -> Option<T> {
        let destinations = self.destinations.load();
        let destination = destinations.get(target)?;
        if !destination.is_used.load(Ordering::Relaxed) {
            destination.is_used.store(true, Ordering::Relaxed);
        }
        let compiled = destination.table.load();
        let compiled = compiled.as_ref().as_ref()?;
        let decision = compiled.table.decide(source, self.policy.load().allow);
        Some(answer(decision.allowed, decision.reason, compiled.failing_since))
    }

    /// Decides, learning the rules of `target` first when they are not in memory.
    ///
    /// Errors: `Invalid` for a bad target or URI; those of the servers while no rules are known,
    /// which callers must take as a refusal.
    pub(crate) async fn authorize(
        self: &Arc<Self>,
        target: &str,
        client_uri: &str,
    ) -> Result<Authorization, Error> {
        if let Some(answer) = self.authorize_now(target, client_uri) {
            return answer;
        }
        let id = source_of(client_uri)?;
        let Some(service) = id.as_service() else {
            return Err(Error::invalid("ClientCertURI not a valid Service identifier"));
        };
        let source = service.service.as_str();
        let Some(destination) = self.follow_destination(target) else {
            return self.authorize_once(target, source).await;
        };
        let mut rules = destination.rules.clone();
        let known = rules.wait_for(|rules| rules.is_known || rules.error.is_some());
        let outcome = match tokio::time::timeout(FIRST_ANSWER_WAIT, known).await {
            Ok(Ok(rules)) => rules.clone(),
            Ok(Err(_)) => return Err(Error::ShuttingDown),
            Err(_) => {
                let message = "no intentions from the servers in time";
                return Err(ClusterError::new(ErrorKind::Timeout, message).into());
            }
        };
        let answer = self.authorize_now(target, client_uri).transpose()?;
        match (answer, outcome.error) {
            (Some(answer), _) => {
                Ok(Authorization { cache: CacheInfo { hit: false, ..answer.cache }, ..answer })
            }
            (None, Some(error)) => Err(error.into()),
            (None, None) => Err(Error::ShuttingDown),
        }
    }

    /// Asks the servers without keeping anything.
    async fn authorize_once(&self, target: &str, source: &str) -> Result<Authorization, Error> {
        let options = QueryOptions { token: self.token.clone(), ..QueryOptions::default() };
        let answer = self.cluster.query(match_query(target), options).await?;
        let table = compile(target, &answer).ok_or_else(unexpected)?;
        let decision = table.decide(source, self.policy.load().allow);
        Ok(Authorization {
            authorized: decision.allowed,
            reason: self.describe(decision.reason),
            cache: CacheInfo::default(),
        })
    }

    fn describe(&self, reason: Reason<'_>) -> String {
        match reason {
            Reason::Matched(_) => reason.to_string(),
            Reason::Default => self.policy.load().reason().to_owned(),
        }
    }

    /// The destination, followed from now on; `None` when too many are.
    fn follow_destination(self: &Arc<Self>, target: &str) -> Option<Arc<Destination>> {
        let _writing = self.writing.lock();
        let destinations = self.destinations.load();
        if let Some(destination) = destinations.get(target) {
            return Some(Arc::clone(destination));
        }
        if destinations.len() >= DESTINATIONS_MAX {
            return None;
        }
        let (sender, rules) = watch::channel(Rules::default());
        let destination = Arc::new(Destination {
            rules,
            table: ArcSwap::from_pointee(None),
            is_used: AtomicBool::new(true),
        });
        let mut next = Destinations::clone(&destinations);
        next.insert(target.into(), Arc::clone(&destination));
        self.destinations.store(Arc::new(next));
        let (intentions, kept) = (Arc::clone(self), Arc::clone(&destination));
        let target = target.to_owned();
        self.tasks.spawn(async move { intentions.keep(target, kept, sender).await });
        Some(destination)
    }

    /// Keeps the rules of one destination up to date until nobody asks any more.
    async fn keep(
        self: Arc<Self>,
        target: String,
        destination: Arc<Destination>,
        sender: watch::Sender<Rules>,
    ) {
        let options = QueryOptions { token: self.token.clone(), ..QueryOptions::default() };
        let mut idle_since = Instant::now();
        let (cluster, stop) = (Arc::clone(&self.cluster), self.stop.clone());
        follow(cluster, match_query(&target), options, stop, |result| {
            take_in(&target, &destination, &sender, result);
            if destination.is_used.swap(false, Ordering::Relaxed) {
                idle_since = Instant::now();
            }
            let is_idle = idle_since.elapsed() >= DESTINATION_IDLE;
            async move { if is_idle { ControlFlow::Break(()) } else { ControlFlow::Continue(()) } }
        })
        .await;
        let _writing = self.writing.lock();
        let mut next = Destinations::clone(&self.destinations.load());
        next.remove(target.as_str());
        self.destinations.store(Arc::new(next));
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.destinations.load().len()
    }
}

fn take_in(
    target: &str,
    destination: &Destination,
    sender: &watch::Sender<Rules>,
    result: Result<Answer, ClusterError>,
) {
    let compiled = result.and_then(|answer| {
        compile(target, &answer).ok_or_else(|| ClusterError::internal("not a list of intentions"))
    });
    match compiled {
        Ok(table) => {
            let table = Arc::new(table);
            destination.table.store(Arc::new(Some(Compiled { table, failing_since: None })));
            sender.send_replace(Rules { is_known: true, error: None });
        }
        Err(error) => {
            if let Some(known) = destination.table.load().as_ref() {
                let failing_since = Some(known.failing_since.unwrap_or_else(Instant::now));
                let table = Arc::clone(&known.table);
                destination.table.store(Arc::new(Some(Compiled { table, failing_since })));
            }
            tracing::warn!(target = %target, %error, "intentions are not being updated");
            sender.send_modify(|rules| rules.error = Some(error));
        }
    }
}

fn match_query(target: &str) -> Query {
    Query::IntentionMatch { side: MatchSide::Destination, names: vec![target.to_owned()] }
}

fn compile(target: &str, answer: &Answer) -> Option<IntentionTable> {
    match &answer.body.reply {
        Reply::IntentionMatches(lists) => {
            Some(IntentionTable::new(target, lists.iter().flatten().cloned()))
        }
        _ => None,
    }
}

fn unexpected() -> Error {
    ClusterError::internal("servers answered the intentions query with something else").into()
}

#[cfg(test)]
mod tests;
