//! What a server is told at start.

use std::path::PathBuf;
use std::time::Duration;

use replica::Rules;
use replica::duty::Member;

use crate::ca::CaSettings;

/// One server's settings. Build with [`ServerConfig::new`] and change fields.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub datacenter: String,
    /// Where the log and snapshots go, below `raft/`. `None` keeps nothing beyond this process.
    pub data_dir: Option<PathBuf>,
    /// `host:port` of the server RPC, as others reach it; what `/v1/status/leader` shows.
    pub advertise: String,
    /// How this server appears in the catalog (its node, `serfHealth`, the `consul` service).
    /// `None` registers nothing.
    pub member: Option<Member>,
    /// The certificate authority; `None` leaves the mesh disabled.
    pub ca: Option<CaSettings>,
    pub rules: Rules,
    pub tunables: Tunables,
}

impl ServerConfig {
    pub fn new(datacenter: impl Into<String>) -> Self {
        Self {
            datacenter: datacenter.into(),
            data_dir: None,
            advertise: "127.0.0.1:8300".into(),
            member: None,
            ca: Some(CaSettings::default()),
            rules: Rules::default(),
            tunables: Tunables::default(),
        }
    }
}

/// Limits and intervals with sound defaults.
#[derive(Clone, Debug)]
pub struct Tunables {
    /// Wait of a blocking query that names none, and the longest accepted.
    /// Settings: `default_query_time`, `max_query_time`.
    pub query_wait_default: Duration,
    pub query_wait_max: Duration,
    /// How long a request waits for a leader before it fails. Setting: `rpc_hold_timeout`.
    pub leader_hold: Duration,
    /// Longest a command may take before its fate is called unknown.
    pub command_timeout: Duration,
    /// Blocking queries waiting at once.
    pub waiters_max: usize,
    /// Commands queued before the consensus thread took them.
    pub queue_max: usize,
    /// Answers kept for reuse, and the sum of their rows.
    pub cached_replies_max: usize,
    pub cached_rows_max: usize,
    /// Ask for the real-time class for the log thread of a server with a data directory; granted
    /// only where the process may have it. It cuts the latency of single writes where the cores are
    /// busy with others, and starves the threads that serve where they are busy with us: on two
    /// cores under 64 writers the slowest hundredth waited 100 ms. So it is off unless asked for.
    pub realtime_log: bool,
    /// Settings: `raft_snapshot_threshold`, `raft_trailing_logs`. Unit: entries.
    pub snapshot_threshold: u64,
    pub trailing_entries: u64,
}

impl Default for Tunables {
    fn default() -> Self {
        Self {
            query_wait_default: Duration::from_secs(300),
            query_wait_max: Duration::from_secs(600),
            leader_hold: Duration::from_secs(7),
            command_timeout: Duration::from_secs(30),
            waiters_max: 256 * 1024,
            queue_max: 64 * 1024,
            cached_replies_max: 4096,
            cached_rows_max: 500_000,
            realtime_log: false,
            snapshot_threshold: 16_384,
            trailing_entries: 10_240,
        }
    }
}
