//! What operators see and change of the servers: their consensus, and autopilot, which looks after
//! its membership.

use serde::{Deserialize, Serialize};

use crate::duration::{self, GoDuration};
use crate::time::Timestamp;
use crate::wire::null_as_default;

/// One server of the consensus, as `/v1/operator/raft/configuration` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftServer {
    #[serde(rename = "ID")]
    pub id: String,
    /// Name, or `(unknown)` when gossip does not know it.
    pub node: String,
    /// `host:port` of the server port.
    pub address: String,
    pub leader: bool,
    pub protocol_version: String,
    pub voter: bool,
}

/// Answer of `/v1/operator/raft/configuration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftConfiguration {
    #[serde(deserialize_with = "null_as_default")]
    pub servers: Vec<RaftServer>,
    /// Log index of the configuration.
    pub index: u64,
}

/// Settings of autopilot, replicated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AutopilotConfiguration {
    pub cleanup_dead_servers: bool,
    #[serde(with = "duration::text")]
    pub last_contact_threshold: GoDuration,
    /// How far a server's log may lag behind the leader's and still be healthy. Unit: entries.
    pub max_trailing_logs: u64,
    /// Dead servers are not removed below this many voters.
    pub min_quorum: u64,
    #[serde(with = "duration::text")]
    pub server_stabilization_time: GoDuration,
    pub redundancy_zone_tag: String,
    pub disable_upgrade_migration: bool,
    pub upgrade_version_tag: String,
    pub create_index: u64,
    pub modify_index: u64,
}

impl Default for AutopilotConfiguration {
    fn default() -> Self {
        Self {
            cleanup_dead_servers: true,
            last_contact_threshold: GoDuration::from_millis(200),
            max_trailing_logs: 250,
            min_quorum: 0,
            server_stabilization_time: GoDuration::from_secs(10),
            redundancy_zone_tag: String::new(),
            disable_upgrade_migration: false,
            upgrade_version_tag: String::new(),
            create_index: 0,
            modify_index: 0,
        }
    }
}

/// Replaces autopilot's settings; with `cas_index` only if they were last changed then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotRequest {
    pub configuration: AutopilotConfiguration,
    pub cas_index: Option<u64>,
}

/// Health of one server as autopilot judges it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServerHealth {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub address: String,
    #[serde(with = "serf_status")]
    pub serf_status: String,
    pub version: String,
    pub leader: bool,
    #[serde(with = "duration::text")]
    pub last_contact: GoDuration,
    pub last_term: u64,
    pub last_index: u64,
    pub healthy: bool,
    pub voter: bool,
    pub stable_since: Timestamp,
}

/// Answer of `/v1/operator/autopilot/health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClusterHealth {
    pub healthy: bool,
    /// Servers that may fail without an outage.
    pub failure_tolerance: u64,
    #[serde(deserialize_with = "null_as_default")]
    pub servers: Vec<ServerHealth>,
}

/// What an operator asks of the consensus. Answered by the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorRequest {
    RaftConfiguration,
    RemovePeerByAddress(String),
    RemovePeerById(String),
    /// To a server by id, or to the best one.
    TransferLeadership(Option<String>),
    Health,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorReply {
    RaftConfiguration(RaftConfiguration),
    Health(ClusterHealth),
    Done,
}

/// A member's status in gossip: a word where humans read, a number elsewhere.
mod serf_status {
    use serde::{Deserialize, Deserializer, Serializer};

    const WORDS: [&str; 5] = ["none", "alive", "leaving", "left", "failed"];

    pub(super) fn serialize<S: Serializer>(word: &str, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(word);
        }
        let number = WORDS.iter().position(|known| *known == word).unwrap_or(0);
        serializer.serialize_u64(number as u64)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
        if d.is_human_readable() {
            return String::deserialize(d);
        }
        let number = usize::deserialize(d)?;
        Ok((*WORDS.get(number).unwrap_or(&WORDS[0])).to_owned())
    }
}
