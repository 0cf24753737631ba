//! Notices a disk that was put back to an older copy: other servers remember what this one had
//! come to. It may have forgotten votes and acknowledged entries, so it takes no part in
//! elections until it has caught up; the leader sends again what is missing.
//!
//! What others remember lasts as long as their processes. A copy put back while all are down is
//! not noticed.

use raft::StateRole;
use raft::eraftpb::MessageType;

use super::Replica;
use crate::Message;
use crate::input::Effect;
use crate::membership::{Note, Position};

impl Replica {
    /// What is known of `peer`, to tell it when it connects.
    pub fn remembered(&self, peer: u64) -> Option<Position> {
        self.remembered.get(&peer).copied()
    }

    /// After a start everybody is asked: the one who remembers need not be the one who leads.
    pub(super) fn introduce(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.is_introduced, true) {
            return;
        }
        let note = Note::Position(self.position);
        let others = self.membership().servers().into_iter().filter(|id| *id != self.config.id);
        effects.extend(others.map(|to| Effect::Note { to, note }));
    }

    /// Answers come only after what they speak of is durable.
    pub(super) fn remember(&mut self, message: &Message) {
        use MessageType::{MsgAppendResponse, MsgHeartbeatResponse, MsgRequestVoteResponse};
        if !matches!(
            message.get_msg_type(),
            MsgAppendResponse | MsgHeartbeatResponse | MsgRequestVoteResponse
        ) || !self.membership().servers().contains(&message.from)
        {
            return;
        }
        let raft = &self.node.raft;
        let mut position = Position { term: message.term, ..Position::default() };
        let is_acknowledged = message.get_msg_type() == MessageType::MsgAppendResponse
            && !message.reject
            && message.term == raft.term
            && raft.state == StateRole::Leader;
        if is_acknowledged && let Ok(term) = raft.raft_log.term(message.index) {
            (position.last_term, position.last_index) = (term, message.index);
        }
        self.remembered.entry(message.from).or_default().raise(position);
    }

    pub(super) fn take_note(&mut self, from: u64, note: Note, effects: &mut Vec<Effect>) {
        match note {
            Note::Position(position) => {
                let Some(known) = self.remembered(from) else { return };
                if position.is_before(&known) {
                    effects.push(Effect::Note { to: from, note: Note::Remembered(known) });
                    self.send_again(from, position.last_index);
                }
            }
            Note::Remembered(known) => {
                if self.position.is_before(&known) {
                    self.notice_rollback(known, effects);
                }
            }
        }
    }

    pub(super) fn notice_rollback(&mut self, known: Position, effects: &mut Vec<Effect>) {
        let rolled_back = self.rolled_back.get_or_insert_default();
        let before = *rolled_back;
        rolled_back.raise(known);
        if before != *rolled_back {
            effects.push(Effect::RolledBack(Some(*rolled_back)));
        }
    }

    /// Takes part again once everything forgotten is back. A vote given in a term up to the one
    /// remembered may be among what was lost, so that term has to be over.
    pub(super) fn watch_catching_up(&mut self, effects: &mut Vec<Effect>) {
        let Some(known) = self.rolled_back else { return };
        let is_settled = self.position.term > known.term
            || (self.position.term == known.term && self.node.raft.leader_id != raft::INVALID_ID);
        if is_settled && !self.position.is_before(&known) {
            self.rolled_back = None;
            let raft = &mut self.node.raft;
            if raft.vote == raft::INVALID_ID && raft.term == known.term {
                // Perhaps it was for another; certainly not a second one in this term.
                raft.vote = raft.leader_id;
            }
            effects.push(Effect::RolledBack(None));
        }
    }

    /// Forgets that `peer` has what it no longer has.
    fn send_again(&mut self, peer: u64, last_index: u64) {
        if self.node.raft.state != StateRole::Leader {
            return;
        }
        let Some(progress) = self.node.raft.mut_prs().get_mut(peer) else { return };
        if progress.matched > last_index {
            progress.matched = last_index;
            progress.become_probe();
            self.node.raft.send_append(peer);
        }
    }
}
