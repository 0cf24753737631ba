//! The data directory of a server: opening it, and the forms entries take in it.

use std::fs;
use std::io::Read;
use std::path::Path;

use replica::{HardState, LogEntry, LogEntryKind, Membership, Persist, Recovered, Snapshot};
use state::State;
use wal::{DirLock, DiskLog, DiskLogOptions, Loaded, Log, MemoryLog, SnapshotMeta, SnapshotStore};

use crate::server::StartError;

/// Below the data directory, as in Consul.
const DIR: &str = "raft";
const IDENTITY_FILE: &str = "server-id";
/// Consensus id of a server that keeps nothing.
const MEMORY_ID: u64 = 1;

/// An opened place for the log and snapshots.
pub(crate) struct Storage {
    pub(crate) log: Box<dyn Log>,
    pub(crate) snapshots: Option<SnapshotStore>,
    /// Snapshots that do not read back, newest first.
    pub(crate) damaged: Vec<wal::Error>,
    pub(crate) _lock: Option<DirLock>,
}

/// Opens `data_dir` and reads what it holds. Returns the consensus id of this server beside it.
pub(crate) fn open(data_dir: Option<&Path>) -> Result<(Storage, Recovered, u64), StartError> {
    let Some(data_dir) = data_dir else {
        let storage =
            Storage { log: Box::new(MemoryLog), snapshots: None, damaged: Vec::new(), _lock: None };
        let membership = Membership { voters: vec![MEMORY_ID], ..Membership::default() };
        return Ok((storage, Recovered { membership, ..Recovered::default() }, MEMORY_ID));
    };
    let dir = data_dir.join(DIR);
    fs::create_dir_all(&dir).map_err(|source| StartError::DataDir { path: dir.clone(), source })?;
    let lock = DirLock::acquire(&dir)?;
    let id = identity(&dir)?;
    let snapshots = SnapshotStore::open(&dir.join("snapshots"))?;
    let Loaded { newest, damaged } = snapshots.load(|body| read_state(body))?;
    let snapshot = match newest {
        Some((meta, state)) => Some(snapshot_of(meta, state)?),
        None => None,
    };
    let mut faults = Vec::new();
    let (log, found) = DiskLog::open(&dir.join("log"), DiskLogOptions::default())?;
    if found.torn_bytes > 0 {
        tracing::warn!(bytes = found.torn_bytes, "cut an unfinished write off the log");
    }
    let reaches = found.entries.last().map_or(0, |last| last.index);
    for (index, fault) in damaged {
        // What the damaged one held must be in the log behind the one before it; whether that
        // has no gap is the replica's to judge.
        if index > reaches {
            return Err(fault.into());
        }
        tracing::error!(error = %fault, "a snapshot is damaged, the one before it stands in");
        faults.push(fault);
    }
    let recovered = Recovered {
        snapshot,
        hard_state: hard_state_of(found.hard_state),
        entries: found.entries.into_iter().map(entry_of).collect(),
        membership: Membership { voters: vec![id], ..Membership::default() },
        ..Recovered::default()
    };
    let storage = Storage {
        log: Box::new(log),
        snapshots: Some(snapshots),
        damaged: faults,
        _lock: Some(lock),
    };
    Ok((storage, recovered, id))
}

/// The consensus id kept in `dir`, drawn at the first start.
fn identity(dir: &Path) -> Result<u64, StartError> {
    let path = dir.join(IDENTITY_FILE);
    let fault = |source| StartError::DataDir { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => u64::from_str_radix(text.trim(), 16)
            .ok()
            .filter(|id| *id != 0)
            .ok_or_else(|| fault(std::io::Error::other("holds no server id"))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let id = rand::random::<u64>().max(1);
            let temporary = dir.join("server-id.tmp");
            let mut file = fs::File::create(&temporary).map_err(fault)?;
            std::io::Write::write_all(&mut file, format!("{id:016x}\n").as_bytes())
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(&temporary, &path))
                .and_then(|()| fs::File::open(dir)?.sync_all())
                .map_err(fault)?;
            Ok(id)
        }
        Err(e) => Err(fault(e)),
    }
}

fn read_state(mut body: &mut dyn Read) -> std::io::Result<State> {
    State::read_snapshot(&mut body).map_err(std::io::Error::other)
}

fn snapshot_of(meta: SnapshotMeta, state: State) -> Result<Snapshot, StartError> {
    let SnapshotMeta { index, term, configuration } = meta;
    let membership = Membership::decode(&configuration).ok_or_else(|| {
        let reason = format!("the snapshot of entry {index} names no readable membership");
        StartError::Replica(replica::HaltCause::Consensus(reason))
    })?;
    Ok(Snapshot { index, term, membership, state })
}

pub(crate) fn save_snapshot(store: &SnapshotStore, snapshot: &Snapshot) -> Result<(), wal::Error> {
    let Snapshot { index, term, membership, state } = snapshot;
    let configuration = membership.encode().into();
    let meta = SnapshotMeta { index: *index, term: *term, configuration };
    store.save(&meta, |mut out| state.write_snapshot(&mut out)).map(|_| ())
}

pub(crate) fn batch_of(persist: Persist) -> wal::Batch {
    let Persist { ticket: _, hard_state, snapshot: _, entries } = persist;
    let entries = entries.into_iter().map(|entry| wal::Entry {
        index: entry.index,
        term: entry.term,
        kind: entry.entry_type as u8,
        data: entry.data,
    });
    let HardState { term, vote, commit, .. } = hard_state;
    wal::Batch { hard_state: wal::HardState { term, vote, commit }, entries: entries.collect() }
}

fn hard_state_of(found: wal::HardState) -> HardState {
    let wal::HardState { term, vote, commit } = found;
    HardState { term, vote, commit, ..HardState::default() }
}

fn entry_of(found: wal::Entry) -> LogEntry {
    let wal::Entry { index, term, kind, data } = found;
    let entry_type = match kind {
        1 => LogEntryKind::EntryConfChange,
        2 => LogEntryKind::EntryConfChangeV2,
        _ => LogEntryKind::EntryNormal,
    };
    LogEntry { entry_type, index, term, data, ..LogEntry::default() }
}
