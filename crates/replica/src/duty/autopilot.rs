//! Looks after who takes part in consensus: takes in new servers, lets them vote once they have
//! proven stable, and lets go of those that left or died.
//!
//! One change at a time, so that any two majorities meet. Rules as in Consul: a server that left
//! goes at once; one that failed goes only when the failed ones are a minority of less than half,
//! as a replacement makes them, and never below `MinQuorum`. With redundancy zones one server of
//! each votes and the others stand by; read replicas never vote.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::duration::GoDuration;
use model::operator::{AutopilotConfiguration, ClusterHealth, ServerHealth};
use model::time::Timestamp;

use crate::duty::{Liveness, Member, MemberServer};
use crate::membership::{Membership, Peer};
use crate::{Mono, Now};

/// How long a server may be unknown to gossip and silent before it counts as failed: gossip of a
/// restarted leader needs a while to meet everybody again.
const UNKNOWN_GRACE: Duration = Duration::from_secs(30);

/// What the leader knows of another server's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Follower {
    /// Log index up to which its log is known to equal the leader's, and the term there.
    pub matched: u64,
    pub matched_term: u64,
    /// Time since it was last heard.
    pub last_contact: Duration,
}

/// What is judged.
pub struct Situation<'a> {
    pub settings: &'a AutopilotConfiguration,
    /// Consensus id of the leader, who judges.
    pub own: u64,
    /// Term and log index of the leader's last entry.
    pub last_term: u64,
    pub last_index: u64,
    pub membership: &'a Membership,
    pub followers: &'a BTreeMap<u64, Follower>,
    pub members: &'a [Member],
    pub now: Now,
}

/// One step of membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Send it the log; it does not vote.
    Add(u64, Peer),
    /// It is found elsewhere now.
    Readdress(u64, Peer),
    Promote(u64),
    Demote(u64),
    Remove(u64),
}

/// Since when each server has been healthy, or unheard of.
#[derive(Debug, Default)]
pub struct Autopilot {
    healthy_since: BTreeMap<u64, (Mono, Timestamp)>,
    unknown_since: BTreeMap<u64, Mono>,
}

impl Situation<'_> {
    fn member(&self, id: u64) -> Option<(&Member, &MemberServer)> {
        // A server that came back under another name may be listed twice.
        let found = self.servers().filter(|(_, server)| server.consensus_id == Some(id));
        found.min_by_key(|(member, _)| !member.is_alive())
    }

    fn servers(&self) -> impl Iterator<Item = (&Member, &MemberServer)> {
        self.members.iter().filter_map(|member| Some((member, member.server.as_ref()?)))
    }

    fn is_alive(&self, id: u64) -> bool {
        id == self.own || self.member(id).is_some_and(|(member, _)| member.is_alive())
    }

    /// Somebody else lives under its name or at its address: whoever it was has lost its data.
    fn is_replaced(&self, id: u64) -> bool {
        let Some(peer) = self.membership.peers.get(&id) else { return false };
        let is_other = |(member, server): (&Member, &MemberServer)| {
            server.consensus_id.is_some_and(|other| other != id)
                && member.is_alive()
                && (server.address == peer.address
                    || member.name == peer.name
                    || (!peer.node_id.is_empty() && member.id == peer.node_id))
        };
        id != self.own && !self.is_alive(id) && self.servers().any(is_other)
    }

    fn last_contact(&self, id: u64) -> Duration {
        self.followers.get(&id).map_or(Duration::ZERO, |follower| follower.last_contact)
    }

    fn is_healthy(&self, id: u64) -> bool {
        if id == self.own {
            return true;
        }
        let Some(follower) = self.followers.get(&id) else { return false };
        self.is_alive(id)
            && follower.last_contact <= self.settings.last_contact_threshold.to_std()
            && follower.matched_term == self.last_term
            && follower.matched.saturating_add(self.settings.max_trailing_logs) >= self.last_index
    }

    fn zone(&self, id: u64) -> Option<&str> {
        if self.settings.redundancy_zone_tag.is_empty() {
            return None;
        }
        self.member(id)?.1.zone.as_deref().filter(|zone| !zone.is_empty())
    }

    fn is_read_replica(&self, id: u64) -> bool {
        self.member(id).is_some_and(|(_, server)| server.is_nonvoter)
    }

    /// Another voter of its zone, preferably a healthy one.
    fn voter_beside(&self, id: u64) -> Option<u64> {
        let zone = self.zone(id)?;
        let mut others: Vec<u64> = self.membership.voters.clone();
        others.retain(|other| *other != id && self.zone(*other) == Some(zone));
        others.sort_by_key(|other| (!self.is_healthy(*other), *other != self.own, *other));
        others.first().copied()
    }
}

