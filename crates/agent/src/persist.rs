//! Registrations made through the API, kept on disk so that they outlive a restart.
//!
//! Layout and content are those of Consul's data directory, so that an agent may be replaced in
//! place: one JSON file per service, check and check state, named by the MD5 of the id. Files are
//! written whole beside their place and moved into it, readable by their owner alone because they
//! hold tokens.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

mod md5;
mod record;

pub(crate) use record::{Check, CheckState, Service};

/// Largest file read back, in bytes; a definition is far smaller.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

const SERVICES: &str = "services";
const CHECKS: &str = "checks";
const STATES: &str = "checks/state";

/// Everything found on disk.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) services: Vec<Service>,
    pub(crate) checks: Vec<Check>,
    pub(crate) states: Vec<CheckState>,
}

/// Where registrations are kept; nowhere without a data directory.
#[derive(Clone)]
pub(crate) struct Persist {
    dir: Option<Arc<Path>>,
}

impl Persist {
    pub(crate) fn new(data_dir: Option<&Path>) -> Self {
        Self { dir: data_dir.map(Arc::from) }
    }

    /// Reads everything back. A file that cannot be understood is left alone and said so in the log.
    ///
    /// Errors: a directory that cannot be made or read.
    pub(crate) async fn load(&self) -> Result<Kept, Error> {
        self.blocking(|dir| {
            for name in [SERVICES, CHECKS, STATES] {
                let path = dir.join(name);
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
                made.map_err(|source| Error::Storage { path, source })?;
            }
            Ok(Kept {
                services: read_all(&dir.join(SERVICES))?,
                checks: read_all(&dir.join(CHECKS))?,
                states: read_all(&dir.join(STATES))?,
            })
        })
        .await
        .map(Option::unwrap_or_default)
    }

    pub(crate) async fn put_service(&self, service: Service) -> Result<(), Error> {
        let path = file_name(SERVICES, &service.service.id);
        self.put(path, service, Durability::Fsync).await
    }

    pub(crate) async fn put_check(&self, check: Check) -> Result<(), Error> {
        let path = file_name(CHECKS, &check.check.check_id);
        self.put(path, check, Durability::Fsync).await
    }

    /// Keeps what a check was told. Lost with the power it only means waiting to be told again, so a
    /// renewal does not wait for the disk.
    pub(crate) async fn put_state(&self, state: CheckState) -> Result<(), Error> {
        let path = file_name(STATES, &state.check_id);
        self.put(path, state, Durability::Rename).await
    }

    pub(crate) async fn remove_service(&self, id: &str) -> Result<(), Error> {
        self.remove(vec![file_name(SERVICES, id)]).await
    }

    /// Removes a check and its state.
    pub(crate) async fn remove_check(&self, id: &str) -> Result<(), Error> {
        self.remove(vec![file_name(CHECKS, id), file_name(STATES, id)]).await
    }

    async fn put<T: Serialize + Send + 'static>(
        &self,
        name: PathBuf,
        content: T,
        durability: Durability,
    ) -> Result<(), Error> {
        self.blocking(move |dir| {
            let path = dir.join(name);
            let written = serde_json::to_vec(&content)
                .map_err(io::Error::from)
                .and_then(|bytes| replace_file(&path, &bytes, durability));
            written.map_err(|source| Error::Storage { path, source })
        })
        .await
        .map(Option::unwrap_or_default)
    }

    async fn remove(&self, names: Vec<PathBuf>) -> Result<(), Error> {
        self.blocking(move |dir| {
            for name in names {
                let path = dir.join(name);
                match fs::remove_file(&path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(Error::Storage { path, source }),
                }
            }
            Ok(())
        })
        .await
        .map(Option::unwrap_or_default)
    }

    /// Runs file work off the runtime's threads; `None` without a directory.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        let Some(dir) = self.dir.clone() else { return Ok(None) };
        match tokio::task::spawn_blocking(move || work(&dir)).await {
            Ok(result) => result.map(Some),
            Err(_) => Err(Error::ShuttingDown),
        }
    }
}

fn file_name(dir: &str, id: &str) -> PathBuf {
    Path::new(dir).join(md5::hex(id.as_bytes()))
}

/// Whether a file must survive a loss of power once written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Fsync,
    Rename,
}

/// Writes the whole content beside its place, makes it durable, and moves it there.
fn replace_file(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    if durability == Durability::Fsync {
        file.sync_all()?;
    }
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) if durability == Durability::Fsync => fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn read_all<T: DeserializeOwned>(dir: &Path) -> Result<Vec<T>, Error> {
    let storage = |source| Error::Storage { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(storage)? {
        let entry = entry.map_err(storage)?;
        if entry.file_type().map_err(storage)?.is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        // What a crash left half-written was never promised to anybody.
        if path.extension().is_some_and(|extension| extension == "tmp") {
            let _ = fs::remove_file(&path);
            continue;
        }
        match read_one(&path) {
            Ok(content) => all.push(content),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "ignoring unreadable file")
            }
        }
    }
    Ok(all)
}

fn read_one<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("file is too large"));
    }
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
