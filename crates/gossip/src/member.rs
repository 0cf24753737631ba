//! Who is in the pool, as the application sees it, and as the membership protocol does.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::serf::tags::{self, Tags};
use crate::suspicion::Suspicion;
use crate::time::Mono;
use crate::timers::TimerKey;
use crate::wire::address;
use crate::wire::message::{Alive, Versions};
use crate::wire::stream::NodeState;

/// What the pool thinks of a member. The numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Alive = 1,
    Leaving = 2,
    Left = 3,
    Failed = 4,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Alive => "alive",
            Status::Leaving => "leaving",
            Status::Left => "left",
            Status::Failed => "failed",
        })
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub address: SocketAddr,
    pub tags: Tags,
    pub status: Status,
    pub versions: Versions,
}

/// A member and what only the serf layer needs to know of it.
#[derive(Clone, Debug)]
pub(crate) struct MemberRecord {
    pub(crate) member: Member,
    /// Of the newest intent about it.
    pub(crate) status_time: u64,
    /// When it failed or left.
    pub(crate) gone_at: Mono,
}

/// State in the membership protocol. The numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Alive = 0,
    Suspect = 1,
    Dead = 2,
    Left = 3,
}

impl State {
    pub(crate) fn is_gone(self) -> bool {
        matches!(self, State::Dead | State::Left)
    }

    pub(crate) fn from_wire(number: u8) -> Option<State> {
        Some(match number {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Dead,
            3 => State::Left,
            _ => return None,
        })
    }
}

/// A node in the membership protocol.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) meta: Bytes,
    pub(crate) versions: Versions,
    pub(crate) incarnation: u32,
    pub(crate) state: State,
    pub(crate) changed_at: Mono,
    /// While it is a suspect.
    pub(crate) suspicion: Option<(Suspicion, TimerKey)>,
}

impl Node {
    pub(crate) fn to_alive(&self, name: &str) -> Alive {
        Alive {
            incarnation: self.incarnation,
            node: name.to_owned(),
            address: address::to_bytes(self.address.ip()).into(),
            port: self.address.port(),
            meta: self.meta.clone(),
            versions: Bytes::copy_from_slice(&self.versions.to_bytes()),
        }
    }

    pub(crate) fn to_state(&self, name: &str) -> NodeState {
        let Alive { incarnation, node, address, port, meta, versions } = self.to_alive(name);
        let state = self.state as u8;
        NodeState { name: node, address, port, meta, incarnation, state, versions }
    }

    pub(crate) fn to_member(&self, name: &str, status: Status) -> Member {
        Member {
            name: name.to_owned(),
            address: self.address,
            tags: tags::decode(&self.meta),
            status,
            versions: self.versions,
        }
    }
}
