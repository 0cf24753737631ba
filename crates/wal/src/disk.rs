//! The log on disk: preallocated segments, written front to back, one sync per batch, recycled.
//!
//! Writing into a file that is already zeroed changes no metadata, which halves the cost of a
//! sync compared with a growing file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::segment::{self, HEADER_BYTES, Segment};
use crate::spare::SparePreparer;
use crate::{Batch, Error, Log, Recovered};

/// Name of a segment still in preparation.
pub(crate) const SPARE_NAME: &str = "spare.tmp";

/// Sizes. Unit: bytes.
#[derive(Clone, Copy, Debug)]
pub struct DiskLogOptions {
    /// Capacity of a segment. A larger batch gets a segment of its own size.
    pub segment_bytes: u64,
    /// Capacity of the very first one; small, since start-up waits for it.
    pub first_segment_bytes: u64,
}

impl Default for DiskLogOptions {
    fn default() -> Self {
        Self { segment_bytes: 8 * 1024 * 1024, first_segment_bytes: 512 * 1024 }
    }
}

/// A log of segment files in one directory.
#[derive(Debug)]
pub struct DiskLog {
    options: DiskLogOptions,
    /// Full ones, oldest first.
    sealed: Vec<Segment>,
    active: Segment,
    /// A sealed file waiting to become the next spare.
    recyclable: Option<PathBuf>,
    spare: SparePreparer,
    buffer: Vec<u8>,
    /// Cause of a failed write or sync; final.
    failed: Option<String>,
}

impl DiskLog {
    /// Opens the log in `dir`, creating both when missing, and reads what it holds. Cuts a torn
    /// last write off.
    ///
    /// Errors: `Damaged`, `Newer`, `Io`, each naming the file.
    pub fn open(dir: &Path, options: DiskLogOptions) -> Result<(Self, Recovered), Error> {
        fs::create_dir_all(dir).map_err(|e| Error::io("create the log directory", dir, e))?;
        let mut segments = list(dir)?;
        if segments.is_empty() {
            let path = dir.join(segment::file_name(1));
            let temporary = dir.join(SPARE_NAME);
            segment::prepare(&temporary, 1, options.first_segment_bytes, false)?;
            fs::rename(&temporary, &path).map_err(|e| Error::io("name the log file", &path, e))?;
            sync_dir(dir)?;
            segments.push(Segment::open(path)?);
        }
        let mut recovered = Recovered::default();
        let mut torn_in: Option<PathBuf> = None;
        for segment in &mut segments {
            let torn = segment.recover(|batch| recovered.replay(batch))?;
            if let Some(path) = torn_in.as_ref().filter(|_| !segment.is_empty()) {
                return Err(Error::damaged(path, 0, "a torn record is followed by later files"));
            }
            if torn > 0 {
                torn_in = Some(segment.path.clone());
                recovered.torn_bytes += torn;
            }
        }
        check_sequences(&segments)?;
        // Behind the last segment in use there may be one prepared spare.
        let in_use = segments.iter().rposition(|segment| !segment.is_empty()).unwrap_or(0);
        for unused in segments.drain(in_use + 1..) {
            fs::remove_file(&unused.path)
                .map_err(|e| Error::io("remove the unused log file", &unused.path, e))?;
        }
        let active = segments.pop().ok_or_else(|| Error::damaged(dir, 0, "no segment"))?;
        if recovered.torn_bytes > 0 {
            erase_tail(&active)?;
        }
        let mut spare = SparePreparer::start(dir)?;
        spare.order(active.sequence + 1, options.segment_bytes, None);
        let log = Self {
            options,
            sealed: segments,
            active,
            recyclable: None,
            spare,
            buffer: Vec::new(),
            failed: None,
        };
        Ok((log, recovered))
    }

    fn fail(&mut self, cause: String) -> Error {
        self.failed = Some(cause);
        self.failure()
    }

    fn failure(&self) -> Error {
        Error::NotDurable {
            path: self.active.path.clone(),
            cause: self.failed.clone().unwrap_or_default(),
        }
    }