impl Autopilot {
    /// The next step, if any. Keeps note of who is healthy, so it must be asked regularly.
    pub fn plan(&mut self, situation: &Situation<'_>) -> Option<Change> {
        self.observe(situation);
        let is_joint = !situation.membership.voters_outgoing.is_empty();
        if is_joint || !situation.membership.is_voter(situation.own) {
            return None;
        }
        self.remove_left(situation)
            .or_else(|| Self::readdress(situation))
            .or_else(|| Self::add(situation))
            .or_else(|| self.promote(situation))
            .or_else(|| self.demote(situation))
            .or_else(|| self.remove_dead(situation))
    }

    /// What `/v1/operator/autopilot/health` shows.
    pub fn health(&self, situation: &Situation<'_>) -> ClusterHealth {
        let mut servers = Vec::new();
        for id in situation.membership.servers() {
            let peer = situation.membership.peers.get(&id).cloned().unwrap_or_default();
            let member = situation.member(id);
            let (node_id, name, address, status, version) = match member {
                Some((member, server)) => (
                    member.id.clone(),
                    member.name.clone(),
                    server.address.clone(),
                    member.liveness.name(),
                    server.version.clone(),
                ),
                None => (peer.node_id, peer.name, peer.address, "none", String::new()),
            };
            let is_own = id == situation.own;
            let follower = situation.followers.get(&id).copied().unwrap_or_default();
            servers.push(ServerHealth {
                id: node_id,
                name,
                address,
                serf_status: status.to_owned(),
                version,
                leader: is_own,
                last_contact: GoDuration::from(follower.last_contact),
                last_term: if is_own { situation.last_term } else { follower.matched_term },
                last_index: if is_own { situation.last_index } else { follower.matched },
                healthy: situation.is_healthy(id),
                voter: situation.membership.is_voter(id),
                stable_since: self
                    .healthy_since
                    .get(&id)
                    .map(|(_, wall)| *wall)
                    .unwrap_or_default(),
            });
        }
        let voters = servers.iter().filter(|server| server.voter).count();
        let healthy = servers.iter().filter(|server| server.voter && server.healthy).count();
        ClusterHealth {
            healthy: servers.iter().all(|server| server.healthy),
            failure_tolerance: healthy.saturating_sub(voters / 2 + 1) as u64,
            servers,
        }
    }

    fn observe(&mut self, situation: &Situation<'_>) {
        let now = situation.now;
        let servers = situation.membership.servers();
        self.healthy_since.retain(|id, _| servers.contains(id) && situation.is_healthy(*id));
        self.unknown_since.retain(|id, _| servers.contains(id) && situation.member(*id).is_none());
        for id in servers {
            if situation.is_healthy(id) {
                self.healthy_since.entry(id).or_insert((now.mono, now.wall));
            }
            if situation.member(id).is_none() && id != situation.own {
                self.unknown_since.entry(id).or_insert(now.mono);
            }
        }
    }

    fn is_stable(&self, situation: &Situation<'_>, id: u64) -> bool {
        let span = situation.settings.server_stabilization_time.to_std();
        // Founders promised to begin together.
        let is_founder = situation.membership.founders.contains(&id);
        self.healthy_since
            .get(&id)
            .is_some_and(|(since, _)| is_founder || situation.now.mono.since(*since) >= span)
    }

