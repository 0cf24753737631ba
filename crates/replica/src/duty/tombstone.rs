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

#[cfg(test)]
mod tests {
    use model::kv::{DirEntry, KvOp, KvRequest};

    use super::*;

    fn kv(op: KvOp) -> Command {
        let entry = DirEntry { key: "k".into(), ..DirEntry::default() };
        Command::Kv(KvRequest { op, entry })
    }

    #[test]
    fn a_deletion_is_forgotten_after_its_time_and_once() {
        let at = |seconds: u64| Mono(seconds * 1_000_000_000);
        let (mut state, rules) = (State::new(), Rules::default());
        let mut timers = TombstoneTimers::default();
        state.apply(5, kv(KvOp::Set));
        assert!(timers.plan(&state, &rules, at(0)).commands.is_empty());
        state.apply(6, kv(KvOp::Delete));
        let plan = timers.plan(&state, &rules, at(30));
        assert_eq!((plan.commands.len(), plan.next), (0, at(60)));
        assert!(timers.plan(&state, &rules, at(929)).commands.is_empty());
        assert_eq!(timers.plan(&state, &rules, at(930)).commands, [Command::ReapTombstones(6)]);
        state.apply(7, Command::ReapTombstones(6));
        assert_eq!(state.tombstone_indexes(), None);
        assert!(timers.plan(&state, &rules, at(2000)).commands.is_empty());
    }
}
