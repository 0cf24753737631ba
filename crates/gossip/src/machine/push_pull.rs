//! Full exchanges of state: everything both sides know, merged by the rules that hold for single messages.

use std::net::SocketAddr;
use std::time::Duration;

use super::exchange::Purpose;
use super::membership::Judged;
use super::{Gossip, Step, Timer};
use crate::member::{Member, State, Status};
use crate::serf::tags;
use crate::wire::address;
use crate::wire::message::{Accusation, Alive, Versions};
use crate::wire::stream::{NodeState, PushPull};

/// Largest pool that exchanges at the plain interval.
const UNSCALED_NODES_MAX: usize = 32;

impl Gossip {
    pub(crate) fn push_pull_tick(&mut self, step: &mut Step<'_>) {
        let interval = scaled(self.config.profile.push_pull_interval, self.nodes.len());
        self.every(interval, Timer::PushPull, step);
        let peers = self.random_nodes(1, |_, node| node.state == State::Alive);
        if let Some(peer) = peers.first() {
            let to = self.nodes[peer].address;
            self.open_stream(to, Purpose::PushPull, step);
        }
    }

    pub(crate) fn local_state(&mut self, is_join: bool) -> PushPull {
        self.counters.push_pulls += 1;
        let nodes = self.nodes.iter().map(|(name, node)| node.to_state(name)).collect();
        PushPull { is_join, nodes, user: self.serf_state().encode() }
    }

    /// Takes in what a peer knows. Errors: why none of it is believed.
    pub(crate) fn merge(
        &mut self,
        remote: PushPull,
        is_own_join: bool,
        step: &mut Step<'_>,
    ) -> Result<(), String> {
        self.check_versions(&remote.nodes)?;
        if remote.is_join {
            let members: Vec<Member> = remote.nodes.iter().filter_map(as_member).collect();
            self.admission.admit(&members)?;
            self.admission.admit_beside(&members, &mut self.members())?;
        }
        let PushPull { nodes, user, is_join } = remote;
        let judged = if is_join { Judged::InJoin } else { Judged::NotYet };
        for node in nodes {
            self.merge_node(node, judged, step);
        }
        if !user.is_empty() {
            self.merge_serf_state(&user, is_own_join, step);
        }
        Ok(())
    }

    fn merge_node(&mut self, node: NodeState, judged: Judged, step: &mut Step<'_>) {
        let NodeState { name, address, port, meta, incarnation, state, versions } = node;
        match State::from_wire(state) {
            Some(State::Alive) => {
                let alive = Alive { incarnation, node: name, address, port, meta, versions };
                self.alive(alive, judged, step);
            }
            Some(State::Left) => {
                let from = name.clone();
                self.dead(Accusation { incarnation, node: name, from }, step);
            }
            // A death is not believed at second hand: the node may be told in time to defend itself.
            Some(State::Suspect | State::Dead) => {
                let from = self.config.name.clone();
                self.suspect(Accusation { incarnation, node: name, from }, step);
            }
            None => self.counters.messages_refused += 1,
        }
    }

    /// All who live must speak versions that all understand.
    fn check_versions(&self, remote: &[NodeState]) -> Result<(), String> {
        let theirs = remote.iter().filter(|node| node.state == State::Alive as u8);
        let theirs = theirs
            .filter_map(|node| Some((node.name.as_str(), Versions::from_bytes(&node.versions)?)));
        let ours = self.nodes.iter().filter(|(_, node)| node.state == State::Alive);
        let ours = ours.map(|(name, node)| (name.as_str(), node.versions));
        let all: Vec<(&str, Versions)> = theirs.chain(ours).collect();
        let (mut protocols, mut delegates) = ((0, u8::MAX), (0, u8::MAX));
        for (_, v) in &all {
            protocols = (protocols.0.max(v.protocol_min), protocols.1.min(v.protocol_max));
            delegates = (delegates.0.max(v.delegate_min), delegates.1.min(v.delegate_max));
        }
        for (name, v) in &all {
            if v.protocol < protocols.0 || v.protocol > protocols.1 {
                return Err(format!("node {name} speaks protocol {}, not all do", v.protocol));
            }
            if v.delegate < delegates.0 || v.delegate > delegates.1 {
                return Err(format!("node {name} speaks delegate protocol {}", v.delegate));
            }
        }
        Ok(())
    }
}

fn as_member(node: &NodeState) -> Option<Member> {
    let status = match State::from_wire(node.state)? {
        State::Alive | State::Suspect => Status::Alive,
        State::Dead => Status::Failed,
        State::Left => Status::Left,
    };
    Some(Member {
        name: node.name.clone(),
        address: SocketAddr::new(address::from_bytes(&node.address)?, node.port),
        tags: tags::decode(&node.meta),
        status,
        versions: Versions::from_bytes(&node.versions)?,
    })
}

/// Large pools exchange less often, as each exchange is larger and there are more of them.
fn scaled(interval: Duration, nodes: usize) -> Duration {
    if nodes <= UNSCALED_NODES_MAX {
        return interval;
    }
    let doublings = (nodes as f64).log2() - (UNSCALED_NODES_MAX as f64).log2();
    interval * (doublings.ceil() as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pools_exchange_less_often() {
        for (nodes, want) in [(1, 30), (32, 30), (33, 60), (64, 60), (65, 90), (128, 90)] {
            let got = scaled(Duration::from_secs(30), nodes);
            assert_eq!(got, Duration::from_secs(want), "{nodes}");
        }
    }
}
