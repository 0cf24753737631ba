//! Streams: each carries one exchange, has a deadline and a bound.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Gossip, Step, Timer};
use crate::input::{Effect, OperationId, StreamId};
use crate::time::Mono;
use crate::timers::TimerKey;
use crate::wire::message::{Ack, Ping};
use crate::wire::stream::{PushPull, StreamDecoder, StreamMessage};

/// Most accepted streams at once; peers bound their push/pulls to as many.
const ACCEPTED_MAX: usize = 128;
/// Most streams opened at once: what the tickers and a few joins need.
pub(crate) const OPENED_MAX: usize = 64;
/// Most bytes of unfinished messages held over all streams, so that 128 strangers cannot each make us hold the most of one.
const HELD_BYTES_MAX: usize = 64 << 20;
/// Refused streams are told of no more often, so that strangers cannot fill the log.
const REFUSALS_TOLD_INTERVAL: Duration = Duration::from_secs(1);
/// How many timeouts a stream may take in all, however steadily bytes drip in.
const TIMEOUTS_MAX: u32 = 6;

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A peer opened it and will say.
    Accepted,
    Join(OperationId),
    /// Trying the members of the last run.
    Rejoin,
    /// Trying one failed member.
    Reconnect,
    PushPull,
    /// The fallback of a probe.
    Ping {
        sequence: u32,
        node: String,
    },
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Exchange {
    purpose: Purpose,
    peer: SocketAddr,
    decoder: StreamDecoder,
    opened_at: Mono,
    deadline: TimerKey,
}

impl Gossip {
    pub(crate) fn open_stream(&mut self, to: SocketAddr, purpose: Purpose, step: &mut Step<'_>) {
        let opened = self.exchanges.values().filter(|e| e.purpose != Purpose::Accepted).count();
        if opened >= OPENED_MAX {
            self.exchange_failed(purpose, to, "too many streams are open", step);
            return;
        }
        self.streams_opened += 1;
        let id = StreamId::opened(self.streams_opened);
        self.insert_exchange(id, to, purpose, step);
        step.effects.push(Effect::OpenStream { id, to });
    }

    pub(crate) fn accept_stream(&mut self, id: StreamId, peer: SocketAddr, step: &mut Step<'_>) {
        let accepted = self.exchanges.values().filter(|e| e.purpose == Purpose::Accepted).count();
        if accepted >= ACCEPTED_MAX || self.exchanges.contains_key(&id) {
            self.counters.streams_refused += 1;
            step.effects.push(Effect::CloseStream { id });
            return;
        }
        self.insert_exchange(id, peer, Purpose::Accepted, step);
    }

    fn insert_exchange(
        &mut self,
        id: StreamId,
        peer: SocketAddr,
        purpose: Purpose,
        step: &mut Step<'_>,
    ) {
        let at = step.now.plus(self.config.profile.stream_timeout);
        let deadline = self.timers.set(at, Timer::Stream(id));
        let decoder = StreamDecoder::default();
        let exchange = Exchange { purpose, peer, decoder, opened_at: step.now, deadline };
        self.exchanges.insert(id, exchange);
    }

