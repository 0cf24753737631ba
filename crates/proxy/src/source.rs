//! Follows an agent's HTTP API into snapshots: one long poll per thing to know.
//!
//! Works with any agent that speaks Consul's API from 1.8.7 on. While the agent is away the last snapshot stays in
//! force and the polls go on with growing pauses; that state is logged once and shown by a gauge. Until everything
//! was heard of once there is no snapshot at all.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::connect::AuthorizeRequest;
use api::response::{Answer, ResponseMeta};
use api::{Client, QueryParams, Watch};
use mesh::{Assembly, ConfigError, DefaultPolicy, Definition, ProxySnapshot, Target, Update};
use model::intention::{Intention, MatchSide};
use model::service::NodeService;
use rand::Rng;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::ask::{Ask, Question};
use crate::metrics::Metrics;

/// Pause after the first failure; doubles up to the longest, each with up to half as much again at random so that
/// the proxies of a host do not come back in step.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LONGEST: Duration = Duration::from_secs(15);
/// Least time between two polls of the same thing when the first brought nothing new: an agent that does not hold
/// the question must not be asked in a loop.
const INTERVAL_LEAST: Duration = Duration::from_millis(500);
/// Answers waiting to be taken in; the polls wait beyond that.
const NEWS_MAX: usize = 16;
/// Connections the agent is asked about at the same time.
const ASKS_MAX: usize = 32;

/// What a proxy is.
#[derive(Clone, Debug)]
pub enum Role {
    /// What the registration of this id says, now and whenever it changes.
    Registered { proxy_id: String },
    /// What the command line said.
    Given(Box<Definition>),
}

/// The connection between an agent and a proxy.
pub struct Source {
    pub client: Client,
    pub role: Role,
    /// Where snapshots go: the other end is given to [`crate::Proxy::run`].
    pub snapshots: watch::Sender<Option<Arc<ProxySnapshot>>>,
    /// What the proxy asks: the other end is given to [`crate::Proxy::run`].
    pub questions: mpsc::Receiver<Question>,
    pub metrics: Arc<Metrics>,
}

/// Channel of questions from a proxy to its source.
pub fn questions() -> (mpsc::Sender<Question>, mpsc::Receiver<Question>) {
    mpsc::channel(ASKS_MAX)
}

impl Source {
    /// Follows the agent until `shutdown`. Never fails: what goes wrong is logged and tried again.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { client, role, snapshots, mut questions, metrics } = self;
        let (sender, mut news) = mpsc::channel(NEWS_MAX);
        let mut follower = Follower {
            client: client.clone(),
            news: sender,
            assembly: Assembly::new(),
            polls: BTreeMap::new(),
            tasks: JoinSet::new(),
            failing: BTreeMap::new(),
            snapshots,
            metrics,
        };
        follower.follow(Subject::Roots);
        match role {
            Role::Registered { proxy_id } => follower.follow(Subject::Registration(proxy_id)),
            Role::Given(definition) => follower.take(Update::Definition(definition)),
        }
        let asks = Arc::new(Semaphore::new(ASKS_MAX));
        loop {
            // Every branch is cancel safe: what was not received stays in its channel.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(heard) = news.recv() => follower.hear(heard),
                Some(question) = questions.recv() => {
                    let Some(target) = follower.service() else { continue };
                    let Ok(permit) = asks.clone().try_acquire_owned() else { continue };
                    let client = client.clone();
                    follower.tasks.spawn(async move {
                        answer(&client, target, question).await;
                        drop(permit);
                    });
                }
                // Only cleans up; polls end when they are aborted, answers when they are given.
                Some(_) = follower.tasks.join_next() => {}
            }
        }
    }
}

