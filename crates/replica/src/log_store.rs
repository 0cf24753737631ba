//! The part of the log that consensus reads: retained entries and the hard state, in memory.
//!
//! What is here was handed out as [`Effect::Persist`](crate::Effect::Persist) before or came from
//! disk at start; snapshots bound how much stays.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

#[derive(Debug, Default)]
pub(crate) struct LogStore {
    pub(crate) hard_state: HardState,
    pub(crate) configuration: ConfState,
    /// Log index and term of the entry before the first retained one.
    compacted: (u64, u64),
    entries: VecDeque<Entry>,
    /// Sum of the entries' data. Unit: bytes.
    data_bytes: usize,
}

impl LogStore {
    pub(crate) fn new(compacted: (u64, u64), configuration: ConfState) -> Self {
        Self { compacted, configuration, ..Self::default() }
    }

    pub(crate) fn last(&self) -> u64 {
        self.compacted.0 + self.entries.len() as u64
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

    fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.compacted.0 + 1)? as usize)
    }
}

impl Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.configuration.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.compacted.0 {
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
        match self.get(index) {
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

    /// One server alone never sends a snapshot; consensus asks again later.
    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(StorageError::SnapshotTemporarilyUnavailable.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![0; 10].into(), ..Entry::default() }
    }

    fn log(first: u64, last: u64) -> LogStore {
        let mut log = LogStore::new((first - 1, 1), ConfState::default());
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
