//! The part of the log that consensus reads: retained entries and the hard state, in memory, and
//! the state they led to, from which followers that lag too far get a snapshot.
//!
//! What is here was handed out as [`Effect::Persist`](crate::Effect::Persist) before or came from
//! disk at start; snapshots bound how much stays.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use state::State;

use crate::membership::Membership;

#[derive(Debug, Default)]
pub(crate) struct LogStore {
    pub(crate) hard_state: HardState,
    /// As of the last applied entry.
    pub(crate) membership: Membership,
    pub(crate) state: State,
    /// Log index of the last entry that is in `state` and `membership`.
    pub(crate) applied: u64,
    /// Log index and term of the entry before the first retained one.
    compacted: (u64, u64),
    entries: VecDeque<Entry>,
    /// Sum of the entries' data. Unit: bytes.
    data_bytes: usize,
    /// The first entry says nothing of who founded the cluster, so nobody may begin with it: who
    /// has nothing gets a snapshot.
    pub(crate) is_founding_silent: bool,
    /// Snapshots that consensus asked for, by receiver, until their message is sent.
    offered: RefCell<BTreeMap<u64, crate::Snapshot>>,
}

impl LogStore {
    pub(crate) fn new(compacted: (u64, u64), membership: Membership) -> Self {
        Self { compacted, membership, ..Self::default() }
    }

    pub(crate) fn last(&self) -> u64 {
        self.compacted.0 + self.entries.len() as u64
    }

    #[cfg(test)]
    pub(crate) fn first(&self) -> u64 {
        self.compacted.0 + 1
    }

    /// Term and log index of the last entry.
    pub(crate) fn end(&self) -> (u64, u64) {
        self.entries.back().map_or((self.compacted.1, self.compacted.0), |e| (e.term, e.index))
    }

    /// Appends consecutive `entries`; the first replaces whatever stood at its index and beyond.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.compacted.0 && first.index <= self.last() + 1,
            "entries from {} do not join a log of {} to {}",
            first.index,
            self.compacted.0 + 1,
            self.last()
        );
        let kept = (first.index - self.compacted.0 - 1) as usize;
        for replaced in self.entries.drain(kept..) {
            self.data_bytes -= replaced.data.len();
        }
        self.data_bytes += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Puts a snapshot in the place of everything.
    pub(crate) fn install(&mut self, snapshot: &crate::Snapshot) {
        let crate::Snapshot { index, term, membership, state } = snapshot;
        self.compacted = (*index, *term);
        self.entries.clear();
        self.data_bytes = 0;
        self.membership = membership.clone();
        self.state = state.clone();
        self.applied = *index;
        self.is_founding_silent = false;
    }

    /// Chooses what to forget below `snapshot`: all but `trailing` entries, and more when what
    /// stays would exceed `bytes_max`. Returns the last index forgotten.
    pub(crate) fn compact(&mut self, snapshot: u64, trailing: u64, bytes_max: usize) -> u64 {
        let target = snapshot.saturating_sub(trailing);
        while let Some(first) = self.entries.front() {
            let is_over = first.index <= snapshot && self.data_bytes > bytes_max;
            if first.index > target && !is_over {
                break;
            }
            self.compacted = (first.index, first.term);
            self.data_bytes -= first.data.len();
            self.entries.pop_front();
        }
        self.compacted.0
    }

    pub(crate) fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    pub(crate) fn take_offered(&mut self, to: u64) -> Option<crate::Snapshot> {
        self.offered.get_mut().remove(&to)
    }

    pub(crate) fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.compacted.0 + 1)? as usize)
    }
}

impl Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), ConfState::from(&self.membership)))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let is_hidden = low == 1 && self.is_founding_silent && context.can_async();
        if low <= self.compacted.0 || is_hidden {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let start = (low - self.compacted.0 - 1) as usize;
        let mut picked: Vec<Entry> =
            self.entries.range(start..start + (high - low) as usize).cloned().collect();
        raft::util::limit_size(&mut picked, max_size.into());
        Ok(picked)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.compacted.0 {
            return Ok(self.compacted.1);
        }
        match self.entry(index) {
            Some(entry) => Ok(entry.term),
            None if index < self.compacted.0 => Err(StorageError::Compacted.into()),
            None => Err(StorageError::Unavailable.into()),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.compacted.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// The state as it is, if the receiver takes part in it; otherwise consensus asks again later.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let later = || StorageError::SnapshotTemporarilyUnavailable.into();
        if !self.membership.servers().contains(&to) || self.applied < request_index.max(1) {
            return Err(later());
        }
        let term = self.term(self.applied).map_err(|_| later())?;
        let offered = crate::Snapshot {
            index: self.applied,
            term,
            membership: self.membership.clone(),
            state: self.state.clone(),
        };
        let mut snapshot = Snapshot::default();
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (offered.index, offered.term);
        meta.set_conf_state(ConfState::from(&self.membership));
        self.offered.borrow_mut().insert(to, offered);
        Ok(snapshot)
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![0; 10].into(), ..Entry::default() }
    }

    fn log(first: u64, last: u64) -> LogStore {
        let mut log = LogStore::new((first - 1, 1), Membership::default());
        log.append(&(first..=last).map(|i| entry(i, 1)).collect::<Vec<_>>());
        log
    }

    #[test]
    fn a_suffix_is_replaced() {
        let mut log = log(5, 9);
        log.append(&[entry(7, 2)]);
        assert_eq!((log.last(), log.term(7).unwrap(), log.data_bytes()), (7, 2, 30));
        assert_eq!(log.term(4).unwrap(), 1);
        assert!(log.term(3).is_err() && log.term(8).is_err());
    }

    #[test]
    fn compaction_keeps_a_tail_bounded_by_count_and_bytes() {
        let check = |snapshot, trailing, bytes_max, through, last| {
            let mut log = log(1, 20);
            assert_eq!(log.compact(snapshot, trailing, bytes_max), through);
            assert_eq!(log.last(), last);
        };
        check(15, 5, 1000, 10, 20);
        check(15, 50, 1000, 0, 20);
        check(15, 50, 100, 10, 20);
        // What no snapshot covers stays, whatever its size.
        check(15, 50, 0, 15, 20);
    }
}
