//! How a request goes its way: taken up by any server, passed on to the leader where only that one
//! can answer, tried again where that is harmless, and answered, or not.
//!
//! This does in virtual time what `server` does with threads and connections.

use std::time::Duration;

use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::kv::{KvOp, KvRequest};
use model::query::Consistency;
use replica::{Input, Mono, RequestId, Response};

use super::deed::{Deed, token_of};
use super::{Cluster, Event, Parcel};
use crate::bug::Bug;
use crate::check::Acquisition;
use crate::client::TTL_SECONDS;

/// How long a client waits before it gives up.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How often a request that found no leader is tried again.
const ATTEMPTS_MAX: u32 = 4;

/// One request of a client, until it is answered or given up.
#[derive(Clone, Debug)]
pub(super) struct Call {
    client: u64,
    pub(super) server: u64,
    /// The life of the server that took it up; the connection ends with it.
    life: u64,
    deed: Deed,
    began: Mono,
    attempts: u32,
}

/// What one server asks another.
#[derive(Clone, Debug)]
pub(super) enum Question {
    Change(Command),
    Renew(String),
    Confirm { by_lease: bool },
}

/// How a call ended.
enum End {
    Done(Outcome),
    /// What a key holds: its token and when it was written; 0 when it is absent.
    Read {
        token: u64,
        modify_index: u64,
    },
    Renewed,
    /// It did not happen and will not.
    Refused,
    Unknown,
}

impl Cluster {
    /// A client sends `deed` to `server`.
    pub(super) fn call(&mut self, client: u64, server: u64, deed: Deed) {
        let call = self.number();
        let life = self.servers.get(&server).map_or(0, |server| server.life);
        self.trace
            .note(format_args!("{} {call}: client {client} asks {server}: {deed:?}", self.now.0));
        if let Deed::Destroy { session } = &deed {
            self.observed.renewals.ending(session);
        }
        let (began, attempts) = (self.now, 0);
        self.calls.insert(call, Call { client, server, life, deed, began, attempts });
        self.after_millis(0..5, Event::Ask { call });
        self.after(TIMEOUT, Event::TimeOut { call });
    }

    pub(super) fn ask(&mut self, id: u64) -> Result<(), String> {
        let Some(call) = self.calls.get(&id).cloned() else { return Ok(()) };
        let server = call.server;
        if !self.is_alive(server, call.life) {
            // Nobody is there to pass it on.
            return if call.attempts == 0 { self.end(id, End::Refused) } else { Ok(()) };
        }
        let question = match call.deed.consistency() {
            Some(consistency) if self.may_answer(server, consistency) => return self.read(id),
            Some(consistency) => {
                Question::Confirm { by_lease: consistency == Consistency::Default }
            }
            None => match (&call.deed, call.deed.command()) {
                (Deed::Renew { session }, _) => Question::Renew(session.clone()),
                (_, Some(command)) => Question::Change(command),
                _ => return Ok(()),
            },
        };
        if self.is_answered_locally(server, &question) {
            return self.end(id, End::Renewed);
        }
        let leadership = self.servers.get(&server).map(|s| s.leadership).unwrap_or_default();
        match leadership.leader {
            Some(leader) if leader != server => {
                // What is lost on its way is not heard of again.
                if let Some(delay) = self.network.delivery(server, leader, &mut self.rng) {
                    let question = Box::new(question);
                    let parcel = Parcel::Question { from: server, call: id, question };
                    self.after(delay, Event::Deliver { to: leader, parcel });
                }
                Ok(())
            }
            Some(_) => self.take_question(server, server, id, question),
            None => self.take_answer(server, id, Err(Error::no_leader())),
        }
    }

    fn is_answered_locally(&self, server: u64, question: &Question) -> bool {
        let Question::Renew(session) = question else { return false };
        let knows = |s: &super::Server| s.published.session(session).is_some();
        self.has_bug(Bug::RenewedLocally) && self.servers.get(&server).is_some_and(knows)
    }

    /// Whether what is published here is as fresh as asked for right now.
    fn may_answer(&self, id: u64, consistency: Consistency) -> bool {
        let Some(server) = self.servers.get(&id) else { return false };
        let own = server.clock.mono(self.now);
        let is_behind = server.replica.as_ref().is_some_and(|r| r.applied() < r.committed())
            && !self.has_bug(Bug::LeaseBehind);
        let has_lease = own < server.lease && !is_behind;
        let is_alone = server.is_ready() && server.leadership.is_alone;
        match consistency {
            Consistency::Stale => true,
            _ if self.has_bug(Bug::ReadUnconfirmed) => true,
            Consistency::Default => {
                is_alone || (has_lease && (server.is_ready() || self.has_bug(Bug::LeaseKept)))
            }
            Consistency::Consistent => is_alone,
        }
    }

