//! What a server is told at start.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::operator::AutopilotConfiguration;
use replica::Rules;
use replica::duty::Member;
use rpc::Pools;

use crate::ca::CaSettings;
use crate::link::Dial;

/// How a server without a configuration comes to have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bootstrap {
    /// It founds a cluster of its own at once. Settings: `bootstrap`, `-dev`.
    #[default]
    Alone,
    /// It waits until so many servers with the same setting know one another; then one of them
    /// founds the cluster. Setting: `bootstrap_expect`.
    Expect(u32),
    /// It waits to be taken in.
    Join,
}

/// One server's settings. Build with [`ServerConfig::new`] and change fields.
#[derive(Clone)]
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
    pub bootstrap: Bootstrap,
    /// How other servers are reached; `None` for a server that stays alone.
    pub dial: Option<Arc<dyn Dial>>,
    /// The gossip of this process, once it runs: events and keys go through it.
    pub pools: Arc<OnceLock<Arc<dyn Pools>>>,
    /// Settings of autopilot until an operator changes them.
    pub autopilot: AutopilotConfiguration,
    pub tunables: Tunables,
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("datacenter", &self.datacenter)
            .field("data_dir", &self.data_dir)
            .field("advertise", &self.advertise)
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
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
            bootstrap: Bootstrap::default(),
            dial: None,
            pools: Arc::default(),
            autopilot: AutopilotConfiguration::default(),
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
    /// Stretches all times of consensus, for slow machines and networks. At 1 a leader is missed
    /// after 300 to 600 ms. Setting: `performance.raft_multiplier`; our base is shorter than
    /// Consul's second, so 3 is near what its 1 means.
    pub raft_multiplier: u32,
    /// A leader whose log takes this long to sync, again and again for `slow_sync_span`, hands
    /// over to another.
    pub slow_sync: Duration,
    pub slow_sync_span: Duration,
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
            raft_multiplier: 1,
            slow_sync: Duration::from_millis(200),
            slow_sync_span: Duration::from_secs(5),
        }
    }
}
