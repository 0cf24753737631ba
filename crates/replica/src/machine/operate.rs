//! Changes of membership: by autopilot, and by operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::command::Command;
use model::error::{Error, ErrorKind};
use model::operator::{
    AutopilotConfiguration, AutopilotRequest, OperatorReply, OperatorRequest, RaftConfiguration,
    RaftServer,
};
use model::query::{Query, Reply};
use raft::StateRole;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};
use state::State;

use super::Replica;
use super::leadership::{fate_unknown, overruled};
use crate::Now;
use crate::duty::{Change, Follower, Member, Situation};
use crate::input::{Effect, RequestId, Response};
use crate::membership::Peer;

/// How often autopilot looks when nothing happens.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often while founders wait to vote.
const FOUNDING_INTERVAL: Duration = Duration::from_millis(50);

/// What `/v1/operator/raft/configuration` shows for every server of a Consul of our level.
const PROTOCOL_VERSION: &str = "3";

/// What operators wait for.
#[derive(Debug, Default)]
pub(super) struct Operations {
    /// The change on its way: its place in the log.
    change: Option<(u64, u64, RequestId)>,
    transfer: Option<RequestId>,
}

impl Replica {
    pub(super) fn operate(
        &mut self,
        request: RequestId,
        operation: OperatorRequest,
        now: Now,
    ) -> Option<Result<OperatorReply, Error>> {
        if !self.leadership.is_ready || self.is_handing_over() {
            return Some(Err(Error::no_leader()));
        }
        match operation {
            OperatorRequest::RaftConfiguration => {
                Some(Ok(OperatorReply::RaftConfiguration(self.configuration())))
            }
            OperatorRequest::Health => {
                let followers = self.followers(now);
                let settings = settings(self.state(), &self.config.autopilot);
                let health = self.duties.autopilot.health(&Situation {
                    settings: &settings,
                    ..self.situation(&settings, &followers, now)
                });
                Some(Ok(OperatorReply::Health(health)))
            }
            OperatorRequest::RemovePeerById(id) => {
                let found = self.configuration().servers.iter().position(|s| s.id == id);
                self.remove_peer(request, found, &format!("id {id:?}"))
            }
            OperatorRequest::RemovePeerByAddress(address) => {
                let found = self.configuration().servers.iter().position(|s| s.address == address);
                self.remove_peer(request, found, &format!("address {address:?}"))
            }
            OperatorRequest::TransferLeadership(to) => self.transfer(request, to),
        }
    }

    fn remove_peer(
        &mut self,
        request: RequestId,
        place: Option<usize>,
        name: &str,
    ) -> Option<Result<OperatorReply, Error>> {
        let ids = self.membership().servers();
        let Some(id) = place.and_then(|place| ids.into_iter().nth(place)) else {
            // Consul answers this as a fault of its own, and its clients look for the text.
            let message = format!("{name} was not found in the Raft configuration");
            return Some(Err(Error::internal(message)));
        };
        if self.membership().voters == [id] {
            let message = format!("{name} is the only voter, without which nothing can be decided");
            return Some(Err(Error::invalid(message)));
        }
        if id == self.config.id {
            // Its successor removes it: who asks again finds that one.
            self.hand_over(self.best_follower());
            return Some(Err(Error::no_leader()));
        }
        match self.propose_change(&Change::Remove(id)) {
            Ok((index, term)) => {
                self.operations.change = Some((index, term, request));
                None
            }
            Err(e) => Some(Err(e)),
        }
    }

    fn transfer(
        &mut self,
        request: RequestId,
        to: Option<String>,
    ) -> Option<Result<OperatorReply, Error>> {
        let target = match &to {
            None => self.best_follower(),
            Some(name) => {
                let servers = self.configuration().servers;
                let place = servers.iter().position(|server| server.id == *name);
                place.and_then(|place| self.membership().servers().into_iter().nth(place))
            }
        };
        let Some(target) = target.filter(|id| self.membership().is_voter(*id)) else {
            return Some(Err(Error::invalid("cannot find peer to transfer leadership to")));
        };
        if target == self.config.id {
            return Some(Ok(OperatorReply::Done));
        }
        self.hand_over(Some(target));
        self.operations.transfer = Some(request);
        None
    }

