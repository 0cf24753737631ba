//! What goes into the machine and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::member::Member;
use crate::serf::{Filter, Tags};
use crate::snapshot::SnapshotLine;
use crate::wire::keyring::Key;

/// Names a connection. The driver names those it accepts, the machine those it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u64);

impl StreamId {
    /// The `count`-th accepted connection. Names of opened ones are of another kind and never the same.
    pub fn accepted(count: u64) -> StreamId {
        StreamId(count.wrapping_mul(2) | 1)
    }

    pub(crate) fn opened(count: u64) -> StreamId {
        StreamId(count.wrapping_mul(2))
    }
}

/// The caller's name for something that ends later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// Names a query that was received: the asker's clock, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId {
    pub time: u64,
    pub id: u32,
}

/// Everything that can happen to a machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// [`next_wake`](crate::Gossip::next_wake) is reached, and what came before is handed in.
    Tick,
    PacketReceived {
        from: SocketAddr,
        bytes: Bytes,
    },
    StreamAccepted {
        id: StreamId,
        peer: SocketAddr,
    },
    StreamConnected {
        id: StreamId,
    },
    StreamData {
        id: StreamId,
        bytes: Bytes,
    },
    /// The peer will send no more.
    StreamClosed {
        id: StreamId,
    },
    /// It could not be opened, or broke.
    StreamFailed {
        id: StreamId,
        reason: String,
    },
    /// What the application wants; answered by [`Event::Refused`] if it cannot be.
    Command(Command),
}

/// What the application may want.
#[derive(Clone, Debug)]
pub enum Command {
    /// Exchanges state with each of the addresses. Ends with [`Event::JoinDone`].
    Join {
        operation: OperationId,
        addresses: Vec<SocketAddr>,
    },
    /// Leaves gracefully. Ends with [`Event::LeaveDone`], after which the machine is silent and all can be closed.
    Leave,
    /// Makes a failed member a left one; `prune` forgets it altogether.
    ForceLeave {
        node: String,
        prune: bool,
    },
    SetTags(Tags),
    UserEvent {
        name: String,
        payload: Bytes,
        coalesce: bool,
    },
    /// Asks the pool. Ends with [`Event::QueryDone`].
    Query {
        operation: OperationId,
        query: Query,
    },
    /// Answers a query that was received, once.
    Respond {
        query: QueryId,
        payload: Bytes,
    },
    /// Changes or reads the keyrings of all members. Ends with [`Event::KeyringReport`].
    Key {
        operation: OperationId,
        request: KeyRequest,
    },
}

/// A question to the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub name: String,
    pub payload: Bytes,
    /// All must hold for a member to answer; none means everybody.
    pub filters: Vec<Filter>,
    /// Whether members say that they got it, before they answer.
    pub wants_ack: bool,
    /// Through how many other members answers come as well.
    pub relay_factor: u8,
    /// None for what suits the size of the pool.
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum KeyRequest {
    Install(Key),
    Use(Key),
    Remove(Key),
    List,
}

/// What is to be done outside, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    SendPacket {
        to: SocketAddr,
        bytes: Bytes,
    },
    /// Connects; answered by `StreamConnected` or `StreamFailed`.
    OpenStream {
        id: StreamId,
        to: SocketAddr,
    },
    WriteStream {
        id: StreamId,
        bytes: Bytes,
    },
    /// Closes once all that was written has gone out; a connect that is under way is given up. The machine has
    /// forgotten the stream.
    CloseStream {
        id: StreamId,
    },
    Event(Event),
    /// To be appended to the snapshot file.
    Snapshot(SnapshotLine),
}

/// What the application learns.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    MemberJoin(Member),
    MemberUpdate(Member),
    MemberLeave(Member),
    MemberFailed(Member),
    /// It is forgotten.
    MemberReap(Member),
    UserEvent {
        time: u64,
        name: String,
        payload: Bytes,
        coalesce: bool,
    },
    /// May be answered with [`Command::Respond`] for as long as told.
    Query {
        query: QueryId,
        from: String,
        name: String,
        payload: Bytes,
        timeout: Duration,
    },
    QueryAck {
        operation: OperationId,
        from: String,
    },
    QueryReply {
        operation: OperationId,
        from: String,
        payload: Bytes,
    },
    QueryDone {
        operation: OperationId,
        acks: usize,
        replies: usize,
    },
    JoinDone {
        operation: OperationId,
        joined: usize,
        errors: Vec<(SocketAddr, String)>,
    },
    /// The end of trying the members of the last run; none if nobody answered.
    RejoinDone {
        through: Option<SocketAddr>,
    },
    LeaveDone,
    KeyringReport {
        operation: OperationId,
        report: KeyringReport,
    },
    /// To be kept, primary first.
    KeyringChanged(Vec<Key>),
    /// A round trip to a member was measured and our coordinate moved.
    CoordinateUpdated {
        peer: String,
        round_trip: Duration,
    },
    Refused(Refusal),
    /// For a log.
    Warning(String),
}

/// What a pool answered to a key request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyringReport {
    /// How many were asked.
    pub nodes: usize,
    pub answers: usize,
    /// What members said that could not do it.
    pub errors: BTreeMap<String, String>,
    /// Remarks of members that could.
    pub messages: BTreeMap<String, String>,
    /// On how many members each key, in base64, is installed.
    pub keys: BTreeMap<String, usize>,
    /// On how many it is the primary.
    pub primary_keys: BTreeMap<String, usize>,
    /// Who answered.
    pub from: BTreeSet<String>,
}

/// Why a command is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the node is leaving or has left")]
    Leaving,
    #[error("tags take more than 512 bytes")]
    TagsTooLarge,
    #[error("event exceeds limit of {limit} bytes")]
    EventTooLarge { limit: usize },
    #[error("query exceeds limit of {limit} bytes")]
    QueryTooLarge { limit: usize },
    #[error("response exceeds limit of {limit} bytes")]
    ResponseTooLarge { limit: usize },
    #[error("query is unknown, answered already or past its deadline")]
    QueryUnknown,
    #[error("names that begin with {prefix} are reserved")]
    NameReserved { prefix: &'static str },
    #[error("no member is called {node}")]
    MemberUnknown { node: String },
    #[error("too many operations are under way")]
    Busy,
    #[error("encryption is not enabled")]
    NotEncrypted,
    #[error("the node's name is empty or longer than 512 bytes")]
    Name,
    #[error("the node's port is 0")]
    Port,
}
