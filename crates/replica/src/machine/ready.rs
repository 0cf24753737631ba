//! What consensus wants done, turned into effects in the order that keeps its promises.

use model::topic::Topic;
use raft::eraftpb::MessageType;

use super::{MESSAGE_BYTES_MAX, Replica};
use crate::input::{Effect, Persist};
use crate::membership::Position;
use crate::{Message, Now};

impl Replica {
    pub(super) fn handle_ready(
        &mut self,
        now: Now,
        touched: &mut Vec<Topic>,
        replies: &mut Vec<Effect>,
        effects: &mut Vec<Effect>,
    ) {
        let mut ready = self.node.ready();
        let messages = ready.take_messages();
        self.send(messages, effects);
        let ticket = ready.number();
        let (must_sync, entries) = (ready.must_sync(), ready.take_entries());
        let held = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        let read_states = ready.take_read_states();
        let snapshot = self.take_in_snapshot(ticket, ready.snapshot().get_metadata().index);
        let store = self.node.mut_store();
        store.append(&entries);
        if let Some(hard_state) = ready.hs() {
            store.hard_state = hard_state.clone();
        }
        let hard_state = store.hard_state.clone();
        let (last_term, last_index) = store.end();
        self.node.advance_append_async(ready);
        if must_sync {
            self.unpersisted = Some(ticket);
            let position = Position { term: hard_state.term, last_term, last_index };
            self.positions_unpersisted.push_back((ticket, position));
            effects.push(Effect::Persist(Persist { ticket, hard_state, snapshot, entries }));
        } else if self.unpersisted.is_none() {
            self.node.on_persist_ready(ticket);
        }
        if !held.is_empty() {
            match self.unpersisted {
                Some(newest) => self.held.push_back((newest, held)),
                None => self.send(held, effects),
            }
        }
        for entry in committed {
            if let Err(cause) = self.apply(entry, now, touched, replies) {
                return self.halt(cause, effects);
            }
        }
        if self.installing.is_none() {
            self.node.advance_apply_to(self.node.store().applied);
        }
        for state in read_states {
            self.round_confirmed(&state, replies);
        }
    }

    pub(super) fn persisted(&mut self, ticket: u64, effects: &mut Vec<Effect>) {
        self.node.on_persist_ready(ticket);
        if self.unpersisted.is_some_and(|newest| newest <= ticket) {
            self.unpersisted = None;
        }
        while let Some((_, position)) =
            self.positions_unpersisted.pop_front_if(|(waits_for, _)| *waits_for <= ticket)
        {
            self.position = position;
        }
        if let Some((_, index)) = self.installing.take_if(|(waits_for, _)| *waits_for <= ticket) {
            self.node.advance_apply_to(index);
            effects.push(Effect::Replace(self.state().clone()));
        }
        while let Some((_, held)) = self.held.pop_front_if(|(waits_for, _)| *waits_for <= ticket) {
            self.send(held, effects);
        }
    }

    fn send(&mut self, messages: Vec<Message>, effects: &mut Vec<Effect>) {
        let mut plain = Vec::with_capacity(messages.len());
        for message in messages {
            if message.get_msg_type() != MessageType::MsgSnapshot {
                split(message, &mut plain);
                continue;
            }
            match self.node.mut_store().take_offered(message.to) {
                Some(snapshot) => {
                    effects.push(Effect::SendSnapshot { message: Box::new(message), snapshot });
                }
                // Asked for twice before one was sent; the first is under way.
                None => self.node.report_snapshot(message.to, raft::SnapshotStatus::Failure),
            }
        }
        if !plain.is_empty() {
            effects.push(Effect::Send(plain));
        }
    }
}

/// Appends were merged while they waited; what is larger than a message should be goes in parts,
/// so that no receiver has to take in more at once.
fn split(mut message: Message, into: &mut Vec<Message>) {
    let bytes =
        |message: &Message| message.entries.iter().map(|e| e.data.len() as u64).sum::<u64>();
    if message.get_msg_type() != MessageType::MsgAppend || bytes(&message) <= MESSAGE_BYTES_MAX {
        return into.push(message);
    }
    let mut rest = message.take_entries().into_iter().peekable();
    while rest.peek().is_some() {
        let mut part = message.clone();
        let mut part_bytes = 0;
        while let Some(entry) = rest.next_if(|entry| {
            part_bytes == 0 || part_bytes + entry.data.len() as u64 <= MESSAGE_BYTES_MAX
        }) {
            part_bytes += (entry.data.len() as u64).max(1);
            (message.index, message.log_term) = (entry.index, entry.term);
            part.entries.push(entry);
        }
        into.push(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogEntry;

    #[test]
    fn a_large_append_goes_in_parts_that_join() {
        let half = (MESSAGE_BYTES_MAX / 2) as usize;
        let sizes = [half, half, 1, 3 * half, 0, half];
        let mut message = Message { index: 10, log_term: 2, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        for (at, size) in sizes.into_iter().enumerate() {
            let data = vec![0; size].into();
            let index = 11 + at as u64;
            message.entries.push(LogEntry { index, term: 3, data, ..LogEntry::default() });
        }
        let mut parts = Vec::new();
        split(message, &mut parts);
        let shape: Vec<_> = parts.iter().map(|p| (p.index, p.log_term, p.entries.len())).collect();
        assert_eq!(shape, [(10, 2, 2), (12, 3, 1), (13, 3, 1), (14, 3, 2)]);
    }
}
