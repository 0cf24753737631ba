//! Committed entries: what each does to the state, and who is told.

use model::command::Outcome;
use model::error::{Error, ErrorKind};
use model::topic::Topic;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, EntryType};

use super::leadership::{fate_unknown, overruled};
use super::{Proposal, Replica, operate};
use crate::input::{Effect, HaltCause, Response};
use crate::judge::LockDelays;
use crate::{LogEntry, Now, entry, judge};

impl Replica {
    pub(super) fn apply(
        &mut self,
        entry: LogEntry,
        now: Now,
        touched: &mut Vec<Topic>,
        replies: &mut Vec<Effect>,
    ) -> Result<(), HaltCause> {
        let proposal = self.take_proposal(&entry, replies);
        match entry.entry_type {
            EntryType::EntryNormal if entry.data.is_empty() => {
                self.node.mut_store().applied = entry.index;
                self.operation_applied(entry.index, entry.term, replies);
                return Ok(());
            }
            EntryType::EntryNormal => {}
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                self.apply_configuration(&entry)?;
                self.node.mut_store().applied = entry.index;
                self.operation_applied(entry.index, entry.term, replies);
                return Ok(());
            }
        }
        let (command, request) = match proposal {
            Some(Proposal { command, request, .. }) => (command, request),
            None => {
                let unreadable = |reason| HaltCause::UnreadableEntry { index: entry.index, reason };
                (entry::decode(&entry.data).map_err(unreadable)?, None)
            }
        };
        let created_session = judge::session::created_id(&command);
        let store = self.node.mut_store();
        let index = store.state.index_of(entry.index);
        let applied = store.state.apply(index, command);
        store.applied = entry.index;
        if applied.is_replaced {
            self.lock_delays = LockDelays::default();
            self.duties.take_over(&self.node.store().state, now);
        }
        self.lock_delays.extend(applied.released_locks, now.mono);
        let state = &self.node.store().state;
        self.duties.session_applied(state, created_session, &applied.ended_sessions, now);
        touched.extend(applied.touched);
        if let Some(request) = request {
            let result = match applied.outcome {
                Outcome::Refused(message) => Err(Error::new(ErrorKind::Conflict, message)),
                outcome => Ok(Response::Outcome(outcome)),
            };
            replies.push(Effect::Reply { request, result });
        }
        Ok(())
    }

    fn apply_configuration(&mut self, entry: &LogEntry) -> Result<(), HaltCause> {
        let unreadable = |reason| HaltCause::UnreadableEntry { index: entry.index, reason };
        if entry.entry_type == EntryType::EntryConfChange {
            return Err(unreadable("a change of servers in a form that is never written".into()));
        }
        let change = ConfChangeV2::parse_from_bytes(&entry.data)
            .map_err(|e: protobuf::ProtobufError| unreadable(e.to_string()))?;
        // What cannot be done is refused by every server alike, and then changes nothing.
        let Ok(configuration) = self.node.apply_conf_change(&change) else { return Ok(()) };
        let peers = operate::decode_peers(&change.context);
        self.node.mut_store().membership.change(&configuration, entry.index, peers);
        self.is_membership_shown = false;
        Ok(())
    }

    /// The proposal that became `entry`; answers those that lost their place to another leader's.
    fn take_proposal(&mut self, entry: &LogEntry, replies: &mut Vec<Effect>) -> Option<Proposal> {
        while self.proposals.front().is_some_and(|proposal| proposal.index <= entry.index) {
            let proposal = self.proposals.pop_front()?;
            match (proposal.index == entry.index, proposal.term == entry.term) {
                (true, true) => return Some(proposal),
                (true, false) => replies.extend(proposal.request.map(overruled)),
                (false, _) => replies.extend(proposal.request.map(fate_unknown)),
            }
        }
        None
    }
}
