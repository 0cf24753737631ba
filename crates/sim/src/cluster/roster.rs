//! Who belongs to the pool of servers, as gossip tells all of them, and the machine that clients'
//! sessions live on.

use std::collections::BTreeMap;

use replica::Peer;
use replica::duty::{Liveness, Member, MemberServer};

use crate::client;

#[derive(Debug)]
pub(super) struct Roster {
    pub(super) servers: BTreeMap<u64, Member>,
    next_id: u64,
}

impl Roster {
    pub(super) fn new(servers: u64) -> Self {
        let mut roster = Self { servers: BTreeMap::new(), next_id: 1 };
        for _ in 0..servers {
            roster.add();
        }
        roster
    }

    /// A server that was never there; ids are not used again.
    pub(super) fn add(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let server = MemberServer {
            consensus_id: Some(id),
            address: format!("10.0.0.1:{id}"),
            ..MemberServer::default()
        };
        let member = Member {
            id: node_id(id),
            name: format!("s{id}"),
            address: "10.0.0.1".into(),
            server: Some(server),
            ..Member::default()
        };
        self.servers.insert(id, member);
        id
    }

    pub(super) fn peers(&self) -> BTreeMap<u64, Peer> {
        let peer = |(id, member): (&u64, &Member)| {
            let (node_id, name) = (member.id.clone(), member.name.clone());
            let address = member.server.as_ref().map_or(String::new(), |s| s.address.clone());
            (*id, Peer { node_id, name, address })
        };
        self.servers.iter().map(peer).collect()
    }

    pub(super) fn members(&self) -> Vec<Member> {
        self.servers.values().cloned().chain([client::member()]).collect()
    }

    /// Those that did not leave.
    pub(super) fn staying(&self) -> Vec<u64> {
        let is_staying =
            |(id, member): (&u64, &Member)| (member.liveness != Liveness::Left).then_some(*id);
        self.servers.iter().filter_map(is_staying).collect()
    }

    pub(super) fn set_liveness(&mut self, id: u64, liveness: Liveness) {
        if let Some(member) = self.servers.get_mut(&id) {
            member.liveness = liveness;
        }
    }

    /// Makes a server a read replica, or a voter again.
    pub(super) fn toggle_voting(&mut self, id: u64) {
        if let Some(server) = self.servers.get_mut(&id).and_then(|m| m.server.as_mut()) {
            server.is_nonvoter = !server.is_nonvoter;
        }
    }

    pub(super) fn is_nonvoter(&self, id: u64) -> bool {
        let server = self.servers.get(&id).and_then(|member| member.server.as_ref());
        server.is_some_and(|server| server.is_nonvoter)
    }
}

/// UUID of a server's node.
pub(super) fn node_id(id: u64) -> String {
    format!("8b5cf7a4-5f86-3f4e-0b0a-{id:012x}")
}
