//! Log files that are rotated by size and age, named as Consul names them:
//! `<stem>-<nanoseconds>.<extension>`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Age at which a file is rotated unless told otherwise.
const AGE_DEFAULT: Duration = Duration::from_secs(24 * 3600);
const STEM_DEFAULT: &str = "consul";
const EXTENSION_DEFAULT: &str = "log";

/// When a file is full and how many full ones stay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rotation {
    /// 0: whatever the size.
    pub(crate) bytes_max: u64,
    /// Zero: a day.
    pub(crate) age_max: Duration,
    /// Full files kept; 0 keeps all, a negative number none.
    pub(crate) files_max: i64,
}

pub(crate) struct LogFile {
    directory: PathBuf,
    stem: String,
    extension: String,
    rotation: Rotation,
    file: File,
    bytes: u64,
    opened: Instant,
}

impl LogFile {
    /// `path` is a directory (it ends in a slash) or begins the names of the files.
    pub(crate) fn create(path: &str, rotation: Rotation) -> io::Result<Self> {
        let (directory, name) = match path.rsplit_once('/') {
            Some((directory, name)) => {
                (Path::new(if directory.is_empty() { "/" } else { directory }), name)
            }
            None => (Path::new("."), path),
        };
        let (stem, extension) = match name.rsplit_once('.') {
            Some((stem, extension)) => (stem, extension),
            None => (name, EXTENSION_DEFAULT),
        };
        let stem = if stem.is_empty() { STEM_DEFAULT } else { stem };
        fs::create_dir_all(directory)?;
        let file = open(directory, stem, extension)?;
        Ok(Self {
            directory: directory.to_owned(),
            stem: stem.to_owned(),
            extension: extension.to_owned(),
            rotation,
            file,
            bytes: 0,
            opened: Instant::now(),
        })
    }

    fn is_full(&self) -> bool {
        let Rotation { bytes_max, age_max, .. } = self.rotation;
        let age_max = if age_max.is_zero() { AGE_DEFAULT } else { age_max };
        (bytes_max > 0 && self.bytes >= bytes_max) || self.opened.elapsed() >= age_max
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.prune()?;
        self.file = open(&self.directory, &self.stem, &self.extension)?;
        (self.bytes, self.opened) = (0, Instant::now());
        Ok(())
    }

    /// Removes the oldest full files beyond those to keep.
    fn prune(&self) -> io::Result<()> {
        let keep = match self.rotation.files_max {
            0 => return Ok(()),
            count => usize::try_from(count).unwrap_or(0),
        };
        let mut full = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(time) = self.time_in(name) {
                full.push((time, path));
            }
        }
        full.sort();
        for (_, path) in full.iter().rev().skip(keep) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// The time in the name of one of our files; `None` for any other name.
    fn time_in(&self, name: &str) -> Option<u128> {
        let time = name.strip_prefix(&self.stem)?.strip_prefix('-')?;
        time.strip_suffix(&self.extension)?.strip_suffix('.')?.parse().ok()
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A log that cannot be rotated goes on in the file it has.
        if self.is_full() && self.rotate().is_err() {
            (self.bytes, self.opened) = (0, Instant::now());
        }
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(directory: &Path, stem: &str, extension: &str) -> io::Result<File> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let path = directory.join(format!("{stem}-{now}.{extension}"));
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn names_follow_the_path() {
        let check = |suffix: &str, start: &str, end: &str| {
            let directory = tempfile::tempdir().unwrap();
            let path = format!("{}/{suffix}", directory.path().display());
            LogFile::create(&path, Rotation::default()).unwrap();
            let names = names(directory.path());
            assert!(names[0].starts_with(start) && names[0].ends_with(end), "{names:?}");
        };
        check("", "consul-", ".log");
        check("x", "x-", ".log");
        check("y.txt", "y-", ".txt");
    }

    #[test]
    fn full_files_are_rotated_and_pruned() {
        let check = |files_max: i64, want: usize| {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("x-other.log"), "not ours").unwrap();
            let path = format!("{}/x", directory.path().display());
            let rotation = Rotation { bytes_max: 10, files_max, ..Rotation::default() };
            let mut log = LogFile::create(&path, rotation).unwrap();
            for _ in 0..6 {
                log.write_all(b"0123456789\n").unwrap();
            }
            assert_eq!(names(directory.path()).len(), want + 1, "{files_max}");
        };
        check(0, 6);
        check(2, 3);
        check(-1, 1);
    }
}
