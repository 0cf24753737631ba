//! Counters of a proxy: plain numbers that anybody may read at any time.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters and gauges since the proxy started. All are totals except the `_open` and `is_` ones.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        /// The numbers at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct MetricsSnapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Metrics {
            pub fn snapshot(&self) -> MetricsSnapshot {
                MetricsSnapshot { $($name: self.$name.value(),)* }
            }
        }

        impl MetricsSnapshot {
            /// Every number under its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

metrics! {
    /// Connections taken from the mesh.
    inbound_accepted,
    /// Connections admitted to the application.
    inbound_allowed,
    /// Connections refused by an intention or the default policy.
    inbound_denied,
    /// Connections whose peer did not prove who it is, or not in time.
    inbound_handshake_failed,
    /// Admitted connections whose application could not be reached.
    inbound_app_unreachable,
    /// Connections from the mesh that are open now.
    inbound_open,
    /// Connections taken from the application.
    outbound_accepted,
    /// Connections for which an instance was reached.
    outbound_connected,
    /// Connections for which none was.
    outbound_failed,
    /// Attempts at an instance that failed, most of them followed by another.
    outbound_attempts_failed,
    /// Connections from the application that are open now.
    outbound_open,
    /// Handshakes that resumed an earlier session.
    handshakes_resumed,
    /// Handshakes made in full.
    handshakes_full,
    /// Handshakes ended because too many were under way.
    handshakes_evicted,
    /// Connections refused because their listener held as many as it may.
    refused_limit,
    /// Open connections cut because the intentions changed.
    cut_denied,
    /// Open connections cut at the end of a drain.
    cut_drained,
    /// Connections that ended by a reset, a failure or a violation of the protocol.
    ended_abruptly,
    /// Bytes of applications sent to peers. Unit: bytes, before encryption.
    bytes_to_peer,
    /// Bytes of applications received from peers. Unit: bytes, after decryption.
    bytes_to_app,
    /// Snapshots put in force.
    snapshots_applied,
    /// 1 while the agent cannot be reached and the last known snapshot is served.
    is_agent_away,
}

impl Metrics {
    pub(crate) fn count_handshake(&self, is_resumed: bool) {
        if is_resumed {
            self.handshakes_resumed.increment()
        } else {
            self.handshakes_full.increment()
        }
    }
}

/// One number. Relaxed: readers want totals, not an order of events.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// Counts one until the guard is dropped.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.increment();
        Held(self)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One in a gauge.
pub(crate) struct Held<'a>(&'a Counter);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bytes of one connection, counted for it and for the whole proxy.
pub(crate) struct Traffic {
    metrics: Arc<Metrics>,
    to_peer: Cell<u64>,
    to_app: Cell<u64>,
}

impl Traffic {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, to_peer: Cell::new(0), to_app: Cell::new(0) }
    }

    pub(crate) fn add_to_peer(&self, bytes: usize) {
        self.to_peer.set(self.to_peer.get() + bytes as u64);
        self.metrics.bytes_to_peer.add(bytes as u64);
    }

    pub(crate) fn add_to_app(&self, bytes: usize) {
        self.to_app.set(self.to_app.get() + bytes as u64);
        self.metrics.bytes_to_app.add(bytes as u64);
    }

    pub(crate) fn to_peer(&self) -> u64 {
        self.to_peer.get()
    }

    pub(crate) fn to_app(&self) -> u64 {
        self.to_app.get()
    }
}
