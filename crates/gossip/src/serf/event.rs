//! User events: told to everybody once, in no order but that of the clock.

use bytes::Bytes;

use crate::input::{Event, Refusal};
use crate::machine::Gossip;
use crate::machine::Step;
use crate::machine::spread::QUEUED_BYTES_MAX;
use crate::serf::message::{EventMessage, Moment, SerfMessage};

/// Largest event sent, name and payload, which is what peers are set to.
pub const EVENT_BYTES_MAX: usize = 512;
/// Largest event taken in: the protocol's own limit.
const RECEIVED_BYTES_MAX: usize = 9 << 10;
/// Clock values remembered.
const RING_TIMES: usize = 512;
/// Events remembered for one clock value: distinct ones of the same moment.
const EVENTS_PER_TIME_MAX: usize = 128;
/// Bytes of all events remembered, so that state exchanges stay well below their bound.
const RING_BYTES_MAX: usize = 8 << 20;

/// The last events, by clock value, to tell old from new.
#[derive(Debug)]
pub(crate) struct EventRing {
    slots: Vec<Option<Moment>>,
    bytes: usize,
}

impl Default for EventRing {
    fn default() -> Self {
        EventRing { slots: vec![None; RING_TIMES], bytes: 0 }
    }
}

impl EventRing {
    /// Returns whether it is new and remembered.
    fn insert(&mut self, time: u64, name: &str, payload: &Bytes) -> bool {
        let slot = &mut self.slots[(time % RING_TIMES as u64) as usize];
        let size = name.len() + payload.len();
        let mut moment = slot.take().unwrap_or_default();
        if moment.time != time {
            self.bytes -= size_of(&moment.events);
            moment = Moment { time, events: Vec::new() };
        }
        let events = &mut slot.insert(moment).events;
        let is_known = events.iter().any(|known| known.0 == name && known.1 == *payload);
        let has_room = events.len() < EVENTS_PER_TIME_MAX && self.bytes + size <= RING_BYTES_MAX;
        if is_known || !has_room {
            return false;
        }
        events.push((name.to_owned(), payload.clone()));
        self.bytes += size;
        true
    }

    pub(crate) fn to_state(&self) -> Vec<Option<Moment>> {
        self.slots.clone()
    }
}

fn size_of(events: &[(String, Bytes)]) -> usize {
    events.iter().map(|(name, payload)| name.len() + payload.len()).sum()
}

/// Whether a message is so old that nobody remembers whether it was seen.
pub(crate) fn is_outdated(time: u64, clock: u64) -> bool {
    clock > RING_TIMES as u64 && time < clock - RING_TIMES as u64
}

impl Gossip {
    pub(crate) fn send_event(
        &mut self,
        name: String,
        payload: Bytes,
        coalesce: bool,
        step: &mut Step<'_>,
    ) -> Result<(), Refusal> {
        if name.len() + payload.len() > EVENT_BYTES_MAX {
            return Err(Refusal::EventTooLarge { limit: EVENT_BYTES_MAX });
        }
        let time = self.serf.event_clock.take();
        let event = EventMessage { time, name, payload, coalesce };
        let bytes = SerfMessage::Event(event.clone()).encode();
        self.receive_event(event, &bytes, step);
        Ok(())
    }

    pub(crate) fn receive_event(&mut self, event: EventMessage, bytes: &[u8], step: &mut Step<'_>) {
        let serf = &mut self.serf;
        serf.event_clock.witness(event.time);
        if event.name.len() + event.payload.len() > RECEIVED_BYTES_MAX {
            self.counters.messages_refused += 1;
            return;
        }
        let EventMessage { time, name, payload, coalesce } = event;
        if time < serf.event_time_min || is_outdated(time, serf.event_clock.time()) {
            return;
        }
        if !serf.events.insert(time, &name, &payload) {
            return;
        }
        if bytes.len() <= QUEUED_BYTES_MAX {
            serf.events_out.push(bytes.to_vec().into(), None, false);
            serf.prune_queues();
        }
        self.counters.user_events += 1;
        step.event(Event::UserEvent { time, name, payload, coalesce });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_new_once() {
        let mut ring = EventRing::default();
        let payload = Bytes::from_static(b"x");
        assert!(ring.insert(1, "a", &payload));
        assert!(!ring.insert(1, "a", &payload));
        assert!(ring.insert(1, "a", &Bytes::new()));
        assert!(ring.insert(2, "a", &payload));
        assert!(ring.insert(1 + RING_TIMES as u64, "a", &payload));
        assert_eq!(ring.bytes, 4);
    }

    #[test]
    fn events_of_one_moment_are_bounded() {
        let mut ring = EventRing::default();
        for i in 0..EVENTS_PER_TIME_MAX {
            assert!(ring.insert(1, &i.to_string(), &Bytes::new()));
        }
        assert!(!ring.insert(1, "one more", &Bytes::new()));
    }

    #[test]
    fn what_is_older_than_memory_is_dropped() {
        for (time, clock, want) in
            [(1, 512, false), (1, 513, false), (1, 514, true), (2, 514, false)]
        {
            assert_eq!(is_outdated(time, clock), want, "{time} at {clock}");
        }
    }
}
