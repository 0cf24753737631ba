//! Snapshot files: written under a temporary name, synced, verified by reading back, then named.
//!
//! Form, little endian: `magic 8 | version u32 | index u64 | term u64 | configuration length u32 |
//! configuration | body | body length u64 | crc u32` where the checksum covers everything before
//! itself.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};

use crate::{Error, disk};

const MAGIC: &[u8; 8] = b"LICTRSNP";
/// Raised when older releases could not read what is written.
const VERSION: u32 = 1;
/// How many snapshots stay; the older one stands in while the log still reaches back to it.
const KEPT: usize = 2;
const TEMPORARY: &str = "snapshot.tmp";
/// Begins the names of snapshots received from another server and not yet taken on.
const RECEIVED: &str = "received-";
const HEADER_BYTES: usize = 8 + 4 + 8 + 8 + 4;
const TRAILER_BYTES: usize = 8 + 4;
/// Bound of the membership configuration. Unit: bytes.
const CONFIGURATION_BYTES_MAX: usize = 1024 * 1024;

/// What a snapshot stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// Log index of the last entry it covers.
    pub index: u64,
    pub term: u64,
    /// Membership at that point, opaque here.
    pub configuration: Bytes,
}

/// What was found of snapshots.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The newest that reads back whole.
    pub newest: Option<(SnapshotMeta, T)>,
    /// Newer ones that do not, with the log index each stood for: whether the log reaches from
    /// `newest` to there is for the caller to see.
    pub damaged: Vec<(u64, Error)>,
}

/// A snapshot that is whole and durable, but does not count yet. Dropping it leaves the file to
/// the next [`SnapshotStore::open`].
#[derive(Debug)]
pub struct ReceivedSnapshot {
    path: PathBuf,
    meta: SnapshotMeta,
}

impl ReceivedSnapshot {
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }
}

/// The snapshots of one directory.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    dir: PathBuf,
}

