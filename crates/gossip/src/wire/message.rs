//! The messages of the membership protocol: a type byte and one msgpack map each.

use bytes::Bytes;

use super::WireError;
use super::msgpack::{Reader, Writer};

pub const PING: u8 = 0;
pub const INDIRECT_PING: u8 = 1;
pub const ACK: u8 = 2;
pub const SUSPECT: u8 = 3;
pub const ALIVE: u8 = 4;
pub const DEAD: u8 = 5;
pub const PUSH_PULL: u8 = 6;
pub const COMPOUND: u8 = 7;
pub const USER: u8 = 8;
pub const COMPRESS: u8 = 9;
pub const ENCRYPT: u8 = 10;
pub const NACK: u8 = 11;
pub const CHECKSUM: u8 = 12;
pub const ERROR: u8 = 13;
pub const LABEL: u8 = 244;

/// Longest node name taken in: names of agents have 128 characters at most, WAN ones add their datacenter.
pub const NAME_BYTES_MAX: usize = 512;
/// Longest metadata of a node, tags encoded: the protocol's own limit.
pub const META_BYTES_MAX: usize = 512;

/// Protocol versions of a node, as every one of its alive messages tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub protocol_min: u8,
    pub protocol_max: u8,
    pub protocol: u8,
    pub delegate_min: u8,
    pub delegate_max: u8,
    pub delegate: u8,
}

impl Versions {
    /// What Consul 1.8 and later say.
    pub const OURS: Versions = Versions {
        protocol_min: 1,
        protocol_max: 5,
        protocol: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate: 4,
    };

    pub fn to_bytes(self) -> [u8; 6] {
        let Versions { protocol_min, protocol_max, protocol, .. } = self;
        [protocol_min, protocol_max, protocol, self.delegate_min, self.delegate_max, self.delegate]
    }

    /// None unless at least six bytes name a range of protocols.
    pub fn from_bytes(bytes: &[u8]) -> Option<Versions> {
        let &[protocol_min, protocol_max, protocol, delegate_min, delegate_max, delegate, ..] =
            bytes
        else {
            return None;
        };
        if protocol_max == 0 || protocol_min > protocol_max {
            return None;
        }
        Some(Versions {
            protocol_min,
            protocol_max,
            protocol,
            delegate_min,
            delegate_max,
            delegate,
        })
    }

    pub fn has_tcp_ping(self) -> bool {
        self.protocol_max >= 3
    }

    pub fn has_nack(self) -> bool {
        self.protocol_max >= 4
    }

    pub fn has_checksum(self) -> bool {
        self.protocol_max >= 5
    }
}

/// Where an answer is wanted, when not at the address a packet came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Raw address, empty when not told.
    pub address: Bytes,
    pub port: u16,
    pub node: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ping {
    pub sequence: u32,
    /// Whom it is for; empty is anybody.
    pub node: String,
    pub source: Source,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndirectPing {
    pub sequence: u32,
    pub target: Bytes,
    pub port: u16,
    pub node: String,
    /// Whether to say so when the target is silent.
    pub wants_nack: bool,
    pub source: Source,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    pub sequence: u32,
    pub payload: Bytes,
}

/// A suspect or a dead message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accusation {
    pub incarnation: u32,
    pub node: String,
    pub from: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    pub incarnation: u32,
    pub node: String,
    pub address: Bytes,
    pub port: u16,
    pub meta: Bytes,
    pub versions: Bytes,
}

/// What a packet may carry once its layers are off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Ping(Ping),
    IndirectPing(IndirectPing),
    Ack(Ack),
    Nack(u32),
    Suspect(Accusation),
    Alive(Alive),
    Dead(Accusation),
    /// Belongs to the serf layer.
    User(Bytes),
}