    /// Moves on to the prepared segment, and orders the one after it.
    fn roll(&mut self, record_bytes: usize) -> Result<(), Error> {
        let mut next = match self.spare.take() {
            Some(Ok(next)) => next,
            Some(Err(e)) => return Err(self.fail(with_source(&e))),
            None => return Err(self.fail("no prepared segment".into())),
        };
        if !next.has_room(record_bytes) {
            // Rare: one batch larger than a whole segment. Prepared in place, at its size.
            let capacity = HEADER_BYTES + record_bytes as u64;
            let (path, sequence) = (next.path.clone(), next.sequence);
            drop(next);
            next = segment::prepare(&path, sequence, capacity, false)
                .and_then(|()| Segment::open(path))
                .map_err(|e| self.fail(with_source(&e)))?;
        }
        let recycled = self.recyclable.take();
        self.spare.order(next.sequence + 1, self.options.segment_bytes, recycled);
        self.sealed.push(std::mem::replace(&mut self.active, next));
        Ok(())
    }
}

impl Log for DiskLog {
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        if self.failed.is_some() {
            return Err(self.failure());
        }
        segment::encode(batch, &mut self.buffer)?;
        if !self.active.has_room(self.buffer.len()) {
            self.roll(self.buffer.len())?;
        }
        if let Err(e) = self.active.write(&mut self.buffer) {
            return Err(self.fail(format!("write: {e}")));
        }
        if let Some(last) = batch.entries.last() {
            self.active.last_index = self.active.last_index.max(last.index);
        }
        Ok(())
    }

    fn restart(&mut self, batch: &Batch) -> Result<(), Error> {
        self.write(batch)?;
        self.sync()?;
        // What stood before may be of another history, so it must not be read again without the
        // batch behind it; oldest first, so that what is left after a crash has no gap.
        for old in self.recyclable.take().into_iter().chain(self.sealed.drain(..).map(|s| s.path)) {
            fs::remove_file(&old).map_err(|e| Error::io("remove the log file", &old, e))?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        if self.failed.is_some() {
            return Err(self.failure());
        }
        match self.active.file.sync_data() {
            Ok(()) => Ok(()),
            Err(e) => Err(self.fail(format!("fdatasync: {e}"))),
        }
    }

    fn compact(&mut self, through: u64) -> Result<(), Error> {
        let covered = self.sealed.iter().take_while(|s| s.last_index <= through).count();
        for old in self.sealed.drain(..covered) {
            if self.recyclable.is_none() && old.capacity == self.options.segment_bytes {
                // Renamed only when taken up, so that until then recovery sees whole files; a
                // covered file that is read again is harmless.
                self.recyclable = Some(old.path);
                continue;
            }
            fs::remove_file(&old.path)
                .map_err(|e| Error::io("remove the log file", &old.path, e))?;
        }
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        self.sealed.iter().chain([&self.active]).map(|segment| segment.capacity).sum()
    }
}

/// What went wrong and what the system said of it, for a cause that is kept as text.
fn with_source(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The segments of `dir` by sequence; removes a half-made spare.
fn list(dir: &Path) -> Result<Vec<Segment>, Error> {
    let io = |e| Error::io("list the log directory", dir, e);
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.file_name().is_some_and(|name| name == SPARE_NAME) {
            fs::remove_file(&path).map_err(|e| Error::io("remove the spare", &path, e))?;
        } else if segment::sequence_of(&path).is_some() {
            segments.push(Segment::open(path)?);
        }
    }
    segments.sort_by_key(|segment| segment.sequence);
    Ok(segments)
}

/// Sequences must follow one another: a file missing in the middle is loss. One kept for
/// recycling while those behind it were removed stands alone in front, and is covered by a
/// snapshot, so the gap is accepted there; the replica checks that entries reach its snapshot.
fn check_sequences(segments: &[Segment]) -> Result<(), Error> {
    for pair in segments.windows(2).skip(1) {
        if let [before, after] = pair
            && after.sequence != before.sequence + 1
        {
            return Err(Error::damaged(
                &before.path,
                0,
                format!("the file after it is missing, found {}", after.path.display()),
            ));
        }
    }
    Ok(())
}

/// Zeroes what follows the last good record, so that it is not judged again at the next start.
fn erase_tail(segment: &Segment) -> Result<(), Error> {
    use std::os::unix::fs::FileExt;
    let zeros = vec![0; (segment.capacity - segment.offset) as usize];
    segment
        .file
        .write_all_at(&zeros, segment.offset)
        .and_then(|()| segment.file.sync_all())
        .map_err(|e| Error::io("cut the torn end of", &segment.path, e))
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io("sync the directory", dir, e))
}

#[cfg(test)]
mod tests;