    fn is_dead(&self, situation: &Situation<'_>, id: u64) -> bool {
        let threshold = situation.settings.last_contact_threshold.to_std();
        if id == situation.own || situation.last_contact(id) <= threshold {
            return false;
        }
        match situation.member(id) {
            _ if situation.is_replaced(id) => true,
            Some((member, _)) => matches!(member.liveness, Liveness::Failed | Liveness::Left),
            None => self.unknown_since.get(&id).is_some_and(|since| {
                situation.now.mono.since(*since) >= UNKNOWN_GRACE
                    && situation.last_contact(id) >= UNKNOWN_GRACE
            }),
        }
    }

    fn remove_left(&self, situation: &Situation<'_>) -> Option<Change> {
        let has_left = |id: &u64| {
            *id != situation.own
                && situation.member(*id).is_some_and(|(m, _)| m.liveness == Liveness::Left)
        };
        let membership = situation.membership;
        let mut left = membership.servers().into_iter().filter(has_left);
        let others = membership.voters.iter().filter(|id| !has_left(id)).count();
        left.find(|id| !membership.is_voter(*id) || others > 0).map(Change::Remove)
    }

    fn readdress(situation: &Situation<'_>) -> Option<Change> {
        situation.membership.servers().into_iter().find_map(|id| {
            let (member, server) = situation.member(id)?;
            let peer = peer(member, server);
            let is_same = situation.membership.peers.get(&id) == Some(&peer);
            (member.is_alive() && !is_same).then_some(Change::Readdress(id, peer))
        })
    }

    fn add(situation: &Situation<'_>) -> Option<Change> {
        let taken = situation.membership.servers();
        situation.servers().find_map(|(member, server)| {
            let id = server.consensus_id?;
            (member.liveness == Liveness::Alive && !taken.contains(&id))
                .then(|| Change::Add(id, peer(member, server)))
        })
    }

    fn promote(&self, situation: &Situation<'_>) -> Option<Change> {
        let may_vote = |id: &&u64| {
            self.is_stable(situation, **id)
                && !situation.is_read_replica(**id)
                && situation.voter_beside(**id).is_none_or(|voter| self.is_dead(situation, voter))
        };
        situation.membership.learners.iter().find(may_vote).map(|id| Change::Promote(*id))
    }

    /// Read replicas that came to vote, and the second voter of a zone.
    fn demote(&self, situation: &Situation<'_>) -> Option<Change> {
        let voters = &situation.membership.voters;
        let others = |id: u64| voters.iter().filter(move |other| **other != id);
        let is_too_many = |id: &&u64| {
            **id != situation.own
                && (situation.is_read_replica(**id)
                    || situation.voter_beside(**id).is_some_and(|voter| {
                        situation.is_healthy(voter)
                            && (!situation.is_healthy(**id)
                                || voter == situation.own
                                || voter < **id)
                    }))
        };
        voters
            .iter()
            .find(is_too_many)
            .filter(|id| {
                let healthy = others(**id).filter(|other| situation.is_healthy(**other)).count();
                healthy > (voters.len() - 1) / 2
            })
            .map(|id| Change::Demote(*id))
    }

    fn remove_dead(&self, situation: &Situation<'_>) -> Option<Change> {
        if !situation.settings.cleanup_dead_servers {
            return None;
        }
        let membership = situation.membership;
        let dead: BTreeSet<u64> =
            membership.servers().into_iter().filter(|id| self.is_dead(situation, *id)).collect();
        if let Some(learner) = dead.iter().find(|id| !membership.is_voter(**id)) {
            return Some(Change::Remove(*learner));
        }
        let voters = membership.voters.len();
        let is_minority = dead.len() < voters / 2;
        let is_enough = voters as u64 > situation.settings.min_quorum;
        dead.first().filter(|_| is_minority && is_enough).map(|id| Change::Remove(*id))
    }
}

fn peer(member: &Member, server: &MemberServer) -> Peer {
    Peer { node_id: member.id.clone(), name: member.name.clone(), address: server.address.clone() }
}

#[cfg(test)]
mod tests;
