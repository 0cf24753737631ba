//! Puts together what was found on disk.

use super::HaltCause;
use crate::LogEntry;
use crate::input::Membership;
use crate::log_store::LogStore;

/// Builds the log from what was recovered, checking that it reaches back to the snapshot.
pub(super) fn join_log(
    snapshot: (u64, u64),
    mut entries: Vec<LogEntry>,
    membership: &Membership,
) -> Result<LogStore, HaltCause> {
    let is_same_history = entries
        .iter()
        .find(|entry| entry.index == snapshot.0)
        .is_none_or(|entry| entry.term == snapshot.1);
    if !is_same_history || entries.last().is_some_and(|last| last.index <= snapshot.0) {
        entries.clear();
    }
    let compacted = match entries.first() {
        None => snapshot,
        Some(first) if first.index == snapshot.0 + 1 => snapshot,
        Some(first) if first.index == 1 => (0, 0),
        Some(first) if first.index <= snapshot.0 => {
            // Its own place becomes the boundary, whose term is known.
            let boundary = (first.index, first.term);
            entries.remove(0);
            boundary
        }
        Some(first) => {
            return Err(HaltCause::Consensus(format!(
                "the log begins at entry {}, but the newest readable snapshot ends at {}",
                first.index, snapshot.0
            )));
        }
    };
    let mut store = LogStore::new(compacted, membership.into());
    store.append(&entries);
    Ok(store)
}
