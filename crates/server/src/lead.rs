//! Asking the leader, wherever it is: here through the consensus thread, elsewhere over a link, in
//! one hop. While there is none, requests wait a bounded time; what certainly had no effect is
//! tried again.

use std::sync::Arc;
use std::time::Duration;

use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::operator::{OperatorReply, OperatorRequest};
use model::session::Session;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::link::{Answer, Request};
use crate::metrics::add;
use crate::shared::{Job, ReplyTo, Shared};

/// Pause before the leader is asked again when nothing announces a change: a refused connection is
/// noticed in less, an election takes longer.
const RETRY: Duration = Duration::from_millis(20);

/// Where the leader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    Here,
    There(u64),
}

impl Shared {
    pub(crate) fn leader(&self) -> Option<Leader> {
        let leadership = self.leadership.load();
        if leadership.is_ready {
            return Some(Leader::Here);
        }
        leadership.leader.filter(|id| *id != self.id).map(Leader::There)
    }

    /// Waits a bounded time for a leader.
    pub(crate) async fn await_leader(&self) -> Result<Leader, Error> {
        self.await_leader_until(Instant::now() + self.config.tunables.leader_hold).await
    }

    async fn await_leader_until(&self, deadline: Instant) -> Result<Leader, Error> {
        loop {
            let changed = self.leadership_changed.listen();
            if self.is_closed() {
                return Err(self.closed_error());
            }
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            // Nothing is lost when this future is dropped while it listens.
            if timeout_at(deadline, changed).await.is_err() {
                return Err(Error::no_leader());
            }
        }
    }

    pub(crate) async fn command(&self, command: Command) -> Result<Outcome, Error> {
        if self.leadership.load().is_alone {
            return self.ask_here(|reply| Job::Command(Box::new(command), reply)).await;
        }
        let request = Request::Command(Box::new(command));
        match self.ask_leader(request).await? {
            Answer::Outcome(outcome) => Ok(outcome),
            _ => Err(mismatch()),
        }
    }

    pub(crate) async fn renew_session(&self, id: String) -> Result<Option<Arc<Session>>, Error> {
        if self.leadership.load().is_alone {
            return self.ask_here(|reply| Job::Renew(id, reply)).await;
        }
        match self.ask_leader(Request::RenewSession(id)).await? {
            Answer::Renewed(session) => Ok(session.map(|session| Arc::new(*session))),
            _ => Err(mismatch()),
        }
    }

    pub(crate) async fn operate(&self, operation: OperatorRequest) -> Result<OperatorReply, Error> {
        match self.ask_leader(Request::Operate(operation)).await? {
            Answer::Operated(reply) => Ok(reply),
            _ => Err(mismatch()),
        }
    }

    /// Asks the leader until it answers. Refused or not sent for want of a leader is asked again
    /// for the time of the hold.
    pub(crate) async fn ask_leader(&self, request: Request) -> Result<Answer, Error> {
        let deadline = Instant::now() + self.config.tunables.leader_hold;
        loop {
            let changed = self.leadership_changed.listen();
            let answer = match self.await_leader_until(deadline).await {
                Ok(Leader::Here) => self.answer_here(request.clone()).await,
                Ok(Leader::There(id)) => self.ask_there(id, &request).await,
                Err(e) => Err(e),
            };
            match answer {
                Err(e) if e.kind == ErrorKind::NoLeader && Instant::now() < deadline => {
                    // Either ends the pause; nothing is lost with it.
                    let _ = timeout(RETRY, changed).await;
                }
                Err(e) if e.kind == ErrorKind::NoLeader => {
                    add(&self.metrics.commands_dropped, 1);
                    return Err(e);
                }
                answer => return answer,
            }
        }
    }

