//! Why the agent refused or failed. The messages are those API clients know.

use std::io;
use std::path::PathBuf;

/// What went wrong, by whose fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can never succeed as it is.
    #[error("{0}")]
    Invalid(String),
    /// What the request names is not registered here.
    #[error("{0}")]
    NotFound(String),
    /// The request is well-formed but does not fit what is registered here, such as passing a check
    /// that has no time to live. Consul answers these as server errors.
    #[error("{0}")]
    Refused(String),
    /// The servers refused or failed.
    #[error(transparent)]
    Cluster(#[from] model::error::Error),
    /// A registration could not be kept on disk.
    #[error("keeping {path}")]
    Storage {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The agent is shutting down.
    #[error("agent is shutting down")]
    ShuttingDown,
}

impl Error {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound(message.into())
    }

    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }
}
