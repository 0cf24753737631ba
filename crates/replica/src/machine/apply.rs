//! Committed entries: what each does to the state, and who is told.

use model::command::Outcome;
use model::error::{Error, ErrorKind};
use model::topic::Topic;
use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeV2, EntryType};

use super::{Proposal, Replica, lost_leadership};
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
            EntryType::EntryNormal if entry.data.is_empty() => return Ok(()),
            EntryType::EntryNormal => {}
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                return self.apply_configuration(&entry);
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
        let applied = self.state.apply(self.state.index_of(entry.index), command);
        if applied.is_replaced {
            self.lock_delays = LockDelays::default();
            self.duties.take_over(&self.state, now);
        }
        self.lock_delays.extend(applied.released_locks, now.mono);
        self.duties.session_applied(&self.state, created_session, &applied.ended_sessions, now);
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
        let unreadable = |e: protobuf::ProtobufError| HaltCause::UnreadableEntry {
            index: entry.index,
            reason: e.to_string(),
        };
        let changed = if entry.entry_type == EntryType::EntryConfChange {
            let change = ConfChange::parse_from_bytes(&entry.data).map_err(unreadable)?;
            self.node.apply_conf_change(&change)
        } else {
            let change = ConfChangeV2::parse_from_bytes(&entry.data).map_err(unreadable)?;
            self.node.apply_conf_change(&change)
        };
        let configuration = changed.map_err(|e| HaltCause::Consensus(e.to_string()))?;
        self.node.mut_store().configuration = configuration;
        Ok(())
    }

    /// The proposal that became `entry`; answers those that lost their place to another leader's.
    fn take_proposal(&mut self, entry: &LogEntry, replies: &mut Vec<Effect>) -> Option<Proposal> {
        while self.proposals.front().is_some_and(|proposal| proposal.index <= entry.index) {
            let proposal = self.proposals.pop_front()?;
            if proposal.index == entry.index && proposal.term == entry.term {
                return Some(proposal);
            }
            replies.extend(proposal.request.map(lost_leadership));
        }
        None
    }
}