impl Message {
    pub fn encode(&self) -> Bytes {
        let bytes = match self {
            Message::Ping(ping) => encode_ping(ping),
            Message::IndirectPing(ping) => encode_indirect_ping(ping),
            Message::Ack(ack) => encode_ack(ack),
            Message::Nack(sequence) => {
                let mut writer = Writer::with_type(NACK);
                writer.map(1);
                writer.raw("SeqNo");
                writer.unsigned(u64::from(*sequence));
                writer.finish()
            }
            Message::Suspect(accusation) => encode_accusation(SUSPECT, accusation),
            Message::Dead(accusation) => encode_accusation(DEAD, accusation),
            Message::Alive(alive) => encode_alive(alive),
            Message::User(payload) => [&[USER], &payload[..]].concat(),
        };
        bytes.into()
    }

    /// Reads one message without layers. Errors: unknown type, malformed or over-long fields.
    pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.byte()? {
            PING => Message::Ping(decode_ping(&mut reader)?),
            INDIRECT_PING => Message::IndirectPing(decode_indirect_ping(&mut reader)?),
            ACK => Message::Ack(decode_ack(&mut reader)?),
            NACK => Message::Nack(decode_ack(&mut reader)?.sequence),
            SUSPECT => Message::Suspect(decode_accusation(&mut reader)?),
            DEAD => Message::Dead(decode_accusation(&mut reader)?),
            ALIVE => Message::Alive(decode_alive(&mut reader)?),
            USER => Message::User(Bytes::copy_from_slice(reader.rest())),
            other => return Err(WireError::UnknownType(other)),
        };
        Ok(message)
    }
}

fn encode_ping(ping: &Ping) -> Vec<u8> {
    let mut writer = Writer::with_type(PING);
    writer.map(2 + ping.source.fields());
    writer.raw("Node");
    writer.raw(&ping.node);
    writer.raw("SeqNo");
    writer.unsigned(u64::from(ping.sequence));
    ping.source.write(&mut writer);
    writer.finish()
}

fn encode_indirect_ping(ping: &IndirectPing) -> Vec<u8> {
    let mut writer = Writer::with_type(INDIRECT_PING);
    writer.map(5 + ping.source.fields());
    writer.raw("Nack");
    writer.bool(ping.wants_nack);
    writer.raw("Node");
    writer.raw(&ping.node);
    writer.raw("Port");
    writer.unsigned(u64::from(ping.port));
    writer.raw("SeqNo");
    writer.unsigned(u64::from(ping.sequence));
    ping.source.write(&mut writer);
    writer.raw("Target");
    writer.raw(&ping.target);
    writer.finish()
}

pub(crate) fn encode_ack(ack: &Ack) -> Vec<u8> {
    let mut writer = Writer::with_type(ACK);
    writer.map(2);
    writer.raw("Payload");
    match ack.payload.is_empty() {
        true => writer.nil(),
        false => writer.raw(&ack.payload),
    }
    writer.raw("SeqNo");
    writer.unsigned(u64::from(ack.sequence));
    writer.finish()
}

fn encode_accusation(kind: u8, accusation: &Accusation) -> Vec<u8> {
    let Accusation { incarnation, node, from } = accusation;
    let mut writer = Writer::with_type(kind);
    writer.map(3);
    writer.raw("From");
    writer.raw(from);
    writer.raw("Incarnation");
    writer.unsigned(u64::from(*incarnation));
    writer.raw("Node");
    writer.raw(node);
    writer.finish()
}

fn encode_alive(alive: &Alive) -> Vec<u8> {
    let Alive { incarnation, node, address, port, meta, versions } = alive;
    let mut writer = Writer::with_type(ALIVE);
    writer.map(6);
    writer.raw("Addr");
    writer.raw(address);
    writer.raw("Incarnation");
    writer.unsigned(u64::from(*incarnation));
    writer.raw("Meta");
    writer.raw(meta);
    writer.raw("Node");
    writer.raw(node);
    writer.raw("Port");
    writer.unsigned(u64::from(*port));
    writer.raw("Vsn");
    writer.raw(versions);
    writer.finish()
}

impl Source {
    /// How many of its keys are written.
    fn fields(&self) -> usize {
        usize::from(!self.address.is_empty())
            + usize::from(!self.node.is_empty())
            + usize::from(self.port != 0)
    }

