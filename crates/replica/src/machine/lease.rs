//! Rounds of heartbeats: each asks all voters whether this server still leads. Who waits for that
//! answer shares the next round, and each round that a majority answered renews the lease.
//!
//! A voter that answers a heartbeat votes for nobody else for one election timeout by its own
//! clock. So from the moment the round *began* no other leader can come up for that long, less
//! what is allowed for: one tick, which may have been under way, and clocks that run at different
//! rates. The library's own lease lasts the whole election timeout from the moment of the answer,
//! and such a window was found to serve stale reads in Consul (Jepsen, 2014).
//!
//! A leader that has asked another to take over holds no lease for the rest of its term: the other
//! one is voted for at once, whenever the message arrives.

use std::collections::VecDeque;
use std::time::Duration;

use model::error::Error;
use raft::ReadState;

use super::{CONFIRMATIONS_MAX, Replica, ReplicaConfig};
use crate::input::{Effect, RequestId, Response};
use crate::machine::requests::too_busy;
use crate::{Mono, Now};

/// By how much the clock of one server may run faster than that of another before a read by lease
/// might be stale. Oscillators differ by less than 0.1 percent; the rest is for virtual machines
/// whose clocks are slewed.
pub const LEASE_DRIFT_PERCENT: u32 = 20;

#[derive(Debug)]
struct Round {
    serial: u64,
    began: Mono,
    requests: Vec<RequestId>,
}

#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Never twice in the life of a process: an answer to an old one must not confirm a new one.
    serial: u64,
    under_way: VecDeque<Round>,
    /// Waiting for the next round.
    waiting: Vec<RequestId>,
    count: usize,
    until: Mono,
    is_renewed: bool,
    is_void: bool,
}

impl Rounds {
    /// The lease, if it was renewed since the last call.
    pub(super) fn take_renewed(&mut self) -> Option<Mono> {
        std::mem::take(&mut self.is_renewed).then_some(self.until)
    }

    fn is_good_at(&self, now: Mono) -> bool {
        !self.is_void && now < self.until
    }

    /// No lease until the next term.
    pub(super) fn void(&mut self) {
        self.is_void = true;
        self.until = Mono::default();
        self.is_renewed = true;
    }

    /// Ends everything under way. Who waited is returned.
    pub(super) fn end(&mut self) -> Vec<RequestId> {
        let mut requests = std::mem::take(&mut self.waiting);
        requests.extend(self.under_way.drain(..).flat_map(|round| round.requests));
        let serial = self.serial;
        *self = Self { serial, is_renewed: true, ..Self::default() };
        requests
    }
}

/// How long a lease lasts from the beginning of its round.
fn lease_span(config: &ReplicaConfig) -> Duration {
    let ticks = u32::try_from(config.election_ticks.saturating_sub(1)).unwrap_or(u32::MAX);
    config.tick.saturating_mul(ticks) * (100 - LEASE_DRIFT_PERCENT) / 100
}

impl Replica {
    pub(super) fn confirm_leadership(
        &mut self,
        request: RequestId,
        by_lease: bool,
        now: Now,
    ) -> Option<Result<Response, Error>> {
        if !self.leadership.is_ready {
            return Some(Err(Error::no_leader()));
        }
        if self.leadership.is_alone || (by_lease && self.rounds.is_good_at(now.mono)) {
            let index = self.node.raft.raft_log.committed;
            return Some(Ok(Response::Confirmed { index }));
        }
        if self.rounds.count >= CONFIRMATIONS_MAX {
            return Some(Err(too_busy()));
        }
        self.rounds.count += 1;
        self.rounds.waiting.push(request);
        None
    }

    /// Tells the followers that this server leads, every few ticks.
    pub(super) fn heartbeat(&mut self, now: Now) {
        if self.node.raft.state != raft::StateRole::Leader {
            return;
        }
        self.ticks_since_heartbeat += 1;
        if self.ticks_since_heartbeat >= self.config.heartbeat_ticks {
            self.ask_voters(now);
        }
    }

    /// Asks for those who wait.
    pub(super) fn begin_round(&mut self, now: Now) {
        let is_leader = self.node.raft.state == raft::StateRole::Leader;
        if is_leader && !self.rounds.waiting.is_empty() {
            self.ask_voters(now);
        }
    }

    fn ask_voters(&mut self, now: Now) {
        self.ticks_since_heartbeat = 0;
        let raft = &self.node.raft;
        if raft.prs().is_singleton() || !raft.commit_to_current_term() {
            self.node.ping();
        }
        if !self.node.raft.commit_to_current_term() {
            return;
        }
        let rounds = &mut self.rounds;
        rounds.serial += 1;
        let requests = std::mem::take(&mut rounds.waiting);
        let serial = rounds.serial;
        rounds.under_way.push_back(Round { serial, began: now.mono, requests });
        self.node.read_index(serial.to_le_bytes().to_vec());
    }

    pub(super) fn round_confirmed(&mut self, state: &ReadState, replies: &mut Vec<Effect>) {
        let Ok(bytes) = <[u8; 8]>::try_from(state.request_ctx.as_slice()) else { return };
        let serial = u64::from_le_bytes(bytes);
        let rounds = &mut self.rounds;
        // An answer to this round answers those before it.
        while let Some(round) = rounds.under_way.pop_front_if(|round| round.serial <= serial) {
            rounds.count -= round.requests.len();
            if !rounds.is_void {
                let until = round.began.plus(lease_span(&self.config));
                rounds.is_renewed |= until > rounds.until;
                rounds.until = rounds.until.max(until);
            }
            replies.extend(round.requests.into_iter().map(|request| Effect::Reply {
                request,
                result: Ok(Response::Confirmed { index: state.index }),
            }));
        }
    }
}