impl SnapshotStore {
    /// Opens `dir`, creating it when missing, and removes what an interrupted write left.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|e| Error::io("create the snapshot directory", dir, e))?;
        let store = Self { dir: dir.to_owned() };
        let io = |e| Error::io("list the snapshot directory", dir, e);
        for entry in fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                remove(&path, "remove the unfinished snapshot")?;
            }
        }
        Ok(store)
    }

    /// Writes what another server sends, whole and durable, to be taken on by
    /// [`SnapshotStore::adopt`]. `serial` tells those of one process apart.
    pub fn receive(
        &self,
        meta: SnapshotMeta,
        serial: u64,
        write_body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<ReceivedSnapshot, Error> {
        let path = self.dir.join(format!("{RECEIVED}{serial}.tmp"));
        let written = write_file(&path, &meta, write_body)
            .map_err(|e| Error::io("write the snapshot", &path, e))
            .and_then(|()| verify(&path));
        if let Err(e) = written {
            remove(&path, "remove the unfinished snapshot")?;
            return Err(e);
        }
        Ok(ReceivedSnapshot { path, meta })
    }

    /// Makes a received snapshot the newest one, durably.
    pub fn adopt(&self, received: ReceivedSnapshot) -> Result<(), Error> {
        let ReceivedSnapshot { path: temporary, meta } = received;
        self.name(&temporary, &meta).map(|_| ())
    }

    /// Forgets a received snapshot that did not come to count.
    pub fn discard(&self, received: &ReceivedSnapshot) -> Result<(), Error> {
        remove(&received.path, "remove the received snapshot")
    }

    /// Writes a snapshot whose body `write_body` streams, makes it durable, and removes those no
    /// longer kept. Returns its file. Nothing changes on error.
    pub fn save(
        &self,
        meta: &SnapshotMeta,
        write_body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<PathBuf, Error> {
        let temporary = self.dir.join(TEMPORARY);
        write_file(&temporary, meta, write_body)
            .map_err(|e| Error::io("write the snapshot", &temporary, e))?;
        verify(&temporary)?;
        self.name(&temporary, meta)
    }

    fn name(&self, temporary: &Path, meta: &SnapshotMeta) -> Result<PathBuf, Error> {
        let path = self.dir.join(file_name(meta));
        fs::rename(temporary, &path).map_err(|e| Error::io("name the snapshot", &path, e))?;
        disk::sync_dir(&self.dir)?;
        for old in self.list()?.into_iter().rev().skip(KEPT) {
            remove(&old, "remove the old snapshot")?;
        }
        Ok(path)
    }

    /// Loads the newest snapshot that reads back whole, handing its body to `read_body`.
    pub fn load<T>(
        &self,
        mut read_body: impl FnMut(&mut dyn Read) -> io::Result<T>,
    ) -> Result<Loaded<T>, Error> {
        let mut damaged = Vec::new();
        for path in self.list()?.into_iter().rev() {
            match verify(&path) {
                Ok((meta, body_bytes)) => {
                    let mut file = BufReader::new(
                        File::open(&path).map_err(|e| Error::io("open the snapshot", &path, e))?,
                    );
                    let head = HEADER_BYTES + meta.configuration.len();
                    file.seek_relative(head as i64)
                        .map_err(|e| Error::io("read the snapshot", &path, e))?;
                    let body = read_body(&mut file.take(body_bytes))
                        .map_err(|e| Error::damaged(&path, head as u64, e.to_string()))?;
                    return Ok(Loaded { newest: Some((meta, body)), damaged });
                }
                Err(e @ Error::Damaged { .. }) => damaged.push((index_of(&path), e)),
                Err(e) => return Err(e),
            }
        }
        Ok(Loaded { newest: None, damaged })
    }

    /// Snapshot files, oldest first.
    fn list(&self) -> Result<Vec<PathBuf>, Error> {
        let io = |e| Error::io("list the snapshot directory", &self.dir, e);
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|extension| extension == "snapshot") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

/// One that another thread has removed already is fine.
fn remove(path: &Path, action: &'static str) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(action, path, e)),
        _ => Ok(()),
    }
}

/// Fixed width, so that names sort as indexes do.
fn file_name(meta: &SnapshotMeta) -> String {
    format!("{:016x}-{:016x}.snapshot", meta.index, meta.term)
}

/// The log index in a snapshot's name; the largest when it has none, as nothing is known of it.
fn index_of(path: &Path) -> u64 {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(u64::MAX)
}

/// Passes bytes on, counting and checksumming them.
struct Summed<W> {
    inner: W,
    hasher: crc32fast::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hasher.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn write_file(
    path: &Path,
    meta: &SnapshotMeta,
    write_body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = Summed {
        inner: BufWriter::with_capacity(256 * 1024, File::create(path)?),
        hasher: crc32fast::Hasher::new(),
        bytes: 0,
    };
    let mut header = Vec::with_capacity(HEADER_BYTES + meta.configuration.len());
    header.put_slice(MAGIC);
    header.put_u32_le(VERSION);
    header.put_u64_le(meta.index);
    header.put_u64_le(meta.term);
    header.put_u32_le(meta.configuration.len() as u32);
    header.put_slice(&meta.configuration);
    out.write_all(&header)?;
    write_body(&mut out)?;
    let body_bytes = out.bytes - header.len() as u64;
    out.write_all(&body_bytes.to_le_bytes())?;
    let crc = out.hasher.clone().finalize();
    out.inner.write_all(&crc.to_le_bytes())?;
    out.inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Reads the whole file and checks it. Returns what it stands for and the size of its body.
fn verify(path: &Path) -> Result<(SnapshotMeta, u64), Error> {
    let io = |e| Error::io("read the snapshot", path, e);
    let file = File::open(path).map_err(io)?;
    let file_bytes = file.metadata().map_err(io)?.len();
    if file_bytes < (HEADER_BYTES + TRAILER_BYTES) as u64 {
        return Err(Error::damaged(path, file_bytes, "too short for a snapshot"));
    }
    let mut file = BufReader::with_capacity(256 * 1024, file);
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header).map_err(io)?;
    let mut fields = &header[8..];
    let (version, index, term) = (fields.get_u32_le(), fields.get_u64_le(), fields.get_u64_le());
    let configuration_bytes = fields.get_u32_le() as usize;
    if &header[..8] != MAGIC {
        return Err(Error::damaged(path, 0, "not a snapshot"));
    }
    if version > VERSION {
        return Err(Error::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    let head = HEADER_BYTES + configuration_bytes;
    if configuration_bytes > CONFIGURATION_BYTES_MAX || file_bytes < (head + TRAILER_BYTES) as u64 {
        return Err(Error::damaged(path, 0, "bad header"));
    }
    let mut configuration = vec![0; configuration_bytes];
    file.read_exact(&mut configuration).map_err(io)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header);
    hasher.update(&configuration);
    let body_bytes = file_bytes - (head + TRAILER_BYTES) as u64;
    let mut left = body_bytes + 8;
    let mut chunk = vec![0; 256 * 1024];
    let mut length_field = Vec::with_capacity(16);
    while left > 0 {
        let part = (chunk.len() as u64).min(left) as usize;
        file.read_exact(&mut chunk[..part]).map_err(io)?;
        hasher.update(&chunk[..part]);
        left -= part as u64;
        length_field.extend_from_slice(&chunk[part.saturating_sub(8)..part]);
        let excess = length_field.len().saturating_sub(8);
        length_field.drain(..excess);
    }
    let mut crc = [0; 4];
    file.read_exact(&mut crc).map_err(io)?;
    if length_field != body_bytes.to_le_bytes() || u32::from_le_bytes(crc) != hasher.finalize() {
        return Err(Error::damaged(path, 0, "the checksum does not match"));
    }
    Ok((SnapshotMeta { index, term, configuration: configuration.into() }, body_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta { index, term: 2, configuration: Bytes::from_static(b"members") }
    }

    fn save(store: &SnapshotStore, index: u64, body: &[u8]) -> PathBuf {
        store.save(&meta(index), |out| out.write_all(body)).unwrap()
    }

    fn load(store: &SnapshotStore) -> Loaded<Vec<u8>> {
        let read = |body: &mut dyn Read| {
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes).map(|_| bytes)
        };
        store.load(read).unwrap()
    }

    #[test]
    fn newest_comes_back_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(dir.path()).unwrap();
        assert!(load(&store).newest.is_none());
        let large = vec![7; 700_001];
        for (index, body) in [(10, &b"old"[..]), (200, b"mid"), (3000, &large)] {
            save(&store, index, body);
        }
        assert_eq!(load(&store).newest, Some((meta(3000), large)));
        assert_eq!(store.list().unwrap().len(), 2);
    }

    #[test]
    fn a_damaged_one_is_named_and_the_one_before_stands_in() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(dir.path()).unwrap();
        save(&store, 10, b"good");
        let path = save(&store, 20, b"body");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            // The version field of a newer release is refused instead, see below.
            if (8..12).contains(&at) {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            fs::write(&path, bytes).unwrap();
            let Loaded { newest: found, damaged } = load(&store);
            assert_eq!(found.unwrap().0, meta(10), "flipped byte {at}");
            assert_eq!(damaged[0].0, 20);
            assert!(damaged[0].1.to_string().contains(&*path.to_string_lossy()));
        }
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(load(&store).newest.unwrap().0, meta(10), "cut at {cut}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(dir.path()).unwrap();
        let path = save(&store, 20, b"body");
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] = 9;
        fs::write(&path, bytes).unwrap();
        let error = store.load(|_| Ok(())).unwrap_err();
        assert!(matches!(error, Error::Newer { found: 9, .. }), "{error}");
    }

    #[test]
    fn a_received_one_counts_once_it_is_taken_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(dir.path()).unwrap();
        save(&store, 5, b"own");
        let receive =
            |serial| store.receive(meta(9), serial, |out| out.write_all(b"theirs")).unwrap();
        let received = receive(1);
        assert_eq!(load(&store).newest.unwrap().0, meta(5));
        store.adopt(received).unwrap();
        assert_eq!(load(&store).newest, Some((meta(9), b"theirs".to_vec())));
        store.receive(meta(10), 2, |_| Err(io::Error::other("no"))).unwrap_err();
        let lost = receive(3);
        store.discard(&receive(4)).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        drop(lost);
        SnapshotStore::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failed_body_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(dir.path()).unwrap();
        store.save(&meta(5), |_| Err(io::Error::other("no"))).unwrap_err();
        assert!(load(&SnapshotStore::open(dir.path()).unwrap()).newest.is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
