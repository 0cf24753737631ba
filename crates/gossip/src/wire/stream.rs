//! Connections: one message each way, sealed as a whole, compressed as a whole.

use bytes::Bytes;

use super::message::{
    self, ACK, Ack, COMPRESS, ENCRYPT, ERROR, LABEL, PING, PUSH_PULL, Ping, USER, read_address,
    read_meta, read_name, read_versions,
};
use super::msgpack::{Reader, Writer};
use super::{WireError, keyring::Keyring, lzw, seal};

/// Largest message on a stream: what peers allow for sealed messages and for the user's state.
pub const STREAM_BYTES_MAX: usize = 20 << 20;
/// Largest content a stream unpacks to, which is the cap newer peers use.
const UNPACKED_BYTES_MAX: usize = 40 << 20;
/// Most nodes in one push/pull: more than any pool known, few enough to hold.
pub const NODES_MAX: usize = 1 << 16;
/// Longest error text taken from a peer.
const ERROR_BYTES_MAX: usize = 1024;
/// Type and length before a sealed message.
const FRAME_BYTES: usize = 5;

/// A node as push/pull tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    pub name: String,
    pub address: Bytes,
    pub port: u16,
    pub meta: Bytes,
    pub incarnation: u32,
    /// 0 alive, 1 suspect, 2 dead, 3 left.
    pub state: u8,
    pub versions: Bytes,
}

/// Everything one side knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushPull {
    pub is_join: bool,
    pub nodes: Vec<NodeState>,
    /// Belongs to the serf layer.
    pub user: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamMessage {
    PushPull(PushPull),
    Ping(Ping),
    Ack(Ack),
    User(Bytes),
    Error(String),
}

impl StreamMessage {
    /// The bytes for the wire, compressed and sealed as told. The nonce must be fresh.
    pub fn encode(&self, compress: bool, seal: Option<(&Keyring, [u8; 12])>) -> Bytes {
        let mut bytes = self.encode_plain();
        if compress {
            bytes = lzw::compress(&bytes);
        }
        if let Some((ring, nonce)) = seal {
            let length = (bytes.len() + seal::OVERHEAD_BYTES) as u32;
            let frame = [&[ENCRYPT], &length.to_be_bytes()[..]].concat();
            let blob = seal::seal(ring.primary(), nonce, &bytes, &frame);
            bytes = [frame, blob].concat();
        }
        bytes.into()
    }

    fn encode_plain(&self) -> Vec<u8> {
        match self {
            StreamMessage::PushPull(state) => encode_push_pull(state),
            StreamMessage::Ping(ping) => message::Message::Ping(ping.clone()).encode().to_vec(),
            StreamMessage::Ack(ack) => message::encode_ack(ack),
            StreamMessage::User(payload) => {
                let mut writer = Writer::with_type(USER);
                writer.map(1);
                writer.raw("UserMsgLen");
                writer.unsigned(payload.len() as u64);
                writer.append(payload);
                writer.finish()
            }
            StreamMessage::Error(text) => {
                let mut writer = Writer::with_type(ERROR);
                writer.map(1);
                writer.raw("Error");
                writer.raw(text);
                writer.finish()
            }
        }
    }
}

fn encode_push_pull(state: &PushPull) -> Vec<u8> {
    let mut writer = Writer::with_type(PUSH_PULL);
    writer.map(3);
    writer.raw("Join");
    writer.bool(state.is_join);
    writer.raw("Nodes");
    writer.unsigned(state.nodes.len() as u64);
    writer.raw("UserStateLen");
    writer.unsigned(state.user.len() as u64);
    for node in &state.nodes {
        let NodeState { name, address, port, meta, incarnation, state, versions } = node;
        writer.map(7);
        writer.raw("Addr");
        writer.raw(address);
        writer.raw("Incarnation");
        writer.unsigned(u64::from(*incarnation));
        writer.raw("Meta");
        writer.raw(meta);
        writer.raw("Name");
        writer.raw(name);
        writer.raw("Port");
        writer.unsigned(u64::from(*port));
        writer.raw("State");
        writer.unsigned(u64::from(*state));
        writer.raw("Vsn");
        writer.raw(versions);
    }
    writer.append(&state.user);
    writer.finish()
}

/// Collects the bytes of one incoming message.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    buffer: Vec<u8>,
    /// A plain push/pull that has begun to arrive, so that nothing is read twice.
    begun: Option<Begun>,
}

/// How far a plain push/pull is read.
#[derive(Debug)]
struct Begun {
    at: usize,
    nodes_left: usize,
    user_bytes: usize,
    state: PushPull,
}

