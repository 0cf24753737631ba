//! Answers kept while nothing they depend on has changed, so that a wide answer is built and
//! encoded once for all who ask for it.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::query::{Query, Reply};
use model::topic::Topic;
use parking_lot::RwLock;
use rpc::Body;
use state::State;

/// An answer with what it depends on.
#[derive(Debug)]
pub(crate) struct Answered {
    query: Query,
    filter: String,
    pub(crate) topics: Vec<Topic>,
    /// What the asker may wait on.
    pub(crate) index: u64,
    pub(crate) body: Arc<Body>,
    /// Index of the newest state known to give this very answer.
    good_at: AtomicU64,
}

impl Answered {
    pub(crate) fn new(
        query: Query,
        filter: String,
        topics: Vec<Topic>,
        index: u64,
        reply: Reply,
        state_index: u64,
    ) -> Self {
        let good_at = AtomicU64::new(state_index);
        Self { query, filter, topics, index, body: Body::new(reply), good_at }
    }

    /// Whether this is still the answer in `state`. Remembers that it is.
    pub(crate) fn is_good_in(&self, state: &State) -> bool {
        let (good_at, index) = (self.good_at.load(Ordering::Relaxed), state.index());
        if index <= good_at {
            return true;
        }
        let is_good = state.is_unchanged_since(&self.topics, good_at);
        if is_good {
            self.good_at.fetch_max(index, Ordering::Relaxed);
        }
        is_good
    }
}

/// Whether answers to `query` are wide enough to be worth keeping.
pub(crate) fn is_cacheable(query: &Query) -> bool {
    !matches!(
        query,
        Query::KvGet { .. }
            | Query::Session { .. }
            | Query::Intention { .. }
            | Query::IntentionExact { .. }
            | Query::ConfigEntry { .. }
            | Query::CaConfiguration
            | Query::NodeCoordinates { .. }
            | Query::AutopilotConfiguration
    )
}

/// Bounded by number and by rows; the oldest go first.
#[derive(Debug)]
pub(crate) struct ReplyCache {
    hasher: foldhash::fast::RandomState,
    kept: RwLock<Kept>,
    count_max: usize,
    rows_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    /// By hash of query and filter; a collision replaces.
    answers: HashMap<u64, Arc<Answered>, foldhash::fast::RandomState>,
    /// Hashes in the order they came in.
    order: VecDeque<u64>,
    rows: usize,
}

impl ReplyCache {
    pub(crate) fn new(count_max: usize, rows_max: usize) -> Self {
        let hasher = foldhash::fast::RandomState::default();
        Self { hasher, kept: RwLock::default(), count_max, rows_max }
    }

    pub(crate) fn get(&self, query: &Query, filter: &str, state: &State) -> Option<Arc<Answered>> {
        let hash = self.hash(query, filter);
        let found = self.kept.read().answers.get(&hash).cloned()?;
        (found.query == *query && found.filter == filter && found.is_good_in(state))
            .then_some(found)
    }

    /// Keeps `answered`, unless another thread kept one as new before: then that is shared.
    pub(crate) fn keep(&self, answered: Answered, state: &State) -> Arc<Answered> {
        let hash = self.hash(&answered.query, &answered.filter);
        let rows = rows(&answered.body.reply);
        let answered = Arc::new(answered);
        if rows > self.rows_max {
            return answered;
        }
        let mut kept = self.kept.write();
        if let Some(found) = kept.answers.get(&hash)
            && found.query == answered.query
            && found.filter == answered.filter
            && found.is_good_in(state)
        {
            return found.clone();
        }
        match kept.answers.insert(hash, answered.clone()) {
            Some(replaced) => kept.rows -= self::rows(&replaced.body.reply),
            None => kept.order.push_back(hash),
        }
        kept.rows += rows;
        while kept.answers.len() > self.count_max || kept.rows > self.rows_max {
            let Some(oldest) = kept.order.pop_front() else { break };
            if let Some(dropped) = kept.answers.remove(&oldest) {
                kept.rows -= self::rows(&dropped.body.reply);
            }
        }
        answered
    }

    fn hash(&self, query: &Query, filter: &str) -> u64 {
        self.hasher.hash_one((query, filter))
    }
}

/// Size of an answer for the bound, at least one.
fn rows(reply: &Reply) -> usize {
    let rows = match reply {
        Reply::Nodes(rows) => rows.len(),
        Reply::Services(rows) => rows.len(),
        Reply::ServiceNodes(rows) => rows.len(),
        Reply::NodeServices(found) => found.as_ref().map_or(0, |found| found.services.len()),
        Reply::NodeServiceList(found) => found.as_ref().map_or(0, |found| found.services.len()),
        Reply::GatewayServices(rows) => rows.len(),
        Reply::Checks(rows) => rows.len(),
        Reply::Health(rows) => rows.len(),
        Reply::KvEntries(rows) => rows.len(),
        Reply::KvKeys(rows) => rows.len(),
        Reply::Sessions(rows) => rows.len(),
        Reply::Intentions(rows) => rows.len(),
        Reply::IntentionMatches(lists) => lists.iter().map(Vec::len).sum(),
        Reply::CaRoots(roots) => roots.roots.len(),
        Reply::CaConfiguration(_) | Reply::ConfigEntry(_) | Reply::AutopilotConfiguration(_) => 1,
        Reply::Coordinates(rows) => rows.len(),
        Reply::ConfigEntries(rows) => rows.len(),
    };
    rows.max(1)
}