    /// A transfer the library has given up did not come about.
    pub(super) fn watch_transfer(&mut self, effects: &mut Vec<Effect>) {
        if self.node.raft.state == StateRole::Leader
            && !self.is_handing_over()
            && let Some(request) = self.operations.transfer.take()
        {
            let message = "leadership was not taken over in time";
            let result = Err(Error::new(ErrorKind::Unavailable, message));
            effects.push(Effect::Reply { request, result });
        }
    }

    pub(super) fn end_operations(&mut self, replies: &mut Vec<Effect>) {
        let done = Ok(Response::Operated(OperatorReply::Done));
        if let Some(request) = self.operations.transfer.take() {
            replies.push(Effect::Reply { request, result: done });
        }
        replies.extend(self.operations.change.take().map(|(_, _, request)| fate_unknown(request)));
    }

    pub(super) fn operation_applied(&mut self, index: u64, term: u64, replies: &mut Vec<Effect>) {
        let Some((_, proposed_in, request)) = self.operations.change.take_if(|c| c.0 == index)
        else {
            return;
        };
        replies.push(match proposed_in == term {
            true => Effect::Reply { request, result: Ok(Response::Operated(OperatorReply::Done)) },
            false => overruled(request),
        });
    }

    /// A new leader's first words, before anybody else can set them.
    pub(super) fn set_up_autopilot(&mut self) {
        if stored_settings(self.state()).is_none() {
            let configuration = self.config.autopilot.clone();
            let request = AutopilotRequest { configuration, cas_index: None };
            // Without room now the settings at hand hold until the next leader tries.
            let _ = self.append(None, Command::Autopilot(request));
        }
    }

    /// Lets autopilot take its next step.
    pub(super) fn look_after_membership(&mut self, now: Now) {
        if !self.membership().is_voter(self.config.id) && !self.is_handing_over() {
            // What its predecessor began let this server go after it was elected. Autopilot, which
            // might take it in again, is for a voter to judge.
            return self.hand_over(self.best_follower());
        }
        if now.mono < self.duties.next_autopilot || self.node.raft.has_pending_conf() {
            return;
        }
        let settings = settings(self.state(), &self.config.autopilot);
        let followers = self.followers(now);
        let mut autopilot = std::mem::take(&mut self.duties.autopilot);
        let change = autopilot.plan(&self.situation(&settings, &followers, now));
        self.duties.autopilot = autopilot;
        let membership = self.membership();
        let is_founding = membership.founders.iter().any(|id| membership.learners.contains(id));
        let pause = if is_founding { FOUNDING_INTERVAL } else { INTERVAL };
        self.duties.next_autopilot = now.mono.plus(pause);
        if let Some(change) = change
            && self.propose_change(&change).is_ok()
        {
            // The step after it follows at once.
            self.duties.next_autopilot = now.mono;
        }
    }

