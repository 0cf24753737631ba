//! The in-memory twin of a server's disk: tells written from synced, so that a power cut can take
//! what was not synced, whole batches at a time, as the checksummed log does.

use std::collections::VecDeque;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use replica::{HardState, LogEntry, LogEntryKind, Membership, Persist, Recovered, Snapshot};
use state::State;
use wal::{Batch, Entry, Log, SnapshotMeta};

use crate::bug::Bug;

/// Marks where a received snapshot took the place of everything before.
const BOUNDARY: u8 = 3;

#[derive(Debug, Default)]
pub(crate) struct Disk {
    synced: Vec<Batch>,
    written: VecDeque<Batch>,
    compacted: u64,
    /// Oldest first, at most two, as on a real disk.
    snapshots: Vec<(SnapshotMeta, Vec<u8>)>,
    bug: Option<Bug>,
    /// What the first snapshot said of the servers.
    founding: Bytes,
}

impl Log for Disk {
    fn write(&mut self, batch: &Batch) -> Result<(), wal::Error> {
        self.written.push_back(batch.clone());
        Ok(())
    }

    /// Makes the oldest unsynced batch durable; the simulation syncs one at a time.
    fn sync(&mut self) -> Result<(), wal::Error> {
        self.synced.extend(self.written.pop_front());
        Ok(())
    }

    fn compact(&mut self, through: u64) -> Result<(), wal::Error> {
        let through = if self.bug == Some(Bug::CutTooFar) { through + 200 } else { through };
        self.compacted = self.compacted.max(through);
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

impl Disk {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self { bug, ..Self::default() }
    }

    /// Of a server that is to join the cluster that `founding` began.
    pub(crate) fn joining(founding: &Membership, bug: Option<Bug>) -> Self {
        Self { founding: Bytes::from(founding.encode()), ..Self::new(bug) }
    }

    /// As the founder of a cluster leaves it.
    pub(crate) fn founding(membership: Membership, bug: Option<Bug>) -> Self {
        let mut disk = Self::joining(&membership, bug);
        let snapshot = Snapshot::founding(membership);
        let hard_state = wal::HardState { term: snapshot.term, vote: 0, commit: snapshot.index };
        disk.save(&snapshot);
        disk.synced.push(Batch { hard_state, entries: vec![mark_of(&snapshot)] });
        disk
    }

    /// Cuts the power: any number of unsynced batches, oldest first, may have reached the disk.
    pub(crate) fn lose_power(&mut self, rng: &mut StdRng) {
        let reached = rng.random_range(0..=self.written.len());
        if self.bug == Some(Bug::ReorderedWrites) && self.written.len() > 1 {
            self.written.pop_front();
            self.synced.extend(self.written.drain(..));
        } else {
            self.synced.extend(self.written.drain(..reached));
        }
        self.written.clear();
        if self.bug == Some(Bug::ForgottenSync) {
            self.synced.pop();
        }
    }

    pub(crate) fn save(&mut self, snapshot: &Snapshot) {
        let Snapshot { index, term, membership, state } = snapshot;
        let mut body = Vec::new();
        state.write_snapshot(&mut body).expect("memory takes everything");
        let mut configuration = Bytes::from(membership.encode());
        let mut index = *index;
        match self.bug {
            Some(Bug::SnapshotAhead) if !self.snapshots.is_empty() => index += 3,
            Some(Bug::SnapshotWithoutMembership) if !self.founding.is_empty() => {
                configuration = self.founding.clone();
            }
            _ => {}
        }
        // One that was received while it was written may be newer.
        let place = self.snapshots.partition_point(|(meta, _)| meta.index <= index);
        self.snapshots.insert(place, (SnapshotMeta { index, term: *term, configuration }, body));
        if self.snapshots.len() > 2 {
            self.snapshots.remove(0);
        }
    }

    /// `membership` is what is known where neither log nor snapshot tells.
    pub(crate) fn recover(&self, membership: Membership) -> Recovered {
        let mut found = wal::Recovered::default();
        for batch in &self.synced {
            found.replay(batch.clone());
        }
        found.entries.retain(|entry| entry.index > self.compacted);
        let mut boundary = None;
        if let Some(at) = found.entries.iter().rposition(|entry| entry.kind == BOUNDARY) {
            boundary = found.entries.drain(..=at).next_back().map(|mark| (mark.index, mark.term));
        }
        let mut snapshots = self.snapshots.iter().rev();
        if self.bug == Some(Bug::OldSnapshot) && self.snapshots.len() == 2 {
            snapshots.next();
            found = wal::Recovered::default();
        }
        let snapshot = snapshots.next().map(|(meta, body)| Snapshot {
            index: meta.index,
            term: meta.term,
            membership: Membership::decode(&meta.configuration).expect("written by us"),
            state: State::read_snapshot(&mut body.as_slice()).expect("written by us"),
        });
        let wal::HardState { term, vote, commit } = found.hard_state;
        Recovered {
            snapshot,
            hard_state: HardState { term, vote, commit, ..HardState::default() },
            entries: found.entries.into_iter().map(log_entry).collect(),
            boundary,
            membership,
        }
    }
}

pub(crate) fn batch(persist: &Persist) -> Batch {
    let HardState { term, vote, commit, .. } = persist.hard_state;
    let entries = persist.entries.iter().map(|entry| Entry {
        index: entry.index,
        term: entry.term,
        kind: entry.entry_type as u8,
        data: entry.data.clone(),
    });
    let mark = persist.snapshot.as_ref().map(mark_of);
    let entries = mark.into_iter().chain(entries).collect();
    Batch { hard_state: wal::HardState { term, vote, commit }, entries }
}

fn mark_of(snapshot: &Snapshot) -> Entry {
    let Snapshot { index, term, .. } = snapshot;
    Entry { index: *index, term: *term, kind: BOUNDARY, ..Entry::default() }
}

fn log_entry(entry: Entry) -> LogEntry {
    let Entry { index, term, kind, data } = entry;
    let entry_type = match kind {
        0 => LogEntryKind::EntryNormal,
        _ => LogEntryKind::EntryConfChangeV2,
    };
    LogEntry { entry_type, index, term, data, ..LogEntry::default() }
}
