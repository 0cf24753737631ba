//! What a client wants, and what it becomes: a command for the log, a question, or a read.

use model::command::Command;
use model::duration::GoDuration;
use model::kv::{DirEntry, KvOp, KvRequest};
use model::query::Consistency;
use model::session::{Session, SessionBehavior, SessionRequest};

use crate::check::linear::{Act, Token};
use crate::client::{NODE, TTL_SECONDS};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Set {
        key: String,
        token: Token,
    },
    /// Expecting a token, which was written at an index.
    Swap {
        key: String,
        expected: Token,
        at: u64,
        token: Token,
    },
    Delete {
        key: String,
    },
    DeleteSwap {
        key: String,
        expected: Token,
        at: u64,
    },
    Read {
        key: String,
        consistency: Consistency,
    },
    /// Writes a key that is written once.
    Record {
        key: String,
    },
    CreateSession,
    Renew {
        session: String,
    },
    Destroy {
        session: String,
    },
    Lock {
        key: String,
        session: String,
    },
    Unlock {
        key: String,
        session: String,
    },
    /// Reads the lock index of what was locked at a moment.
    ReadFence {
        key: String,
        session: String,
        began: u64,
    },
}

impl Deed {
    /// The change it asks for, if it does.
    pub(super) fn command(&self) -> Option<Command> {
        let kv = |op, key: &String, token: Token, session: &str, modify_index| {
            let (key, session) = (key.clone(), session.to_owned());
            let value = token.to_string().into_bytes();
            let entry = DirEntry { key, value, session, modify_index, ..DirEntry::default() };
            Some(Command::Kv(KvRequest { op, entry }))
        };
        match self {
            Self::Set { key, token } => kv(KvOp::Set, key, *token, "", 0),
            Self::Swap { key, at, token, .. } => kv(KvOp::Cas, key, *token, "", *at),
            Self::Delete { key } => kv(KvOp::Delete, key, 0, "", 0),
            Self::DeleteSwap { key, at, .. } => kv(KvOp::DeleteCas, key, 0, "", *at),
            Self::Record { key } => kv(KvOp::Set, key, 1, "", 0),
            Self::Lock { key, session } => kv(KvOp::Lock, key, 0, session, 0),
            Self::Unlock { key, session } => kv(KvOp::Unlock, key, 0, session, 0),
            Self::Destroy { session } => {
                Some(Command::Session(SessionRequest::Destroy(session.clone())))
            }
            Self::CreateSession => Some(Command::Session(SessionRequest::Create(Session {
                node: NODE.into(),
                ttl: format!("{TTL_SECONDS}s"),
                lock_delay: GoDuration::from_millis(200),
                behavior: SessionBehavior::Release,
                ..Session::default()
            }))),
            Self::Renew { .. } | Self::Read { .. } | Self::ReadFence { .. } => None,
        }
    }

    /// What is written into the history of a key. `is_done` is whether a condition held, and
    /// `seen` what a read found.
    pub(super) fn act(&self, is_done: bool, seen: Token) -> Option<(&str, Act)> {
        match self {
            Self::Set { key, token } => Some((key, Act::Write(*token))),
            Self::Swap { key, expected, token, .. } => {
                Some((key, Act::Swap { expected: *expected, new: *token, is_done }))
            }
            Self::Delete { key } => Some((key, Act::Delete)),
            Self::DeleteSwap { key, expected, .. } => {
                Some((key, Act::DeleteSwap { expected: *expected, is_done }))
            }
            Self::Read { key, .. } => Some((key, Act::Read(seen))),
            _ => None,
        }
    }

    /// Of a read.
    pub(super) fn consistency(&self) -> Option<Consistency> {
        match self {
            Self::Read { consistency, .. } => Some(*consistency),
            Self::ReadFence { .. } => Some(Consistency::Consistent),
            _ => None,
        }
    }
}

/// What an entry holds.
pub(super) fn token_of(entry: &DirEntry) -> Token {
    std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).unwrap_or(Token::MAX)
}