    fn situation<'a>(
        &'a self,
        settings: &'a AutopilotConfiguration,
        followers: &'a BTreeMap<u64, Follower>,
        now: Now,
    ) -> Situation<'a> {
        let (last_term, last_index) = self.last_entry();
        Situation {
            settings,
            own: self.config.id,
            last_term,
            last_index,
            membership: self.membership(),
            followers,
            members: &self.duties.members,
            now,
        }
    }

    fn followers(&self, now: Now) -> BTreeMap<u64, Follower> {
        let raft = &self.node.raft;
        let others = raft.prs().iter().filter(|(id, _)| **id != self.config.id);
        let follower = |(id, progress): (&u64, &raft::Progress)| {
            let heard = self.followers_heard.get(id).copied();
            let follower = Follower {
                matched: progress.matched,
                matched_term: raft.raft_log.term(progress.matched).unwrap_or_default(),
                last_contact: heard.map_or(Duration::MAX, |heard| now.mono.since(heard)),
            };
            (*id, follower)
        };
        others.map(follower).collect()
    }

    /// By ascending consensus id, as [`crate::Membership::servers`] lists them.
    fn configuration(&self) -> RaftConfiguration {
        let membership = self.membership();
        let server = |id: u64| {
            let peer = membership.peers.get(&id).cloned().unwrap_or_default();
            let is_it = |member: &&Member| {
                member.server.as_ref().is_some_and(|server| server.consensus_id == Some(id))
            };
            let member = self.duties.members.iter().find(is_it);
            let Peer { node_id, name, address } = peer;
            RaftServer {
                id: if node_id.is_empty() { format!("{id:016x}") } else { node_id },
                node: match member {
                    Some(member) => member.name.clone(),
                    None if name.is_empty() => "(unknown)".into(),
                    None => name,
                },
                address,
                leader: Some(id) == self.leadership.leader,
                protocol_version: PROTOCOL_VERSION.into(),
                voter: membership.is_voter(id),
            }
        };
        RaftConfiguration {
            servers: membership.servers().into_iter().map(server).collect(),
            index: membership.index,
        }
    }

    /// Proposes one step; its place in the log.
    fn propose_change(&mut self, change: &Change) -> Result<(u64, u64), Error> {
        if self.node.raft.state != StateRole::Leader || self.is_handing_over() {
            return Err(Error::no_leader());
        }
        if self.node.raft.has_pending_conf() || !self.membership().voters_outgoing.is_empty() {
            return Err(Error {
                kind: ErrorKind::Unavailable,
                message: "another change of the servers is under way, try again later".into(),
                retry_after: Some(Duration::from_secs(1)),
            });
        }
        let is_learner = |id: &u64| self.membership().learners.contains(id);
        let (id, kind, peer) = match change {
            Change::Add(id, peer) => (*id, ConfChangeType::AddLearnerNode, Some(peer)),
            Change::Readdress(id, peer) if is_learner(id) => {
                (*id, ConfChangeType::AddLearnerNode, Some(peer))
            }
            Change::Readdress(id, peer) => (*id, ConfChangeType::AddNode, Some(peer)),
            Change::Promote(id) => (*id, ConfChangeType::AddNode, None),
            Change::Demote(id) => (*id, ConfChangeType::AddLearnerNode, None),
            Change::Remove(id) => (*id, ConfChangeType::RemoveNode, None),
        };
        let mut single = ConfChangeSingle { node_id: id, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        let mut proposal = ConfChangeV2::default();
        proposal.changes.push(single);
        let peers: BTreeMap<u64, &Peer> = peer.map(|peer| (id, peer)).into_iter().collect();
        proposal.context = rmp_serde::to_vec_named(&peers).expect("texts encode").into();
        self.node
            .propose_conf_change(Vec::new(), proposal)
            .map_err(|_| Error::new(ErrorKind::Unavailable, "the change was not accepted"))?;
        let (term, index) = self.last_entry();
        Ok((index, term))
    }
}

/// What a change of membership tells of the servers in it.
pub(super) fn decode_peers(context: &[u8]) -> BTreeMap<u64, Peer> {
    rmp_serde::from_slice(context).unwrap_or_default()
}

fn settings(state: &State, fallback: &AutopilotConfiguration) -> AutopilotConfiguration {
    stored_settings(state).map_or_else(|| fallback.clone(), |stored| (*stored).clone())
}

fn stored_settings(state: &State) -> Option<Arc<AutopilotConfiguration>> {
    match state.read(&Query::AutopilotConfiguration).reply {
        Reply::AutopilotConfiguration(stored) if stored.modify_index > 0 => Some(stored),
        _ => None,
    }
}
