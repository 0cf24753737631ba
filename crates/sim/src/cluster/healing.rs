//! The end of a run: everything is repaired, and within a bound of virtual time one leader serves,
//! all servers take part and have come equally far, every server takes writes, and sessions that
//! nobody renews are gone.

use std::time::Duration;

use super::deed::Deed;
use super::{BEGIN, Cluster};
use crate::client::TTL_SECONDS;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Pauses that are under way last up to 15 seconds, dead servers take up to 30 to be let go, and the
/// rest must not take longer than another 15.
const CONVERGED_WITHIN: Duration = Duration::from_secs(60);
/// Twice the time to live, a tick, and another attempt when the first was lost.
const SESSIONS_GONE_WITHIN: Duration = Duration::from_secs(2 * TTL_SECONDS + 12);

impl Cluster {
    pub(super) fn heal_and_converge(&mut self) -> Result<(), String> {
        self.trace.note(format_args!("{} everything heals", self.now.0));
        self.end_all_faults();
        let healed = self.now;
        self.until(CONVERGED_WITHIN, Self::is_converged)?;
        self.report.converged_after = Duration::from_nanos(self.now.0 - healed.0);
        self.trace.note(format_args!("{} everything is well", self.now.0));
        // Clients fall silent; then every server is asked to write once more.
        self.clients.clear();
        let mut probes = Vec::new();
        for id in self.running() {
            let key = format!("w/last/{id}");
            self.call(0, id, Deed::Record { key: key.clone() });
            probes.push(key);
        }
        self.until(Duration::from_secs(10), |cluster| {
            let is_there = |key: &String| {
                cluster.servers.values().all(|server| server.published.kv_entry(key).is_some())
            };
            probes.iter().all(is_there).then_some(()).ok_or("writes do not come through".into())
        })?;
        for (id, server) in &self.servers {
            let has = |key: &str| server.published.kv_entry(key).is_some();
            self.observed
                .survival
                .check(self.now.0, has)
                .map_err(|lost| format!("on server {id}: {lost}"))?;
        }
        self.until(SESSIONS_GONE_WITHIN, |cluster| {
            let count = |server: &super::Server| server.published.sessions().count();
            let most = cluster.servers.values().map(count).max().unwrap_or_default();
            if most == 0 { Ok(()) } else { Err(format!("{most} sessions live on")) }
        })
    }

    fn until(
        &mut self,
        bound: Duration,
        is_so: impl Fn(&Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let deadline = self.now.plus(bound);
        loop {
            let reason = match is_so(self) {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            };
            if self.now >= deadline {
                return Err(format!("{bound:?} after healing: {reason}"));
            }
            self.run_until(self.now.plus(LOOK_EVERY))?;
        }
    }

    fn is_converged(&self) -> Result<(), String> {
        let (term, leader) = self.newest_leader;
        let Some(server) = self.servers.get(&leader).filter(|server| server.is_ready()) else {
            return Err(format!("nobody leads, {leader} did in term {term}"));
        };
        let Some(replica) = &server.replica else { return Err("no leader".into()) };
        let membership = replica.membership();
        if membership.servers() != self.roster.staying().into_iter().collect() {
            let staying = self.roster.staying();
            return Err(format!("{:?} take part, not {staying:?}", membership.servers()));
        }
        for id in self.roster.staying() {
            // A leader does not let go of its own vote.
            let may_vote = !self.roster.is_nonvoter(id);
            if membership.is_voter(id) != may_vote && id != leader {
                let rest = (&membership.voters, &membership.learners);
                return Err(format!("server {id} may vote: {may_vote}, but it is {rest:?}"));
            }
            let awake =
                self.servers.get(&id).filter(|s| s.paused_until.is_none_or(|u| u < self.now));
            let Some(other) = awake.and_then(|server| server.replica.as_ref()) else {
                return Err(format!("server {id} is down"));
            };
            if other.leadership().leader != Some(leader) || other.leadership().term != term {
                return Err(format!("server {id} follows {:?}", other.leadership()));
            }
            if other.applied() + 200 < replica.applied() {
                return Err(format!("server {id} lags at {}", other.applied()));
            }
        }
        Ok(())
    }

    /// Judges old histories, or all.
    pub(super) fn judge(&mut self, is_all: bool) -> Result<(), String> {
        debug_assert!(self.now >= BEGIN);
        self.observed.history.judge(self.now, is_all)
    }
}
