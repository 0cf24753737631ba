//! What goes into a replica and what comes out.

use std::sync::Arc;

use model::command::{Command, Outcome};
use model::error::Error;
use model::operator::{OperatorReply, OperatorRequest};
use model::session::Session;
use model::topic::Topic;
use state::State;

use crate::duty::Member;
use crate::membership::{Membership, Note, Position};
use crate::{HardState, LogEntry, Message, Mono};

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
    /// Tell from which log index on a read is linearizable: from a round of the voters, or from
    /// the lease where that is good enough for the asker.
    ConfirmLeadership {
        request: RequestId,
        by_lease: bool,
    },
    /// Look at or change who takes part.
    Operate {
        request: RequestId,
        operation: OperatorRequest,
    },
    /// Everything up to this [`Persist`] is durable.
    Persisted {
        ticket: u64,
    },
    /// From another server; a snapshot comes as [`Input::SnapshotReceived`].
    Message(Box<Message>),
    /// The message of an [`Effect::SendSnapshot`] elsewhere, and the whole of what belongs to it.
    SnapshotReceived {
        message: Box<Message>,
        snapshot: Box<Snapshot>,
    },
    /// How sending a snapshot ended.
    SnapshotSent {
        to: u64,
        is_received: bool,
    },
    /// Something sent to this server was lost.
    Unreachable {
        peer: u64,
    },
    /// The connections to this server broke, as they do when its process dies.
    Disconnected {
        peer: u64,
    },
    Note {
        from: u64,
        note: Note,
    },
    /// The snapshot asked for is durable.
    SnapshotSaved {
        index: u64,
    },
    /// The snapshot asked for could not be written; asked again later.
    SnapshotFailed,
    /// Who is alive, as failure detection sees it; replaces what was said before.
    Members(Vec<Member>),
    /// Hand leadership to this server, or to the best one.
    TransferLeadership {
        to: Option<u64>,
    },
    /// Whether the disk is too slow to lead.
    SlowDisk(bool),
}

#[derive(Debug)]
pub enum Effect {
    /// Make this durable, in order, then say [`Input::Persisted`].
    Persist(Persist),
    Send(Vec<Message>),
    /// Stream this to the receiver of the message, then say [`Input::SnapshotSent`].
    SendSnapshot {
        message: Box<Message>,
        snapshot: Snapshot,
    },
    Note {
        to: u64,
        note: Note,
    },
    /// Readers see this state from now on; then who watches a touched topic is woken. Comes before
    /// the replies to the commands in it.
    Publish {
        state: State,
        touched: Vec<Topic>,
    },
    /// Readers see this state from now on, which came as a snapshot; then everybody is woken.
    Replace(State),
    Reply {
        request: RequestId,
        result: Result<Response, Error>,
    },
    Leadership(Leadership),
    /// Reads are good by lease until then, while this server is a ready leader.
    Lease(Mono),
    Membership(Membership),
    /// The disk of this server is an older copy of what it once held: it takes no part in
    /// elections until it has caught up to this, or again from then on.
    RolledBack(Option<Position>),
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
    /// Save this first, durably. It takes the place of the whole log, which begins anew behind it:
    /// a mark in the log must tell that what stands before is from another history, see
    /// [`Recovered::boundary`](crate::Recovered::boundary).
    pub snapshot: Option<Snapshot>,
    /// Consecutive; the first replaces whatever stood at its index and beyond. May be empty.
    pub entries: Vec<LogEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    Outcome(Outcome),
    /// `None`: no such session.
    Renewed(Option<Arc<Session>>),
    /// A read of a state that has applied this log index is linearizable.
    Confirmed {
        index: u64,
    },
    Operated(OperatorReply),
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

#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Last log index the state contains.
    pub index: u64,
    pub term: u64,
    pub membership: Membership,
    pub state: State,
}

impl Snapshot {
    /// The beginning of a new cluster.
    pub fn founding(membership: Membership) -> Self {
        Self { index: 1, term: 1, membership, state: State::new() }
    }
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
