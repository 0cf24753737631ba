//! A session never ends before its time to live has passed since it was last renewed, and ends at
//! most twice that late while a leader serves; a lock is held by a session that lives; a lock lost
//! with its session is not taken during the lock delay.

use std::collections::BTreeMap;
use std::time::Duration;

use model::command::Command;
use model::session::SessionRequest;
use replica::Mono;
use state::State;

use crate::client::{self, TTL_SECONDS};

const TTL: Duration = Duration::from_secs(TTL_SECONDS);
/// Beyond twice the TTL: a tick, a commit, and another try when the first was lost.
const SLACK: Duration = Duration::from_secs(12);

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// When each living session was last renewed for certain.
    renewed: BTreeMap<String, Mono>,
    /// Asked to end by a client.
    ending: BTreeMap<String, ()>,
    /// Since when one leader has served without a break.
    serving_since: Option<Mono>,
    /// Holder of each lock.
    held: BTreeMap<&'static str, (String, Duration)>,
    /// Keys under lock delay.
    delayed: BTreeMap<&'static str, Mono>,
    last_index: u64,
}

impl Sessions {
    pub(crate) fn asked(&mut self, command: &Command) {
        if let Command::Session(SessionRequest::Destroy(id)) = command {
            self.ending.insert(id.clone(), ());
        }
    }

    pub(crate) fn renewed(&mut self, id: &str, now: Mono) {
        if let Some(renewed) = self.renewed.get_mut(id) {
            *renewed = now;
        }
    }

    pub(crate) fn serving(&mut self, now: Mono) {
        self.serving_since = Some(now);
        // Delays live on the leader's clock, and die with the leader.
        self.delayed.clear();
        self.held.clear();
    }

    pub(crate) fn interrupted(&mut self) {
        self.serving_since = None;
    }

    pub(crate) fn check(&mut self, state: &State, now: Mono) -> Result<(), String> {
        let Some(serving_since) = self.serving_since else { return Ok(()) };
        for (id, renewed) in &self.renewed {
            let is_early = now.since(*renewed) < TTL;
            if state.session(id).is_none() && is_early && !self.ending.contains_key(id) {
                let age = now.since(*renewed);
                return Err(format!("session {id} ended {age:?} after it was renewed"));
            }
        }
        self.renewed.retain(|id, _| state.session(id).is_some());
        for session in state.sessions() {
            let renewed = *self.renewed.entry(session.id.clone()).or_insert(now);
            // A new leader starts all timers again.
            if now.since(renewed.max(serving_since)) > 2 * TTL + SLACK {
                return Err(format!("session {} lives on without renewal", session.id));
            }
        }
        self.check_locks(state, now)
    }

    fn check_locks(&mut self, state: &State, now: Mono) -> Result<(), String> {
        // After several commands at once, a release before the session's end would go unseen.
        let is_one_step = state.index() <= self.last_index + 1;
        self.last_index = state.index();
        for key in client::contents(state).into_keys() {
            let holder = state.lock_holder(key);
            if let Some(id) = holder
                && state.session(id).is_none()
            {
                return Err(format!("key {key:?} is held by session {id}, which is gone"));
            }
            let before = self.held.remove(key);
            if let Some((id, delay)) = before
                && state.session(&id).is_none()
                && is_one_step
            {
                self.delayed.insert(key, now.plus(delay));
            }
            let Some(session) = holder.and_then(|id| state.session(id)) else { continue };
            if self.delayed.get(key).is_some_and(|until| now < *until) {
                return Err(format!("key {key:?} was locked during its lock delay"));
            }
            self.delayed.remove(key);
            self.held.insert(key, (session.id.clone(), session.lock_delay.to_std()));
        }
        Ok(())
    }
}
