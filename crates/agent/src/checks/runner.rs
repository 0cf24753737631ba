//! The loops of all checks: one task each, started and stopped by check id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use model::check::CheckStatus;
use model::query::Token;
use parking_lot::Mutex;
use rand::Rng as _;
use rpc::Cluster;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Probe;
use super::alias::Alias;
use super::streak::Streak;
use crate::definition::Work;
use crate::local::{Local, UpdateRules};

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) check_id: String,
    pub(crate) work: Work,
    pub(crate) output_bytes_max: usize,
    pub(crate) success_before_passing: u32,
    pub(crate) failures_before_critical: u32,
    pub(crate) update_interval: Duration,
    pub(crate) discard_output: bool,
}

impl Job {
    /// Output alone waits for between half and one and a half update intervals, so that a fleet's
    /// updates do not come together.
    fn rules(&self) -> UpdateRules {
        let spread = rand::rng().random_range(0.5..1.5);
        let defer_for =
            (!self.update_interval.is_zero()).then(|| self.update_interval.mul_f64(spread));
        UpdateRules { defer_for, discard_output: self.discard_output }
    }
}

/// What became of telling a check.
pub(crate) struct Told {
    pub(crate) ttl: Duration,
    /// As kept: cut to the limit.
    pub(crate) output: String,
}

struct Running {
    stop: CancellationToken,
    ttl: Option<Ttl>,
}

#[derive(Clone)]
struct Ttl {
    ttl: Duration,
    expires_at: Arc<watch::Sender<Instant>>,
    job: Arc<Job>,
}

/// All running checks.
pub(crate) struct Runners {
    local: Arc<Local>,
    cluster: Arc<dyn Cluster>,
    token: Token,
    running: Mutex<HashMap<String, Running, RandomState>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Runners {
    pub(crate) fn new(
        local: Arc<Local>,
        cluster: Arc<dyn Cluster>,
        token: Token,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self { local, cluster, token, running: Mutex::default(), stop, tasks }
    }

    /// Runs `job`, in place of what ran under its check id.
    pub(crate) fn start(&self, job: Job) {
        let stop = self.stop.child_token();
        let job = Arc::new(job);
        let mut ttl = None;
        let (local, own_stop) = (Arc::clone(&self.local), stop.clone());
        match &job.work {
            Work::Ttl(span) => {
                let expires_at = Arc::new(watch::channel(Instant::now() + *span).0);
                let receiver = expires_at.subscribe();
                ttl = Some(Ttl { ttl: *span, expires_at, job: Arc::clone(&job) });
                self.tasks.spawn(expire(Arc::clone(&job), local, receiver, own_stop));
            }
            Work::Probe { probe, interval, timeout } => {
                let (probe, every) =
                    (probe.clone(), Every { interval: *interval, timeout: *timeout });
                self.tasks.spawn(repeat(Arc::clone(&job), probe, every, local, own_stop));
            }
            Work::Alias { node, service } => {
                let alias = Alias {
                    check_id: job.check_id.clone(),
                    node: node.clone(),
                    service: service.clone(),
                    rules: job.rules(),
                };
                if node.is_empty() {
                    self.tasks.spawn(alias.follow_local(local, own_stop));
                } else {
                    let (cluster, token) = (Arc::clone(&self.cluster), self.token.clone());
                    self.tasks.spawn(alias.follow_remote(local, cluster, token, own_stop));
                }
            }
        }
        let old = self.running.lock().insert(job.check_id.clone(), Running { stop, ttl });
        if let Some(old) = old {
            old.stop.cancel();
        }
    }

    pub(crate) fn stop(&self, check_id: &str) {
        if let Some(old) = self.running.lock().remove(check_id) {
            old.stop.cancel();
        }
    }

    /// Takes what a check with a time to live is told; `None` if there is no such check.
    pub(crate) fn tell(&self, check_id: &str, status: CheckStatus, output: &str) -> Option<Told> {
        let ttl = self.running.lock().get(check_id)?.ttl.clone()?;
        let output = cut_told(output, ttl.job.output_bytes_max);
        ttl.expires_at.send_replace(Instant::now() + ttl.ttl);
        self.local.update_check(check_id, status, &output, ttl.job.rules());
        Some(Told { ttl: ttl.ttl, output })
    }

    /// How many checks wait to be told, and how many do something themselves.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let running = self.running.lock();
        let told = running.values().filter(|running| running.ttl.is_some()).count();
        (told, running.len() - told)
    }
}

/// The beginning of an output that is too long, and how much was left out.
fn cut_told(output: &str, bytes_max: usize) -> String {
    if output.len() <= bytes_max {
        return output.to_owned();
    }
    let mut head = output.to_owned();
    super::output::truncate(&mut head, bytes_max);
    format!("{head} ... (captured {bytes_max} of {} bytes)", output.len())
}

/// Turns a check critical whenever its time to live runs out without word.
async fn expire(
    job: Arc<Job>,
    local: Arc<Local>,
    mut expires_at: watch::Receiver<Instant>,
    stop: CancellationToken,
) {
    loop {
        let at = *expires_at.borrow_and_update();
        let is_waiting = Instant::now() < at;
        tokio::select! {
            () = tokio::time::sleep_until(at), if is_waiting => {
                if *expires_at.borrow() != at {
                    continue;
                }
                let last = local.read().checks.get(&job.check_id).map(|row| row.check.output.clone());
                let output = match last.as_deref() {
                    None | Some("") => "TTL expired".to_owned(),
                    Some(last) => format!("TTL expired (last output before timeout follows): {last}"),
                };
                local.update_check(&job.check_id, CheckStatus::Critical, &output, job.rules());
            }
            changed = expires_at.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

#[derive(Clone, Copy)]
struct Every {
    interval: Duration,
    timeout: Duration,
}

/// Probes again and again, from a random point within the first interval on, so that checks
/// registered together do not run together.
async fn repeat(
    job: Arc<Job>,
    probe: Probe,
    every: Every,
    local: Arc<Local>,
    stop: CancellationToken,
) {
    let mut streak = Streak::new(job.success_before_passing, job.failures_before_critical);
    let mut pause = every.interval.mul_f64(rand::rng().random_range(0.0..1.0));
    loop {
        // A probe that is dropped here takes its connection or process with it.
        let outcome = tokio::select! {
            outcome = async {
                tokio::time::sleep(pause).await;
                probe.attempt(every.timeout, job.output_bytes_max).await
            } => outcome,
            () = stop.cancelled() => return,
        };
        if streak.counts(outcome.status) {
            local.update_check(&job.check_id, outcome.status, &outcome.output, job.rules());
        }
        pause = every.interval;
    }
}

#[cfg(test)]
mod tests;
