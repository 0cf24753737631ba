//! Who is alive: the rules by which a node believes what it hears (SWIM; Das et al., 2002).
//!
//! A higher incarnation wins, and only the node itself raises its own; at the same one, suspicion beats life and
//! death beats both.

use std::net::SocketAddr;

use rand::Rng;

use super::{Gossip, Step, Timer};
use crate::input::{Event, Refusal};
use crate::member::{Node, State, Status};
use crate::serf::leave::Leaving;
use crate::serf::tags::{self, Tags};
use crate::snapshot::SnapshotLine;
use crate::suspicion::{Suspicion, confirmations_wanted, timeout_min};
use crate::wire::address;
use crate::wire::message::{Accusation, Alive, Message, Versions};

/// Whether a node was held against those who are in the pool when it was told of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// With all others of a join, at once: one by one would take too long in a large pool.
    InJoin,
    NotYet,
}

impl Gossip {
    /// Somebody says a node lives.
    pub(crate) fn alive(&mut self, alive: Alive, judged: Judged, step: &mut Step<'_>) {
        let is_own = self.is_own(&alive.node);
        if is_own && self.leaving != Leaving::No {
            return;
        }
        let (Some(versions), Some(ip)) =
            (Versions::from_bytes(&alive.versions), address::from_bytes(&alive.address))
        else {
            self.counters.messages_refused += 1;
            return;
        };
        let address = SocketAddr::new(ip, alive.port);
        let mut takes_over = false;
        if let Some(node) = self.nodes.get(&alive.node)
            && node.address != address
        {
            let dead_for = step.now.since(node.changed_at);
            takes_over = node.state == State::Left
                || node.state == State::Dead && dead_for > self.config.profile.dead_reclaim;
            if !takes_over {
                self.counters.name_conflicts += 1;
                let known = node.address;
                step.warn(format!("{} is at {known}, but also at {address}", alive.node));
                return;
            }
        }
        if is_own {
            self.alive_about_us(&alive, step);
            return;
        }
        let known = self.nodes.get(&alive.node).map(|node| node.incarnation).unwrap_or(0);
        if alive.incarnation <= known && !takes_over {
            return;
        }
        if alive.node.is_empty() || !self.nodes.contains_key(&alive.node) && !self.has_room() {
            self.counters.members_refused += 1;
            return;
        }
        self.accept_alive(alive, address, versions, judged, step);
    }

    fn alive_about_us(&mut self, alive: &Alive, step: &mut Step<'_>) {
        let own = self.own();
        let is_same = own.meta == alive.meta && own.versions.to_bytes()[..] == alive.versions[..];
        if alive.incarnation < own.incarnation || alive.incarnation == own.incarnation && is_same {
            return;
        }
        self.refute(alive.incarnation, step);
    }

    fn accept_alive(
        &mut self,
        alive: Alive,
        address: SocketAddr,
        versions: Versions,
        judged: Judged,
        step: &mut Step<'_>,
    ) {
        let name = alive.node.clone();
        let mut fresh = Node {
            address,
            meta: alive.meta.clone(),
            versions,
            incarnation: alive.incarnation,
            state: State::Alive,
            changed_at: step.now,
            suspicion: None,
        };
        let told = [fresh.to_member(&name, Status::Alive)];
        let is_judged = judged == Judged::InJoin || self.nodes.contains_key(&name);
        let beside = || match is_judged {
            true => Ok(()),
            false => self.admission.admit_beside(&told, &mut self.members()),
        };
        if self.admission.admit(&told).and_then(|()| beside()).is_err() {
            self.counters.members_refused += 1;
            return;
        }
        let (mut was_gone, mut has_new_meta) = (true, false);
        match self.nodes.get_mut(&name) {
            Some(node) => {
                was_gone = node.state.is_gone();
                has_new_meta = node.meta != fresh.meta;
                if let Some((_, timer)) = node.suspicion.take() {
                    self.timers.cancel(timer);
                }
                if node.state == State::Alive {
                    fresh.changed_at = node.changed_at;
                }
                *node = fresh;
            }
            None => {
                self.nodes.insert(name.clone(), fresh);
                // Anywhere in the order, so that a node that comes is not probed by all at once.
                let at = self.rng.random_range(0..=self.probe_order.len());
                self.probe_order.insert(at, name.clone());
            }
        }
        self.broadcast(&Message::Alive(alive), &name, false);
        if was_gone {
            self.node_came(&name, step);
        } else if has_new_meta {
            self.node_updated(&name, step);
        }
    }

