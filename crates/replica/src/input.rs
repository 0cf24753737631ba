//! What goes into a replica and what comes out.

use std::sync::Arc;

use model::command::{Command, Outcome};
use model::error::Error;
use model::session::Session;
use model::topic::Topic;
use serde::{Deserialize, Serialize};
use state::State;

use crate::duty::Member;
use crate::{HardState, LogEntry, Message};

/// Names one request of the driver; its reply carries it back. Chosen by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

#[derive(Debug)]
pub enum Input {
    /// One interval of the consensus clock has passed.
    Tick,
    /// Judge and commit a change.
    Propose {
        request: RequestId,
        command: Command,
    },
    /// Restart the time to live of a session.
    RenewSession {
        request: RequestId,
        id: String,
    },
    /// Tell when a read of the published state is linearizable.
    ConfirmLeadership {
        request: RequestId,
    },
    /// Everything up to this [`Persist`] is durable.
    Persisted {
        ticket: u64,
    },
    Message(Box<Message>),
    /// The snapshot asked for is durable.
    SnapshotSaved {
        index: u64,
    },
    /// The snapshot asked for could not be written; asked again later.
    SnapshotFailed,
    /// Who is alive, as failure detection sees it; replaces what was said before.
    Members(Vec<Member>),
    /// Hand leadership to this server.
    TransferLeadership {
        to: u64,
    },
}

#[derive(Debug)]
pub enum Effect {
    /// Make this durable, in order, then say [`Input::Persisted`].
    Persist(Persist),
    Send(Vec<Message>),
    /// Readers see this state from now on; then who watches a touched topic is woken. Comes before
    /// the replies to the commands in it.
    Publish {
        state: State,
        touched: Vec<Topic>,
    },
    Reply {
        request: RequestId,
        result: Result<Response, Error>,
    },
    Leadership(Leadership),
    /// Write a snapshot, then say [`Input::SnapshotSaved`] or [`Input::SnapshotFailed`].
    SaveSnapshot(Snapshot),
    /// Log entries up to and with this index may be forgotten: the older of the two newest
    /// snapshots covers them.
    Compact {
        through: u64,
    },
    /// This server must stop: it cannot go on without guessing.
    Halt(HaltCause),
}

#[derive(Clone, Debug)]
pub struct Persist {
    /// Grows by one each time.
    pub ticket: u64,
    pub hard_state: HardState,
    /// Consecutive; the first replaces whatever stood at its index and beyond. May be empty.
    pub entries: Vec<LogEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    Outcome(Outcome),
    /// `None`: no such session.
    Renewed(Option<Arc<Session>>),
    Confirmed,
}

/// What this server knows of who leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<u64>,
    pub is_leader: bool,
    /// The leader has applied an entry of its own term, so its state holds all that was
    /// acknowledged before it.
    pub is_ready: bool,
    /// It is the only voter: its lease cannot be lost to another.
    pub is_alone: bool,
}

/// Who takes part in consensus, by consensus id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Membership {
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// Voters of the configuration being left, during a joint change.
    pub voters_outgoing: Vec<u64>,
    pub learners_next: Vec<u64>,
    pub auto_leave: bool,
}

impl Membership {
    /// The stored form, opaque to the log.
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("a struct of numbers encodes")
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(bytes).ok()
    }
}

impl From<&Membership> for raft::eraftpb::ConfState {
    fn from(membership: &Membership) -> Self {
        let Membership { voters, learners, voters_outgoing, learners_next, auto_leave } =
            membership.clone();
        Self { voters, learners, voters_outgoing, learners_next, auto_leave, ..Self::default() }
    }
}

impl From<&raft::eraftpb::ConfState> for Membership {
    fn from(conf: &raft::eraftpb::ConfState) -> Self {
        Self {
            voters: conf.voters.clone(),
            learners: conf.learners.clone(),
            voters_outgoing: conf.voters_outgoing.clone(),
            learners_next: conf.learners_next.clone(),
            auto_leave: conf.auto_leave,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Last log index the state contains.
    pub index: u64,
    pub term: u64,
    pub membership: Membership,
    pub state: State,
}

/// Why a replica cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaltCause {
    /// A committed entry that this release cannot read.
    UnreadableEntry { index: u64, reason: String },
    /// The consensus library refused its own storage.
    Consensus(String),
}

impl std::fmt::Display for HaltCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnreadableEntry { index, reason } => {
                write!(f, "the committed log entry {index} cannot be applied: {reason}")
            }
            Self::Consensus(reason) => write!(f, "consensus cannot go on: {reason}"),
        }
    }
}
