//! What can go wrong between a caller and an agent.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A failed call. The text is meant for the person who made it: it names the address, variable or
/// file at fault. Never holds a token or a key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid agent address {address:?}: {reason}")]
    Address { address: String, reason: String },
    #[error("invalid value of {variable}: {reason}")]
    Environment { variable: String, reason: String },
    /// A token, certificate or key file that cannot be read or understood.
    #[error("cannot use {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// Nothing answered at the address; trying again helps once an agent runs there.
    #[error("cannot connect to the agent at {address}: {source}{}", remedy(source))]
    Connect { address: String, source: io::Error },
    /// The connection failed while a request was on its way; whether it took effect is unknown.
    #[error("connection to the agent at {address} failed: {reason}")]
    Transport { address: String, reason: String },
    #[error("no answer from the agent at {address} within {waited:?}")]
    Timeout { address: String, waited: Duration },
    /// Path, header or body that cannot be sent.
    #[error("invalid request: {0}")]
    Request(String),
    /// The agent answered with a failure. The wording is the one tools search for.
    #[error("Unexpected response code: {code} ({body})")]
    Status { code: u16, body: String },
    #[error("answer of {path} is larger than {limit} bytes")]
    TooLarge { path: String, limit: usize },
    #[error("cannot read the answer of {path}: {source}")]
    Decode { path: String, source: serde_json::Error },
}

/// What to do about a connection that did not come about; nothing where the cause says it all.
fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            " (is it running? the address is set by -http-addr or LICTOR_HTTP_ADDR)"
        }
        io::ErrorKind::InvalidData => {
            " (is it an HTTPS address, and is its CA trusted? see -ca-file or LICTOR_CACERT)"
        }
        _ => "",
    }
}

impl Error {
    /// The HTTP status, when the agent answered at all.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without a change by the caller.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Transport { .. } | Self::Timeout { .. } => true,
            Self::Status { code, .. } => *code >= 500 || *code == 429,
            _ => false,
        }
    }
}
