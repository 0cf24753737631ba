//! Leaving in order: first it is announced, then done, then the news is given time to spread.

use crate::input::Event;
use crate::machine::{Gossip, Step, Timer};
use crate::snapshot::SnapshotLine;
use crate::timers::TimerKey;
use crate::wire::message::Accusation;

/// How far a leave is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    No,
    /// The intent is being sent.
    Announcing(TimerKey),
    /// The end is being sent.
    Departing(TimerKey),
    Lingering(TimerKey),
    Done,
}

impl Gossip {
    pub(crate) fn leave(&mut self, step: &mut Step<'_>) {
        self.remember(SnapshotLine::Leave, step);
        let timeout = step.now.plus(self.config.profile.broadcast_timeout);
        let timer = self.timers.set(timeout, Timer::Leave);
        self.leaving = Leaving::Announcing(timer);
        let name = self.config.name.clone();
        self.broadcast_leave(&name, false, true, step);
    }

    /// Goes to the next stage when what the present one waits for is sent.
    pub(crate) fn go_on_leaving(&mut self, step: &mut Step<'_>) {
        if let Leaving::Announcing(timer) = self.leaving
            && self.serf.intents_out.is_awaited_sent()
        {
            self.timers.cancel(timer);
            self.depart(step);
        }
        if let Leaving::Departing(timer) = self.leaving
            && self.members_out.is_awaited_sent()
        {
            self.timers.cancel(timer);
            self.linger(step);
        }
    }

    /// A stage took as long as it may.
    pub(crate) fn leave_timeout(&mut self, step: &mut Step<'_>) {
        match self.leaving {
            Leaving::Announcing(_) => self.depart(step),
            Leaving::Departing(_) => self.linger(step),
            Leaving::Lingering(_) => {
                self.leaving = Leaving::Done;
                step.event(Event::LeaveDone);
            }
            Leaving::No | Leaving::Done => {}
        }
    }

    fn depart(&mut self, step: &mut Step<'_>) {
        let name = self.config.name.clone();
        let incarnation = self.own().incarnation;
        self.dead(Accusation { incarnation, node: name.clone(), from: name }, step);
        if !self.has_alive_peer() {
            self.linger(step);
            return;
        }
        let timeout = step.now.plus(self.config.profile.broadcast_timeout);
        self.leaving = Leaving::Departing(self.timers.set(timeout, Timer::Leave));
    }

    fn linger(&mut self, step: &mut Step<'_>) {
        let wait = self.config.profile.leave_propagate;
        let timer = self.timers.set(step.now.plus(wait), Timer::Leave);
        self.leaving = Leaving::Lingering(timer);
    }
}