/// Puts a question to the agent. Dropping it unanswered is a refusal too.
async fn answer(client: &Client, target: String, question: Question) {
    let Question { client_uri, client_serial, reply } = question;
    let request =
        AuthorizeRequest { target, client_cert_uri: client_uri, client_cert_serial: client_serial };
    let answer = match client.authorize(&request).await {
        Ok(answer) => Ask { is_allowed: answer.authorized, reason: answer.reason },
        Err(error) => Ask { is_allowed: false, reason: format!("agent not able to say: {error}") },
    };
    // The connection may have been given up meanwhile.
    let _ = reply.send(answer);
}

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Roots,
    Registration(String),
    Leaf(String),
    Intentions(String),
    Instances(Target),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Roots => f.write_str("root certificates"),
            Self::Registration(id) => write!(f, "registration of {id:?}"),
            Self::Leaf(service) => write!(f, "leaf certificate of {service:?}"),
            Self::Intentions(service) => write!(f, "intentions of {service:?}"),
            Self::Instances(target) => write!(f, "instances of {target}"),
        }
    }
}

/// Why a poll brought nothing.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Agent(#[from] api::Error),
    #[error("no service is registered under this id")]
    NotRegistered,
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Subject {
    /// Asks once; holds on as `params` say.
    async fn fetch(
        &self,
        client: &Client,
        params: &QueryParams,
    ) -> Result<(Update, ResponseMeta), PollError> {
        Ok(match self {
            Self::Roots => {
                let Answer { value, meta } = client.agent_roots(params).await?;
                (Update::Roots(Arc::new(value)), meta)
            }
            Self::Registration(id) => {
                let answer = client.agent_service(id, params).await?;
                let Answer { value, meta } = answer.ok_or(PollError::NotRegistered)?;
                let service = NodeService {
                    kind: value.kind,
                    id: value.id,
                    name: value.name,
                    address: value.address,
                    port: value.port,
                    proxy: value.proxy.unwrap_or_default(),
                    ..NodeService::default()
                };
                (Update::Definition(Box::new(Definition::from_service(&service)?)), meta)
            }
            Self::Leaf(service) => {
                let Answer { value, meta } = client.leaf(service, params).await?;
                (Update::Leaf(Arc::new(value)), meta)
            }
            Self::Intentions(service) => {
                let Answer { value, meta } = intentions(client, service, params).await?;
                let default_policy = match meta.default_acl_policy.as_deref() {
                    Some("allow") => DefaultPolicy::Allow,
                    // A word that is not known yet is no reason to let anybody in.
                    Some(_) => DefaultPolicy::Deny,
                    None => DefaultPolicy::AskAgent,
                };
                let intentions = value.into_iter().map(Arc::new).collect();
                (Update::Intentions { intentions, default_policy }, meta)
            }
            Self::Instances(target) => {
                let params =
                    QueryParams { datacenter: target.datacenter.clone(), ..params.clone() };
                let Answer { value, meta } =
                    client.health_connect(&target.service, true, &params).await?;
                (Update::Instances { target: target.clone(), rows: value }, meta)
            }
        })
    }
}

/// The intentions for `service`, with an index to wait on.
///
/// Agents before 1.9 hold the question as they should but do not say at which index they answered. The list of all
/// intentions has the index of the same table; it is read before the answer, so that no change falls between.
async fn intentions(
    client: &Client,
    service: &str,
    params: &QueryParams,
) -> Result<Answer<Vec<Intention>>, api::Error> {
    const SIDE: MatchSide = MatchSide::Destination;
    let answer = client.intention_match(SIDE, service, params).await?;
    if answer.meta.index > 0 {
        return Ok(answer);
    }
    let at_once = QueryParams::default();
    let index = client.intentions(&at_once).await?.meta.index;
    let mut answer = client.intention_match(SIDE, service, &at_once).await?;
    answer.meta.index = index;
    Ok(answer)
}

/// What a poll has to tell.
struct News {
    subject: Subject,
    /// `None`: nothing new, but the agent is there.
    told: Result<Option<Update>, PollError>,
}

