//! One segment file: a header, then records, then zeros or remains of a former life.
//!
//! Form, all little endian: header `magic 8 | version u32 | sequence u64 | crc u32`, padded to
//! [`HEADER_BYTES`]; record `length u32 | crc u32 | payload`, padded to [`ALIGN`]. The checksum of
//! a record covers the segment's sequence, so what a recycled file held before never reads as
//! valid. Each record is synced before the next is written; therefore only the last may be torn,
//! and a good record after a bad one proves damage.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};

use crate::Error;
use crate::log::{Batch, Entry, HardState, RECORD_BYTES_MAX};

pub(crate) const HEADER_BYTES: u64 = 64;
const MAGIC: &[u8; 8] = b"LICTRLOG";
/// Raised when older releases could not read what is written.
const VERSION: u32 = 1;
/// Records start at multiples of this, so that a length field never straddles a sector.
const ALIGN: usize = 8;
const RECORD_HEADER_BYTES: usize = 8;
/// Entry frame: index, term, kind, data length.
const ENTRY_HEADER_BYTES: usize = 8 + 8 + 1 + 4;
/// Payload before its entries: term, vote, commit, number of entries.
const BATCH_HEADER_BYTES: usize = 8 * 3 + 4;
/// How many times its size a file may be checksummed in search of records behind a bad one.
const TAIL_SEARCH_FACTOR: usize = 64;
/// Zeros written at a time when a file is prepared.
const ZERO_CHUNK_BYTES: usize = 256 * 1024;

/// A preallocated file, written from front to back.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) sequence: u64,
    pub(crate) capacity: u64,
    /// Where the next record goes.
    pub(crate) offset: u64,
    /// Largest log index ever written here; 0 when empty.
    pub(crate) last_index: u64,
}

pub(crate) fn file_name(sequence: u64) -> String {
    format!("{sequence:016x}.log")
}

/// The sequence in a segment's file name, `None` for other files.
pub(crate) fn sequence_of(path: &Path) -> Option<u64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".log")?;
    (stem.len() == 16).then(|| u64::from_str_radix(stem, 16).ok()).flatten()
}

/// Makes the file at `path` an empty segment: zeros up to `capacity`, a header, all synced, so
/// that later writes change no metadata. `recycled` files were zeroed or written before.
pub(crate) fn prepare(
    path: &Path,
    sequence: u64,
    capacity: u64,
    recycled: bool,
) -> Result<(), Error> {
    let io = |action| move |e| Error::io(action, path, e);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(!recycled)
        .truncate(!recycled)
        .open(path)
        .map_err(io("create the log file"))?;
    if !recycled {
        let zeros = vec![0; ZERO_CHUNK_BYTES];
        let mut at = 0;
        while at < capacity {
            let length = ZERO_CHUNK_BYTES.min((capacity - at) as usize);
            file.write_all_at(&zeros[..length], at).map_err(io("preallocate the log file"))?;
            at += length as u64;
        }
    }
    let mut header = Vec::with_capacity(HEADER_BYTES as usize);
    header.put_slice(MAGIC);
    header.put_u32_le(VERSION);
    header.put_u64_le(sequence);
    header.put_u32_le(crc32fast::hash(&header));
    header.resize(HEADER_BYTES as usize, 0);
    file.write_all_at(&header, 0).map_err(io("write the log file"))?;
    file.sync_all().map_err(io("sync the log file"))
}

