//! Forgets deletions once nobody can still be waiting on an index before them.

use std::collections::VecDeque;
use std::time::Duration;

use model::command::Command;
use state::State;

use crate::duty::Plan;
use crate::{Mono, Rules};

/// Remembers when deletions happened, in steps of the granularity.
#[derive(Debug, Default)]
pub struct TombstoneTimers {
    /// When it may go, and the index up to which.
    due: VecDeque<(Mono, u64)>,
}

impl TombstoneTimers {
    pub fn plan(&mut self, state: &State, rules: &Rules, now: Mono) -> Plan {
        let newest_known = self.due.back().map_or(0, |(_, index)| *index);
        if let Some((_, newest)) = state.tombstone_indexes()
            && newest > newest_known
        {
            self.due.push_back((now.plus(rules.tombstone_ttl), newest));
        }
        let mut reap = None;
        while let Some((deadline, index)) = self.due.front().copied()
            && deadline <= now
        {
            reap = Some(index);
            self.due.pop_front();
        }
        let commands = reap.map(Command::ReapTombstones).into_iter().collect();
        Plan { commands, next: now.plus(rules.tombstone_granularity.max(Duration::from_secs(1))) }
    }
}
