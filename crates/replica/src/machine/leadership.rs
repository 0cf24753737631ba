//! Gaining, losing and handing over leadership, and the election timeout.

use std::collections::VecDeque;

use model::error::{Error, ErrorKind};
use raft::{INVALID_ID, StateRole};
use rand::Rng;

use super::Replica;
use crate::Now;
use crate::input::{Effect, Leadership, RequestId};

/// How many of the longest election timeouts a server that lost leadership waits for what becomes
/// of its proposals: a successor that has them commits them within one.
const PROPOSALS_KEPT_TIMEOUTS: usize = 4;
/// How much of an election timeout is left to chance when the leader is known to be gone.
const KNOWN_LOSS_JITTER_DIVISOR: usize = 3;

impl Replica {
    pub(super) fn draw_election_timeout(&mut self) {
        let ticks = self.config.election_ticks;
        self.set_election_timeout(ticks..2 * ticks);
    }

    fn set_election_timeout(&mut self, range: std::ops::Range<usize>) {
        self.election_ticks_drawn = self.rng.random_range(range);
        self.node.raft.set_randomized_election_timeout(self.election_ticks_drawn);
    }

    /// The library draws from a generator of its own, which no seed reaches. Its draw is replaced,
    /// by a new one whenever what this server knows of leaders has changed.
    pub(super) fn redraw_election_timeout(&mut self) {
        let raft = &self.node.raft;
        let drawn_for = (raft.term, raft.state as u8, raft.leader_id);
        if drawn_for != self.election_drawn_for {
            self.election_drawn_for = drawn_for;
            self.draw_election_timeout();
        }
        self.node.raft.set_randomized_election_timeout(self.election_ticks_drawn);
    }

    /// The leader's process seems to have died: no long wait for it. The shortest timeout still
    /// passes, since a lease may rest on it.
    pub(super) fn expect_election(&mut self, peer: u64) {
        if self.node.raft.leader_id == peer && self.node.raft.state == StateRole::Follower {
            let ticks = self.config.election_ticks;
            self.set_election_timeout(ticks..ticks + (ticks / KNOWN_LOSS_JITTER_DIVISOR).max(1));
        }
    }

    /// The voter that has most of the log; one heard lately goes before one that was not.
    pub(super) fn best_follower(&self) -> Option<u64> {
        let raft = &self.node.raft;
        let voters = raft
            .prs()
            .iter()
            .filter(|(id, _)| **id != self.config.id && self.membership().is_voter(**id));
        // The library forgets who is active now and then and learns it anew within a heartbeat; there is somebody to
        // hand over to meanwhile, too.
        let rank =
            |id: &u64, p: &raft::Progress| (p.recent_active, p.matched, std::cmp::Reverse(*id));
        voters.map(|(id, progress)| rank(id, progress)).max().map(|(_, _, id)| id.0)
    }

    pub(super) fn hand_over(&mut self, to: Option<u64>) {
        let Some(to) = to else { return };
        let is_possible = self.node.raft.state == StateRole::Leader
            && to != self.config.id
            && self.membership().is_voter(to);
        if is_possible {
            self.rounds.void();
            self.node.transfer_leader(to);
        }
    }

    pub(super) fn is_handing_over(&self) -> bool {
        self.node.raft.lead_transferee.is_some()
    }

    /// Whether this server has just become a leader that may serve.
    pub(super) fn notice_leadership(&mut self, now: Now, replies: &mut Vec<Effect>) -> bool {
        let raft = &self.node.raft;
        let is_leader = raft.state == StateRole::Leader;
        let leadership = Leadership {
            term: raft.term,
            leader: (raft.leader_id != INVALID_ID).then_some(raft.leader_id),
            is_leader,
            is_ready: is_leader && raft.apply_to_current_term(),
            is_alone: raft.prs().is_singleton(),
        };
        let before = std::mem::replace(&mut self.leadership, leadership);
        if before == leadership {
            return false;
        }
        if leadership.leader != before.leader && leadership.leader.is_some() {
            self.leader_heard = now.mono;
        }
        let took_over = leadership.is_ready && !before.is_ready;
        if took_over {
            self.duties.take_over(&self.node.store().state, now);
        }
        let is_anew = is_leader && (!before.is_leader || before.term != leadership.term);
        if is_anew {
            let servers = self.membership().servers();
            // Everybody gets the time of a first answer.
            self.followers_heard = servers.into_iter().map(|id| (id, now.mono)).collect();
            self.ticks_since_heartbeat = 0;
        }
        if before.is_leader && (!is_leader || is_anew) {
            self.lost_leadership(replies);
        }
        if is_anew {
            self.keep_own_proposals(replies);
        }
        // After the state it speaks for is published.
        replies.push(Effect::Leadership(leadership));
        took_over
    }

    fn lost_leadership(&mut self, replies: &mut Vec<Effect>) {
        self.session_end_proposed = 0;
        self.proposals_left_ticks = PROPOSALS_KEPT_TIMEOUTS * 2 * self.config.election_ticks;
        let no_leader = |request| Effect::Reply { request, result: Err(Error::no_leader()) };
        replies.extend(self.deferred.drain(..).map(|(request, _)| no_leader(request)));
        replies.extend(self.rounds.end().into_iter().map(no_leader));
        self.end_operations(replies);
    }

    /// Of an earlier leadership, what is still in the log; new ones follow behind it.
    fn keep_own_proposals(&mut self, replies: &mut Vec<Effect>) {
        let log = &self.node.raft.raft_log;
        let (kept, lost): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.proposals)
            .into_iter()
            .partition(|proposal| log.term(proposal.index) == Ok(proposal.term));
        self.proposals = kept;
        replies.extend(lost.into_iter().filter_map(|p| p.request).map(fate_unknown));
    }

    /// A proposal of a lost leadership may still come through: its successor decides. Who asked
    /// waits for that a bounded time.
    pub(super) fn give_up_proposals(&mut self, effects: &mut Vec<Effect>) {
        if self.proposals_left_ticks == 0 || self.proposals.is_empty() {
            self.proposals_left_ticks = 0;
            return;
        }
        self.proposals_left_ticks -= 1;
        if self.proposals_left_ticks > 0 {
            return;
        }
        let term = self.node.raft.term;
        let is_own_term = self.node.raft.state == StateRole::Leader;
        let (kept, given_up): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.proposals)
            .into_iter()
            .partition(|proposal| is_own_term && proposal.term == term);
        self.proposals = kept;
        effects.extend(given_up.into_iter().filter_map(|p| p.request).map(fate_unknown));
    }

    /// A snapshot took the place of the entries they became, or of others.
    pub(super) fn lose_proposals(&mut self) {
        self.proposals_left_ticks = 1;
    }
}

pub(super) fn fate_unknown(request: RequestId) -> Effect {
    let message = "leadership lost while committing log";
    Effect::Reply { request, result: Err(Error::new(ErrorKind::Timeout, message)) }
}

/// Another leader's entry took the place of the proposed one, which therefore never happens.
pub(super) fn overruled(request: RequestId) -> Effect {
    Effect::Reply { request, result: Err(Error::no_leader()) }
}
