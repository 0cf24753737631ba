//! Compression: LZW as in GIF, least significant bit first, bytes as literals.

use weezl::{BitOrder, LzwStatus, decode, encode};

use super::WireError;
use super::message::COMPRESS;
use super::msgpack::{Reader, Writer};

/// The only algorithm there is.
const LZW: u8 = 0;
/// Literals are whole bytes.
const LITERAL_BITS: u8 = 8;
/// Bytes decompressed at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// Wraps a message into a compressed one.
pub fn compress(message: &[u8]) -> Vec<u8> {
    let packed = encode::Encoder::new(BitOrder::Lsb, LITERAL_BITS)
        .encode(message)
        .expect("every byte is a literal of eight bits");
    let mut writer = Writer::with_type(COMPRESS);
    writer.map(2);
    writer.raw("Algo");
    writer.unsigned(u64::from(LZW));
    writer.raw("Buf");
    writer.raw(&packed);
    writer.finish()
}

/// Reads the map after the type byte and unpacks it. Errors: `Short` when more is to come, `TooLarge` when it unpacks
/// to more than `limit` bytes.
pub fn decompress(reader: &mut Reader<'_>, limit: usize) -> Result<Vec<u8>, WireError> {
    let (mut algorithm, mut packed) = (LZW, &[][..]);
    reader.map(|key, reader| {
        match key {
            b"Algo" => algorithm = reader.number()?,
            b"Buf" => packed = reader.bytes()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if algorithm != LZW {
        return Err(WireError::Malformed("compressed by an unknown algorithm"));
    }
    unpack(packed, limit)
}

fn unpack(mut packed: &[u8], limit: usize) -> Result<Vec<u8>, WireError> {
    let mut decoder = decode::Decoder::new(BitOrder::Lsb, LITERAL_BITS);
    let mut all = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES.min(limit + 1)];
    loop {
        let result = decoder.decode_bytes(packed, &mut chunk);
        packed = &packed[result.consumed_in..];
        all.extend_from_slice(&chunk[..result.consumed_out]);
        if all.len() > limit {
            return Err(WireError::TooLarge);
        }
        match result.status {
            Ok(LzwStatus::Done) => return Ok(all),
            Ok(LzwStatus::Ok) if result.consumed_in + result.consumed_out > 0 => {}
            _ => return Err(WireError::Malformed("compressed data is damaged")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopen(packed: &[u8], limit: usize) -> Result<Vec<u8>, WireError> {
        decompress(&mut Reader::new(&packed[1..]), limit)
    }

    #[test]
    fn what_was_packed_unpacks() {
        for length in [0, 1, 100, 5000, 400_000] {
            let message: Vec<u8> =
                (0..length as u32).map(|i| (i.wrapping_mul(i) / 7) as u8).collect();
            assert_eq!(reopen(&compress(&message), length), Ok(message));
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let packed = compress(&vec![0; 4 << 20]);
        assert!(packed.len() < 40_000);
        assert_eq!(reopen(&packed, (4 << 20) - 1), Err(WireError::TooLarge));
    }

    #[test]
    fn damaged_data_is_an_error() {
        let packed = compress(b"some words, some words");
        assert!(reopen(&packed[..packed.len() - 3], 100).is_err());
    }
}
