//! Who takes part in consensus, and how far each is known to have come.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::ConfState;
use serde::{Deserialize, Serialize};

/// Who takes part in consensus, by consensus id, and where each is found. Replicated with the log
/// and kept in every snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Membership {
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// Voters of the configuration being left, during a joint change.
    pub voters_outgoing: Vec<u64>,
    pub learners_next: Vec<u64>,
    pub auto_leave: bool,
    /// Which cluster this is: the consensus id of its founder. Servers of two clusters refuse one
    /// another. 0 while nobody founded one.
    pub cluster_id: u64,
    /// Log index of the last change.
    pub index: u64,
    /// What is known of each server, so that it can be reached before gossip tells.
    pub peers: BTreeMap<u64, Peer>,
    /// Who promised to take part when the cluster was founded: they vote as soon as they have
    /// caught up.
    pub founders: BTreeSet<u64>,
}

/// Where and under which name a server is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// UUID of its node.
    pub node_id: String,
    pub name: String,
    /// `host:port` of its server port.
    pub address: String,
}

impl Membership {
    /// A cluster founded by `founder`, who votes alone until the others have caught up.
    pub fn founded_by(founder: u64, peers: BTreeMap<u64, Peer>) -> Self {
        Self {
            voters: vec![founder],
            cluster_id: founder,
            index: 1,
            founders: peers.keys().copied().collect(),
            peers: peers.into_iter().filter(|(id, _)| *id == founder).collect(),
            ..Self::default()
        }
    }

    /// False for a server that waits for a cluster to take it in.
    pub fn is_configured(&self) -> bool {
        !self.voters.is_empty()
    }

    pub fn is_voter(&self, id: u64) -> bool {
        self.voters.contains(&id) || self.voters_outgoing.contains(&id)
    }

    /// Everybody the log is sent to.
    pub fn servers(&self) -> BTreeSet<u64> {
        let lists = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        lists.into_iter().flatten().copied().collect()
    }

    /// Takes over what consensus made of a change at log index `index`.
    pub(crate) fn change(&mut self, to: &ConfState, index: u64, peers: BTreeMap<u64, Peer>) {
        self.voters.clone_from(&to.voters);
        self.learners.clone_from(&to.learners);
        self.voters_outgoing.clone_from(&to.voters_outgoing);
        self.learners_next.clone_from(&to.learners_next);
        self.auto_leave = to.auto_leave;
        for list in [&mut self.voters, &mut self.learners] {
            list.sort_unstable();
        }
        self.index = index;
        self.peers.extend(peers);
        let servers = self.servers();
        self.peers.retain(|id, _| servers.contains(id));
    }

    /// The stored form, opaque to the log.
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("numbers and texts encode")
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(bytes).ok()
    }
}

impl From<&Membership> for ConfState {
    fn from(membership: &Membership) -> Self {
        let Membership { voters, learners, voters_outgoing, learners_next, auto_leave, .. } =
            membership.clone();
        Self { voters, learners, voters_outgoing, learners_next, auto_leave, ..Self::default() }
    }
}

/// How far a server has come: what its disk must hold at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Consensus term it has seen.
    pub term: u64,
    /// Term and log index of an entry it called durable.
    pub last_term: u64,
    pub last_index: u64,
}

impl Position {
    /// Whether a disk at `self` cannot be the one that was once at `known`: terms never go down,
    /// and the end of a log is only ever replaced by one of a later term.
    pub fn is_before(&self, known: &Self) -> bool {
        self.term < known.term
            || (self.last_term, self.last_index) < (known.last_term, known.last_index)
    }

    pub(crate) fn raise(&mut self, to: Self) {
        self.term = self.term.max(to.term);
        if (self.last_term, self.last_index) < (to.last_term, to.last_index) {
            (self.last_term, self.last_index) = (to.last_term, to.last_index);
        }
    }
}

/// What servers tell each other beside consensus, to notice a disk that was put back to an older
/// copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// Where the disk of the sender is.
    Position(Position),
    /// How far the sender knows the receiver to have come.
    Remembered(Position),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_disk_is_told_from_a_replaced_tail() {
        let at = |term, last_term, last_index| Position { term, last_term, last_index };
        for (own, known, is_before) in [
            (at(3, 3, 10), at(3, 3, 10), false),
            (at(3, 3, 11), at(3, 3, 10), false),
            (at(3, 3, 9), at(3, 3, 10), true),
            (at(2, 2, 10), at(3, 2, 10), true),
            // A later leader cut the tail that was never committed.
            (at(5, 4, 7), at(3, 3, 10), false),
        ] {
            assert_eq!(own.is_before(&known), is_before, "{own:?} {known:?}");
        }
    }

    #[test]
    fn the_stored_form_comes_back_and_an_older_one_is_read() {
        let peer = Peer { name: "one".into(), ..Peer::default() };
        let membership = Membership::founded_by(7, [(7, peer), (8, Peer::default())].into());
        assert_eq!(Membership::decode(&membership.encode()), Some(membership));
        #[derive(Serialize)]
        struct Older {
            voters: Vec<u64>,
        }
        let older = rmp_serde::to_vec_named(&Older { voters: vec![3] }).unwrap();
        assert_eq!(Membership::decode(&older).unwrap().voters, [3]);
    }
}
