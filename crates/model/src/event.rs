//! User events: short messages broadcast to every agent.

use serde::{Deserialize, Serialize};

use crate::wire;

/// Version of the payload's form.
pub const EVENT_VERSION: u32 = 1;

/// A user event, as `/v1/event/list` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UserEvent {
    /// UUID, chosen by the agent that fires it.
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    #[serde(with = "wire::bytes")]
    pub payload: Vec<u8>,
    /// Regular expressions that choose who takes note; empty for all.
    pub node_filter: String,
    pub service_filter: String,
    pub tag_filter: String,
    pub version: u32,
    /// Lamport time; 0 until received.
    #[serde(rename = "LTime")]
    pub lamport_time: u64,
}
