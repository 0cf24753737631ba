//! Counters of what an operator would alert on. Plain atomics; how they are shown is for others.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Live counters.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics { $($(#[$doc])* pub(crate) $name: AtomicU64,)* }

        /// The counters at one moment. All count from the start of the process.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct MetricsSnapshot { $($(#[$doc])* pub $name: u64,)* }

        impl Metrics {
            pub(crate) fn snapshot(&self) -> MetricsSnapshot {
                MetricsSnapshot { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

metrics! {
    /// Commands that took effect or were answered without one.
    commands_ok,
    /// Commands refused, by rules or by the state they met.
    commands_refused,
    /// Commands not taken because the queue was full or there was no leader.
    commands_dropped,
    /// Commands queued for the consensus thread right now.
    queue_depth,
    /// Entries written to the log.
    log_entries,
    /// Syncs of the log: `log_entries / log_syncs` is the size of a group.
    log_syncs,
    /// Sum and maximum of the time a log write with its sync took. Unit: nanoseconds.
    log_sync_nanos,
    log_sync_nanos_max,
    /// Bytes the log holds on disk.
    log_disk_bytes,
    /// 1 when the system runs the log thread in its real-time class.
    log_realtime,
    snapshots_saved,
    snapshots_failed,
    /// How long the last snapshot took. Unit: nanoseconds.
    snapshot_nanos,
    /// Snapshots sent to servers that lagged, and received from a leader.
    snapshots_sent,
    snapshots_received,
    /// Times the disk was found to be an older copy, and 1 while it has not caught up.
    rollbacks,
    rolled_back,
    /// Requests passed on to the leader.
    requests_forwarded,
    /// Times this server handed leadership over because its disk was slow.
    slow_disk_hand_overs,
    /// Times this server gained or lost leadership.
    leader_changes,
    queries,
    /// Queries that had to wait, and those waiting right now.
    queries_waited,
    waiters,
    /// Queries turned away because too many were waiting.
    waiters_refused,
    /// Watched topics fired by changes.
    wakes,
    reply_cache_hits,
    reply_cache_misses,
    /// Leaves signed, and requests turned away by the rate limit.
    leaves_signed,
    leaves_limited,
    /// Leaf requests refused as invalid.
    leaves_refused,
    ca_rotations,
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}

pub(crate) fn record(sum: &AtomicU64, max: &AtomicU64, span: Duration) {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    sum.fetch_add(nanos, Relaxed);
    max.fetch_max(nanos, Relaxed);
}
