//! What can go wrong with stored data. Every message names the file.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused. Trying again may help after the operator acted.
    #[error("could not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Stored data does not read back as written; nothing is guessed in its place.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: String },
    /// Written by a later release.
    #[error(
        "{} has format version {found}, but this release reads versions up to {known}; \
         run the release that wrote it, or a later one",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    /// Another process runs on this directory.
    #[error("{} is held by {holder}; two processes must not share a data directory", path.display())]
    InUse { path: PathBuf, holder: String },
    /// A write or sync failed: what is on disk is unknown, so the process must stop. The same
    /// is answered to everything asked of the log afterwards.
    #[error("{} can no longer be trusted to be durable ({cause})", path.display())]
    NotDurable { path: PathBuf, cause: String },
    /// A batch over the bound of one record.
    #[error("a log batch of {bytes} bytes is over the limit of {limit} bytes")]
    TooLarge { bytes: usize, limit: usize },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), offset, what: what.into() }
    }
}
