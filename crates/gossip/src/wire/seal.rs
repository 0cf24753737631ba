//! Encryption: version, nonce, ciphertext and tag of AES-GCM. Version 1 seals as is, version 0 pads first.

use aws_lc_rs::aead::{Aad, Nonce};

use super::WireError;
use super::keyring::{Key, Keyring};

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;
const PADDED: u8 = 0;
const UNPADDED: u8 = 1;
/// What sealing adds to a message: version, nonce, tag.
pub const OVERHEAD_BYTES: usize = 1 + NONCE_BYTES + TAG_BYTES;

/// Seals without padding. The nonce must be fresh for the key.
pub fn seal(key: &Key, nonce: [u8; 12], plain: &[u8], associated: &[u8]) -> Vec<u8> {
    seal_as(UNPADDED, key, nonce, plain.to_vec(), associated)
}

fn seal_as(
    version: u8,
    key: &Key,
    nonce: [u8; 12],
    mut text: Vec<u8>,
    associated: &[u8],
) -> Vec<u8> {
    let tag = key
        .cipher
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated),
            &mut text,
        )
        .expect("a message is far shorter than what one nonce may seal");
    [&[version], &nonce[..], &text, tag.as_ref()].concat()
}

/// Opens with any key of the ring. Errors: `NoKey` when none fits or the blob is no sealed message.
pub fn open(ring: &Keyring, blob: &[u8], associated: &[u8]) -> Result<Vec<u8>, WireError> {
    if blob.len() < OVERHEAD_BYTES || blob[0] > UNPADDED {
        return Err(WireError::NoKey);
    }
    let (head, sealed) = blob.split_at(1 + NONCE_BYTES);
    let nonce: [u8; NONCE_BYTES] = head[1..].try_into().expect("the head holds a nonce");
    for key in ring.keys() {
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        if let Ok(plain) = key.cipher.open_in_place(nonce, Aad::from(associated), &mut text) {
            let length = plain.len();
            text.truncate(length);
            return match blob[0] {
                PADDED => unpad(text),
                _ => Ok(text),
            };
        }
    }
    Err(WireError::NoKey)
}

/// Takes off PKCS#7 padding.
fn unpad(mut text: Vec<u8>) -> Result<Vec<u8>, WireError> {
    let padding = usize::from(text.last().copied().unwrap_or_default());
    let is_padding = (1..=BLOCK_BYTES).contains(&padding)
        && padding <= text.len()
        && text[text.len() - padding..].iter().all(|byte| usize::from(*byte) == padding);
    if !is_padding {
        return Err(WireError::Malformed("padding is damaged"));
    }
    text.truncate(text.len() - padding);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[(u8, usize)]) -> Keyring {
        Keyring::new(keys.iter().map(|(byte, size)| Key::new(&vec![*byte; *size]).unwrap()))
            .unwrap()
    }

    #[test]
    fn any_key_of_the_ring_opens_every_key_size_seals() {
        for size in [16, 24, 32] {
            let blob = seal(ring(&[(1, size)]).primary(), [9; 12], b"hello", b"with");
            assert_eq!(blob.len(), 5 + OVERHEAD_BYTES);
            assert_eq!(open(&ring(&[(2, 16), (1, size)]), &blob, b"with"), Ok(b"hello".to_vec()));
            assert_eq!(open(&ring(&[(2, 16)]), &blob, b"with"), Err(WireError::NoKey));
            assert_eq!(open(&ring(&[(1, size)]), &blob, b"out"), Err(WireError::NoKey));
        }
    }

    #[test]
    fn the_padded_version_is_understood() {
        let ring = ring(&[(1, 16)]);
        for (padded, plain) in [
            (&b"hello\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b"[..], Some(&b"hello"[..])),
            (&[16; 16][..], Some(&[][..])),
            (&b"hello"[..], None),
            (&b""[..], None),
            (&[17; 32][..], None),
        ] {
            let blob = seal_as(PADDED, ring.primary(), [3; 12], padded.to_vec(), b"");
            assert_eq!(open(&ring, &blob, b"").ok().as_deref(), plain, "{padded:?}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let ring = ring(&[(1, 16)]);
        let blob = seal(ring.primary(), [9; 12], b"hi", b"");
        for bit in 0..blob.len() * 8 {
            let mut damaged = blob.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&ring, &damaged, b"").is_err(), "bit {bit}");
        }
    }
}
