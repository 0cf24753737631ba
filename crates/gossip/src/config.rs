//! What a machine is started with.

use std::net::SocketAddr;
use std::time::Duration;

use crate::serf::tags::Tags;
use crate::snapshot::Snapshot;
use crate::wire::keyring::Keyring;

/// Timing and spread of one kind of pool. All members of a pool should share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// One member is probed in each.
    pub probe_interval: Duration,
    /// How long a probed member may take before others are asked to try.
    pub probe_timeout: Duration,
    /// How many others are asked.
    pub indirect_checks: usize,
    pub gossip_interval: Duration,
    /// To how many members news go at each interval.
    pub gossip_fanout: usize,
    /// How long the dead are told so, in case they live.
    pub gossip_to_dead: Duration,
    /// Of full exchanges of state; stretched in pools of more than 32.
    pub push_pull_interval: Duration,
    pub suspicion_multiplier: u32,
    pub suspicion_max_multiplier: u32,
    pub retransmit_multiplier: u32,
    /// For each connect, read and write of a stream.
    pub stream_timeout: Duration,
    /// How long after its death a node's name may be taken over from another address.
    pub dead_reclaim: Duration,
    /// How often forgetting is looked at.
    pub reap_interval: Duration,
    /// How often one failed member may be tried.
    pub reconnect_interval: Duration,
    /// When a failed member is forgotten.
    pub reconnect_timeout: Duration,
    /// When a member that left is forgotten.
    pub tombstone_timeout: Duration,
    /// Longest wait for each of the two messages of a leave to be sent.
    pub broadcast_timeout: Duration,
    /// How long a node that left stays for the news to spread.
    pub leave_propagate: Duration,
}

impl Profile {
    /// Of agents within a datacenter.
    pub fn lan() -> Profile {
        Profile {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            indirect_checks: 3,
            gossip_interval: Duration::from_millis(200),
            gossip_fanout: 3,
            gossip_to_dead: Duration::from_secs(30),
            push_pull_interval: Duration::from_secs(30),
            suspicion_multiplier: 4,
            suspicion_max_multiplier: 6,
            retransmit_multiplier: 4,
            stream_timeout: Duration::from_secs(10),
            dead_reclaim: Duration::from_secs(30),
            reap_interval: Duration::from_secs(15),
            reconnect_interval: Duration::from_secs(30),
            reconnect_timeout: Duration::from_secs(72 * 3600),
            tombstone_timeout: Duration::from_secs(24 * 3600),
            broadcast_timeout: Duration::from_secs(5),
            leave_propagate: Duration::from_secs(3),
        }
    }

    /// Of servers of several datacenters.
    pub fn wan() -> Profile {
        Profile {
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            gossip_interval: Duration::from_millis(500),
            gossip_to_dead: Duration::from_secs(60),
            push_pull_interval: Duration::from_secs(60),
            suspicion_multiplier: 6,
            stream_timeout: Duration::from_secs(30),
            ..Profile::lan()
        }
    }
}

/// Everything a machine is given once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Unique in the pool, at most 512 bytes.
    pub name: String,
    /// Where others reach this node, over UDP and TCP. Its port may not be 0.
    pub address: SocketAddr,
    pub tags: Tags,
    pub profile: Profile,
    /// None for a pool in the clear.
    pub keyring: Option<Keyring>,
    /// Whether what is not encrypted is refused; off only while a pool moves to encryption.
    pub verify_incoming: bool,
    /// Whether what is sent is encrypted; off only while a pool moves to encryption.
    pub verify_outgoing: bool,
    /// Peers read compressed messages whatever they send themselves.
    pub compress: bool,
    /// What was remembered of the last run.
    pub snapshot: Snapshot,
    /// Of the generator.
    pub seed: u64,
}

impl Config {
    /// A node of a LAN pool in the clear.
    pub fn new(name: impl Into<String>, address: SocketAddr, seed: u64) -> Config {
        Config {
            name: name.into(),
            address,
            tags: Tags::new(),
            profile: Profile::lan(),
            keyring: None,
            verify_incoming: true,
            verify_outgoing: true,
            compress: true,
            snapshot: Snapshot::default(),
            seed,
        }
    }
}
