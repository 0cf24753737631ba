//! Datagrams: compound, compressed, checked and sealed, in this order from the inside out.

use bytes::Bytes;

use super::message::{CHECKSUM, COMPOUND, COMPRESS, LABEL, Message};
use super::msgpack::Reader;
use super::{WireError, keyring::Keyring, lzw, seal};

/// Largest datagram sent: fits an Ethernet frame with room for tunnels, and is what peers size theirs to.
pub const PACKET_BYTES_MAX: usize = 1400;
/// Largest datagram read, which is what UDP can carry.
pub const RECEIVED_BYTES_MAX: usize = 65_535;
/// Largest content a packet unpacks to. Senders compress what fits a packet of theirs, so this has room for any
/// honest one and none for a bomb.
const UNPACKED_BYTES_MAX: usize = 256 << 10;
/// How deep layers nest: an honest packet is checked, compressed, compound.
const LAYERS_MAX: usize = 6;
/// Most messages taken from one packet, all layers together.
const MESSAGES_MAX: usize = 1024;
/// Most parts of one compound message, whose count is one byte.
pub const PARTS_MAX: usize = 255;
/// What a compound message costs by itself and for each part.
pub const COMPOUND_BYTES: usize = 2;
pub const PART_BYTES: usize = 2;

/// How packets to one peer are dressed.
#[derive(Clone, Copy, Debug)]
pub struct Dress<'a> {
    pub compress: bool,
    pub checksum: bool,
    /// Keys and a nonce never used before.
    pub seal: Option<(&'a Keyring, [u8; 12])>,
}

/// Puts messages into one packet: `parts` holds one to 255 of them.
pub fn encode(parts: &[Bytes], dress: Dress<'_>) -> Vec<u8> {
    let mut bytes = match parts {
        [message] => message.to_vec(),
        _ => compound(parts),
    };
    if dress.compress {
        let packed = lzw::compress(&bytes);
        if packed.len() < bytes.len() {
            bytes = packed;
        }
    }
    if dress.checksum {
        let sum = crc32fast::hash(&bytes);
        bytes = [&[CHECKSUM], &sum.to_be_bytes()[..], &bytes].concat();
    }
    if let Some((ring, nonce)) = dress.seal {
        bytes = seal::seal(ring.primary(), nonce, &bytes, b"");
    }
    bytes
}

fn compound(parts: &[Bytes]) -> Vec<u8> {
    let count = u8::try_from(parts.len()).expect("a compound message has 255 parts at most");
    let mut bytes = vec![COMPOUND, count];
    for part in parts {
        let length = u16::try_from(part.len()).expect("a part fits a packet");
        bytes.extend(length.to_be_bytes());
    }
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Takes off all layers.
///
/// Shape: the messages in the order sent; parts of a compound message that are malformed are left out and counted.
/// Errors: what made the packet as a whole unreadable. `ring` and `verify` say whether plain packets are let in.
pub fn decode(
    bytes: &[u8],
    ring: Option<&Keyring>,
    verify: bool,
) -> Result<(Vec<Message>, usize), WireError> {
    if bytes.len() > RECEIVED_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    if bytes.first() == Some(&LABEL) {
        return Err(WireError::Label);
    }
    let mut opened = None;
    if let Some(ring) = ring {
        match seal::open(ring, bytes, b"") {
            Ok(plain) => opened = Some(plain),
            Err(error) if verify => return Err(error),
            Err(_) => {}
        }
    }
    let mut bytes = opened.as_deref().unwrap_or(bytes);
    if let [CHECKSUM, a, b, c, d, rest @ ..] = bytes {
        if crc32fast::hash(rest) != u32::from_be_bytes([*a, *b, *c, *d]) {
            return Err(WireError::Checksum);
        }
        bytes = rest;
    }
    let mut found = Found::default();
    found.layer(bytes, LAYERS_MAX)?;
    Ok((found.messages, found.damaged))
}

#[derive(Default)]
struct Found {
    messages: Vec<Message>,
    damaged: usize,
    unpacked_bytes: usize,
}

impl Found {
    fn layer(&mut self, bytes: &[u8], depth: usize) -> Result<(), WireError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(WireError::Malformed("layers nest too deeply"));
        };
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            COMPRESS => {
                let plain = lzw::decompress(&mut reader, UNPACKED_BYTES_MAX - self.unpacked_bytes)?;
                self.unpacked_bytes += plain.len();
                self.layer(&plain, depth)
            }
            COMPOUND => {
                let count = usize::from(reader.byte()?);
                let mut lengths = Reader::new(reader.take(count * PART_BYTES)?);
                for _ in 0..count {
                    let length = lengths.take(PART_BYTES)?;
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    // A truncated packet still gives its whole parts.
                    let Ok(part) = reader.take(length) else {
                        self.damaged += 1;
                        break;
                    };
                    if self.layer(part, depth).is_err() {
                        self.damaged += 1;
                    }
                }
                Ok(())
            }
            _ if self.messages.len() >= MESSAGES_MAX => Err(WireError::TooLarge),
            _ => {
                self.messages.push(Message::decode(bytes)?);
                Ok(())
            }
        }
    }
}
