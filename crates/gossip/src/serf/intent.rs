//! Intents: that a node came or goes, ordered by the pool's clock, which tells a leave from a failure.

use std::time::Duration;

use crate::input::{Event, Refusal};
use crate::machine::{Gossip, Step, Timer};
use crate::member::{Member, MemberRecord, Status};
use crate::serf::Serf;
use crate::serf::leave::Leaving;
use crate::serf::message::{EventMessage, Intent, SerfMessage};
use crate::time::Mono;

/// How long an intent about an unknown node is kept.
const EARLY_INTENT_LIFE: Duration = Duration::from_secs(300);
/// Most such intents: they come with state exchanges, one a node.
const EARLY_INTENTS_MAX: usize = 4096;

/// An intent that came before its node.
#[derive(Clone, Debug)]
pub(crate) struct EarlyIntent {
    time: u64,
    is_leave: bool,
    heard_at: Mono,
}

impl Serf {
    /// A node is there: it becomes a member, or an old one comes back.
    pub(crate) fn member_came(&mut self, mut member: Member) -> Member {
        if let Some(record) = self.members.get_mut(&member.name) {
            record.member = member.clone();
            return member;
        }
        let mut status_time = 0;
        if let Some(intent) = self.early_intents.remove(&member.name) {
            status_time = intent.time;
            if intent.is_leave {
                member.status = Status::Leaving;
            }
        }
        let record = MemberRecord { member: member.clone(), status_time, gone_at: Mono(0) };
        self.members.insert(member.name.clone(), record);
        member
    }

    /// Keeps the newest intent about a node not known yet; returns whether this is it.
    fn keep_early_intent(&mut self, intent: &Intent, is_leave: bool, now: Mono) -> bool {
        let known = self.early_intents.get(&intent.node);
        if known.is_some_and(|known| known.time >= intent.time) {
            return false;
        }
        if known.is_none() && self.early_intents.len() >= EARLY_INTENTS_MAX {
            return false;
        }
        let early = EarlyIntent { time: intent.time, is_leave, heard_at: now };
        self.early_intents.insert(intent.node.clone(), early);
        true
    }

    pub(crate) fn forget_intents(&mut self, now: Mono) {
        self.early_intents.retain(|_, intent| now.since(intent.heard_at) <= EARLY_INTENT_LIFE);
    }
}

impl Gossip {
    /// Takes in a message of the serf layer. What is new is passed on.
    pub(crate) fn receive_serf(&mut self, bytes: &[u8], may_relay: bool, step: &mut Step<'_>) {
        let Ok(message) = SerfMessage::decode(bytes) else {
            self.counters.messages_refused += 1;
            return;
        };
        match message {
            SerfMessage::Join(intent) => {
                if self.join_intent(&intent, step) {
                    self.pass_on_intent(bytes);
                }
            }
            SerfMessage::Leave(intent) => {
                if self.leave_intent(&intent, step) {
                    self.pass_on_intent(bytes);
                }
            }
            SerfMessage::Event(event) => self.receive_event(event, bytes, step),
            SerfMessage::Query(query) => self.receive_query(query, bytes, step),
            SerfMessage::Response(response) => self.receive_response(response, step),
            SerfMessage::Relay(relay) if may_relay => self.receive_relay(relay, step),
            SerfMessage::Relay(_) => self.counters.messages_refused += 1,
        }
    }

    fn pass_on_intent(&mut self, bytes: &[u8]) {
        if bytes.len() <= crate::machine::spread::QUEUED_BYTES_MAX {
            self.serf.intents_out.push(bytes.to_vec().into(), None, false);
            self.serf.prune_queues();
        }
    }

    /// Returns whether it is news.
    pub(crate) fn join_intent(&mut self, intent: &Intent, step: &mut Step<'_>) -> bool {
        self.serf.clock.witness(intent.time);
        let Some(record) = self.serf.members.get_mut(&intent.node) else {
            return self.serf.keep_early_intent(intent, false, step.now);
        };
        if intent.time <= record.status_time {
            return false;
        }
        record.status_time = intent.time;
        if record.member.status == Status::Leaving && intent.node != self.config.name {
            record.member.status = Status::Alive;
        }
        true
    }

    /// Returns whether it is news.
    pub(crate) fn leave_intent(&mut self, intent: &Intent, step: &mut Step<'_>) -> bool {
        self.serf.clock.witness(intent.time);
        let is_own = self.is_own(&intent.node);
        let Some(record) = self.serf.members.get_mut(&intent.node) else {
            return self.serf.keep_early_intent(intent, true, step.now);
        };
        if intent.time <= record.status_time {
            return false;
        }
        if is_own && self.leaving == Leaving::No {
            // Somebody believes we left, or forces us to: we are here.
            self.broadcast_join(step);
            return false;
        }
        record.status_time = intent.time;
        match record.member.status {
            Status::Alive => record.member.status = Status::Leaving,
            Status::Failed => {
                record.member.status = Status::Left;
                record.gone_at = step.now;
                step.event(Event::MemberLeave(record.member.clone()));
            }
            Status::Leaving | Status::Left => {}
        }
        if intent.prune && !is_own {
            self.begin_prune(&intent.node, step);
        }
        true
    }

    /// Forgets a member now, or when it has had the time to leave.
    fn begin_prune(&mut self, name: &str, step: &mut Step<'_>) {
        let profile = &self.config.profile;
        match self.serf.members.get(name).map(|record| record.member.status) {
            Some(Status::Leaving | Status::Alive) => {
                let wait = profile.broadcast_timeout + profile.leave_propagate;
                self.timers.set(step.now.plus(wait), Timer::Prune(name.to_owned()));
            }
            Some(Status::Left | Status::Failed) => self.forget(name, step),
            None => {}
        }
    }

    /// The time to leave is over. Who still answers probes is no ghost to be forgotten.
    pub(crate) fn prune(&mut self, name: &str, step: &mut Step<'_>) {
        if self.nodes.get(name).is_none_or(|node| node.state.is_gone()) {
            self.forget(name, step);
        }
    }

    /// Says that we are here.
    pub(crate) fn broadcast_join(&mut self, step: &mut Step<'_>) {
        let time = self.serf.clock.take();
        let intent = Intent { time, node: self.config.name.clone(), prune: false };
        self.join_intent(&intent, step);
        self.pass_on_intent(&SerfMessage::Join(intent).encode());
    }

    /// Says that a node goes; returns whether somebody is there to hear it.
    pub(crate) fn broadcast_leave(
        &mut self,
        node: &str,
        prune: bool,
        is_awaited: bool,
        step: &mut Step<'_>,
    ) -> bool {
        let time = self.serf.clock.take();
        let intent = Intent { time, node: node.to_owned(), prune };
        self.leave_intent(&intent, step);
        if !self.has_alive_peer() {
            return false;
        }
        let message = SerfMessage::Leave(intent).encode();
        self.serf.intents_out.push(message, None, is_awaited);
        true
    }

    pub(crate) fn force_leave(
        &mut self,
        node: &str,
        prune: bool,
        step: &mut Step<'_>,
    ) -> Result<(), Refusal> {
        if !self.serf.members.contains_key(node) {
            return Err(Refusal::MemberUnknown { node: node.to_owned() });
        }
        self.broadcast_leave(node, prune, false, step);
        Ok(())
    }

    /// Events a peer remembers from before.
    pub(crate) fn replay_event(&mut self, event: EventMessage, step: &mut Step<'_>) {
        let bytes = SerfMessage::Event(event.clone()).encode();
        self.receive_event(event, &bytes, step);
    }
}
