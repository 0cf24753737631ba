//! What a pool keeps on disk: whom it knew, in serf's snapshot form, and its keys.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use gossip::{Key, Snapshot, SnapshotLine, snapshot};

use crate::pool::driver::PoolError;

/// Longest snapshot file read at start: members of the largest pool several times over. Unit: bytes.
const SNAPSHOT_BYTES_MAX: u64 = 64 << 20;

/// The files of one pool.
#[derive(Debug)]
pub(super) struct Files {
    snapshot: Option<SnapshotFile>,
    keyring: Option<PathBuf>,
}

#[derive(Debug)]
struct SnapshotFile {
    path: PathBuf,
    file: File,
    bytes: usize,
    /// Lines not yet handed to the system.
    unwritten: String,
    written_at: Instant,
}

impl Files {
    /// Opens the files and reads whom the last run knew.
    pub(super) fn open(
        snapshot: Option<PathBuf>,
        keyring: Option<PathBuf>,
        rejoin_after_leave: bool,
    ) -> Result<(Self, Snapshot), PoolError> {
        let Some(path) = snapshot else {
            return Ok((Self { snapshot: None, keyring }, Snapshot::default()));
        };
        let fault = |source| PoolError::File { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(fault)?;
        }
        let known = read(&path, rejoin_after_leave).map_err(fault)?;
        let file = File::options().create(true).append(true).open(&path).map_err(fault)?;
        let bytes = file.metadata().map_err(fault)?.len() as usize;
        let unwritten = String::new();
        let snapshot = SnapshotFile { path, file, bytes, unwritten, written_at: Instant::now() };
        Ok((Self { snapshot: Some(snapshot), keyring }, known))
    }

    pub(super) fn append(&mut self, line: &SnapshotLine) {
        let Some(snapshot) = &mut self.snapshot else { return };
        snapshot.unwritten.push_str(&line.to_string());
        snapshot.unwritten.push('\n');
        if *line == SnapshotLine::Leave {
            self.flush();
        }
    }

    /// Writes what has waited long enough, and begins a new file when this one has grown too much.
    pub(super) fn tend(&mut self, all: impl FnOnce() -> Vec<SnapshotLine>) {
        let Some(snapshot) = &mut self.snapshot else { return };
        if snapshot.unwritten.is_empty() || snapshot.written_at.elapsed() < snapshot::FLUSH_INTERVAL
        {
            return;
        }
        self.flush();
        let Some(snapshot) = &mut self.snapshot else { return };
        if snapshot.bytes <= snapshot::rewrite_above(0) {
            return;
        }
        let lines = all();
        if snapshot.bytes > snapshot::rewrite_above(lines.len())
            && let Err(error) = snapshot.rewrite(&lines)
        {
            tracing::warn!(%error, "the list of known members could not be written anew");
        }
    }

    pub(super) fn flush(&mut self) {
        if let Some(snapshot) = &mut self.snapshot
            && let Err(error) = snapshot.flush()
        {
            tracing::warn!(%error, "the list of known members could not be written");
        }
    }

    /// Keeps changed keys, primary first.
    pub(super) fn keep_keys(&self, keys: &[Key]) -> io::Result<()> {
        match &self.keyring {
            Some(path) => write_keys(path, keys),
            None => Ok(()),
        }
    }
}

impl SnapshotFile {
    fn flush(&mut self) -> io::Result<()> {
        self.written_at = Instant::now();
        let lines = std::mem::take(&mut self.unwritten);
        self.bytes += lines.len();
        self.file.write_all(lines.as_bytes())
    }

    fn rewrite(&mut self, lines: &[SnapshotLine]) -> io::Result<()> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let temporary = self.path.with_extension("compact");
        fs::write(&temporary, &text)?;
        fs::rename(&temporary, &self.path)?;
        self.file = File::options().append(true).open(&self.path)?;
        self.bytes = text.len();
        Ok(())
    }
}

fn read(path: &Path, rejoin_after_leave: bool) -> io::Result<Snapshot> {
    match fs::metadata(path) {
        Ok(found) if found.len() > SNAPSHOT_BYTES_MAX => {
            return Err(io::Error::other("it is too large to be a list of members; remove it"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Snapshot::default()),
        Err(error) => return Err(error),
    }
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    Ok(Snapshot::parse(&text, rejoin_after_leave))
}

/// Reads a keyring file: a JSON list of keys in base64, primary first. `None` when there is none.
pub fn read_keys(path: &Path) -> Result<Option<Vec<Key>>, PoolError> {
    let bad = |reason: String| PoolError::Keyring { path: path.to_owned(), reason };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PoolError::File { path: path.to_owned(), source }),
    };
    let keys: Vec<String> = serde_json::from_str(&text)
        .map_err(|_| bad("this is no list of gossip keys; remove it or mend it".into()))?;
    let keys = keys.iter().map(|key| Key::from_base64(key).map_err(|error| bad(error.to_string())));
    keys.collect::<Result<Vec<_>, _>>().map(Some)
}

/// Writes a keyring file, for this user alone.
pub fn write_keys(path: &Path, keys: &[Key]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let keys: Vec<String> = keys.iter().map(Key::to_base64).collect();
    let text = serde_json::to_string(&keys).expect("texts encode");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("tmp");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn members_of_the_last_run_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serf/local.snapshot");
        let alive = |name: &str| SnapshotLine::Alive {
            name: name.into(),
            address: "10.0.0.1:8301".parse().unwrap(),
        };
        let (mut files, known) = Files::open(Some(path.clone()), None, false).unwrap();
        assert!(known.alive.is_empty());
        files.append(&alive("a"));
        files.append(&alive("b"));
        files.append(&SnapshotLine::NotAlive { name: "a".into() });
        files.flush();
        let (mut files, known) = Files::open(Some(path.clone()), None, false).unwrap();
        assert_eq!(known.alive.keys().collect::<Vec<_>>(), ["b"]);
        files.append(&SnapshotLine::Leave);
        let (_, known) = Files::open(Some(path), None, false).unwrap();
        assert!(known.alive.is_empty());
    }

    #[test]
    fn a_grown_list_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("local.snapshot");
        let (mut files, _) = Files::open(Some(path.clone()), None, false).unwrap();
        let last = SnapshotLine::Clock(99_999);
        while files.snapshot.as_ref().unwrap().bytes <= snapshot::rewrite_above(1) {
            for clock in 0..1000 {
                files.append(&SnapshotLine::Clock(clock));
            }
            files.flush();
        }
        files.append(&last);
        files.snapshot.as_mut().unwrap().written_at -= snapshot::FLUSH_INTERVAL;
        files.tend(|| vec![last.clone()]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "clock: 99999\n");
        files.append(&SnapshotLine::Clock(100_000));
        files.flush();
        assert_eq!(Files::open(Some(path), None, false).unwrap().1.clock, 100_000);
    }

    #[test]
    fn keys_are_kept_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serf/local.keyring");
        assert!(read_keys(&path).unwrap().is_none());
        let keys = [Key::new(&[1; 16]).unwrap(), Key::new(&[2; 32]).unwrap()];
        write_keys(&path, &keys).unwrap();
        assert_eq!(read_keys(&path).unwrap().unwrap(), keys);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "[\"short\"]").unwrap();
        let error = read_keys(&path).unwrap_err().to_string();
        assert!(error.contains("local.keyring") && !error.contains("short"), "{error}");
    }
}
