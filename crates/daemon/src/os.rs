//! What the process asks of the system: descriptors, a pid file, the service manager.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one: every watcher and every proxied connection
/// takes a descriptor. Failing that is no reason not to start.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
}

/// Takes from group and others every right to what this process makes from now on.
pub(crate) fn keep_files_private() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// A file with the process id, removed when dropped.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        std::fs::write(path, std::process::id().to_string())?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Somebody else may have removed it; that is what was wanted.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Tells the service manager how far we are (`READY=1`, `STOPPING=1`, `RELOADING=1`), if one asked
/// to be told by `NOTIFY_SOCKET`.
pub(crate) fn notify_service_manager(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let send = || UnixDatagram::unbound()?.send_to(state.as_bytes(), &path);
    if let Err(error) = send() {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
