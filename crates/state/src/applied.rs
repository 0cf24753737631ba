//! What applying one command came to.

use model::command::Outcome;
use model::duration::GoDuration;
use model::topic::Topic;

/// The outcome of a command with what the appliers around the state must know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub outcome: Outcome,
    /// What changed. Empty when nothing did.
    pub touched: Vec<Topic>,
    /// Keys whose lock was lost because its session ended, with the delay before which no other
    /// session may take them. Only delays above zero, at most `session::LOCK_DELAY_MAX`.
    pub released_locks: Vec<(String, GoDuration)>,
    /// Ids of sessions that ended, by request or because a check, service or node of theirs did.
    pub ended_sessions: Vec<String>,
}

impl Applied {
    pub(crate) fn new(outcome: Outcome) -> Self {
        Self { outcome, touched: Vec::new(), released_locks: Vec::new(), ended_sessions: Vec::new() }
    }
}
