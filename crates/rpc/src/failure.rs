//! The one table between texts on the wire and kinds of failure.

use std::time::Duration;

use model::error::{Error, ErrorKind};

/// What agents put before a server's own text.
const PREFIX: &str = "rpc error making call: ";

pub(crate) const NO_PATH: &str = "No path to datacenter";
pub(crate) const NO_LEADER: &str = "No cluster leader";
pub(crate) const NO_SERVERS: &str = "No known Consul servers";

/// Parts of texts that tell what kind of failure it is, the most telling first.
const KINDS: [(&str, ErrorKind); 13] = [
    (NO_LEADER, ErrorKind::NoLeader),
    ("Permission denied", ErrorKind::Denied),
    ("ACL not found", ErrorKind::Denied),
    ("Intention not found", ErrorKind::NotFound),
    ("Cannot modify non-existent intention", ErrorKind::NotFound),
    ("Cannot delete non-existent intention", ErrorKind::NotFound),
    ("Rate limit reached, try again later", ErrorKind::Unavailable),
    ("rate limit exceeded", ErrorKind::Unavailable),
    ("Not ready to serve consistent reads", ErrorKind::Unavailable),
    ("Raft leader not found in server lookup mapping", ErrorKind::Unavailable),
    (NO_PATH, ErrorKind::Unavailable),
    ("Remote DC has no server currently reachable", ErrorKind::Unavailable),
    ("shutting down", ErrorKind::Unavailable),
];

/// The failure behind a server's text.
pub(crate) fn error_of(text: &str) -> Error {
    let known = KINDS.iter().find(|(part, _)| text.contains(part));
    let kind = known.map_or(ErrorKind::Invalid, |(_, kind)| *kind);
    let retry_after = (kind == ErrorKind::Unavailable).then_some(Duration::from_secs(1));
    let message = match text.starts_with(PREFIX) {
        true => text.to_owned(),
        false => format!("{PREFIX}{text}"),
    };
    Error { kind, message, retry_after }
}

/// Why a server answers with an error, and what becomes of the stream.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) text: String,
    /// The request was not understood; what follows would not be either.
    pub(crate) closes: bool,
}

impl Fault {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), closes: false }
    }

    pub(crate) fn closing(text: impl Into<String>) -> Self {
        Self { text: text.into(), closes: true }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::new(error.message)
    }
}

impl From<model::msgpack::EncodeError> for Fault {
    fn from(error: model::msgpack::EncodeError) -> Self {
        Self::new(format!("encode the reply: {error}"))
    }
}

impl From<model::msgpack::DecodeError> for Fault {
    fn from(error: model::msgpack::DecodeError) -> Self {
        Self::closing(format!("msgpack: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_tell_kinds() {
        let check = |text: &str, kind: ErrorKind| {
            let error = error_of(text);
            assert_eq!(error.kind, kind, "{text}");
            assert_eq!(error.message, format!("rpc error making call: {text}"));
        };
        check("No cluster leader", ErrorKind::NoLeader);
        check("Permission denied: token lacks it", ErrorKind::Denied);
        check("ACL not found", ErrorKind::Denied);
        check("Intention not found", ErrorKind::NotFound);
        check("Rate limit reached, try again later", ErrorKind::Unavailable);
        check("No path to datacenter", ErrorKind::Unavailable);
        check("Must provide node", ErrorKind::Invalid);
        assert_eq!(error_of("rpc error making call: x").message, "rpc error making call: x");
    }
}
