//! What has happened, in numbers, for whoever publishes metrics.

/// All but the gauges at the end only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub packets_in: u64,
    pub packets_out: u64,
    pub packet_bytes_in: u64,
    pub packet_bytes_out: u64,
    pub stream_bytes_in: u64,
    pub stream_bytes_out: u64,
    /// Packets that no key opens, or not understood as a whole.
    pub packets_refused: u64,
    /// Messages within packets that were not understood.
    pub messages_refused: u64,
    pub streams_refused: u64,
    /// Alive messages the caller's rules kept out.
    pub members_refused: u64,
    /// Alive messages of a name that lives elsewhere.
    pub name_conflicts: u64,
    pub probes: u64,
    pub probes_failed: u64,
    /// Probes answered over TCP alone.
    pub probes_by_stream: u64,
    pub suspicions: u64,
    pub suspicions_confirmed: u64,
    pub deaths: u64,
    pub refutations: u64,
    pub push_pulls: u64,
    pub user_events: u64,
    pub queries: u64,
    /// Times our coordinate started over.
    pub coordinate_resets: u64,
    /// Messages waiting to be gossiped, now.
    pub queue_members: u64,
    pub queue_intents: u64,
    pub queue_queries: u64,
    pub queue_events: u64,
    /// Streams open, now.
    pub streams: u64,
}
