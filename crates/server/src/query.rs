//! The one query path: choose consistency, read the published state, wait on what was read,
//! read again, filter, answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::error::{Error, ErrorKind};
use model::query::{Consistency, Query, QueryMeta, QueryOptions};
use replica::visibility;
use rpc::Answer;
use state::State;
use tokio::time::Instant;

use crate::metrics::add;
use crate::reply_cache::{Answered, is_cacheable};
use crate::shared::Shared;

/// Up to this fraction of a wait is added, so that waits begun together do not end together.
const JITTER_FRACTION: u32 = 16;

impl Shared {
    /// Answers without waiting, if the consistency asked for allows it and the answer is newer
    /// than the index the asker has.
    pub(crate) fn query_now(
        &self,
        query: &Query,
        options: &QueryOptions,
    ) -> Option<Result<Answer, Error>> {
        if !self.may_answer(options.consistency) || self.is_too_stale(options) {
            return None;
        }
        let answered = match self.read(query, &options.filter) {
            Ok(answered) => answered,
            Err(e) => return Some(Err(e)),
        };
        if options.min_index > 0 && answered.index <= options.min_index {
            return None;
        }
        add(&self.metrics.queries, 1);
        Some(Ok(self.answer(&answered, options)))
    }

    pub(crate) async fn query(
        self: &Arc<Self>,
        query: Query,
        mut options: QueryOptions,
    ) -> Result<Answer, Error> {
        add(&self.metrics.queries, 1);
        if self.is_too_stale(&options) {
            options.consistency = Consistency::Default;
        }
        self.confirm(options.consistency).await?;
        let restored_at = self.state.load().restored_at();
        let mut answered = self.read(&query, &options.filter)?;
        if options.min_index == 0 || answered.index > options.min_index {
            return Ok(self.answer(&answered, &options));
        }
        let _waiter = Waiter::enter(self)?;
        let deadline = Instant::now() + self.wait(options.max_wait);
        loop {
            let mut listening = self.registry.listen(&answered.topics);
            // Registered first, looked again second: a change in between is seen here.
            if answered.is_good_in(&self.state.load()) {
                // Dropping this future ends the registration and nothing else.
                let is_late = tokio::select! {
                    biased;
                    () = listening.woken() => false,
                    () = tokio::time::sleep_until(deadline) => true,
                };
                if self.is_closed() {
                    return Err(self.closed_error());
                }
                if is_late {
                    drop(listening);
                    self.confirm(options.consistency).await?;
                    let answered = self.read(&query, &options.filter)?;
                    return Ok(self.answer(&answered, &options));
                }
            }
            drop(listening);
            // An index given out by another cluster may be above all that comes after a restore.
            let is_replaced = self.state.load().restored_at() != restored_at;
            answered = self.read(&query, &options.filter)?;
            if answered.index > options.min_index || is_replaced {
                self.confirm(options.consistency).await?;
                return Ok(self.answer(&answered, &options));
            }
        }
    }

    /// Whether a read of the published state is as fresh as asked for right now. A server alone
    /// has nobody to ask: everything it acknowledged is published before. A leader of several
    /// answers by its lease.
    pub(crate) fn may_answer(&self, consistency: Consistency) -> bool {
        let leadership = self.leadership.load();
        let is_alone = leadership.is_ready && leadership.is_alone;
        let is_fresh = match consistency {
            Consistency::Stale => true,
            Consistency::Default => {
                is_alone || (leadership.is_ready && self.has_lease() && !self.is_behind())
            }
            Consistency::Consistent => is_alone,
        };
        is_fresh && !self.is_closed()
    }

    /// Whether the asker would rather wait than see what this server has.
    fn is_too_stale(&self, options: &QueryOptions) -> bool {
        options.consistency == Consistency::Stale
            && options.max_stale.is_some_and(|most| self.last_contact() > most)
    }

    fn read(&self, query: &Query, filter: &str) -> Result<Arc<Answered>, Error> {
        let state = self.state.load();
        if !is_cacheable(query) {
            return self.evaluate(&state, query, filter).map(Arc::new);
        }
        if let Some(found) = self.replies.get(query, filter, &state) {
            add(&self.metrics.reply_cache_hits, 1);
            return Ok(found);
        }
        add(&self.metrics.reply_cache_misses, 1);
        let answered = self.evaluate(&state, query, filter)?;
        Ok(self.replies.keep(answered, &state))
    }

    fn evaluate(&self, state: &State, query: &Query, filter: &str) -> Result<Answered, Error> {
        let state::Read { index, topics, reply } = state.read(query);
        let reply = visibility::filter_reply(reply, filter)?;
        let (query, filter) = (query.clone(), filter.to_owned());
        Ok(Answered::new(query, filter, topics, index, reply, state.index()))
    }

    fn answer(&self, answered: &Answered, options: &QueryOptions) -> Answer {
        let leadership = self.leadership.load();
        let meta = QueryMeta {
            index: answered.index,
            last_contact: self.last_contact(),
            known_leader: leadership.leader.is_some(),
            consistency: options.consistency,
        };
        Answer { meta, body: answered.body.clone() }
    }

    /// The wait asked for, within bounds, with jitter.
    fn wait(&self, asked: Option<Duration>) -> Duration {
        let tunables = &self.config.tunables;
        let wait = match asked {
            None | Some(Duration::ZERO) => tunables.query_wait_default,
            Some(asked) => asked.min(tunables.query_wait_max),
        };
        wait + (wait / JITTER_FRACTION).mul_f64(rand::random::<f64>())
    }
}

/// Counts a waiting query as long as it lives.
struct Waiter<'a>(&'a Shared);

impl<'a> Waiter<'a> {
    fn enter(shared: &'a Shared) -> Result<Self, Error> {
        let limit = shared.config.tunables.waiters_max;
        if shared.waiters.fetch_add(1, Ordering::Relaxed) >= limit {
            shared.waiters.fetch_sub(1, Ordering::Relaxed);
            add(&shared.metrics.waiters_refused, 1);
            return Err(Error {
                kind: ErrorKind::Unavailable,
                message: format!(
                    "{limit} blocking queries are waiting, the most this server holds"
                ),
                retry_after: Some(Duration::from_secs(1)),
            });
        }
        add(&shared.metrics.queries_waited, 1);
        add(&shared.metrics.waiters, 1);
        Ok(Self(shared))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}
