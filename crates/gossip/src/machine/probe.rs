//! Failure detection: one member is probed at each interval, directly, then through others and over TCP.

use std::net::SocketAddr;

use bytes::Bytes;
use rand::seq::SliceRandom;

use super::exchange::Purpose;
use super::{Gossip, Step, Timer};
use crate::coordinate::Coordinate;
use crate::input::Event;
use crate::member::State;
use crate::time::Mono;
use crate::wire::address;
use crate::wire::message::{Accusation, Ack, IndirectPing, Message, Ping, Source};

/// Most probes relayed for others at once: each is one packet and half a second of memory.
const RELAYS_MAX: usize = 1024;

/// The probe under way.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) sequence: u32,
    pub(crate) node: String,
    pub(crate) address: SocketAddr,
    sent_at: Mono,
    /// Whether others were asked.
    is_indirect: bool,
    nacks_expected: u32,
    nacks: u32,
    /// Whether it answered over TCP.
    pub(crate) is_reached: bool,
}

/// A probe done for another member.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    /// The other's number and where its answer goes.
    sequence: u32,
    to: SocketAddr,
    wants_nack: bool,
}

impl Gossip {
    pub(crate) fn probe_tick(&mut self, step: &mut Step<'_>) {
        if self.probe.is_some() {
            self.is_probe_due = true;
            return;
        }
        self.is_probe_due = false;
        if let Some(name) = self.next_to_probe(step) {
            self.begin_probe(name, step);
        }
        self.every(self.config.profile.probe_interval, Timer::Probe, step);
    }

    /// The next in the order; at its end the order is shuffled anew, so that each is probed once a round.
    fn next_to_probe(&mut self, step: &Step<'_>) -> Option<String> {
        for _ in 0..=self.probe_order.len() {
            if self.probe_next >= self.probe_order.len() {
                self.probe_next = 0;
                self.forget_dead_nodes(step);
                self.probe_order.shuffle(&mut self.rng);
            }
            let name = &self.probe_order[self.probe_next];
            self.probe_next += 1;
            if !self.is_own(name) && !self.nodes[name].state.is_gone() {
                return Some(name.clone());
            }
        }
        None
    }

    /// The dead are kept as long as they are told so; the serf layer remembers them longer.
    fn forget_dead_nodes(&mut self, step: &Step<'_>) {
        let keep = self.config.profile.gossip_to_dead;
        let own = &self.config.name;
        self.nodes.retain(|name, node| {
            name == own || !node.state.is_gone() || step.now.since(node.changed_at) <= keep
        });
        let nodes = &self.nodes;
        self.probe_order.retain(|name| nodes.contains_key(name));
    }

    pub(super) fn begin_probe(&mut self, name: String, step: &mut Step<'_>) {
        let sequence = self.next_sequence();
        let node = &self.nodes[&name];
        let (address, versions, incarnation) = (node.address, node.versions, node.incarnation);
        let is_alive = node.state == State::Alive;
        self.probe = Some(Probe {
            sequence,
            node: name.clone(),
            address,
            sent_at: step.now,
            is_indirect: false,
            nacks_expected: 0,
            nacks: 0,
            is_reached: false,
        });
        self.counters.probes += 1;
        let ping = Ping { sequence, node: name.clone(), source: self.source() };
        let mut messages = vec![Message::Ping(ping).encode()];
        if !is_alive {
            // So that it can defend itself at once.
            let from = self.config.name.clone();
            messages.push(Message::Suspect(Accusation { incarnation, node: name, from }).encode());
        }
        self.send_with_news(address, Some(versions), messages, step);
        let profile = &self.config.profile;
        let interval = self.awareness.scale(profile.probe_interval);
        let timeout = profile.probe_timeout.min(interval);
        self.timers.set(step.now.plus(timeout), Timer::ProbeTimeout(sequence));
        self.timers.set(step.now.plus(interval), Timer::ProbeEnd(sequence));
    }

    fn source(&self) -> Source {
        Source {
            address: address::to_bytes(self.config.address.ip()).into(),
            port: self.config.address.port(),
            node: self.config.name.clone(),
        }
    }

    /// No direct answer came: others are asked, and TCP is tried, in case only UDP is lost.
    pub(crate) fn probe_timeout(&mut self, sequence: u32, step: &mut Step<'_>) {
        let Some(probe) = &mut self.probe else { return };
        if probe.sequence != sequence {
            return;
        }
        probe.is_indirect = true;
        let (target, address) = (probe.node.clone(), probe.address);
        let count = self.config.profile.indirect_checks;
        let helpers =
            self.random_nodes(count, |name, node| name != target && node.state == State::Alive);
        let mut nacks_expected = 0;
        for helper in helpers {
            let node = &self.nodes[&helper];
            let (to, versions) = (node.address, node.versions);
            let wants_nack = versions.has_nack();
            nacks_expected += u32::from(wants_nack);
            let ping = IndirectPing {
                sequence,
                target: address::to_bytes(address.ip()).into(),
                port: address.port(),
                node: target.clone(),
                wants_nack,
                source: self.source(),
            };
            let message = Message::IndirectPing(ping).encode();
            self.send_with_news(to, Some(versions), vec![message], step);
        }
        if let Some(probe) = &mut self.probe {
            probe.nacks_expected = nacks_expected;
        }
        if self.nodes.get(&target).is_some_and(|node| node.versions.has_tcp_ping()) {
            self.open_stream(address, Purpose::Ping { sequence, node: target }, step);
        }
    }

