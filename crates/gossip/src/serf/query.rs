//! Queries: questions to the pool, answered by packets straight to the asker.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;

use super::event::is_outdated;
use super::key::KeyAsked;
use crate::input::{Event, OperationId, Query, QueryId, Refusal};
use crate::machine::spread::QUEUED_BYTES_MAX;
use crate::machine::{Gossip, Step, Timer};
use crate::member::{Member, State, Status};
use crate::serf::message::{
    CONFLICT_RESPONSE, FLAG_ACK, FLAG_NO_BROADCAST, QUERY_RESPONSE, QueryMessage, Relay,
    ResponseMessage, SerfMessage,
};
use crate::time::Mono;
use crate::timers::TimerKey;
use crate::wire::address;
use crate::wire::msgpack::Writer;

/// Largest query and largest response, as messages.
pub const QUERY_BYTES_MAX: usize = 1024;
/// Names of queries the machine answers itself.
pub(crate) const INTERNAL_PREFIX: &str = "_serf_";
/// Clock values remembered.
const RING_TIMES: usize = 512;
/// Queries remembered for one clock value.
const QUERIES_PER_TIME_MAX: usize = 128;
/// Most own queries under way.
const ASKED_MAX: usize = 128;
/// Most queries of others that may still be answered.
const RECEIVED_MAX: usize = 1024;
/// Longest time a query of others may be answered.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// A query lives for this many gossip intervals times the digits of the pool's size.
const TIMEOUT_MULTIPLIER: u32 = 16;
/// Most members through which a response is relayed, whatever the asker wishes: each costs a packet.
const RELAYS_MAX: usize = 5;

/// Numbers of the last queries, by clock value.
#[derive(Debug)]
pub(crate) struct QueryRing {
    slots: Vec<(u64, BTreeSet<u32>)>,
}

impl Default for QueryRing {
    fn default() -> Self {
        QueryRing { slots: vec![(0, BTreeSet::new()); RING_TIMES] }
    }
}

impl QueryRing {
    /// Returns whether it is new and remembered.
    fn insert(&mut self, query: QueryId) -> bool {
        let slot = &mut self.slots[(query.time % RING_TIMES as u64) as usize];
        if slot.0 != query.time {
            *slot = (query.time, BTreeSet::new());
        }
        slot.1.len() < QUERIES_PER_TIME_MAX && slot.1.insert(query.id)
    }
}

/// A query of ours.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) operation: OperationId,
    timer: TimerKey,
    acks: BTreeSet<String>,
    pub(crate) replies: BTreeSet<String>,
    /// For a query about keys, whose answers are gathered.
    pub(crate) keys: Option<KeyAsked>,
}

/// A query of another's that may still be answered.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    to: SocketAddr,
    source: String,
    relay_factor: u8,
    deadline: Mono,
}

impl Gossip {
    pub(crate) fn ask(
        &mut self,
        operation: OperationId,
        query: Query,
        step: &mut Step<'_>,
    ) -> Result<(), Refusal> {
        if query.name.starts_with(INTERNAL_PREFIX) {
            return Err(Refusal::NameReserved { prefix: INTERNAL_PREFIX });
        }
        self.ask_as(operation, query, None, step)
    }

    pub(crate) fn ask_as(
        &mut self,
        operation: OperationId,
        query: Query,
        keys: Option<KeyAsked>,
        step: &mut Step<'_>,
    ) -> Result<(), Refusal> {
        if self.serf.asked.len() >= ASKED_MAX {
            return Err(Refusal::Busy);
        }
        let timeout = query.timeout.unwrap_or_else(|| self.query_timeout()).min(TIMEOUT_MAX);
        let message = QueryMessage {
            time: self.serf.query_clock.time(),
            id: self.rng.random(),
            address: address::to_bytes(self.config.address.ip()).into(),
            port: self.config.address.port(),
            source: self.config.name.clone(),
            filters: query.filters,
            flags: if query.wants_ack { FLAG_ACK } else { 0 },
            relay_factor: query.relay_factor,
            timeout,
            name: query.name,
            payload: query.payload,
        };
        let bytes = SerfMessage::Query(message.clone()).encode();
        if bytes.len() > QUERY_BYTES_MAX {
            return Err(Refusal::QueryTooLarge { limit: QUERY_BYTES_MAX });
        }
        let id = QueryId { time: message.time, id: message.id };
        let timer = self.timers.set(step.now.plus(timeout), Timer::Asked(id));
        let (acks, replies) = (BTreeSet::new(), BTreeSet::new());
        self.serf.asked.insert(id, Asked { operation, timer, acks, replies, keys });
        self.receive_query(message, &bytes, step);
        Ok(())
    }

