//! What is asked of a leader: changes and renewals.

use std::sync::Arc;

use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::session::Session;
use raft::StateRole;

use super::{PROPOSALS_MAX, Proposal, Replica};
use crate::input::{Effect, RequestId, Response};
use crate::judge::Judged;
use crate::{Now, entry, judge};

impl Replica {
    /// Judges and appends; `Some` when the answer needs no commit.
    ///
    /// The delay before a lost lock may be taken is judged against what was applied, and begins
    /// when the end of its session is. So a lock waits for session ends proposed before it;
    /// otherwise it would enter the log behind them, judged as if they had not happened.
    pub(super) fn propose(
        &mut self,
        request: RequestId,
        command: Command,
        now: Now,
    ) -> Option<Result<Outcome, Error>> {
        if !self.leadership.is_ready || self.is_handing_over() {
            return Some(Err(Error::no_leader()));
        }
        if self.proposals.len() + self.deferred.len() >= PROPOSALS_MAX {
            return Some(Err(too_busy()));
        }
        if judge::is_lock(&command) && self.is_session_ending() {
            self.deferred.push_back((request, command));
            return None;
        }
        let mut context = judge::Context {
            state: &self.node.store().state,
            datacenter: &self.config.datacenter,
            rules: &self.config.rules,
            lock_delays: &self.lock_delays,
            now,
            rng: &mut self.rng,
        };
        match judge::judge(command, &mut context) {
            Err(e) => Some(Err(e)),
            Ok(Judged::Answer(outcome)) => Some(Ok(outcome)),
            Ok(Judged::Propose(command)) => self.append(Some(request), command).err().map(Err),
        }
    }

    fn is_session_ending(&self) -> bool {
        self.session_end_proposed > self.state().log_index()
    }

    /// Judges locks that waited. Whether there were any.
    pub(super) fn judge_deferred(&mut self, now: Now, replies: &mut Vec<Effect>) -> bool {
        if self.deferred.is_empty() || self.is_session_ending() || self.is_halted {
            return false;
        }
        for (request, command) in std::mem::take(&mut self.deferred) {
            if let Some(result) = self.propose(request, command, now) {
                let result = result.map(Response::Outcome);
                replies.push(Effect::Reply { request, result });
            }
        }
        true
    }

    pub(super) fn append(
        &mut self,
        request: Option<RequestId>,
        command: Command,
    ) -> Result<(), Error> {
        // A follower would pass it on to the leader without telling what becomes of it.
        if self.node.raft.state != StateRole::Leader {
            return Err(Error::no_leader());
        }
        let data = entry::encode(&command)
            .map_err(|reason| Error::internal(format!("could not encode a command: {reason}")))?;
        match self.node.propose(Vec::new(), data) {
            Ok(()) => {
                let (index, term) = (self.node.raft.raft_log.last_index(), self.node.raft.term);
                if judge::may_end_session(&command) {
                    self.session_end_proposed = index;
                }
                self.proposals.push_back(Proposal { index, term, command, request });
                Ok(())
            }
            Err(raft::Error::ProposalDropped)
                if self.node.raft.state == StateRole::Leader && !self.is_handing_over() =>
            {
                Err(too_busy())
            }
            Err(_) => Err(Error::no_leader()),
        }
    }

    pub(super) fn renew_session(
        &mut self,
        id: &str,
        now: Now,
    ) -> Result<Option<Arc<Session>>, Error> {
        if !self.leadership.is_ready {
            return Err(Error::no_leader());
        }
        let session = self.state().session(id).cloned();
        if let Some(session) = &session {
            self.duties.sessions.renew(session, now.mono);
        }
        Ok(session)
    }
}

pub(super) fn too_busy() -> Error {
    Error {
        kind: ErrorKind::Unavailable,
        message: "too many writes in flight, try again later".into(),
        retry_after: Some(std::time::Duration::from_secs(1)),
    }
}
