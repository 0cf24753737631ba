//! Why a request is not answered as asked, and the one table of statuses.

use hyper::StatusCode;
use model::error::{Error, ErrorKind};

/// A status with a text. Every failure of every handler goes through here.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// Show the query headers of an answer that never came, as some endpoints do.
    pub(crate) shows_meta: bool,
    /// The rest of the request was not read, so the connection cannot go on.
    pub(crate) closes: bool,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), shows_meta: false, closes: false }
    }

    /// 400 with the bare text.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 400 with the text behind `Bad request: `.
    pub(crate) fn bad_request(text: impl std::fmt::Display) -> Self {
        Self::bad(format!("Bad request: {text}"))
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// 500, which Consul also answers to requests that are at fault themselves.
    pub(crate) fn server(text: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    pub(crate) fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub(crate) fn showing_meta(mut self) -> Self {
        self.shows_meta = true;
        self
    }
}

impl From<Error> for Failure {
    /// What the servers refuse is a server error to clients of 1.8.7, save for denial.
    fn from(error: Error) -> Self {
        let status = match error.kind {
            ErrorKind::Denied => StatusCode::FORBIDDEN,
            ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::NoLeader
            | ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.message)
    }
}

impl From<agent::Error> for Failure {
    fn from(error: agent::Error) -> Self {
        match error {
            agent::Error::Cluster(error) => error.into(),
            agent::Error::Invalid(text) => Self::bad(text),
            agent::Error::NotFound(text) => Self::not_found(text),
            other @ (agent::Error::Refused(_)
            | agent::Error::Storage { .. }
            | agent::Error::ShuttingDown) => Self::server(other.to_string()),
        }
    }
}
