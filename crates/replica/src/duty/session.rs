//! Ends sessions whose time to live has run out.
//!
//! Timers live on the leader only and on monotonic time: a session is never ended early by a
//! clock step, and at most twice its TTL late (every timer is set to twice the TTL, and a new
//! leader sets all of them anew). Source: Consul, sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::command::Command;
use model::session::{Session, SessionRequest, TTL_MULTIPLIER};

use crate::Mono;
use crate::duty::Plan;

/// How long an ending may take to be applied before it is asked for again.
const RETRY: Duration = Duration::from_secs(5);
/// Sessions ended by one plan, so that a mass expiry does not crowd out clients.
const ENDED_AT_ONCE_MAX: usize = 512;

#[derive(Debug, Default)]
pub struct SessionTimers {
    deadline_of: BTreeMap<String, Mono>,
    by_deadline: BTreeSet<(Mono, String)>,
}

impl SessionTimers {
    /// Starts the session's time to live again. Does nothing for one without.
    pub fn renew(&mut self, session: &Session, now: Mono) {
        if let Some(ttl) = session.ttl_duration() {
            let life = Duration::from_nanos(ttl.0.saturating_mul(TTL_MULTIPLIER).max(0) as u64);
            self.set(session.id.clone(), now.plus(life));
        }
    }

    pub fn forget(&mut self, id: &str) {
        if let Some((id, deadline)) = self.deadline_of.remove_entry(id) {
            self.by_deadline.remove(&(deadline, id));
        }
    }

    pub fn len(&self) -> usize {
        self.deadline_of.len()
    }

    pub fn is_empty(&self) -> bool {
        self.deadline_of.is_empty()
    }

    pub fn plan(&mut self, now: Mono) -> Plan {
        let due: Vec<String> = self
            .by_deadline
            .iter()
            .take_while(|(deadline, _)| *deadline <= now)
            .take(ENDED_AT_ONCE_MAX)
            .map(|(_, id)| id.clone())
            .collect();
        let destroy = |id: &String| Command::Session(SessionRequest::Destroy(id.clone()));
        let commands = due.iter().map(destroy).collect();
        for id in due {
            self.set(id, now.plus(RETRY));
        }
        let next = self.by_deadline.first().map_or(now.plus(RETRY), |(deadline, _)| *deadline);
        Plan { commands, next }
    }

    fn set(&mut self, id: String, deadline: Mono) {
        if let Some(before) = self.deadline_of.insert(id.clone(), deadline) {
            self.by_deadline.remove(&(before, id.clone()));
        }
        self.by_deadline.insert((deadline, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, ttl: &str) -> Session {
        Session { id: id.into(), ttl: ttl.into(), ..Session::default() }
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    fn ended(timers: &mut SessionTimers, seconds: u64) -> Vec<String> {
        let ids = timers.plan(at(seconds)).commands.into_iter();
        ids.map(|command| match command {
            Command::Session(SessionRequest::Destroy(id)) => id,
            other => panic!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn ends_at_twice_the_ttl_after_the_last_renewal() {
        let mut timers = SessionTimers::default();
        timers.renew(&session("a", "10s"), at(0));
        timers.renew(&session("b", "10s"), at(0));
        timers.renew(&session("none", ""), at(0));
        timers.renew(&session("b", "10s"), at(15));
        assert!(ended(&mut timers, 19).is_empty());
        assert_eq!(ended(&mut timers, 20), ["a"]);
        assert!(ended(&mut timers, 21).is_empty(), "asked for once while under way");
        assert_eq!(ended(&mut timers, 26), ["a"], "and again when it did not come through");
        timers.forget("a");
        assert_eq!(ended(&mut timers, 35), ["b"]);
        timers.forget("b");
        assert!(timers.is_empty());
    }
}