/// Asks about one thing for ever.
async fn poll(client: Client, subject: Subject, news: mpsc::Sender<News>) {
    let mut watch = Watch::default();
    let mut pauses = Pauses::default();
    loop {
        let begun = Instant::now();
        let params = watch.next_params(&QueryParams::default());
        let told = match subject.fetch(&client, &params).await {
            Ok((update, meta)) => Ok(watch.observe(&meta).then_some(update)),
            Err(error) => Err(error),
        };
        let pause = match &told {
            Ok(Some(_)) => {
                pauses.reset();
                Duration::ZERO
            }
            Ok(None) => {
                pauses.reset();
                INTERVAL_LEAST.saturating_sub(begun.elapsed())
            }
            Err(_) => {
                // The next answer must come at once, or it would take minutes to see that the agent is back.
                watch.reset();
                pauses.next()
            }
        };
        if news.send(News { subject: subject.clone(), told }).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Growing pauses between failures.
#[derive(Default)]
struct Pauses {
    last: Option<Duration>,
}

impl Pauses {
    fn reset(&mut self) {
        self.last = None;
    }

    fn next(&mut self) -> Duration {
        let pause = self.last.map_or(PAUSE_FIRST, |last| (last * 2).min(PAUSE_LONGEST));
        self.last = Some(pause);
        pause.mul_f64(rand::rng().random_range(1.0..1.5))
    }
}

struct Follower {
    client: Client,
    news: mpsc::Sender<News>,
    assembly: Assembly,
    polls: BTreeMap<Subject, AbortHandle>,
    tasks: JoinSet<()>,
    /// What fails at the moment, and the text that was logged of it.
    failing: BTreeMap<Subject, String>,
    snapshots: watch::Sender<Option<Arc<ProxySnapshot>>>,
    metrics: Arc<Metrics>,
}

impl Follower {
    fn service(&self) -> Option<String> {
        self.assembly.service().map(str::to_owned)
    }

    fn follow(&mut self, subject: Subject) {
        if !self.polls.contains_key(&subject) {
            let poll = poll(self.client.clone(), subject.clone(), self.news.clone());
            self.polls.insert(subject, self.tasks.spawn(poll));
        }
    }

    fn hear(&mut self, News { subject, told }: News) {
        // A poll that has been stopped may have left a word behind.
        if !self.polls.contains_key(&subject) {
            return;
        }
        match told {
            Ok(update) => {
                self.succeeded(&subject);
                if let Some(update) = update {
                    self.take(update);
                }
            }
            Err(error) => self.failed(subject, &error),
        }
    }

    fn take(&mut self, update: Update) {
        match self.assembly.apply(update) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::error!(%error, "the agent's answer is not used"),
        }
        self.follow_what_is_needed();
        match self.assembly.snapshot() {
            Ok(snapshot) => {
                self.snapshots.send_replace(Some(snapshot));
            }
            Err(missing) => tracing::debug!("{missing}"),
        }
    }

    /// Starts and stops polls as the definition says.
    fn follow_what_is_needed(&mut self) {
        let Some(service) = self.service() else { return };
        let mut needed = vec![Subject::Leaf(service.clone())];
        if self.assembly.has_public() {
            needed.push(Subject::Intentions(service));
        }
        needed.extend(self.assembly.targets().into_iter().map(Subject::Instances));
        self.polls.retain(|subject, poll| {
            let is_basic = matches!(subject, Subject::Roots | Subject::Registration(_));
            let keep = is_basic || needed.contains(subject);
            if !keep {
                poll.abort();
                self.failing.remove(subject);
            }
            keep
        });
        for subject in needed {
            self.follow(subject);
        }
    }

    fn failed(&mut self, subject: Subject, error: &PollError) {
        let text = error.to_string();
        if self.failing.get(&subject) != Some(&text) {
            if !self.failing.is_empty() {
                tracing::debug!(%subject, error = text, "agent does not tell");
            } else if self.snapshots.borrow().is_some() {
                tracing::warn!(%subject, error = text, "agent does not tell, serving from the last it said");
            } else {
                tracing::warn!(%subject, error = text, "agent does not tell, nothing is served yet");
            }
        }
        self.failing.insert(subject, text);
        self.metrics.is_agent_away.set(1);
    }

    fn succeeded(&mut self, subject: &Subject) {
        if self.failing.remove(subject).is_some() && self.failing.is_empty() {
            tracing::info!("agent tells again");
            self.metrics.is_agent_away.set(0);
        }
    }
}
