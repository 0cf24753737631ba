//! What the serf layer adds to an exchange of state.

use crate::machine::{Gossip, Step};
use crate::serf::message::{EventMessage, Intent, Moment, SerfState};

impl Gossip {
    pub(crate) fn serf_state(&self) -> SerfState {
        let serf = &self.serf;
        let times = serf.members.iter().map(|(name, record)| (name.clone(), record.status_time));
        SerfState {
            time: serf.clock.time(),
            status_times: times.collect(),
            left: serf.left(),
            event_time: serf.event_clock.time(),
            events: serf.events.to_state(),
            query_time: serf.query_clock.time(),
        }
    }

    /// Takes in a peer's. With our own join, what happened before it is nothing to us.
    pub(crate) fn merge_serf_state(
        &mut self,
        bytes: &[u8],
        is_own_join: bool,
        step: &mut Step<'_>,
    ) {
        let Ok(state) = SerfState::decode(bytes) else {
            self.counters.messages_refused += 1;
            return;
        };
        let serf = &mut self.serf;
        // A clock is one ahead of the last message, which alone was witnessed.
        let clocks = [
            (&mut serf.clock, state.time),
            (&mut serf.event_clock, state.event_time),
            (&mut serf.query_clock, state.query_time),
        ];
        for (clock, time) in clocks {
            if time > 0 {
                clock.witness(time - 1);
            }
        }
        if is_own_join {
            serf.event_time_min = serf.event_time_min.max(state.event_time);
        }
        for node in &state.left {
            let time = state.status_times.get(node).copied().unwrap_or(0).saturating_add(1);
            self.leave_intent(&Intent { time, node: node.clone(), prune: false }, step);
        }
        for (node, time) in state.status_times {
            if !state.left.contains(&node) {
                self.join_intent(&Intent { time, node, prune: false }, step);
            }
        }
        for Moment { time, events } in state.events.into_iter().flatten() {
            for (name, payload) in events {
                self.replay_event(EventMessage { time, name, payload, coalesce: false }, step);
            }
        }
    }
}