impl Segment {
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        let io = |action, e| Error::io(action, &path, e);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| io("open the log file", e))?;
        let capacity = file.metadata().map_err(|e| io("read the size of the log file", e))?.len();
        let mut header = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut header, 0).map_err(|e| io("read the log file", e))?;
        let mut rest = &header[8..];
        let (version, sequence, crc) = (rest.get_u32_le(), rest.get_u64_le(), rest.get_u32_le());
        if &header[..8] != MAGIC {
            return Err(Error::damaged(&path, 0, "not a log file"));
        }
        if version > VERSION {
            return Err(Error::Newer { path, found: version, known: VERSION });
        }
        if crc != crc32fast::hash(&header[..20]) || sequence_of(&path) != Some(sequence) {
            return Err(Error::damaged(&path, 0, "bad header"));
        }
        Ok(Self { file, path, sequence, capacity, offset: HEADER_BYTES, last_index: 0 })
    }

    pub(crate) fn has_room(&self, record_bytes: usize) -> bool {
        self.offset + record_bytes as u64 <= self.capacity
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offset == HEADER_BYTES
    }

    /// Seals the record in `buffer` (made by [`encode`]) for this segment and writes it.
    pub(crate) fn write(&mut self, buffer: &mut [u8]) -> std::io::Result<()> {
        let (length, rest) = buffer.split_at_mut(4);
        let (crc_field, payload) = rest.split_at_mut(4);
        let payload_bytes = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        let crc = checksum(self.sequence, &payload[..payload_bytes as usize]);
        crc_field.copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(buffer, self.offset)?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    /// Reads all records in order and moves the write position behind the last good one. Returns
    /// the bytes of a torn last record, zero when there was none.
    ///
    /// Errors: `Damaged` when a good record follows a bad one.
    pub(crate) fn recover(&mut self, mut replay: impl FnMut(Batch)) -> Result<u64, Error> {
        let mut content = Vec::with_capacity(self.capacity as usize);
        File::open(&self.path)
            .and_then(|mut file| file.read_to_end(&mut content))
            .map_err(|e| Error::io("read the log file", &self.path, e))?;
        let content = Bytes::from(content);
        let mut at = HEADER_BYTES as usize;
        while let Some((payload, size)) = self.record_at(&content, at) {
            let batch = decode(payload)
                .ok_or_else(|| Error::damaged(&self.path, at as u64, "undecodable record"))?;
            if let Some(last) = batch.entries.last() {
                self.last_index = self.last_index.max(last.index);
            }
            replay(batch);
            at += size;
        }
        self.offset = at as u64;
        self.judge_tail(&content, at)
    }

    /// What follows the last good record: nothing of ours, one torn record, or damage.
    fn judge_tail(&self, content: &Bytes, at: usize) -> Result<u64, Error> {
        if self.has_later_record(content, at) {
            return Err(Error::damaged(
                &self.path,
                at as u64,
                "a record does not match its checksum, and later ones do",
            ));
        }
        let tail = content.get(at..).unwrap_or_default();
        // A recycled file holds remains; only a length that was being written counts as torn.
        let is_begun = tail.get(..4).is_some_and(|length| length != [0; 4]);
        let torn = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(if is_begun { torn as u64 } else { 0 })
    }

    fn has_later_record(&self, content: &Bytes, at: usize) -> bool {
        // Stored values may be made to look like long records; this bounds the work on them.
        let mut budget = content.len().saturating_mul(TAIL_SEARCH_FACTOR);
        for later in (at + ALIGN..content.len().saturating_sub(RECORD_HEADER_BYTES)).step_by(ALIGN)
        {
            let length = content.get(later..later + 4).map_or(0, |mut field| field.get_u32_le());
            if length as usize > content.len() - later {
                continue;
            }
            if self.record_at(content, later).is_some() {
                return true;
            }
            budget = budget.saturating_sub(length as usize);
            if budget == 0 {
                return false;
            }
        }
        false
    }

    /// The payload of the good record at `at` and its whole size.
    fn record_at(&self, content: &Bytes, at: usize) -> Option<(Bytes, usize)> {
        let mut header = content.get(at..at + RECORD_HEADER_BYTES)?;
        let (length, crc) = (header.get_u32_le() as usize, header.get_u32_le());
        if !(BATCH_HEADER_BYTES..=RECORD_BYTES_MAX).contains(&length) {
            return None;
        }
        let start = at + RECORD_HEADER_BYTES;
        let payload = content.get(start..start.checked_add(length)?)?;
        (checksum(self.sequence, payload) == crc)
            .then(|| (content.slice(start..start + length), record_bytes(length)))
    }
}

fn checksum(sequence: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&(payload.len() as u32).to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// Size in the file of a record with this payload.
fn record_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN)
}

/// Encodes `batch` as a record whose checksum is still open; see [`Segment::write`].
pub(crate) fn encode(batch: &Batch, buffer: &mut Vec<u8>) -> Result<(), Error> {
    let payload_bytes = BATCH_HEADER_BYTES
        + batch.entries.iter().map(|e| ENTRY_HEADER_BYTES + e.data.len()).sum::<usize>();
    if payload_bytes > RECORD_BYTES_MAX {
        return Err(Error::TooLarge { bytes: payload_bytes, limit: RECORD_BYTES_MAX });
    }
    buffer.clear();
    buffer.reserve(record_bytes(payload_bytes));
    buffer.put_u32_le(payload_bytes as u32);
    buffer.put_u32_le(0);
    let HardState { term, vote, commit } = batch.hard_state;
    buffer.put_u64_le(term);
    buffer.put_u64_le(vote);
    buffer.put_u64_le(commit);
    buffer.put_u32_le(batch.entries.len() as u32);
    for Entry { index, term, kind, data } in &batch.entries {
        buffer.put_u64_le(*index);
        buffer.put_u64_le(*term);
        buffer.put_u8(*kind);
        buffer.put_u32_le(data.len() as u32);
        buffer.put_slice(data);
    }
    buffer.resize(record_bytes(payload_bytes), 0);
    Ok(())
}

fn decode(mut payload: Bytes) -> Option<Batch> {
    if payload.len() < BATCH_HEADER_BYTES {
        return None;
    }
    let hard_state = HardState {
        term: payload.get_u64_le(),
        vote: payload.get_u64_le(),
        commit: payload.get_u64_le(),
    };
    let count = payload.get_u32_le() as usize;
    let mut entries = Vec::with_capacity(count.min(payload.len() / ENTRY_HEADER_BYTES));
    for _ in 0..count {
        if payload.len() < ENTRY_HEADER_BYTES {
            return None;
        }
        let (index, term) = (payload.get_u64_le(), payload.get_u64_le());
        let (kind, length) = (payload.get_u8(), payload.get_u32_le() as usize);
        if payload.len() < length {
            return None;
        }
        // A copy, so that one retained entry does not keep a whole file in memory.
        let data = Bytes::copy_from_slice(&payload[..length]);
        payload.advance(length);
        entries.push(Entry { index, term, kind, data });
    }
    Some(Batch { hard_state, entries })
}