    /// A server is asked, by a client or by another server.
    pub(super) fn take_question(
        &mut self,
        id: u64,
        from: u64,
        call: u64,
        question: Question,
    ) -> Result<(), String> {
        let Some(server) = self.servers.get(&id).filter(|server| server.is_running()) else {
            return Ok(());
        };
        if !server.is_ready() {
            return self.reply_to(id, from, call, Err(Error::no_leader()));
        }
        let request = self.number();
        if let Some(server) = self.servers.get_mut(&id) {
            server.pending.insert(request, (from, call));
        }
        let request_id = RequestId(request);
        let input = match question {
            Question::Change(mut command) => {
                if self.has_bug(Bug::FenceForgotten)
                    && let Command::Kv(KvRequest { op: op @ KvOp::Unlock, .. }) = &mut command
                {
                    *op = KvOp::Delete;
                }
                let is_write = matches!(&command, Command::Kv(KvRequest { op: KvOp::Set, .. }));
                if self.has_bug(Bug::AcknowledgedEarly) && is_write {
                    let done = Ok(Response::Outcome(Outcome::Done));
                    self.reply_to(id, from, call, done)?;
                }
                Input::Propose { request: request_id, command }
            }
            Question::Renew(session) => Input::RenewSession { request: request_id, id: session },
            Question::Confirm { by_lease } => {
                Input::ConfirmLeadership { request: request_id, by_lease }
            }
        };
        self.step(id, input)
    }

    /// The replica has answered.
    pub(super) fn replied(
        &mut self,
        id: u64,
        request: u64,
        mut result: Result<Response, Error>,
    ) -> Result<(), String> {
        let pending = self.servers.get_mut(&id).and_then(|s| s.pending.remove(&request));
        let Some((from, call)) = pending else { return Ok(()) };
        let deed = self.calls.get(&call).map(|call| call.deed.clone());
        if let Some(deed) = deed.filter(|deed| deed.command().is_some()) {
            let kind = result.as_ref().err().map(|error| error.kind);
            let done = || Ok(Response::Outcome(Outcome::Done));
            let is_drawn = self.has_bug(Bug::ProposedTwice) && self.one_in(5);
            match self.settings.bug {
                Some(Bug::OverruledAcknowledged) if kind == Some(ErrorKind::NoLeader) => {
                    result = done();
                }
                Some(Bug::UnknownAsRefused) if kind == Some(ErrorKind::Timeout) => {
                    result = Err(Error::new(ErrorKind::Conflict, "refused"));
                }
                Some(Bug::SwapAlwaysSucceeds)
                    if result == Ok(Response::Outcome(Outcome::Applied(false))) =>
                {
                    result = Ok(Response::Outcome(Outcome::Applied(true)));
                }
                Some(Bug::ProposedTwice) if result == done() && is_drawn => {
                    let deed = Box::new(deed);
                    self.after_millis(5..200, Event::Propose { server: id, call, deed });
                }
                _ => {}
            }
        }
        self.reply_to(id, from, call, result)
    }

    pub(super) fn propose_again(
        &mut self,
        server: u64,
        call: u64,
        deed: &Deed,
    ) -> Result<(), String> {
        match deed.command() {
            Some(command) => self.take_question(server, server, call, Question::Change(command)),
            None => Ok(()),
        }
    }

    fn reply_to(
        &mut self,
        id: u64,
        from: u64,
        call: u64,
        result: Result<Response, Error>,
    ) -> Result<(), String> {
        if from == id {
            return self.take_answer(id, call, result);
        }
        if let Some(delay) = self.network.delivery(id, from, &mut self.rng) {
            let parcel = Parcel::Answer { call, result: Box::new(result) };
            self.after(delay, Event::Deliver { to: from, parcel });
        }
        Ok(())
    }

    /// The server that a client asked has its answer.
    pub(super) fn take_answer(
        &mut self,
        id: u64,
        call: u64,
        result: Result<Response, Error>,
    ) -> Result<(), String> {
        let is_early = self.has_bug(Bug::ReadUnapplied);
        let life = self.calls.get(&call).filter(|call| call.server == id).map(|call| call.life);
        if !life.is_some_and(|life| self.is_alive(id, life)) {
            return Ok(());
        }
        match result {
            Ok(Response::Outcome(outcome)) => self.end(call, End::Done(outcome)),
            Ok(Response::Renewed(Some(_))) => self.end(call, End::Renewed),
            Ok(Response::Renewed(None)) => self.end(call, End::Refused),
            Ok(Response::Confirmed { index: _ }) if is_early => self.read(call),
            Ok(Response::Confirmed { index }) => {
                if let Some(server) = self.servers.get_mut(&id) {
                    server.awaiting.push((index, call));
                }
                self.answer_awaiting(id)
            }
            Ok(Response::Operated(_)) => Ok(()),
            Err(e) if e.kind == ErrorKind::NoLeader => {
                let Some(entry) = self.calls.get_mut(&call) else { return Ok(()) };
                entry.attempts += 1;
                if entry.attempts >= ATTEMPTS_MAX {
                    return self.end(call, End::Refused);
                }
                self.after_millis(50..400, Event::Ask { call });
                Ok(())
            }
            Err(e) if matches!(e.kind, ErrorKind::Conflict | ErrorKind::Invalid) => {
                self.end(call, End::Refused)
            }
            Err(_) => self.end(call, End::Unknown),
        }
    }