    /// Somebody did not reach a node.
    pub(crate) fn suspect(&mut self, accusation: Accusation, step: &mut Step<'_>) {
        let Some(node) = self.nodes.get_mut(&accusation.node) else { return };
        if accusation.incarnation < node.incarnation {
            return;
        }
        if let Some((suspicion, timer)) = &mut node.suspicion {
            if suspicion.confirm(&accusation.from) {
                self.timers.cancel(*timer);
                let fire = Timer::Suspicion(accusation.node.clone());
                *timer = self.timers.set(suspicion.deadline(), fire);
                self.counters.suspicions_confirmed += 1;
                let name = accusation.node.clone();
                self.broadcast(&Message::Suspect(accusation), &name, false);
            }
            return;
        }
        if node.state != State::Alive {
            return;
        }
        if self.is_own(&accusation.node) {
            if self.leaving == Leaving::No {
                step.warn(format!("refuting a suspicion of {}", accusation.from));
                self.refute(accusation.incarnation, step);
            }
            return;
        }
        self.begin_suspicion(accusation, step);
    }

    fn begin_suspicion(&mut self, accusation: Accusation, step: &mut Step<'_>) {
        let profile = &self.config.profile;
        let nodes = self.nodes.len();
        let min = timeout_min(profile.suspicion_multiplier, nodes, profile.probe_interval);
        let max = min * profile.suspicion_max_multiplier;
        let wanted = confirmations_wanted(profile.suspicion_multiplier, nodes);
        let suspicion = Suspicion::new(&accusation.from, wanted, min, max, step.now);
        let fire = Timer::Suspicion(accusation.node.clone());
        let timer = self.timers.set(suspicion.deadline(), fire);
        let node = self.nodes.get_mut(&accusation.node).expect("the suspect is known");
        node.state = State::Suspect;
        node.changed_at = step.now;
        node.incarnation = accusation.incarnation;
        node.suspicion = Some((suspicion, timer));
        self.counters.suspicions += 1;
        let name = accusation.node.clone();
        self.broadcast(&Message::Suspect(accusation), &name, false);
    }

    /// A suspect did not defend itself in time.
    pub(crate) fn suspicion_end(&mut self, name: &str, step: &mut Step<'_>) {
        let Some(node) = self.nodes.get(name) else { return };
        let Some((suspicion, _)) = &node.suspicion else { return };
        let confirmations = suspicion.confirmations();
        step.warn(format!("declaring {name} dead, {confirmations} others confirm"));
        let from = self.config.name.clone();
        let death = Accusation { incarnation: node.incarnation, node: name.to_owned(), from };
        self.dead(death, step);
    }

    /// Somebody says a node is dead, or a node says of itself that it left.
    pub(crate) fn dead(&mut self, death: Accusation, step: &mut Step<'_>) {
        let Some(node) = self.nodes.get(&death.node) else { return };
        if death.incarnation < node.incarnation || node.state.is_gone() {
            return;
        }
        let is_own = self.is_own(&death.node);
        if is_own && self.leaving == Leaving::No {
            step.warn(format!("refuting a death told by {}", death.from));
            self.refute(death.incarnation, step);
            return;
        }
        // While we leave, only our own word about us counts: another's would turn the leave into a failure.
        if is_own && death.from != death.node {
            return;
        }
        let node = self.nodes.get_mut(&death.node).expect("the dead node is known");
        if let Some((_, timer)) = node.suspicion.take() {
            self.timers.cancel(timer);
        }
        node.state = if death.from == death.node { State::Left } else { State::Dead };
        node.changed_at = step.now;
        node.incarnation = death.incarnation;
        self.counters.deaths += u64::from(node.state == State::Dead);
        let name = death.node.clone();
        self.broadcast(&Message::Dead(death), &name, is_own);
        self.node_gone(&name, step);
    }