    fn query_timeout(&self) -> Duration {
        let digits = ((self.nodes.len() + 1) as f64).log10().ceil() as u32;
        self.config.profile.gossip_interval * TIMEOUT_MULTIPLIER * digits
    }

    pub(crate) fn receive_query(&mut self, query: QueryMessage, bytes: &[u8], step: &mut Step<'_>) {
        let serf = &mut self.serf;
        serf.query_clock.witness(query.time);
        let is_old =
            query.time < serf.query_time_min || is_outdated(query.time, serf.query_clock.time());
        let id = QueryId { time: query.time, id: query.id };
        if is_old || !serf.queries_seen.insert(id) {
            return;
        }
        if query.flags & FLAG_NO_BROADCAST == 0 && bytes.len() <= QUEUED_BYTES_MAX {
            serf.queries_out.push(bytes.to_vec().into(), None, false);
            serf.prune_queues();
        }
        self.counters.queries += 1;
        let is_meant = |filter: &crate::Filter| filter.matches(&self.config.name, &self.serf.tags);
        if !query.filters.iter().all(is_meant) {
            return;
        }
        let Some(ip) = address::from_bytes(&query.address) else {
            self.counters.messages_refused += 1;
            return;
        };
        let timeout = query.timeout.min(TIMEOUT_MAX);
        let received = Received {
            to: SocketAddr::new(ip, query.port),
            source: query.source.clone(),
            relay_factor: query.relay_factor,
            deadline: step.now.plus(timeout),
        };
        if query.flags & FLAG_ACK != 0 {
            self.send_response(id, &received, FLAG_ACK, Bytes::new(), step);
        }
        if query.name.starts_with(INTERNAL_PREFIX) {
            self.answer_internal(id, &received, &query, step);
            return;
        }
        if self.serf.received.len() >= RECEIVED_MAX {
            return;
        }
        self.timers.set(received.deadline, Timer::Received(id));
        self.serf.received.insert(id, received);
        let QueryMessage { source: from, name, payload, .. } = query;
        step.event(Event::Query { query: id, from, name, payload, timeout });
    }

    fn answer_internal(
        &mut self,
        id: QueryId,
        received: &Received,
        query: &QueryMessage,
        step: &mut Step<'_>,
    ) {
        let answer = match query.name.as_str() {
            // The receipt is the answer.
            "_serf_ping" => None,
            "_serf_conflict" => self.conflict_answer(&query.payload),
            name => self.key_answer(name, &query.payload, step),
        };
        if let Some(payload) = answer {
            self.send_response(id, received, 0, payload.into(), step);
        }
    }

    /// Where we believe a node to be, for one who found two of its name.
    fn conflict_answer(&self, node: &[u8]) -> Option<Vec<u8>> {
        let node = std::str::from_utf8(node).ok()?;
        // We would vote in our own cause.
        if self.is_own(node) {
            return None;
        }
        let mut writer = Writer::with_type(CONFLICT_RESPONSE);
        match self.member(node) {
            Some(member) => write_member(&mut writer, member),
            None => writer.nil(),
        }
        Some(writer.finish())
    }

    pub(crate) fn respond(
        &mut self,
        query: QueryId,
        payload: Bytes,
        step: &mut Step<'_>,
    ) -> Result<(), Refusal> {
        let received = self.serf.received.get(&query).cloned();
        let received = received.ok_or(Refusal::QueryUnknown)?;
        if step.now > received.deadline {
            return Err(Refusal::QueryUnknown);
        }
        let message = self.response(query, 0, payload.clone());
        if SerfMessage::Response(message).encode().len() > QUERY_BYTES_MAX {
            return Err(Refusal::ResponseTooLarge { limit: QUERY_BYTES_MAX });
        }
        self.serf.received.remove(&query);
        self.send_response(query, &received, 0, payload, step);
        Ok(())
    }

    fn response(&self, query: QueryId, flags: u32, payload: Bytes) -> ResponseMessage {
        let QueryId { time, id } = query;
        ResponseMessage { time, id, from: self.config.name.clone(), flags, payload }
    }