    fn write(&self, writer: &mut Writer) {
        if !self.address.is_empty() {
            writer.raw("SourceAddr");
            writer.raw(&self.address);
        }
        if !self.node.is_empty() {
            writer.raw("SourceNode");
            writer.raw(&self.node);
        }
        if self.port != 0 {
            writer.raw("SourcePort");
            writer.unsigned(u64::from(self.port));
        }
    }

    fn read(&mut self, key: &[u8], reader: &mut Reader<'_>) -> Result<bool, WireError> {
        match key {
            b"SourceAddr" => self.address = read_address(reader)?,
            b"SourceNode" => self.node = read_name(reader)?,
            b"SourcePort" => self.port = reader.number()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

pub(crate) fn decode_ping(reader: &mut Reader<'_>) -> Result<Ping, WireError> {
    let mut ping = Ping::default();
    reader.map(|key, reader| {
        match key {
            b"SeqNo" => ping.sequence = reader.number()?,
            b"Node" => ping.node = read_name(reader)?,
            _ => return ping.source.read(key, reader),
        }
        Ok(true)
    })?;
    Ok(ping)
}

fn decode_indirect_ping(reader: &mut Reader<'_>) -> Result<IndirectPing, WireError> {
    let mut ping = IndirectPing::default();
    reader.map(|key, reader| {
        match key {
            b"SeqNo" => ping.sequence = reader.number()?,
            b"Target" => ping.target = read_address(reader)?,
            b"Port" => ping.port = reader.number()?,
            b"Node" => ping.node = read_name(reader)?,
            b"Nack" => ping.wants_nack = reader.bool()?,
            _ => return ping.source.read(key, reader),
        }
        Ok(true)
    })?;
    Ok(ping)
}

pub(crate) fn decode_ack(reader: &mut Reader<'_>) -> Result<Ack, WireError> {
    let mut ack = Ack::default();
    reader.map(|key, reader| {
        match key {
            b"SeqNo" => ack.sequence = reader.number()?,
            b"Payload" => ack.payload = Bytes::copy_from_slice(reader.bytes()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(ack)
}

fn decode_accusation(reader: &mut Reader<'_>) -> Result<Accusation, WireError> {
    let mut accusation = Accusation::default();
    reader.map(|key, reader| {
        match key {
            b"Incarnation" => accusation.incarnation = reader.number()?,
            b"Node" => accusation.node = read_name(reader)?,
            b"From" => accusation.from = read_name(reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(accusation)
}

fn decode_alive(reader: &mut Reader<'_>) -> Result<Alive, WireError> {
    let mut alive = Alive::default();
    reader.map(|key, reader| {
        match key {
            b"Incarnation" => alive.incarnation = reader.number()?,
            b"Node" => alive.node = read_name(reader)?,
            b"Addr" => alive.address = read_address(reader)?,
            b"Port" => alive.port = reader.number()?,
            b"Meta" => alive.meta = read_meta(reader)?,
            b"Vsn" => alive.versions = read_versions(reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(alive)
}

pub(crate) fn read_name(reader: &mut Reader<'_>) -> Result<String, WireError> {
    let name = reader.text()?;
    if name.len() > NAME_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    Ok(name)
}

pub(crate) fn read_meta(reader: &mut Reader<'_>) -> Result<Bytes, WireError> {
    read_short(reader, META_BYTES_MAX)
}

pub(crate) fn read_address(reader: &mut Reader<'_>) -> Result<Bytes, WireError> {
    read_short(reader, 16)
}

pub(crate) fn read_versions(reader: &mut Reader<'_>) -> Result<Bytes, WireError> {
    // Later protocols may add to the six.
    read_short(reader, 64)
}

fn read_short(reader: &mut Reader<'_>, limit: usize) -> Result<Bytes, WireError> {
    let bytes = reader.bytes()?;
    if bytes.len() > limit {
        return Err(WireError::TooLarge);
    }
    Ok(Bytes::copy_from_slice(bytes))
}