    /// The interval is over without an answer over UDP.
    pub(crate) fn probe_end(&mut self, sequence: u32, step: &mut Step<'_>) {
        if self.probe.as_ref().is_none_or(|probe| probe.sequence != sequence) {
            return;
        }
        let Some(probe) = self.probe.take() else { return };
        if probe.is_reached {
            self.awareness.apply(-1);
            self.counters.probes_by_stream += 1;
            step.warn(format!("{} answers over TCP but not over UDP", probe.node));
        } else {
            self.counters.probes_failed += 1;
            let missed = probe.nacks_expected.saturating_sub(probe.nacks);
            self.awareness.apply(if probe.nacks_expected > 0 { missed as i32 } else { 1 });
            if let Some(node) = self.nodes.get(&probe.node) {
                let incarnation = node.incarnation;
                let from = self.config.name.clone();
                self.suspect(Accusation { incarnation, node: probe.node, from }, step);
            }
        }
        self.probe_if_due(step);
    }

    fn probe_if_due(&mut self, step: &mut Step<'_>) {
        if self.is_probe_due {
            self.probe_tick(step);
        }
    }

    pub(crate) fn receive_ping(&mut self, from: SocketAddr, ping: Ping, step: &mut Step<'_>) {
        if !ping.node.is_empty() && !self.is_own(&ping.node) {
            // Its address was another's before, or a packet went astray.
            self.counters.messages_refused += 1;
            return;
        }
        let to = answer_address(&ping.source, from);
        let payload = Bytes::from(self.vivaldi.own().encode());
        let ack = Message::Ack(Ack { sequence: ping.sequence, payload });
        self.send_with_news(to, None, vec![ack.encode()], step);
    }

    pub(crate) fn receive_indirect_ping(
        &mut self,
        from: SocketAddr,
        ping: IndirectPing,
        step: &mut Step<'_>,
    ) {
        let Some(ip) = address::from_bytes(&ping.target) else {
            self.counters.messages_refused += 1;
            return;
        };
        if self.relays.len() >= RELAYS_MAX {
            return;
        }
        let sequence = self.next_sequence();
        let to = answer_address(&ping.source, from);
        let relay = Relay { sequence: ping.sequence, to, wants_nack: ping.wants_nack };
        self.relays.insert(sequence, relay);
        let timeout = self.config.profile.probe_timeout;
        self.timers.set(step.now.plus(timeout), Timer::RelayEnd(sequence));
        let versions = self.nodes.get(&ping.node).map(|node| node.versions);
        let own = Ping { sequence, node: ping.node, source: self.source() };
        let target = SocketAddr::new(ip, ping.port);
        self.send_with_news(target, versions, vec![Message::Ping(own).encode()], step);
    }

    pub(crate) fn receive_ack(&mut self, ack: Ack, step: &mut Step<'_>) {
        if let Some(relay) = self.relays.remove(&ack.sequence) {
            let ack = Ack { sequence: relay.sequence, payload: Bytes::new() };
            self.send_with_news(relay.to, None, vec![Message::Ack(ack).encode()], step);
            return;
        }
        if self.probe.as_ref().is_none_or(|probe| probe.sequence != ack.sequence) {
            return;
        }
        let Some(probe) = self.probe.take() else { return };
        self.awareness.apply(-1);
        if !probe.is_indirect && !ack.payload.is_empty() {
            self.learn_coordinate(&probe, &ack.payload, step);
        }
        self.probe_if_due(step);
    }

    fn learn_coordinate(&mut self, probe: &Probe, payload: &[u8], step: &mut Step<'_>) {
        let Ok(coordinate) = Coordinate::decode(payload) else {
            self.counters.messages_refused += 1;
            return;
        };
        let round_trip = step.now.since(probe.sent_at);
        if self.vivaldi.update(&probe.node, coordinate, round_trip, &mut self.rng) {
            let peer = probe.node.clone();
            step.event(Event::CoordinateUpdated { peer, round_trip });
        }
    }

    pub(crate) fn receive_nack(&mut self, sequence: u32) {
        if let Some(probe) = &mut self.probe
            && probe.sequence == sequence
        {
            probe.nacks += 1;
        }
    }

    /// The target of a relayed probe is silent.
    pub(crate) fn relay_end(&mut self, sequence: u32, step: &mut Step<'_>) {
        let Some(relay) = self.relays.remove(&sequence) else { return };
        if relay.wants_nack {
            let nack = Message::Nack(relay.sequence).encode();
            self.send_with_news(relay.to, None, vec![nack], step);
        }
    }
}

fn answer_address(source: &Source, from: SocketAddr) -> SocketAddr {
    match address::from_bytes(&source.address) {
        Some(ip) if source.port > 0 => SocketAddr::new(ip, source.port),
        _ => from,
    }
}