impl StreamDecoder {
    /// Bytes held.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes bytes in and returns the message once it is whole; what follows it is ignored.
    ///
    /// Errors: everything but `Short`; the stream is of no use afterwards.
    pub fn push(
        &mut self,
        bytes: &[u8],
        ring: Option<&Keyring>,
        verify: bool,
    ) -> Result<Option<StreamMessage>, WireError> {
        if self.buffer.len() + bytes.len() > STREAM_BYTES_MAX + FRAME_BYTES {
            return Err(WireError::TooLarge);
        }
        self.buffer.extend_from_slice(bytes);
        match self.try_decode(ring, verify) {
            Ok(message) => Ok(Some(message)),
            Err(WireError::Short) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn try_decode(
        &mut self,
        ring: Option<&Keyring>,
        verify: bool,
    ) -> Result<StreamMessage, WireError> {
        let kind = *self.buffer.first().ok_or(WireError::Short)?;
        if kind == LABEL {
            return Err(WireError::Label);
        }
        if kind == ENCRYPT {
            let ring = ring.ok_or(WireError::NoKey)?;
            let plain = open_frame(&self.buffer, ring)?;
            return whole(decode_layers(&plain));
        }
        if ring.is_some() && verify {
            return Err(WireError::NotEncrypted);
        }
        if kind == PUSH_PULL {
            return self.go_on_push_pull();
        }
        decode_layers(&self.buffer)
    }

    fn go_on_push_pull(&mut self) -> Result<StreamMessage, WireError> {
        if self.begun.is_none() {
            self.begun = Some(begin_push_pull(&self.buffer)?);
        }
        let begun = self.begun.as_mut().expect("it has just begun");
        begun.go_on(&self.buffer)?;
        Ok(StreamMessage::PushPull(std::mem::take(&mut begun.state)))
    }
}

/// A message inside another that ends early never gets longer.
fn whole<T>(result: Result<T, WireError>) -> Result<T, WireError> {
    match result {
        Err(WireError::Short) => Err(WireError::Malformed("message inside another ends early")),
        other => other,
    }
}

fn open_frame(buffer: &[u8], ring: &Keyring) -> Result<Vec<u8>, WireError> {
    let mut reader = Reader::new(buffer);
    let frame = reader.take(FRAME_BYTES)?;
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize;
    if length > STREAM_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    seal::open(ring, reader.take(length)?, frame)
}

/// Reads a message that may be compressed.
fn decode_layers(bytes: &[u8]) -> Result<StreamMessage, WireError> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != COMPRESS {
        return decode_plain(bytes);
    }
    let plain = lzw::decompress(&mut reader, UNPACKED_BYTES_MAX)?;
    whole(decode_plain(&plain))
}

fn decode_plain(bytes: &[u8]) -> Result<StreamMessage, WireError> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        PUSH_PULL => {
            let mut begun = begin_push_pull(bytes)?;
            begun.go_on(bytes)?;
            Ok(StreamMessage::PushPull(begun.state))
        }
        PING => Ok(StreamMessage::Ping(message::decode_ping(&mut reader)?)),
        ACK => Ok(StreamMessage::Ack(message::decode_ack(&mut reader)?)),
        USER => {
            let mut length = 0;
            reader.map(|key, reader| {
                if key != b"UserMsgLen" {
                    return Ok(false);
                }
                length = reader.number::<usize>()?;
                Ok(true)
            })?;
            if length > STREAM_BYTES_MAX {
                return Err(WireError::TooLarge);
            }
            Ok(StreamMessage::User(Bytes::copy_from_slice(reader.take(length)?)))
        }
        ERROR => {
            let mut text = String::new();
            reader.map(|key, reader| {
                if key != b"Error" {
                    return Ok(false);
                }
                let bytes = reader.bytes()?;
                let bytes = &bytes[..bytes.len().min(ERROR_BYTES_MAX)];
                text = String::from_utf8_lossy(bytes).into_owned();
                Ok(true)
            })?;
            Ok(StreamMessage::Error(text))
        }
        other => Err(WireError::UnknownType(other)),
    }
}

fn begin_push_pull(bytes: &[u8]) -> Result<Begun, WireError> {
    let mut reader = Reader::new(&bytes[1..]);
    let (mut nodes_left, mut user_bytes, mut is_join) = (0usize, 0usize, false);
    reader.map(|key, reader| {
        match key {
            b"Nodes" => nodes_left = reader.number()?,
            b"UserStateLen" => user_bytes = reader.number()?,
            b"Join" => is_join = reader.bool()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if nodes_left > NODES_MAX || user_bytes > STREAM_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    let state = PushPull { is_join, ..PushPull::default() };
    Ok(Begun { at: bytes.len() - reader.rest().len(), nodes_left, user_bytes, state })
}

impl Begun {
    fn go_on(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        while self.nodes_left > 0 {
            let mut reader = Reader::new(&bytes[self.at..]);
            self.state.nodes.push(decode_node(&mut reader)?);
            self.at = bytes.len() - reader.rest().len();
            self.nodes_left -= 1;
        }
        let user = Reader::new(&bytes[self.at..]).take(self.user_bytes)?;
        self.state.user = Bytes::copy_from_slice(user);
        Ok(())
    }
}

fn decode_node(reader: &mut Reader<'_>) -> Result<NodeState, WireError> {
    let mut node = NodeState::default();
    reader.map(|key, reader| {
        match key {
            b"Name" => node.name = read_name(reader)?,
            b"Addr" => node.address = read_address(reader)?,
            b"Port" => node.port = reader.number()?,
            b"Meta" => node.meta = read_meta(reader)?,
            b"Incarnation" => node.incarnation = reader.number()?,
            b"State" => node.state = reader.number()?,
            b"Vsn" => node.versions = read_versions(reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(node)
}
