//! Sessions: the liveness contracts that hold locks.

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::wire::null_as_default;

/// Lock delay of a session that names none.
pub const LOCK_DELAY_DEFAULT: GoDuration = GoDuration::from_secs(15);
/// Longest lock delay accepted.
pub const LOCK_DELAY_MAX: GoDuration = GoDuration::from_secs(60);
/// Longest time to live accepted.
pub const TTL_MAX: GoDuration = GoDuration::from_secs(24 * 3600);
/// A session lives at least its TTL and at most this many times it.
pub const TTL_MULTIPLIER: i64 = 2;

/// What happens to held locks when the session ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionBehavior {
    #[default]
    #[serde(alias = "")]
    Release,
    Delete,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceCheck {
    #[serde(rename = "ID")]
    pub id: String,
    pub namespace: String,
}

/// One session, as `/v1/session/info/:id` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Session {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub node: String,
    /// How long a lock lost by this session may not be taken. Unit: nanoseconds.
    pub lock_delay: GoDuration,
    pub behavior: SessionBehavior,
    /// Duration text such as `10s`; empty for a session without time to live.
    #[serde(rename = "TTL")]
    pub ttl: String,
    #[serde(deserialize_with = "null_as_default")]
    pub node_checks: Vec<String>,
    /// `null` when none were given.
    pub service_checks: Option<Vec<ServiceCheck>>,
    /// Checks of the node under the older name of that field, beside `node_checks`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub checks: Vec<String>,
    pub create_index: u64,
    pub modify_index: u64,
}

impl Session {
    /// The time to live, `None` when the session has none or its text is not a duration.
    pub fn ttl_duration(&self) -> Option<GoDuration> {
        self.ttl.parse().ok().filter(|ttl: &GoDuration| ttl.0 > 0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionRequest {
    Create(Session),
    /// By id.
    Destroy(String),
}
