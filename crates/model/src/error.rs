//! The one closed kind of failure that crosses between processes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whose fault it is and whether trying again can help. Edges map it to status codes in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The request can never succeed as it is.
    Invalid,
    Denied,
    NotFound,
    /// The request lost against a concurrent change.
    Conflict,
    /// There is no leader at the moment; trying again helps.
    NoLeader,
    /// Overload or shutting down; trying again later helps.
    Unavailable,
    Timeout,
    /// A fault of ours.
    Internal,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
    /// How long to wait before trying again, when that can help.
    pub retry_after: Option<Duration>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The text clients look for when there is no leader.
    pub fn no_leader() -> Self {
        Self::new(ErrorKind::NoLeader, "No cluster leader")
    }
}
