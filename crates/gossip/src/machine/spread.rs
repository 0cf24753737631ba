//! Packets in and out, and the news that ride on them.

use std::net::SocketAddr;

use bytes::Bytes;

use super::membership::Judged;
use super::{Gossip, Step, Timer};
use crate::broadcast::transmit_limit;
use crate::member::State;
use crate::snapshot::{FLUSH_INTERVAL, SnapshotLine};
use crate::wire::message::{Message, USER, Versions};
use crate::wire::packet::{self, COMPOUND_BYTES, Dress, PACKET_BYTES_MAX, PART_BYTES, PARTS_MAX};
use crate::wire::seal;

/// Type and sum before a checked message.
const CHECKSUM_BYTES: usize = 5;
/// Largest message that may be queued: with all layers it still fits a packet.
pub(crate) const QUEUED_BYTES_MAX: usize =
    PACKET_BYTES_MAX - COMPOUND_BYTES - PART_BYTES - 1 - CHECKSUM_BYTES - seal::OVERHEAD_BYTES;

impl Gossip {
    pub(crate) fn receive_packet(&mut self, from: SocketAddr, bytes: &[u8], step: &mut Step<'_>) {
        self.counters.packets_in += 1;
        self.counters.packet_bytes_in += bytes.len() as u64;
        let ring = self.keyring.as_ref();
        let (messages, damaged) = match packet::decode(bytes, ring, self.config.verify_incoming) {
            Ok(found) => found,
            Err(_) => {
                self.counters.packets_refused += 1;
                return;
            }
        };
        self.counters.messages_refused += damaged as u64;
        for message in messages {
            match message {
                Message::Ping(ping) => self.receive_ping(from, ping, step),
                Message::IndirectPing(ping) => self.receive_indirect_ping(from, ping, step),
                Message::Ack(ack) => self.receive_ack(ack, step),
                Message::Nack(sequence) => self.receive_nack(sequence),
                Message::Suspect(accusation) => self.suspect(accusation, step),
                Message::Alive(alive) => self.alive(alive, Judged::NotYet, step),
                Message::Dead(death) => self.dead(death, step),
                Message::User(payload) => self.receive_serf(&payload, true, step),
            }
        }
    }

    /// Sends messages, and as many news as the packet has room for.
    pub(crate) fn send_with_news(
        &mut self,
        to: SocketAddr,
        versions: Option<Versions>,
        mut messages: Vec<Bytes>,
        step: &mut Step<'_>,
    ) {
        let used: usize = messages.iter().map(|message| PART_BYTES + message.len()).sum();
        let seal = if self.keyring.is_some() { seal::OVERHEAD_BYTES } else { 0 };
        let room = PACKET_BYTES_MAX.saturating_sub(COMPOUND_BYTES + CHECKSUM_BYTES + seal + used);
        self.take_news(room, &mut messages);
        self.send(to, versions, &messages, step);
    }

    /// Members first, then intents, queries, events.
    fn take_news(&mut self, mut room: usize, messages: &mut Vec<Bytes>) {
        let limit = transmit_limit(self.config.profile.retransmit_multiplier, self.nodes.len());
        let mut parts = PARTS_MAX.saturating_sub(messages.len());
        self.members_out.take(PART_BYTES, &mut room, limit, &mut parts, messages);
        let mut news = Vec::new();
        let serf = &mut self.serf;
        for queue in [&mut serf.intents_out, &mut serf.queries_out, &mut serf.events_out] {
            queue.take(PART_BYTES + 1, &mut room, limit, &mut parts, &mut news);
        }
        messages.extend(news.into_iter().map(|message| as_user(&message)));
    }

    /// Sends a message of the serf layer at once.
    pub(crate) fn send_serf(&mut self, to: SocketAddr, message: &[u8], step: &mut Step<'_>) {
        self.send(to, None, &[as_user(message)], step);
    }

    /// The receiver's versions say what it understands; without them nothing is presumed.
    fn send(
        &mut self,
        to: SocketAddr,
        versions: Option<Versions>,
        messages: &[Bytes],
        step: &mut Step<'_>,
    ) {
        let nonce = self.nonce();
        let dress = Dress {
            compress: self.config.compress,
            checksum: versions.is_some_and(Versions::has_checksum),
            seal: self.sealing(nonce),
        };
        let bytes = Bytes::from(packet::encode(messages, dress));
        self.counters.packets_out += 1;
        self.counters.packet_bytes_out += bytes.len() as u64;
        step.effects.push(crate::Effect::SendPacket { to, bytes });
    }

    /// What seals that which is sent, if anything does.
    pub(crate) fn sealing(
        &self,
        nonce: [u8; 12],
    ) -> Option<(&crate::wire::keyring::Keyring, [u8; 12])> {
        let ring = self.keyring.as_ref().filter(|_| self.config.verify_outgoing)?;
        Some((ring, nonce))
    }

    pub(crate) fn gossip_tick(&mut self, step: &mut Step<'_>) {
        self.every(self.config.profile.gossip_interval, Timer::Gossip, step);
        self.save_clocks(step);
        let (now, to_dead) = (step.now, self.config.profile.gossip_to_dead);
        let fanout = self.config.profile.gossip_fanout;
        let targets = self.random_nodes(fanout, |_, node| match node.state {
            State::Alive | State::Suspect => true,
            State::Dead => now.since(node.changed_at) <= to_dead,
            State::Left => false,
        });
        for target in targets {
            let node = &self.nodes[&target];
            let (to, versions) = (node.address, node.versions);
            let seal = if self.keyring.is_some() { seal::OVERHEAD_BYTES } else { 0 };
            let mut messages = Vec::new();
            let room = PACKET_BYTES_MAX - COMPOUND_BYTES - CHECKSUM_BYTES - seal;
            self.take_news(room, &mut messages);
            if messages.is_empty() {
                return;
            }
            self.send(to, Some(versions), &messages, step);
        }
    }

    /// Notes the clocks that moved, seldom: they move with every message.
    fn save_clocks(&mut self, step: &mut Step<'_>) {
        if step.now.since(self.clocks_saved_at) < FLUSH_INTERVAL {
            return;
        }
        self.clocks_saved_at = step.now;
        let times = self.times_seen();
        let lines: [fn(u64) -> SnapshotLine; 3] =
            [SnapshotLine::Clock, SnapshotLine::EventClock, SnapshotLine::QueryClock];
        for ((time, saved), line) in times.into_iter().zip(self.clocks_saved).zip(lines) {
            if time > saved {
                self.remember(line(time), step);
            }
        }
        self.clocks_saved = times;
    }
}

fn as_user(message: &[u8]) -> Bytes {
    [&[USER], message].concat().into()
}
