//! The messages of the serf layer, carried by the membership protocol as user data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::filter::Filter;
use crate::wire::message::{read_address, read_name};
use crate::wire::msgpack::{Reader, Writer};
use crate::wire::stream::NODES_MAX;
use crate::wire::{WireError, address};

pub(crate) const LEAVE: u8 = 0;
pub(crate) const JOIN: u8 = 1;
pub(crate) const PUSH_PULL: u8 = 2;
pub(crate) const USER_EVENT: u8 = 3;
pub(crate) const QUERY: u8 = 4;
pub(crate) const QUERY_RESPONSE: u8 = 5;
pub(crate) const CONFLICT_RESPONSE: u8 = 6;
pub(crate) const KEY_REQUEST: u8 = 7;
pub(crate) const KEY_RESPONSE: u8 = 8;
pub(crate) const RELAY: u8 = 9;

/// A query wants to know who got it; on a response: this is such a receipt.
pub(crate) const FLAG_ACK: u32 = 1;
/// A query is not passed on.
pub(crate) const FLAG_NO_BROADCAST: u32 = 2;

/// Most events of one clock value taken from a push/pull: they are distinct events of the same moment.
const EVENTS_PER_TIME_MAX: usize = 128;
/// Most clock values of past events taken from a push/pull; peers keep 512.
const EVENT_TIMES_MAX: usize = 4096;
/// Most filters of a query: one packet has room for few.
const FILTERS_MAX: usize = 64;

/// That a node leaves, or came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) time: u64,
    pub(crate) node: String,
    /// Of leaves alone: forget the node at once.
    pub(crate) prune: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventMessage {
    pub(crate) time: u64,
    pub(crate) name: String,
    pub(crate) payload: Bytes,
    pub(crate) coalesce: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueryMessage {
    pub(crate) time: u64,
    pub(crate) id: u32,
    pub(crate) address: Bytes,
    pub(crate) port: u16,
    pub(crate) source: String,
    pub(crate) filters: Vec<Filter>,
    pub(crate) flags: u32,
    pub(crate) relay_factor: u8,
    pub(crate) timeout: Duration,
    pub(crate) name: String,
    pub(crate) payload: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseMessage {
    pub(crate) time: u64,
    pub(crate) id: u32,
    pub(crate) from: String,
    pub(crate) flags: u32,
    pub(crate) payload: Bytes,
}

/// What the serf layers of two sides tell one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SerfState {
    pub(crate) time: u64,
    pub(crate) status_times: BTreeMap<String, u64>,
    pub(crate) left: BTreeSet<String>,
    pub(crate) event_time: u64,
    /// None for an empty slot.
    pub(crate) events: Vec<Option<Moment>>,
    pub(crate) query_time: u64,
}

/// The events of one clock value, name and payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) time: u64,
    pub(crate) events: Vec<(String, Bytes)>,
}

/// A message and where to pass it on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relay {
    pub(crate) to: SocketAddr,
    pub(crate) node: String,
    pub(crate) message: Bytes,
}

/// What came as user data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SerfMessage {
    Leave(Intent),
    Join(Intent),
    Event(EventMessage),
    Query(QueryMessage),
    Response(ResponseMessage),
    Relay(Relay),
}

impl SerfMessage {
    pub(crate) fn encode(&self) -> Bytes {
        let bytes = match self {
            SerfMessage::Leave(intent) => encode_intent(LEAVE, intent),
            SerfMessage::Join(intent) => encode_intent(JOIN, intent),
            SerfMessage::Event(event) => encode_event(event),
            SerfMessage::Query(query) => encode_query(query),
            SerfMessage::Response(response) => encode_response(response),
            SerfMessage::Relay(relay) => encode_relay(relay),
        };
        bytes.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SerfMessage, WireError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.byte()? {
            LEAVE => SerfMessage::Leave(decode_intent(&mut reader)?),
            JOIN => SerfMessage::Join(decode_intent(&mut reader)?),
            USER_EVENT => SerfMessage::Event(decode_event(&mut reader)?),
            QUERY => SerfMessage::Query(decode_query(&mut reader)?),
            QUERY_RESPONSE => SerfMessage::Response(decode_response(&mut reader)?),
            RELAY => SerfMessage::Relay(decode_relay(&mut reader)?),
            other => return Err(WireError::UnknownType(other)),
        };
        Ok(message)
    }
}

