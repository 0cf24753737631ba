//! What stops a proxy. Everything that concerns one connection only is logged with it instead.

use std::io;

/// Why a proxy could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {address} for {purpose}")]
    Bind { address: String, purpose: String, source: io::Error },
    #[error("cannot start a worker thread")]
    Thread(#[source] io::Error),
    #[error("worker thread {0} ended unexpectedly")]
    WorkerDied(usize),
    #[error("roots and leaf certificate make no usable identity")]
    Identity(#[source] Box<dyn std::error::Error + Send + Sync>),
}
