//! The terms of a server's log as the checkers need them: a mirror of what it handed out.

use replica::{LogEntry, Recovered, Snapshot};

#[derive(Clone, Debug, Default)]
pub(super) struct LogTerms {
    /// Log index and term of the entry before the first one kept.
    start: (u64, u64),
    terms: Vec<u64>,
}

impl LogTerms {
    pub(super) fn of(recovered: &Recovered) -> Self {
        let snapshot = recovered.snapshot.as_ref().map_or((0, 0), |s| (s.index, s.term));
        let mut entries: &[LogEntry] = &recovered.entries;
        let is_other = |entry: &LogEntry| entry.index == snapshot.0 && entry.term != snapshot.1;
        if entries.last().is_some_and(|last| last.index <= snapshot.0)
            || entries.iter().any(is_other)
        {
            entries = &[];
        }
        let start = match (entries.first(), recovered.boundary) {
            (None, _) => snapshot,
            (Some(first), Some(boundary)) if first.index == boundary.0 + 1 => boundary,
            (Some(first), _) if first.index == snapshot.0 + 1 => snapshot,
            // The term before is unknown.
            (Some(first), _) => (first.index - 1, 0),
        };
        Self { start, terms: entries.iter().map(|entry| entry.term).collect() }
    }

    pub(super) fn install(&mut self, snapshot: &Snapshot) {
        *self = Self { start: (snapshot.index, snapshot.term), terms: Vec::new() };
    }

    pub(super) fn append(&mut self, entry: &LogEntry) {
        let kept = entry.index.saturating_sub(self.start.0 + 1) as usize;
        self.terms.truncate(kept);
        self.terms.push(entry.term);
    }

    pub(super) fn first(&self) -> u64 {
        self.start.0 + 1
    }

    /// `None` where it ends, or is known to begin later.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.start.0 {
            return Some(self.start.1).filter(|term| *term > 0 || index == 0);
        }
        self.terms.get(index.checked_sub(self.start.0 + 1)? as usize).copied()
    }
}