    fn send_response(
        &mut self,
        query: QueryId,
        received: &Received,
        flags: u32,
        payload: Bytes,
        step: &mut Step<'_>,
    ) {
        let response = self.response(query, flags, payload);
        if self.is_own(&received.source) {
            self.receive_response(response, step);
            return;
        }
        let bytes = SerfMessage::Response(response).encode();
        self.send_serf(received.to, &bytes, step);
        self.relay_response(received, bytes, step);
    }

    /// Sends a response through others as well, in case the straight way is cut.
    fn relay_response(&mut self, received: &Received, message: Bytes, step: &mut Step<'_>) {
        let factor = usize::from(received.relay_factor).min(RELAYS_MAX);
        if factor == 0 || self.serf.members.len() < factor + 1 {
            return;
        }
        let source = received.source.clone();
        let through = self.random_nodes(factor, |name, node| {
            name != source && node.state == State::Alive && node.versions.has_checksum()
        });
        let relay = SerfMessage::Relay(Relay { to: received.to, node: source, message });
        let bytes = relay.encode();
        for name in through {
            let to = self.nodes[&name].address;
            self.send_serf(to, &bytes, step);
        }
    }

    /// Passes on a response for another. Nothing else is passed on: it would make us a tool of whoever can reach us.
    pub(crate) fn receive_relay(&mut self, relay: Relay, step: &mut Step<'_>) {
        if relay.message.first() != Some(&QUERY_RESPONSE) {
            self.counters.messages_refused += 1;
            return;
        }
        if self.is_own(&relay.node) {
            self.receive_serf(&relay.message, false, step);
        } else {
            self.send_serf(relay.to, &relay.message, step);
        }
    }

    pub(crate) fn receive_response(&mut self, response: ResponseMessage, step: &mut Step<'_>) {
        let id = QueryId { time: response.time, id: response.id };
        let nodes_max = self.serf.members.len();
        let Some(asked) = self.serf.asked.get_mut(&id) else { return };
        let operation = asked.operation;
        let ResponseMessage { from, payload, flags, .. } = response;
        let seen = if flags & FLAG_ACK != 0 { &mut asked.acks } else { &mut asked.replies };
        // No more answers than members, whatever names they come under; and one each.
        if seen.len() >= nodes_max || !seen.insert(from.clone()) {
            return;
        }
        if flags & FLAG_ACK != 0 {
            if asked.keys.is_none() {
                step.event(Event::QueryAck { operation, from });
            }
            return;
        }
        if let Some(keys) = &mut asked.keys {
            keys.add(from, &payload);
            if keys.is_complete() {
                self.asked_end(id, step);
            }
            return;
        }
        step.event(Event::QueryReply { operation, from, payload });
    }

    /// A query of ours is over.
    pub(crate) fn asked_end(&mut self, id: QueryId, step: &mut Step<'_>) {
        let Some(asked) = self.serf.asked.remove(&id) else { return };
        self.timers.cancel(asked.timer);
        let Asked { operation, acks, replies, keys, .. } = asked;
        step.event(match keys {
            Some(keys) => Event::KeyringReport { operation, report: keys.finish() },
            None => Event::QueryDone { operation, acks: acks.len(), replies: replies.len() },
        });
    }

    /// Members that may be expected to answer.
    pub(crate) fn count_alive(&self) -> usize {
        self.serf.count(Status::Alive)
    }
}

fn write_member(writer: &mut Writer, member: &Member) {
    let versions = member.versions;
    writer.map(11);
    writer.raw("Addr");
    writer.raw(address::to_bytes(member.address.ip()));
    for (name, value) in [
        ("DelegateCur", versions.delegate),
        ("DelegateMax", versions.delegate_max),
        ("DelegateMin", versions.delegate_min),
    ] {
        writer.raw(name);
        writer.unsigned(u64::from(value));
    }
    writer.raw("Name");
    writer.raw(&member.name);
    writer.raw("Port");
    writer.unsigned(u64::from(member.address.port()));
    for (name, value) in [
        ("ProtocolCur", versions.protocol),
        ("ProtocolMax", versions.protocol_max),
        ("ProtocolMin", versions.protocol_min),
    ] {
        writer.raw(name);
        writer.unsigned(u64::from(value));
    }
    writer.raw("Status");
    writer.unsigned(member.status as u64);
    writer.raw("Tags");
    let tags: &BTreeMap<String, String> = &member.tags;
    writer.map(tags.len());
    for (name, value) in tags {
        writer.raw(name);
        writer.raw(value);
    }
}
