//! The data directory of a server: opening it, and the forms entries take in it.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use replica::{
    HardState, LogEntry, LogEntryKind, Membership, Persist, Recovered, ReplicaConfig, Snapshot,
};
use state::State;
use wal::{
    DirLock, DiskLog, DiskLogOptions, Loaded, Log, MemoryLog, ReceivedSnapshot, SnapshotMeta,
    SnapshotStore,
};

use crate::peers_file;
use crate::server::StartError;

/// Below the data directory, as in Consul.
const DIR: &str = "raft";
const IDENTITY_FILE: &str = "server-id";
const PROMISE_FILE: &str = "promise";
/// Kind of the entry that stands for a received snapshot; the consensus library uses 0 to 2.
const BOUNDARY: u8 = 3;

/// An opened place for the log and snapshots.
pub(crate) struct Storage {
    pub(crate) log: Box<dyn Log>,
    pub(crate) snapshots: Option<SnapshotStore>,
    /// Snapshots that do not read back, newest first.
    pub(crate) damaged: Vec<wal::Error>,
    pub(crate) _lock: Option<DirLock>,
}

/// What was found at start.
pub(crate) struct Opened {
    pub(crate) storage: Storage,
    pub(crate) recovered: Recovered,
    pub(crate) promise: Promise,
}

/// The consensus id kept in the data directory, drawn at the first start, or just drawn when
/// nothing is kept.
pub(crate) fn identity(data_dir: Option<&Path>) -> Result<(Option<DirLock>, u64), StartError> {
    let Some(data_dir) = data_dir else { return Ok((None, draw_id())) };
    let dir = data_dir.join(DIR);
    fs::create_dir_all(&dir).map_err(|source| StartError::DataDir { path: dir.clone(), source })?;
    let lock = DirLock::acquire(&dir)?;
    let id = stored_identity(&dir)?;
    Ok((Some(lock), id))
}

/// Opens `data_dir` and reads what it holds; what an operator wrote into the peers file comes
/// about.
pub(crate) fn open(
    data_dir: Option<&Path>,
    lock: Option<DirLock>,
    config: &ReplicaConfig,
) -> Result<Opened, StartError> {
    let Some(data_dir) = data_dir else {
        let storage =
            Storage { log: Box::new(MemoryLog), snapshots: None, damaged: Vec::new(), _lock: lock };
        let promise = Promise::default();
        return Ok(Opened { storage, recovered: Recovered::default(), promise });
    };
    let dir = data_dir.join(DIR);
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
    let mut entries = found.entries;
    let mut boundary = None;
    if let Some(at) = entries.iter().rposition(|entry| entry.kind == BOUNDARY) {
        boundary = entries.drain(..=at).next_back().map(|mark| (mark.index, mark.term));
    }
    // A log from its first entry on, and no snapshot that names the servers: one that was alone.
    let is_alone = snapshot.is_none() && entries.first().is_some_and(|first| first.index == 1);
    let voters = if is_alone { vec![config.id] } else { Vec::new() };
    let mut recovered = Recovered {
        snapshot,
        hard_state: hard_state_of(found.hard_state),
        entries: entries.into_iter().map(entry_of).collect(),
        boundary,
        membership: Membership { voters, ..Membership::default() },
    };
    let mut storage =
        Storage { log: Box::new(log), snapshots: Some(snapshots), damaged: faults, _lock: lock };
    peers_file::apply(&dir, config, &mut recovered, |snapshot| storage.begin_anew(snapshot))?;
    let promise = Promise::open(&dir)?;
    Ok(Opened { storage, recovered, promise })
}

impl Storage {
    /// Makes `snapshot` all there is.
    pub(crate) fn begin_anew(&mut self, snapshot: &Snapshot) -> Result<HardState, wal::Error> {
        if let Some(store) = &self.snapshots {
            save_snapshot(store, snapshot)?;
        }
        let term = snapshot.term;
        let hard_state = HardState { term, commit: snapshot.index, ..HardState::default() };
        let persist =
            Persist { ticket: 0, hard_state: hard_state.clone(), snapshot: None, entries: vec![] };
        let mut batch = batch_of(persist);
        batch.entries.push(mark_of(snapshot));
        self.log.restart(&batch)?;
        Ok(hard_state)
    }

    /// Makes what the replica hands out durable. A snapshot comes first, either as the file that
    /// was received or written anew.
    pub(crate) fn persist(
        &mut self,
        mut persist: Persist,
        received: Option<ReceivedSnapshot>,
    ) -> Result<(), wal::Error> {
        let Some(snapshot) = persist.snapshot.take() else {
            let batch = batch_of(persist);
            self.log.write(&batch)?;
            return self.log.sync();
        };
        match (&self.snapshots, received) {
            (Some(store), Some(received)) if received.meta().index == snapshot.index => {
                store.adopt(received)?;
            }
            (Some(store), _) => save_snapshot(store, &snapshot)?,
            (None, _) => {}
        }
        let mut batch = batch_of(persist);
        batch.entries.insert(0, mark_of(&snapshot));
        self.log.restart(&batch)
    }
}

/// To whom this server has promised to join a cluster that is being founded. Kept on disk, so that
/// a restart between promises does not let it take part in founding two.
#[derive(Debug, Default)]
pub(crate) struct Promise {
    path: Option<PathBuf>,
    pub(crate) to: Option<u64>,
    /// The attempt it was given in, as far as this process knows.
    pub(crate) round: u64,
}

impl Promise {
    fn open(dir: &Path) -> Result<Self, StartError> {
        let path = dir.join(PROMISE_FILE);
        let to = match fs::read_to_string(&path) {
            Ok(text) => u64::from_str_radix(text.trim(), 16).ok(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(StartError::DataDir { path, source }),
        };
        Ok(Self { path: Some(path), to, round: 0 })
    }

    pub(crate) fn set(&mut self, to: Option<u64>) -> std::io::Result<()> {
        if self.to == to {
            return Ok(());
        }
        if let Some(path) = &self.path {
            match to {
                Some(id) => write_durably(path, &format!("{id:016x}\n"))?,
                None => fs::remove_file(path)?,
            }
        }
        self.to = to;
        Ok(())
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

fn draw_id() -> u64 {
    rand::random::<u64>().max(1)
}

fn stored_identity(dir: &Path) -> Result<u64, StartError> {
    let path = dir.join(IDENTITY_FILE);
    let fault = |source| StartError::DataDir { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => u64::from_str_radix(text.trim(), 16)
            .ok()
            .filter(|id| *id != 0)
            .ok_or_else(|| fault(std::io::Error::other("holds no server id"))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let id = draw_id();
            write_durably(&path, &format!("{id:016x}\n")).map_err(fault)?;
            Ok(id)
        }
        Err(e) => Err(fault(e)),
    }
}

/// Writes a small file so that after a crash it is there whole or not at all.
pub(crate) fn write_durably(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
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

fn batch_of(persist: Persist) -> wal::Batch {
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

fn mark_of(snapshot: &Snapshot) -> wal::Entry {
    let (index, term) = (snapshot.index, snapshot.term);
    wal::Entry { index, term, kind: BOUNDARY, ..wal::Entry::default() }
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
