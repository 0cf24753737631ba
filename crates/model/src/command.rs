//! Everything that changes the replicated state: one variant per noun.

use serde::{Deserialize, Serialize};

use crate::ca::CaRequest;
use crate::catalog::{DeregisterRequest, RegisterRequest};
use crate::config_entry::ConfigEntryRequest;
use crate::coordinate::NodeCoordinate;
use crate::intention::IntentionRequest;
use crate::kv::KvRequest;
use crate::operator::AutopilotRequest;
use crate::session::SessionRequest;
use crate::snapshot::RestoreChunk;

/// A change, judged before it enters the log and applied by its content and index alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    Register(Box<RegisterRequest>),
    Deregister(DeregisterRequest),
    Kv(KvRequest),
    Session(SessionRequest),
    Intention(IntentionRequest),
    Ca(CaRequest),
    ConfigEntry(ConfigEntryRequest),
    /// Many at once: each node sends its own every few seconds.
    Coordinates(Vec<NodeCoordinate>),
    Autopilot(AutopilotRequest),
    /// Forgets deletions up to this index.
    ReapTombstones(u64),
    /// A piece of a state that replaces this one.
    Restore(RestoreChunk),
}

/// What applying a command came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Done,
    /// Of a conditional write: whether its condition held and it took effect.
    Applied(bool),
    /// Id of what was created.
    Created(String),
    /// The command was sound when judged but the state it met refuses it; nothing changed.
    Refused(String),
}
