//! What applying one command came to.

use model::command::Outcome;
use model::duration::GoDuration;
use model::topic::Topic;

/// The outcome of a command with what the appliers around the state must know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub outcome: Outcome,
    /// What changed, each once. Empty when nothing did.
    pub touched: Vec<Topic>,
    /// Keys whose lock was lost because its session ended, with the delay before which no other
    /// session may take them. Only delays above zero, at most `session::LOCK_DELAY_MAX`.
    pub released_locks: Vec<(String, GoDuration)>,
    /// Ids of sessions that ended, by request or because a check, service or node of theirs did.
    pub ended_sessions: Vec<String>,
    /// The whole state was replaced; what was known beside the one before holds no more.
    pub is_replaced: bool,
}

/// Gathers the consequences of one command while the tables change.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) index: u64,
    pub(crate) touched: Vec<Topic>,
    pub(crate) released_locks: Vec<(String, GoDuration)>,
    pub(crate) ended_sessions: Vec<String>,
    pub(crate) is_replaced: bool,
}

impl Change {
    pub(crate) fn at(index: u64) -> Self {
        Self {
            index,
            touched: Vec::new(),
            released_locks: Vec::new(),
            ended_sessions: Vec::new(),
            is_replaced: false,
        }
    }

    pub(crate) fn touch(&mut self, topic: Topic) {
        self.touched.push(topic);
    }

    pub(crate) fn finish(mut self, outcome: Outcome) -> Applied {
        if self.touched.len() > 1 {
            self.touched.sort_unstable();
            self.touched.dedup();
        }
        let Self { index: _, touched, released_locks, ended_sessions, is_replaced } = self;
        if matches!(outcome, Outcome::Refused(_)) {
            assert!(touched.is_empty(), "a refused command changes nothing");
        }
        Applied { outcome, touched, released_locks, ended_sessions, is_replaced }
    }
}