fn encode_intent(kind: u8, intent: &Intent) -> Vec<u8> {
    let mut writer = Writer::with_type(kind);
    writer.map(if kind == LEAVE { 3 } else { 2 });
    writer.raw("LTime");
    writer.unsigned(intent.time);
    writer.raw("Node");
    writer.raw(&intent.node);
    if kind == LEAVE {
        writer.raw("Prune");
        writer.bool(intent.prune);
    }
    writer.finish()
}

fn decode_intent(reader: &mut Reader<'_>) -> Result<Intent, WireError> {
    let mut intent = Intent::default();
    reader.map(|key, reader| {
        match key {
            b"LTime" => intent.time = reader.number()?,
            b"Node" => intent.node = read_name(reader)?,
            b"Prune" => intent.prune = reader.bool()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(intent)
}

fn encode_event(event: &EventMessage) -> Vec<u8> {
    let EventMessage { time, name, payload, coalesce } = event;
    let mut writer = Writer::with_type(USER_EVENT);
    writer.map(4);
    writer.raw("CC");
    writer.bool(*coalesce);
    writer.raw("LTime");
    writer.unsigned(*time);
    writer.raw("Name");
    writer.raw(name);
    writer.raw("Payload");
    write_payload(&mut writer, payload);
    writer.finish()
}

fn decode_event(reader: &mut Reader<'_>) -> Result<EventMessage, WireError> {
    let mut event = EventMessage::default();
    reader.map(|key, reader| {
        match key {
            b"LTime" => event.time = reader.number()?,
            b"Name" => event.name = reader.text()?,
            b"Payload" => event.payload = Bytes::copy_from_slice(reader.bytes()?),
            b"CC" => event.coalesce = reader.bool()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(event)
}

fn encode_query(query: &QueryMessage) -> Vec<u8> {
    let mut writer = Writer::with_type(QUERY);
    writer.map(11);
    writer.raw("Addr");
    writer.raw(&query.address);
    writer.raw("Filters");
    match query.filters.is_empty() {
        true => writer.nil(),
        false => writer.array(query.filters.len()),
    }
    for filter in &query.filters {
        writer.raw(filter.encode());
    }
    writer.raw("Flags");
    writer.unsigned(u64::from(query.flags));
    writer.raw("ID");
    writer.unsigned(u64::from(query.id));
    writer.raw("LTime");
    writer.unsigned(query.time);
    writer.raw("Name");
    writer.raw(&query.name);
    writer.raw("Payload");
    write_payload(&mut writer, &query.payload);
    writer.raw("Port");
    writer.unsigned(u64::from(query.port));
    writer.raw("RelayFactor");
    writer.unsigned(u64::from(query.relay_factor));
    writer.raw("SourceNode");
    writer.raw(&query.source);
    writer.raw("Timeout");
    writer.unsigned(u64::try_from(query.timeout.as_nanos()).unwrap_or(i64::MAX as u64));
    writer.finish()
}

fn decode_query(reader: &mut Reader<'_>) -> Result<QueryMessage, WireError> {
    let mut query = QueryMessage::default();
    reader.map(|key, reader| {
        match key {
            b"LTime" => query.time = reader.number()?,
            b"ID" => query.id = reader.number()?,
            b"Addr" => query.address = read_address(reader)?,
            b"Port" => query.port = reader.number()?,
            b"SourceNode" => query.source = read_name(reader)?,
            b"Filters" => {
                let count = reader.array_length()?;
                if count > FILTERS_MAX {
                    return Err(WireError::TooLarge);
                }
                for _ in 0..count {
                    query.filters.push(Filter::decode(reader.bytes()?)?);
                }
            }
            b"Flags" => query.flags = reader.number()?,
            b"RelayFactor" => query.relay_factor = reader.number()?,
            b"Timeout" => {
                let nanoseconds = reader.number::<i64>()?;
                query.timeout = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
            }
            b"Name" => query.name = reader.text()?,
            b"Payload" => query.payload = Bytes::copy_from_slice(reader.bytes()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(query)
}

fn encode_response(response: &ResponseMessage) -> Vec<u8> {
    let ResponseMessage { time, id, from, flags, payload } = response;
    let mut writer = Writer::with_type(QUERY_RESPONSE);
    writer.map(5);
    writer.raw("Flags");
    writer.unsigned(u64::from(*flags));
    writer.raw("From");
    writer.raw(from);
    writer.raw("ID");
    writer.unsigned(u64::from(*id));
    writer.raw("LTime");
    writer.unsigned(*time);
    writer.raw("Payload");
    write_payload(&mut writer, payload);
    writer.finish()
}

fn decode_response(reader: &mut Reader<'_>) -> Result<ResponseMessage, WireError> {
    let mut response = ResponseMessage::default();
    reader.map(|key, reader| {
        match key {
            b"LTime" => response.time = reader.number()?,
            b"ID" => response.id = reader.number()?,
            b"From" => response.from = read_name(reader)?,
            b"Flags" => response.flags = reader.number()?,
            b"Payload" => response.payload = Bytes::copy_from_slice(reader.bytes()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(response)
}

fn encode_relay(relay: &Relay) -> Vec<u8> {
    let mut writer = Writer::with_type(RELAY);
    writer.map(2);
    writer.raw("DestAddr");
    writer.map(3);
    writer.raw("IP");
    writer.raw(address::to_bytes(relay.to.ip()));
    writer.raw("Port");
    writer.unsigned(u64::from(relay.to.port()));
    writer.raw("Zone");
    writer.raw("");
    writer.raw("DestName");
    writer.raw(&relay.node);
    writer.append(&relay.message);
    writer.finish()
}

fn decode_relay(reader: &mut Reader<'_>) -> Result<Relay, WireError> {
    let (mut ip, mut port, mut node) = (Bytes::new(), 0, String::new());
    reader.map(|key, reader| {
        match key {
            b"DestAddr" => reader.map(|key, reader| {
                match key {
                    b"IP" => ip = read_address(reader)?,
                    b"Port" => port = reader.number()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            b"DestName" => node = read_name(reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let ip = address::from_bytes(&ip).ok_or(WireError::Malformed("relay without an address"))?;
    let message = Bytes::copy_from_slice(reader.rest());
    Ok(Relay { to: SocketAddr::new(ip, port), node, message })
}

impl SerfState {
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::with_type(PUSH_PULL);
        writer.map(6);
        writer.raw("EventLTime");
        writer.unsigned(self.event_time);
        writer.raw("Events");
        writer.array(self.events.len());
        for slot in &self.events {
            write_slot(&mut writer, slot.as_ref());
        }
        writer.raw("LTime");
        writer.unsigned(self.time);
        writer.raw("LeftMembers");
        writer.array(self.left.len());
        for node in &self.left {
            writer.raw(node);
        }
        writer.raw("QueryLTime");
        writer.unsigned(self.query_time);
        writer.raw("StatusLTimes");
        writer.map(self.status_times.len());
        for (node, time) in &self.status_times {
            writer.raw(node);
            writer.unsigned(*time);
        }
        writer.finish().into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SerfState, WireError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.byte()?;
        if kind != PUSH_PULL {
            return Err(WireError::UnknownType(kind));
        }
        let mut state = SerfState::default();
        reader.map(|key, reader| {
            match key {
                b"LTime" => state.time = reader.number()?,
                b"StatusLTimes" => {
                    for _ in 0..bounded(reader.map_length()?, NODES_MAX)? {
                        let node = read_name(reader)?;
                        state.status_times.insert(node, reader.number()?);
                    }
                }
                b"LeftMembers" => {
                    for _ in 0..bounded(reader.array_length()?, NODES_MAX)? {
                        state.left.insert(read_name(reader)?);
                    }
                }
                b"EventLTime" => state.event_time = reader.number()?,
                b"Events" => {
                    for at in 0..reader.array_length()? {
                        match at < EVENT_TIMES_MAX {
                            true => state.events.push(read_slot(reader)?),
                            false => reader.skip()?,
                        }
                    }
                }
                b"QueryLTime" => state.query_time = reader.number()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(state)
    }
}

fn bounded(count: usize, limit: usize) -> Result<usize, WireError> {
    if count > limit { Err(WireError::TooLarge) } else { Ok(count) }
}

fn write_slot(writer: &mut Writer, slot: Option<&Moment>) {
    let Some(Moment { time, events }) = slot else {
        writer.nil();
        return;
    };
    writer.map(2);
    writer.raw("Events");
    writer.array(events.len());
    for (name, payload) in events {
        writer.map(2);
        writer.raw("Name");
        writer.raw(name);
        writer.raw("Payload");
        write_payload(writer, payload);
    }
    writer.raw("LTime");
    writer.unsigned(*time);
}

fn read_slot(reader: &mut Reader<'_>) -> Result<Option<Moment>, WireError> {
    let (mut moment, mut is_filled) = (Moment::default(), false);
    reader.map(|key, reader| {
        is_filled = true;
        match key {
            b"LTime" => moment.time = reader.number()?,
            b"Events" => {
                for at in 0..reader.array_length()? {
                    match at < EVENTS_PER_TIME_MAX {
                        true => moment.events.push(read_past_event(reader)?),
                        false => reader.skip()?,
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(is_filled.then_some(moment))
}

fn read_past_event(reader: &mut Reader<'_>) -> Result<(String, Bytes), WireError> {
    let (mut name, mut payload) = (String::new(), Bytes::new());
    reader.map(|key, reader| {
        match key {
            b"Name" => name = reader.text()?,
            b"Payload" => payload = Bytes::copy_from_slice(reader.bytes()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((name, payload))
}

fn write_payload(writer: &mut Writer, payload: &[u8]) {
    match payload.is_empty() {
        true => writer.nil(),
        false => writer.raw(payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_written() {
        let messages = [
            SerfMessage::Leave(Intent { time: 7, node: "a".into(), prune: true }),
            SerfMessage::Join(Intent { time: 300, node: "b".into(), prune: false }),
            SerfMessage::Event(EventMessage {
                time: 1,
                name: "deploy".into(),
                payload: Bytes::from_static(b"\xff\x00"),
                coalesce: true,
            }),
            SerfMessage::Query(QueryMessage {
                time: 9,
                id: 0xdead_beef,
                address: Bytes::from_static(&[127, 0, 0, 1]),
                port: 8301,
                source: "a".into(),
                filters: vec![
                    Filter::Nodes(["a".to_owned()].into()),
                    Filter::Tag { tag: "role".into(), expression: "^consul$".into() },
                ],
                flags: FLAG_ACK,
                relay_factor: 2,
                timeout: Duration::from_millis(3200),
                name: "ping".into(),
                payload: Bytes::new(),
            }),
            SerfMessage::Response(ResponseMessage {
                time: 9,
                id: 3,
                from: "b".into(),
                flags: 0,
                payload: Bytes::from_static(b"pong"),
            }),
            SerfMessage::Relay(Relay {
                to: "127.0.0.1:7".parse().unwrap(),
                node: "c".into(),
                message: Bytes::from_static(b"rest"),
            }),
        ];
        for message in messages {
            assert_eq!(SerfMessage::decode(&message.encode()), Ok(message));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            kind in 0..11u8,
            rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        ) {
            let bytes = [&[kind], &rest[..]].concat();
            let _ = SerfMessage::decode(&bytes);
            let _ = SerfState::decode(&[&[PUSH_PULL], &rest[..]].concat());
            let _ = Filter::decode(&bytes);
        }

        #[test]
        fn damaged_state_is_read_or_refused(
            at in proptest::prelude::any::<proptest::prelude::prop::sample::Index>(),
            value: u8,
        ) {
            let moment = Moment { time: 1, events: vec![("x".into(), Bytes::from_static(b"y"))] };
            let state = SerfState {
                time: 5,
                status_times: [("a".to_owned(), 3), ("b".to_owned(), 4)].into(),
                left: ["b".to_owned()].into(),
                events: vec![None, Some(moment)],
                ..SerfState::default()
            };
            let mut bytes = state.encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = SerfState::decode(&bytes);
        }
    }

    #[test]
    fn state_comes_back_as_written() {
        let state = SerfState {
            time: 5,
            status_times: [("a".to_owned(), 3), ("b".to_owned(), 4)].into(),
            left: ["b".to_owned()].into(),
            event_time: 2,
            events: vec![
                None,
                Some(Moment { time: 1, events: vec![("x".into(), Bytes::from_static(b"y"))] }),
                None,
            ],
            query_time: 1,
        };
        assert_eq!(SerfState::decode(&state.encode()), Ok(state));
    }
}
