//! What stands on the membership protocol: intents to join and leave, user events, queries, and keys changed through
//! queries.
//!
//! Each file extends [`Gossip`](crate::Gossip) by what handles its messages; [`Serf`] is their common state.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) mod message;

pub(crate) mod tags;
pub use tags::Tags;

pub(crate) mod clock;

pub(crate) mod intent;

pub(crate) mod event;
pub use event::EVENT_BYTES_MAX;

mod filter;
pub use filter::Filter;

pub(crate) mod query;
pub use query::QUERY_BYTES_MAX;

pub(crate) mod key;

pub(crate) mod leave;

pub(crate) mod state;

use crate::broadcast::BroadcastQueue;
use crate::input::QueryId;
use crate::member::{MemberRecord, Status};
use clock::LamportClock;

/// Shortest bound of a queue: in small pools as large as in one of 2048.
const QUEUE_MIN: usize = 4096;

/// State of the serf layer.
#[derive(Debug, Default)]
pub(crate) struct Serf {
    pub(crate) tags: Tags,
    pub(crate) members: BTreeMap<String, MemberRecord>,
    pub(crate) clock: LamportClock,
    pub(crate) event_clock: LamportClock,
    pub(crate) query_clock: LamportClock,
    /// Events and queries before these were told to an earlier run, or before we joined.
    pub(crate) event_time_min: u64,
    pub(crate) query_time_min: u64,
    /// Intents about nodes that are not known yet.
    pub(crate) early_intents: BTreeMap<String, intent::EarlyIntent>,
    pub(crate) events: event::EventRing,
    pub(crate) queries_seen: query::QueryRing,
    pub(crate) asked: BTreeMap<QueryId, query::Asked>,
    pub(crate) received: BTreeMap<QueryId, query::Received>,
    pub(crate) intents_out: BroadcastQueue,
    pub(crate) queries_out: BroadcastQueue,
    pub(crate) events_out: BroadcastQueue,
}

impl Serf {
    pub(crate) fn count(&self, status: Status) -> usize {
        self.members.values().filter(|record| record.member.status == status).count()
    }

    pub(crate) fn left(&self) -> BTreeSet<String> {
        let left = self.members.iter().filter(|(_, record)| record.member.status == Status::Left);
        left.map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn prune_queues(&mut self) {
        let limit = QUEUE_MIN.max(2 * self.members.len());
        self.intents_out.prune(limit);
        self.queries_out.prune(limit);
        self.events_out.prune(limit);
    }
}