    /// Proves that we live, louder than what was said against it.
    fn refute(&mut self, accused: u32, step: &mut Step<'_>) {
        self.incarnation = self.incarnation.max(accused).saturating_add(1);
        self.awareness.apply(1);
        self.counters.refutations += 1;
        let incarnation = self.incarnation;
        let name = self.config.name.clone();
        let own = self.nodes.get_mut(&name).expect("a node always knows itself");
        own.incarnation = incarnation;
        own.state = State::Alive;
        own.changed_at = step.now;
        self.broadcast_alive(false);
    }

    /// Tells everybody who we are.
    pub(crate) fn broadcast_alive(&mut self, is_awaited: bool) {
        let alive = self.own().to_alive(&self.config.name);
        let name = self.config.name.clone();
        self.broadcast(&Message::Alive(alive), &name, is_awaited);
    }

    fn broadcast(&mut self, message: &Message, about: &str, is_awaited: bool) {
        self.members_out.push(message.encode(), Some(about), is_awaited);
    }

    pub(crate) fn set_tags(&mut self, tags: Tags, step: &mut Step<'_>) -> Result<(), Refusal> {
        let meta = tags::encode(&tags).ok_or(Refusal::TagsTooLarge)?;
        self.serf.tags = tags;
        self.incarnation = self.incarnation.saturating_add(1);
        let incarnation = self.incarnation;
        let name = self.config.name.clone();
        let own = self.nodes.get_mut(&name).expect("a node always knows itself");
        let is_new = own.meta != meta;
        own.incarnation = incarnation;
        own.meta = meta;
        self.broadcast_alive(false);
        if is_new {
            self.node_updated(&name, step);
        }
        Ok(())
    }

    /// The serf layer learns that a node is there.
    fn node_came(&mut self, name: &str, step: &mut Step<'_>) {
        let node = self.nodes.get(name).expect("the node is known");
        let member = node.to_member(name, Status::Alive);
        let member = self.serf.member_came(member);
        let address = member.address;
        self.remember(SnapshotLine::Alive { name: name.to_owned(), address }, step);
        step.event(Event::MemberJoin(member));
    }

    fn node_updated(&mut self, name: &str, step: &mut Step<'_>) {
        let node = self.nodes.get(name).expect("the node is known");
        let fresh = node.to_member(name, Status::Alive);
        if let Some(record) = self.serf.members.get_mut(name) {
            record.member = crate::Member { status: record.member.status, ..fresh };
            step.event(Event::MemberUpdate(record.member.clone()));
        }
    }

    /// The serf layer learns that a node is gone: in order if it said so before, else failed.
    fn node_gone(&mut self, name: &str, step: &mut Step<'_>) {
        let is_own = self.is_own(name);
        let Some(record) = self.serf.members.get_mut(name) else { return };
        let event = match record.member.status {
            Status::Leaving => {
                record.member.status = Status::Left;
                Event::MemberLeave(record.member.clone())
            }
            Status::Alive => {
                record.member.status = Status::Failed;
                Event::MemberFailed(record.member.clone())
            }
            Status::Left | Status::Failed => return,
        };
        record.gone_at = step.now;
        if !is_own {
            self.remember(SnapshotLine::NotAlive { name: name.to_owned() }, step);
        }
        step.event(event);
    }
}
