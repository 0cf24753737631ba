//! Puts together what was found on disk.

use protobuf::Message as _;
use raft::eraftpb::ConfChangeV2;
use state::State;

use super::operate::decode_peers;
use super::{HaltCause, Recovered, ReplicaConfig};
use crate::input::Snapshot;
use crate::log_store::LogStore;
use crate::membership::Membership;
use crate::{LogEntry, LogEntryKind, entry};

/// Builds the log and the state from what was recovered, checking that they join.
pub(super) fn join(config: &ReplicaConfig, found: Recovered) -> Result<LogStore, HaltCause> {
    let Recovered { snapshot, mut hard_state, entries, boundary, membership } = found;
    let place = snapshot.as_ref().map_or((0, 0), |s| (s.index, s.term));
    let is_implied = snapshot.is_none();
    let membership = snapshot.as_ref().map_or(membership, |s| s.membership.clone());
    let is_alone = membership.voters == [config.id];
    let mut store = join_log(place, entries, boundary, membership)?;
    store.is_founding_silent = is_implied && is_alone;
    if let Some(snapshot) = snapshot {
        store.state = snapshot.state;
        store.applied = snapshot.index;
    }
    if is_implied && is_alone && store.membership.cluster_id == 0 {
        store.membership.cluster_id = config.id;
    }
    if hard_state.commit > store.last() {
        return Err(HaltCause::Consensus(format!(
            "entry {} was committed, but the log ends at {}",
            hard_state.commit,
            store.last()
        )));
    }
    hard_state.commit = hard_state.commit.max(place.0);
    let (last_term, _) = store.end();
    if hard_state.term < last_term {
        // A received snapshot was durable before the log told of its term. Nothing was voted for
        // in a term this log has not seen.
        (hard_state.term, hard_state.vote) = (last_term, raft::INVALID_ID);
    }
    store.hard_state = hard_state;
    Ok(store)
}

fn join_log(
    snapshot: (u64, u64),
    mut entries: Vec<LogEntry>,
    boundary: Option<(u64, u64)>,
    membership: Membership,
) -> Result<LogStore, HaltCause> {
    let is_same_history = entries
        .iter()
        .find(|entry| entry.index == snapshot.0)
        .is_none_or(|entry| entry.term == snapshot.1);
    if !is_same_history || entries.last().is_some_and(|last| last.index <= snapshot.0) {
        entries.clear();
    }
    let compacted = match (entries.first(), boundary) {
        (None, _) => snapshot,
        (Some(first), _) if first.index == snapshot.0 + 1 => snapshot,
        (Some(first), _) if first.index == 1 => (0, 0),
        // The log begins behind an older snapshot.
        (Some(first), Some(at)) if first.index == at.0 + 1 && at.0 <= snapshot.0 => at,
        (Some(first), _) if first.index <= snapshot.0 => {
            // Its own place becomes the boundary, whose term is known.
            let boundary = (first.index, first.term);
            entries.remove(0);
            boundary
        }
        (Some(first), _) => {
            return Err(HaltCause::Consensus(format!(
                "the log begins at entry {}, but the newest readable snapshot ends at {}",
                first.index, snapshot.0
            )));
        }
    };
    let mut store = LogStore::new(compacted, membership);
    store.append(&entries);
    Ok(store)
}

/// Everything that was found as one snapshot of a cluster of `membership`, as an operator orders
/// it after too many servers were lost for good: whatever this disk holds counts as committed.
///
/// Errors: an entry that cannot be read, or pieces that do not join.
pub fn rebuild(
    config: &ReplicaConfig,
    found: Recovered,
    mut membership: Membership,
) -> Result<Snapshot, HaltCause> {
    let store = join(config, found)?;
    let (term, index) = store.end();
    let mut state: State = store.state.clone();
    for at in store.applied + 1..=index {
        let Some(entry) = store.entry(at) else { continue };
        if entry.entry_type == LogEntryKind::EntryNormal && !entry.data.is_empty() {
            let unreadable = |reason| HaltCause::UnreadableEntry { index: at, reason };
            state.apply(at, entry::decode(&entry.data).map_err(unreadable)?);
        }
    }
    membership.index = index;
    Ok(Snapshot { index, term, membership, state })
}

/// Who takes part as of the end of the log, committed or not.
pub fn last_membership(config: &ReplicaConfig, found: Recovered) -> Result<Membership, HaltCause> {
    let store = join(config, found)?;
    let mut membership = store.membership.clone();
    for at in store.applied + 1..=store.last() {
        let changes = store.entry(at).filter(|e| e.entry_type == LogEntryKind::EntryConfChangeV2);
        let Some(entry) = changes else { continue };
        // One that does not read back names nobody.
        let change = ConfChangeV2::parse_from_bytes(&entry.data).unwrap_or_default();
        membership.peers.extend(decode_peers(&change.context));
    }
    Ok(membership)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> Vec<LogEntry> {
        range.map(|index| LogEntry { index, term, ..LogEntry::default() }).collect()
    }

    #[test]
    fn pieces_join_or_are_refused() {
        let check = |snapshot, entries: Vec<LogEntry>, boundary, expected: Option<(u64, u64)>| {
            let joined = join_log(snapshot, entries, boundary, Membership::default());
            assert_eq!(joined.ok().map(|store| (store.first() - 1, store.last())), expected);
        };
        check((0, 0), entries(1..=5, 1), None, Some((0, 5)));
        check((3, 1), entries(1..=5, 1), None, Some((0, 5)));
        check((3, 1), entries(2..=5, 1), None, Some((2, 5)));
        check((3, 1), entries(4..=5, 1), None, Some((3, 5)));
        check((3, 1), entries(5..=5, 1), None, None);
        // The whole log is older than a received snapshot, or of another history.
        check((9, 2), entries(1..=5, 1), None, Some((9, 9)));
        check((3, 2), entries(1..=5, 1), None, Some((3, 3)));
        // Behind a received snapshot, and a later one of its own.
        check((9, 2), entries(10..=12, 2), Some((9, 2)), Some((9, 12)));
        check((11, 2), entries(10..=12, 2), Some((9, 2)), Some((9, 12)));
        // The received one is damaged, an older one cannot stand in.
        check((3, 1), entries(10..=12, 2), Some((9, 2)), None);
    }
}
