//! What comes from other servers. They have been authenticated; still, nothing they say may bring
//! this one down, so whatever consensus takes for impossible is kept from it.

use raft::eraftpb::MessageType;
use raft::{INVALID_ID, StateRole};

use super::Replica;
use crate::input::{Effect, Snapshot};
use crate::membership::{Note, Position};
use crate::{Message, Now};

/// The mark of votes asked for on behalf of a leader that hands over, as the library writes it.
const HAND_OVER: &[u8] = b"CampaignTransfer";

impl Replica {
    pub(super) fn hear(&mut self, message: Message, now: Now, effects: &mut Vec<Effect>) {
        if message.get_msg_type() == MessageType::MsgSnapshot || !self.is_sound(&message) {
            return;
        }
        let message = self.without_unknown_commit(message, effects);
        let (from, kind) = (message.from, message.get_msg_type());
        if is_vote(kind) && !self.may_vote(&message) {
            return;
        }
        self.remember(&message);
        // What a peer says may be stale; consensus drops it then.
        let _ = self.node.step(message);
        self.heard(from, kind, now);
    }

    pub(super) fn receive(&mut self, message: Message, snapshot: Snapshot, now: Now) {
        let meta = message.get_snapshot().get_metadata();
        let is_same = (meta.index, meta.term) == (snapshot.index, snapshot.term);
        if message.get_msg_type() != MessageType::MsgSnapshot
            || !is_same
            || snapshot.index == 0
            || !self.is_sound(&message)
        {
            return;
        }
        let (from, index) = (message.from, snapshot.index);
        let before = self.received.replace(snapshot);
        let _ = self.node.step(message);
        if self.node.snap().is_none_or(|taken| taken.get_metadata().index != index) {
            self.received = before;
        }
        self.heard(from, MessageType::MsgSnapshot, now);
    }

    /// The snapshot that came with what consensus accepted.
    pub(super) fn take_in_snapshot(&mut self, ticket: u64, index: u64) -> Option<Snapshot> {
        if index == 0 {
            return None;
        }
        let snapshot = self.received.take_if(|received| received.index == index)?;
        self.node.mut_store().install(&snapshot);
        self.installing = Some((ticket, index));
        self.snapshot_index = index;
        self.is_membership_shown = false;
        self.lose_proposals();
        Some(snapshot)
    }

    fn heard(&mut self, from: u64, kind: MessageType, now: Now) {
        use MessageType::{MsgAppend, MsgHeartbeat, MsgSnapshot};
        let raft = &self.node.raft;
        if raft.state == StateRole::Leader {
            if raft.prs().get(from).is_some() {
                self.followers_heard.insert(from, now.mono);
            }
        } else if from == raft.leader_id && matches!(kind, MsgAppend | MsgHeartbeat | MsgSnapshot) {
            self.leader_heard = now.mono;
        }
    }

    fn is_sound(&self, message: &Message) -> bool {
        use MessageType::{
            MsgAppend, MsgAppendResponse, MsgHeartbeat, MsgHeartbeatResponse, MsgRequestPreVote,
            MsgRequestPreVoteResponse, MsgRequestVote, MsgRequestVoteResponse, MsgSnapshot,
            MsgTimeoutNow,
        };
        let own = self.config.id;
        if message.to != own
            || message.from == own
            || message.from == INVALID_ID
            || message.term == 0
        {
            return false;
        }
        let raft = &self.node.raft;
        let from_second_leader =
            raft.leader_id == own && raft.state == StateRole::Leader && message.term == raft.term;
        match message.get_msg_type() {
            MsgAppend => {
                let follow = message.entries.iter().zip(message.index + 1..);
                let is_gapless = follow.clone().all(|(entry, index)| entry.index == index);
                is_gapless && !from_second_leader
            }
            MsgHeartbeat | MsgSnapshot => !from_second_leader,
            MsgAppendResponse => message.reject || message.index <= raft.raft_log.last_index(),
            // A server that cannot stand for election now would only lose its way.
            MsgTimeoutNow => self.may_campaign() && !from_second_leader,
            MsgHeartbeatResponse
            | MsgRequestPreVote
            | MsgRequestPreVoteResponse
            | MsgRequestVote
            | MsgRequestVoteResponse => true,
            _ => false,
        }
    }

    /// A leader tells only of commits it knows this server to have. One beyond the log means that
    /// the disk has been put back to an older copy.
    fn without_unknown_commit(
        &mut self,
        mut message: Message,
        effects: &mut Vec<Effect>,
    ) -> Message {
        let (last_term, last_index) = self.last_entry();
        if message.get_msg_type() == MessageType::MsgHeartbeat
            && message.term >= self.node.raft.term
            && message.commit > last_index
        {
            let known = Position { term: message.term, last_term, last_index: message.commit };
            self.notice_rollback(known, effects);
            let position = self.position;
            effects.push(Effect::Note { to: message.from, note: Note::Position(position) });
            message.commit = last_index;
        }
        message
    }

    /// Not shortly after a start, when a lease may still rest on what was answered before, and not
    /// with a disk that has forgotten earlier votes.
    fn may_vote(&self, message: &Message) -> bool {
        let is_hand_over = message.context == HAND_OVER;
        self.rolled_back.is_none() && (self.vote_pause_ticks == 0 || is_hand_over)
    }

    /// Whether this server may stand for election now.
    pub(super) fn may_campaign(&self) -> bool {
        // Alone it wins at once, and consensus wants everything durable by then.
        let is_alone = self.node.raft.prs().is_singleton();
        self.rolled_back.is_none()
            && self.installing.is_none()
            && !(is_alone && self.unpersisted.is_some())
    }

    /// Term and log index of the last entry, durable or not.
    pub(super) fn last_entry(&self) -> (u64, u64) {
        let log = &self.node.raft.raft_log;
        (log.last_term(), log.last_index())
    }
}

fn is_vote(kind: MessageType) -> bool {
    matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
}
