//! The agent put together: its parts, its start, its reload and its end.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::ca::IssuedCert;
use model::query::{Query, QueryOptions, Token};
use rpc::{Answer, Body, Cluster};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::central::Central;
use crate::checks::runner::Runners;
use crate::error::Error;
use crate::intentions::{Authorization, DefaultPolicy, Intentions};
use crate::leaf::Leaves;
use crate::local::Local;
use crate::maintenance::MAINTENANCE;
use crate::metrics::{self, Metrics};
use crate::persist::{Kept, Persist};
use crate::pool::{Events, Membership};
use crate::remembered::Remembered;
use crate::roots::RootsView;
use crate::settings::AgentSettings;
use crate::sync::SyncTask;
use crate::views::{Cached, Views, WaitOptions};

mod load;

/// What an agent's tasks live by.
#[derive(Clone, Debug)]
pub struct Life {
    /// Ends all tasks.
    pub stop: CancellationToken,
    /// Where tasks are spawned, for the owner to wait on after `stop`.
    pub tasks: TaskTracker,
}

/// One running agent.
pub struct Agent {
    settings: ArcSwap<AgentSettings>,
    cluster: Arc<dyn Cluster>,
    membership: Arc<dyn Membership>,
    /// Of those the pool heard, the ones meant for this agent.
    events: watch::Sender<Events>,
    local: Arc<Local>,
    runners: Runners,
    persist: Persist,
    /// Registrations take turns, so that disk, local state and running checks change together.
    registering: Mutex<()>,
    views: Arc<Views>,
    roots: RootsView,
    leaves: Arc<Leaves>,
    intentions: Arc<Intentions>,
    central: ArcSwap<Option<Central>>,
    metrics: Arc<Metrics>,
    life: Life,
    /// Fired when the agent is told to leave; the process is to end then.
    leaving: CancellationToken,
    started_at: Instant,
}

impl Agent {
    /// Reads back what was registered, registers what the settings define, and starts to work.
    ///
    /// Errors: an unusable data directory, or a definition in the settings that is not valid.
    pub async fn start(
        settings: AgentSettings,
        cluster: Arc<dyn Cluster>,
        membership: Arc<dyn Membership>,
        life: Life,
    ) -> Result<Arc<Self>, Error> {
        let Life { stop, tasks } = life.clone();
        let local = Arc::new(Local::default());
        let metrics = Arc::new(new_metrics(&settings));
        let views = Views::new(Arc::clone(&cluster), stop.clone(), tasks.clone());
        let roots = RootsView::new(&views, settings.agent_token.clone())?;
        let leaves = Leaves::start(
            Arc::clone(&cluster),
            roots.clone(),
            settings.node.datacenter.clone(),
            settings.leaf_root_change_spread,
            stop.clone(),
            tasks.clone(),
        );
        let intentions = Intentions::new(
            Arc::clone(&cluster),
            settings.agent_token.clone(),
            default_policy(&settings),
            stop.clone(),
            tasks.clone(),
        );
        let runners = Runners::new(
            Arc::clone(&local),
            Arc::clone(&cluster),
            settings.agent_token.clone(),
            stop.clone(),
            tasks.clone(),
        );
        let agent = Arc::new(Self {
            persist: Persist::new(settings.data_dir.as_deref()),
            settings: ArcSwap::from_pointee(settings),
            cluster,
            membership,
            events: watch::Sender::new(Arc::new([])),
            local,
            runners,
            registering: Mutex::default(),
            views,
            roots,
            leaves,
            intentions,
            central: ArcSwap::from_pointee(None),
            metrics,
            leaving: life.stop.child_token(),
            life,
            started_at: Instant::now(),
        });
        // All before the catalog is compared, else it would lose what is only not loaded yet.
        let kept = agent.persist.load().await?;
        let settings = agent.settings();
        {
            let _turn = agent.registering.lock().await;
            let Kept { services, checks, states } = kept;
            agent.restore_services(services);
            agent.register_files(&settings).await?;
            let told = agent.restore_checks(checks, &states);
            agent.local.change(|state| {
                state.begin_provisional(|row| {
                    row.check.kind != MAINTENANCE && !told.contains(&row.check.check_id)
                });
            });
        }
        agent.spawn_tasks();
        Ok(agent)
    }

    fn spawn_tasks(self: &Arc<Self>) {
        let settings = self.settings();
        let sync = SyncTask {
            cluster: Arc::clone(&self.cluster),
            local: Arc::clone(&self.local),
            metrics: Arc::clone(&self.metrics),
            node: settings.node.clone(),
            is_server: settings.is_server,
            settings: settings.sync.clone(),
            leader_changes: self.membership.leader_changes(),
            agent_token: settings.agent_token.clone(),
            user_token: settings.user_token.clone(),
        };
        let tasks = &self.life.tasks;
        // Who leaves says no more: the servers would take the node in once more, after they let it go.
        tasks.spawn(sync.run(self.leaving.clone()));
        tasks.spawn(Arc::clone(self).reap_critical_services());
        tasks.spawn(Arc::clone(self).turn_metrics());
        tasks.spawn(Arc::clone(self).keep_events());
        tasks.spawn(Arc::clone(self).report_coordinates());
        if settings.central_service_config {
            tasks.spawn(Arc::clone(self).keep_central());
        }
    }