    async fn ask_there(&self, id: u64, request: &Request) -> Result<Answer, Error> {
        let Some(peer) = self.links.get().and_then(|links| links.peer(id)) else {
            return Err(Error::no_leader());
        };
        add(&self.metrics.requests_forwarded, 1);
        // Dropped or late, the answer is merely not heard.
        match timeout(self.config.tunables.command_timeout, peer.ask(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(crate::link::Failure::NotSent)) => Err(Error::no_leader()),
            // Asking twice changes nothing.
            Ok(Err(_)) if request.is_harmless() => Err(Error::no_leader()),
            Ok(Err(_)) => Err(Error::new(
                ErrorKind::Timeout,
                "the connection to the leader broke; the change may still have taken effect",
            )),
            Err(_) => Err(unconfirmed()),
        }
    }

    /// Answers another server; only as the leader, but for what is not the leader's.
    pub(crate) async fn answer_peer(&self, request: Request) -> Result<Answer, Error> {
        match request {
            Request::Promise { founder, expect, round } => {
                self.promise_to(founder, expect, round).map(|()| Answer::Done)
            }
            Request::Release { founder, round } => {
                self.release(founder, round).map(|()| Answer::Done)
            }
            request if self.leadership.load().is_ready => match self.answer_here(request).await {
                // Refused by a server that ends: its successor is to be asked.
                Err(e) if e.kind == ErrorKind::Unavailable && self.is_closed() => {
                    Err(Error::no_leader())
                }
                answer => answer,
            },
            _ => Err(Error::no_leader()),
        }
    }

    async fn answer_here(&self, request: Request) -> Result<Answer, Error> {
        match request {
            Request::Command(command) => {
                let outcome = self.ask_here(|reply| Job::Command(command, reply)).await;
                outcome.map(Answer::Outcome)
            }
            Request::RenewSession(id) => {
                let renewed = self.ask_here(|reply| Job::Renew(id, reply)).await?;
                Ok(Answer::Renewed(renewed.map(|session| Box::new((*session).clone()))))
            }
            Request::Confirm { by_lease } => {
                let index = self.ask_here(|reply| Job::Confirm { by_lease, reply }).await?;
                Ok(Answer::Confirmed { index })
            }
            Request::Operate(operation) => {
                let operation = Box::new(operation);
                self.ask_here(|reply| Job::Operate(operation, reply)).await.map(Answer::Operated)
            }
            Request::ConfigureCa(config) => {
                let Some(authority) = self.authority.get().and_then(std::sync::Weak::upgrade)
                else {
                    return Err(self.closed_error());
                };
                authority.configure_here(*config).await.map(|()| Answer::Done)
            }
            Request::Promise { .. } | Request::Release { .. } => Err(mismatch()),
        }
    }

    /// Hands a job to the consensus thread and waits for its reply, a bounded time.
    pub(crate) async fn ask_here<T>(
        &self,
        job: impl FnOnce(ReplyTo<T>) -> Job,
    ) -> Result<T, Error> {
        let (reply, replied) = oneshot::channel();
        let job = job(reply);
        let is_change = matches!(job, Job::Command(..) | Job::Operate(..));
        self.submit(job).inspect_err(|_| add(&self.metrics.commands_dropped, 1))?;
        // Dropping this future abandons the wait; what was queued may still take effect.
        match timeout(self.config.tunables.command_timeout, replied).await {
            Ok(Ok(result)) => result,
            // The server ended with it under way: the log, here or elsewhere, may have it.
            Ok(Err(_)) if is_change => {
                let reason = self.closed_error().message;
                let message = format!("{reason}; the change may still take effect");
                Err(Error::new(ErrorKind::Timeout, message))
            }
            Ok(Err(_)) => Err(self.closed_error()),
            Err(_) => Err(unconfirmed()),
        }
    }
}

impl Request {
    fn is_harmless(&self) -> bool {
        match self {
            Self::RenewSession(_) | Self::Confirm { .. } => true,
            Self::Operate(operation) => {
                matches!(operation, OperatorRequest::RaftConfiguration | OperatorRequest::Health)
            }
            _ => false,
        }
    }
}

fn unconfirmed() -> Error {
    let message = "the change was not confirmed in time and may still take effect";
    Error::new(ErrorKind::Timeout, message)
}

fn mismatch() -> Error {
    Error::internal("an answer of another kind than asked for")
}
