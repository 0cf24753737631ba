//! How patient servers are, and how they look after each other.

use model::time::GoDuration;

settings! {
    /// Timing.
    pub struct Performance {
        /// How long a server that leaves goes on answering.
        leave_drain_time: GoDuration = GoDuration::from_secs(5);
        /// Scales the consensus timers, 1 (fast) to 10 (patient). Without it ours are fast, while
        /// those shown are Consul's, which takes 5.
        raft_multiplier: Option<i64> = None, check(raft_multiplier);
        /// How long a request waits for a leader.
        rpc_hold_timeout: GoDuration = GoDuration::from_secs(7);
        /// Newer than 1.8, like the rest.
        grpc_keepalive_interval: GoDuration = GoDuration::from_secs(30);
        grpc_keepalive_timeout: GoDuration = GoDuration::from_secs(20);
        enable_xds_load_balancing: bool = true;
    }
}

settings! {
    /// Care for a set of servers.
    pub struct Autopilot {
        cleanup_dead_servers: bool = true;
        last_contact_threshold: GoDuration = GoDuration::from_millis(200);
        max_trailing_logs: u64 = 250;
        min_quorum: u64 = 0;
        server_stabilization_time: GoDuration = GoDuration::from_secs(10);
        redundancy_zone_tag: String = String::new();
        disable_upgrade_migration: bool = false;
        upgrade_version_tag: String = String::new();
    }
}

fn raft_multiplier(factor: &Option<i64>) -> Result<(), String> {
    let Some(factor) = factor else { return Ok(()) };
    if (1..=10).contains(factor) {
        return Ok(());
    }
    Err(format!("cannot be {factor}; must be between 1 and 10"))
}