    /// Answers the reads that waited for what is applied now.
    pub(super) fn answer_awaiting(&mut self, id: u64) -> Result<(), String> {
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        let Some(replica) = &server.replica else { return Ok(()) };
        let applied = replica.applied();
        let is_due = |(index, _): &mut (u64, u64)| *index <= applied;
        let due: Vec<_> = server.awaiting.extract_if(.., is_due).collect();
        due.into_iter().try_for_each(|(_, call)| self.read(call))
    }

    /// Answers a read from what is published where it was asked.
    fn read(&mut self, id: u64) -> Result<(), String> {
        let Some(call) = self.calls.get(&id).cloned() else { return Ok(()) };
        let is_old = self.has_bug(Bug::OldStateShown) && self.one_in(10);
        let Some(server) = self.servers.get(&call.server) else { return Ok(()) };
        let state = if is_old { &server.published_before } else { &server.published };
        let (Deed::Read { key, .. } | Deed::ReadFence { key, .. }) = &call.deed else {
            return Ok(());
        };
        let entry = state.kv_entry(key);
        let token = entry.map_or(0, |entry| token_of(entry));
        let modify_index = entry.map_or(0, |entry| entry.modify_index);
        match &call.deed {
            Deed::Read { consistency: Consistency::Stale, key } => {
                let at = (call.server, call.life);
                self.observed.prefix.read(at, key, state.index(), token)?;
            }
            Deed::ReadFence { key, session, began } => {
                if let Some(entry) = entry.filter(|entry| entry.session == *session) {
                    let (session, fence) = (session.clone(), entry.lock_index);
                    let (began, ended) = (*began, self.now.0);
                    let acquisition = Acquisition { session, fence, began, ended };
                    self.observed.fences.acquired(key, acquisition)?;
                }
            }
            _ => {}
        }
        self.end(id, End::Read { token, modify_index })
    }

    pub(super) fn time_out(&mut self, call: u64) {
        // It only tells the client that nobody knows.
        self.end(call, End::Unknown).expect("nothing is judged by it");
    }

    fn end(&mut self, id: u64, end: End) -> Result<(), String> {
        let Some(call) = self.calls.remove(&id) else { return Ok(()) };
        let Call { client, deed, began, .. } = call;
        self.trace.note(format_args!("{} {id} ends: {}", self.now.0, end.name()));
        match end {
            End::Unknown => self.report.unanswered += 1,
            _ => self.report.answered += 1,
        }
        self.remember(&deed, &end, began);
        self.follow_up(client, deed, end, began);
        Ok(())
    }

    /// Tells the checkers.
    fn remember(&mut self, deed: &Deed, end: &End, began: Mono) {
        let (is_done, seen) = match end {
            End::Done(outcome) => (*outcome != Outcome::Applied(false), 0),
            End::Read { token, .. } => (true, *token),
            _ => (false, 0),
        };
        let is_judged = match deed.consistency() {
            Some(Consistency::Stale) => false,
            Some(Consistency::Default) => self.settings.drift == super::Drift::Within,
            _ => true,
        };
        if let Some((key, act)) = deed.act(is_done, seen).filter(|_| is_judged) {
            match end {
                End::Refused => {}
                End::Unknown => self.observed.history.add(key, act, began, None),
                _ => self.observed.history.add(key, act, began, Some(self.now)),
            }
        }
        match (deed, end) {
            (Deed::Record { key }, End::Done(_)) => {
                self.observed.survival.acknowledged(key.clone(), self.now.0);
            }
            (Deed::Record { key }, End::Refused) => self.observed.survival.refused(key.clone()),
            (Deed::CreateSession, End::Done(Outcome::Created(session)))
            | (Deed::Renew { session }, End::Renewed) => {
                self.observed.renewals.renewed(session, began.0, TTL_SECONDS * 1_000_000_000);
            }
            _ => {}
        }
    }

    fn follow_up(&mut self, client: u64, deed: Deed, end: End, began: Mono) {
        let server = self.clients.get(&client).map_or(0, |client| client.last_server);
        let Some(memory) = self.clients.get_mut(&client) else { return };
        match (deed, end) {
            (Deed::Read { key, .. }, End::Read { token, modify_index }) => {
                memory.known.insert(key, (token, modify_index));
            }
            (Deed::CreateSession, End::Done(Outcome::Created(session))) => {
                memory.session = Some(session);
            }
            (Deed::Renew { .. }, End::Refused) => memory.session = None,
            (Deed::Lock { key, session }, End::Done(Outcome::Applied(true)) | End::Unknown) => {
                memory.holds = Some(key.clone());
                // Its fence, before anything else.
                let began = began.0;
                return self.call(client, server, Deed::ReadFence { key, session, began });
            }
            _ => {}
        }
        self.after_millis(0..60, Event::Act { client });
    }
}

impl End {
    fn name(&self) -> String {
        match self {
            Self::Done(outcome) => format!("{outcome:?}"),
            Self::Read { token, modify_index } => format!("{token} of {modify_index}"),
            Self::Renewed => "renewed".into(),
            Self::Refused => "refused".into(),
            Self::Unknown => "nobody knows".into(),
        }
    }
}