    /// Removes services one of whose checks has been critical for longer than it allows.
    async fn reap_critical_services(self: Arc<Self>) {
        let every = self.settings().checks.reap_interval;
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.life.stop.cancelled() => return,
            }
            let due = self.local.read().services_to_reap(Instant::now());
            for (service, check) in due {
                tracing::info!(%service, %check, "removing service critical for too long");
                if let Err(error) = self.deregister_service(&service).await {
                    tracing::warn!(%service, %error, "service was not removed");
                }
            }
        }
    }

    async fn turn_metrics(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(metrics::INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        // The first tick is at once.
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.record_gauges();
                    self.metrics.turn(std::time::SystemTime::now().into());
                }
                () = self.life.stop.cancelled() => return,
            }
        }
    }

    /// Begins the end: the process is to drain and exit. Registrations stay in the catalog, which on
    /// a lone server goes with it.
    pub fn leave(&self) {
        tracing::info!("leaving");
        self.leaving.cancel();
    }

    /// Fires when the agent was told to leave, or to stop.
    pub fn leaving(&self) -> CancellationToken {
        self.leaving.clone()
    }

    // The mesh.

    /// Whether the holder of `client_uri` may connect to `target`. Rules are learnt on the first
    /// question and known from then on.
    ///
    /// Errors: `Invalid` for a bad target or URI; those of the servers while no rules are known,
    /// which callers must take as a refusal. The serial number takes no part in 1.8.7.
    pub async fn authorize(
        &self,
        target: &str,
        client_uri: &str,
        _client_serial: &str,
    ) -> Result<Authorization, Error> {
        self.intentions.authorize(target, client_uri).await
    }

    /// As [`Agent::authorize`] when the rules are in memory; never waits.
    pub fn authorize_now(
        &self,
        target: &str,
        client_uri: &str,
    ) -> Option<Result<Authorization, Error>> {
        self.intentions.authorize_now(target, client_uri)
    }

    /// Whether the service `source` may connect, when the rules of `target` are in memory.
    pub fn is_allowed_now(&self, target: &str, source: &str) -> Option<bool> {
        self.intentions.is_allowed_now(target, source)
    }

    /// The trusted roots. Shape: the reply is `Reply::CaRoots`.
    pub async fn roots(&self, wait: &WaitOptions) -> Result<Cached<Arc<Body>>, Error> {
        self.roots.ask(wait).await
    }

    /// Certificate and key of `service`, signed on first use and renewed in time.
    pub async fn leaf(
        &self,
        service: &str,
        wait: &WaitOptions,
        token: Token,
    ) -> Result<Cached<Arc<IssuedCert>>, Error> {
        self.leaves.get(service, wait, token).await
    }

    /// Any answer of the servers, kept up to date here once asked for.
    pub async fn view(&self, query: Query, options: QueryOptions) -> Result<Cached<Answer>, Error> {
        self.views.get(query, options).await
    }

    // Parts.

    pub fn cluster(&self) -> &Arc<dyn Cluster> {
        &self.cluster
    }

    /// The gossip pools this agent takes part in.
    pub fn membership(&self) -> &Arc<dyn Membership> {
        &self.membership
    }

    /// The servers for readers that take an answer of any age: what they asked once is kept here.
    pub fn remembered(&self) -> Arc<dyn Cluster> {
        Remembered::new(Arc::clone(&self.cluster), Arc::clone(&self.views))
    }

    pub fn settings(&self) -> Arc<AgentSettings> {
        self.settings.load_full()
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn own_events(&self) -> &watch::Sender<Events> {
        &self.events
    }

    pub(crate) fn local(&self) -> &Arc<Local> {
        &self.local
    }

    pub(crate) fn runners(&self) -> &Runners {
        &self.runners
    }

    pub(crate) fn persist(&self) -> &Persist {
        &self.persist
    }

    pub(crate) fn registering(&self) -> &Mutex<()> {
        &self.registering
    }

    pub(crate) fn central(&self) -> &ArcSwap<Option<Central>> {
        &self.central
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.life.stop
    }

    pub(crate) fn started_at(&self) -> Instant {
        self.started_at
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("node", &self.settings.load().node.name)
            .finish_non_exhaustive()
    }
}

fn default_policy(settings: &AgentSettings) -> DefaultPolicy {
    DefaultPolicy { allow: settings.default_allow, acls_enabled: settings.acls_enabled }
}

fn new_metrics(settings: &AgentSettings) -> Metrics {
    let has_prometheus = !settings.metrics.prometheus_retention.is_zero();
    // As in Consul, the machine's name is only of use to those who collect from many.
    let hostname = (has_prometheus && !settings.metrics.disable_hostname)
        .then(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    Metrics::new(&settings.metrics.prefix, hostname, has_prometheus)
}

#[cfg(test)]
mod tests;
