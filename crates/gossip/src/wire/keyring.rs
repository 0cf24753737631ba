//! The keys of a pool: the first seals, all open.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Most keys held: a rotation needs two, and every packet that opens with none tries them all.
pub const KEYS_MAX: usize = 32;

/// Why a keyring is not changed or made. The texts are answers to other agents, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("key size must be 16, 24 or 32 bytes")]
    Size,
    #[error("requested key is not in the keyring")]
    Unknown,
    #[error("removing the primary key is not allowed")]
    Primary,
    #[error("the keyring holds as many keys as it may")]
    Full,
    #[error("the keyring has no key")]
    Empty,
    #[error("key is not base64")]
    Encoding,
}

/// One AES-GCM key; never shown.
#[derive(Clone)]
pub struct Key {
    bytes: Vec<u8>,
    pub(super) cipher: std::sync::Arc<LessSafeKey>,
}

impl Key {
    /// Takes 16, 24 or 32 bytes for AES-128, -192 or -256.
    pub fn new(bytes: &[u8]) -> Result<Key, KeyError> {
        let algorithm = match bytes.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            _ => return Err(KeyError::Size),
        };
        let cipher = UnboundKey::new(algorithm, bytes).map_err(|_| KeyError::Size)?;
        Ok(Key { bytes: bytes.to_vec(), cipher: LessSafeKey::new(cipher).into() })
    }

    /// Reads the form of configurations and keyring files.
    pub fn from_base64(text: &str) -> Result<Key, KeyError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError::Encoding)?;
        Key::new(&bytes)
    }

    /// The key itself, for the keyring file and for answers to `keyring -list`.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// An ordered list of distinct keys with the primary first; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// Errors: `Empty` without a key, `Full` with too many.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Keyring, KeyError> {
        let mut ring = Keyring { keys: Vec::new() };
        for key in keys {
            ring.install(key)?;
        }
        if ring.keys.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(ring)
    }

    pub fn primary(&self) -> &Key {
        self.keys.first().expect("a keyring is never empty")
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Adds a key at the end; returns whether it is new.
    pub fn install(&mut self, key: Key) -> Result<bool, KeyError> {
        if self.keys.contains(&key) {
            return Ok(false);
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(KeyError::Full);
        }
        self.keys.push(key);
        Ok(true)
    }

    /// Makes an installed key the primary one.
    pub fn choose(&mut self, key: &Key) -> Result<(), KeyError> {
        let at = self.keys.iter().position(|known| known == key).ok_or(KeyError::Unknown)?;
        let key = self.keys.remove(at);
        self.keys.insert(0, key);
        Ok(())
    }

    /// Takes out a key that is not the primary one; returns whether it was there.
    pub fn remove(&mut self, key: &Key) -> Result<bool, KeyError> {
        if self.primary() == key {
            return Err(KeyError::Primary);
        }
        let before = self.keys.len();
        self.keys.retain(|known| known != key);
        Ok(self.keys.len() < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 16]).unwrap()
    }

    #[test]
    fn keys_come_and_go_in_order() {
        let mut ring = Keyring::new([key(1)]).unwrap();
        assert_eq!(ring.install(key(2)), Ok(true));
        assert_eq!(ring.install(key(2)), Ok(false));
        assert_eq!(ring.choose(&key(3)), Err(KeyError::Unknown));
        assert_eq!(ring.choose(&key(2)), Ok(()));
        assert_eq!(ring.keys(), [key(2), key(1)]);
        assert_eq!(ring.remove(&key(2)), Err(KeyError::Primary));
        assert_eq!(ring.remove(&key(1)), Ok(true));
        assert_eq!(ring.remove(&key(1)), Ok(false));
    }

    #[test]
    fn sizes_and_numbers_are_bounded() {
        for (size, ok) in [(0, false), (15, false), (16, true), (24, true), (32, true), (33, false)]
        {
            assert_eq!(Key::new(&vec![1; size]).is_ok(), ok, "{size}");
        }
        assert_eq!(Keyring::new([]), Err(KeyError::Empty));
        assert_eq!(Keyring::new((0..=KEYS_MAX as u8).map(key)), Err(KeyError::Full));
    }

    #[test]
    fn a_key_is_never_shown() {
        let ring = Keyring::new([key(7)]).unwrap();
        assert_eq!(format!("{ring:?}"), "Keyring { keys: [Key(..)] }");
    }
}
