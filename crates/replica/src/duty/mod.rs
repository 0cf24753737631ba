//! What the leader does on its own: each duty looks at the state, the members and the time, and
//! answers with commands and when to be asked again. It may be asked at any moment.

mod autopilot;
mod ca;
mod member;
mod session;
mod tombstone;

use model::command::Command;
use state::State;

use crate::{Mono, Now, ReplicaConfig};

pub use autopilot::{Autopilot, Change, Follower, Situation};
pub use ca::plan_prune;
pub use member::{Liveness, Member, MemberReconciler, MemberServer};
pub use session::SessionTimers;
pub use tombstone::TombstoneTimers;

/// What a duty wants done now, and when to ask it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub commands: Vec<Command>,
    pub next: Mono,
}

/// All duties of a leader. A follower keeps it and does not ask.
#[derive(Debug, Default)]
pub(crate) struct Duties {
    pub(crate) sessions: SessionTimers,
    tombstones: TombstoneTimers,
    pub(crate) members: Vec<Member>,
    reconciler: MemberReconciler,
    pub(crate) autopilot: Autopilot,
    /// When each is asked again; all at once after taking over.
    next_tombstones: Mono,
    next_members: Mono,
    next_ca: Mono,
    pub(crate) next_autopilot: Mono,
}

impl Duties {
    pub(crate) fn set_members(&mut self, members: Vec<Member>) {
        self.members = members;
        self.next_members = Mono::default();
        self.next_autopilot = Mono::default();
    }

    /// Begins anew, as a new leader must: what the one before knew of time is not replicated.
    pub(crate) fn take_over(&mut self, state: &State, now: Now) {
        let members = std::mem::take(&mut self.members);
        *self = Self { members, ..Self::default() };
        for session in state.sessions_with_ttl() {
            self.sessions.renew(session, now.mono);
        }
    }

    pub(crate) fn session_applied(
        &mut self,
        state: &State,
        created: Option<String>,
        ended: &[String],
        now: Now,
    ) {
        if let Some(session) = created.and_then(|id| state.session(&id)) {
            self.sessions.renew(session, now.mono);
        }
        for id in ended {
            self.sessions.forget(id);
        }
    }

    pub(crate) fn plan(&mut self, state: &State, config: &ReplicaConfig, now: Now) -> Vec<Command> {
        let mut commands = self.sessions.plan(now.mono).commands;
        let mut take = |plan: Plan, next: &mut Mono| {
            commands.extend(plan.commands);
            *next = plan.next;
        };
        if now.mono >= self.next_tombstones {
            let plan = self.tombstones.plan(state, &config.rules, now.mono);
            take(plan, &mut self.next_tombstones);
        }
        if now.mono >= self.next_members {
            let (members, datacenter) = (&self.members, &config.datacenter);
            let plan = self.reconciler.plan(state, members, datacenter, config.id, now.mono);
            take(plan, &mut self.next_members);
        }
        if now.mono >= self.next_ca {
            take(plan_prune(state, now), &mut self.next_ca);
        }
        commands
    }
}