    pub(crate) fn stream_connected(&mut self, id: StreamId, step: &mut Step<'_>) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let message = match &exchange.purpose {
            Purpose::Accepted => return,
            Purpose::Ping { sequence, node } => {
                let ping =
                    Ping { sequence: *sequence, node: node.clone(), source: Default::default() };
                StreamMessage::Ping(ping)
            }
            Purpose::Join(_) | Purpose::Rejoin | Purpose::Reconnect => {
                StreamMessage::PushPull(self.local_state(true))
            }
            Purpose::PushPull => StreamMessage::PushPull(self.local_state(false)),
        };
        self.prolong(id, step);
        self.write_stream(id, &message, step);
    }

    fn write_stream(&mut self, id: StreamId, message: &StreamMessage, step: &mut Step<'_>) {
        let nonce = self.nonce();
        let bytes = message.encode(self.config.compress, self.sealing(nonce));
        self.counters.stream_bytes_out += bytes.len() as u64;
        step.effects.push(Effect::WriteStream { id, bytes });
    }

    /// Something happened: the peer has its time anew.
    fn prolong(&mut self, id: StreamId, step: &Step<'_>) {
        let timeout = self.config.profile.stream_timeout;
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let last = exchange.opened_at.plus(timeout * TIMEOUTS_MAX);
        self.timers.cancel(exchange.deadline);
        exchange.deadline = self.timers.set(step.now.plus(timeout).min(last), Timer::Stream(id));
    }

    pub(crate) fn stream_data(&mut self, id: StreamId, bytes: &[u8], step: &mut Step<'_>) {
        let held: usize = self.exchanges.values().map(|exchange| exchange.decoder.len()).sum();
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        self.counters.stream_bytes_in += bytes.len() as u64;
        if held + bytes.len() > HELD_BYTES_MAX {
            self.counters.streams_refused += 1;
            self.stream_ended(id, "too much is being received", step);
            return;
        }
        let ring = self.keyring.as_ref();
        match exchange.decoder.push(bytes, ring, self.config.verify_incoming) {
            Ok(Some(message)) => self.stream_message(id, message, step),
            Ok(None) => self.prolong(id, step),
            Err(error) => {
                self.counters.streams_refused += 1;
                let peer = exchange.peer;
                if exchange.purpose == Purpose::Accepted {
                    let told = StreamMessage::Error(error.to_string());
                    self.write_stream(id, &told, step);
                    self.tell_refusal(peer, &error.to_string(), step);
                }
                self.stream_ended(id, &error.to_string(), step);
            }
        }
    }

    fn tell_refusal(&mut self, peer: SocketAddr, reason: &str, step: &mut Step<'_>) {
        let told = self.refusal_told_at;
        if told.is_none_or(|told| step.now.since(told) >= REFUSALS_TOLD_INTERVAL) {
            self.refusal_told_at = Some(step.now);
            step.warn(format!("refusing what {peer} says: {reason}"));
        }
    }

    /// A stream carries one message each way: whatever this is, it is the last.
    fn stream_message(&mut self, id: StreamId, message: StreamMessage, step: &mut Step<'_>) {
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        self.timers.cancel(exchange.deadline);
        let Exchange { purpose, peer, .. } = exchange;
        match (purpose, message) {
            (Purpose::Accepted, StreamMessage::PushPull(remote)) => {
                self.answer_push_pull(id, peer, remote, step);
            }
            (Purpose::Accepted, StreamMessage::Ping(ping)) => {
                if ping.node.is_empty() || self.is_own(&ping.node) {
                    let ack = Ack { sequence: ping.sequence, payload: Default::default() };
                    self.write_stream(id, &StreamMessage::Ack(ack), step);
                }
                step.effects.push(Effect::CloseStream { id });
            }
            (Purpose::Accepted, StreamMessage::User(payload)) => {
                step.effects.push(Effect::CloseStream { id });
                self.receive_serf(&payload, true, step);
            }
            (Purpose::Ping { sequence, .. }, StreamMessage::Ack(ack)) => {
                step.effects.push(Effect::CloseStream { id });
                if let Some(probe) = &mut self.probe
                    && probe.sequence == sequence
                    && ack.sequence == sequence
                {
                    probe.is_reached = true;
                }
            }
            (
                purpose @ (Purpose::Join(_)
                | Purpose::Rejoin
                | Purpose::Reconnect
                | Purpose::PushPull),
                StreamMessage::PushPull(remote),
            ) => {
                step.effects.push(Effect::CloseStream { id });
                self.end_push_pull(purpose, peer, remote, step);
            }
            (purpose, StreamMessage::Error(text)) => {
                step.effects.push(Effect::CloseStream { id });
                self.exchange_failed(purpose, peer, &text, step);
            }
            (purpose, _) => {
                self.counters.streams_refused += 1;
                step.effects.push(Effect::CloseStream { id });
                self.exchange_failed(purpose, peer, "unexpected answer", step);
            }
        }
    }

    fn answer_push_pull(
        &mut self,
        id: StreamId,
        peer: SocketAddr,
        remote: PushPull,
        step: &mut Step<'_>,
    ) {
        let state = self.local_state(remote.is_join);
        self.write_stream(id, &StreamMessage::PushPull(state), step);
        step.effects.push(Effect::CloseStream { id });
        if let Err(reason) = self.merge(remote, false, step) {
            self.counters.streams_refused += 1;
            self.tell_refusal(peer, &reason, step);
        }
    }

    fn end_push_pull(
        &mut self,
        purpose: Purpose,
        peer: SocketAddr,
        mut remote: PushPull,
        step: &mut Step<'_>,
    ) {
        remote.is_join = purpose != Purpose::PushPull;
        let is_own_join = matches!(purpose, Purpose::Join(_));
        match self.merge(remote, is_own_join, step) {
            Ok(()) => self.exchange_done(purpose, peer, step),
            Err(reason) => self.exchange_failed(purpose, peer, &reason, step),
        }
    }

    fn exchange_done(&mut self, purpose: Purpose, peer: SocketAddr, step: &mut Step<'_>) {
        match purpose {
            Purpose::Join(operation) => self.join_result(operation, peer, Ok(()), step),
            Purpose::Rejoin => self.rejoin_result(peer, true, step),
            Purpose::Accepted | Purpose::Reconnect | Purpose::PushPull | Purpose::Ping { .. } => {}
        }
    }

    fn exchange_failed(
        &mut self,
        purpose: Purpose,
        peer: SocketAddr,
        reason: &str,
        step: &mut Step<'_>,
    ) {
        match purpose {
            Purpose::Join(operation) => {
                self.join_result(operation, peer, Err(reason.to_owned()), step);
            }
            Purpose::Rejoin => self.rejoin_result(peer, false, step),
            Purpose::PushPull => step.warn(format!("push/pull with {peer} failed: {reason}")),
            Purpose::Accepted | Purpose::Reconnect | Purpose::Ping { .. } => {}
        }
    }

    /// The stream is of no more use.
    pub(crate) fn stream_ended(&mut self, id: StreamId, reason: &str, step: &mut Step<'_>) {
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        self.timers.cancel(exchange.deadline);
        step.effects.push(Effect::CloseStream { id });
        self.exchange_failed(exchange.purpose, exchange.peer, reason, step);
    }
}
