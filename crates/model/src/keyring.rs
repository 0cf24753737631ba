//! The gossip encryption keys of all members, seen and changed through gossip queries.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use crate::wire::null_as_default;

/// A gossip key in base64. Never shown but where operators ask for it.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GossipKey(pub String);

/// Why a text is no gossip key. The messages are those operators know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
    #[error("key size must be 16, 24 or 32 bytes")]
    Size,
}

impl GossipKey {
    /// The key itself. Units: 16, 24 or 32 bytes, which choose the strength of AES.
    pub fn bytes(&self) -> Result<Vec<u8>, KeyError> {
        let text = self.0.as_bytes();
        let Ok(key) = base64::engine::general_purpose::STANDARD.decode(text) else {
            return Err(KeyError::Base64(first_fault(text)));
        };
        match key.len() {
            16 | 24 | 32 => Ok(key),
            _ => Err(KeyError::Size),
        }
    }
}

/// Where Go's decoder stops at a text that is no base64.
fn first_fault(text: &[u8]) -> usize {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = text.iter().take_while(|byte| is_digit(byte)).count();
    let group = digits - digits % 4;
    match (digits % 4, text.get(digits), text.get(digits + 1)) {
        // The last group is not whole.
        (_, None, _) => group,
        (2, Some(b'='), None) => text.len(),
        // Behind the padding, which should be the end.
        (2, Some(b'='), Some(b'=')) => digits + 2,
        (3, Some(b'='), Some(_)) => digits + 1,
        _ => digits,
    }
}

impl std::fmt::Debug for GossipKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GossipKey(hidden)")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyringOperation {
    List,
    Install(GossipKey),
    Use(GossipKey),
    Remove(GossipKey),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyringRequest {
    pub operation: KeyringOperation,
    /// Members that relay each answer, 0 to 5.
    pub relay_factor: u8,
    /// Only the pools of the answering server.
    pub local_only: bool,
}

/// What one pool's members answered. Row of `/v1/operator/keyring`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct KeyringResponse {
    #[serde(rename = "WAN")]
    pub wan: bool,
    pub datacenter: String,
    pub segment: String,
    /// By member, what went wrong there.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub messages: BTreeMap<String, String>,
    /// How many members hold each key.
    #[serde(deserialize_with = "null_as_default")]
    pub keys: BTreeMap<String, u32>,
    /// How many members encrypt with each key.
    #[serde(deserialize_with = "null_as_default")]
    pub primary_keys: BTreeMap<String, u32>,
    pub num_nodes: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let check = |text: &str, want: Result<usize, KeyError>| {
            let key = GossipKey(text.to_owned()).bytes().map(|key| key.len());
            assert_eq!(key, want, "{text}");
        };
        check("pUqJrVyVRj5jsiYEkM/tFQ==", Ok(16));
        check("pUqJrVyVRj5jsiYEkM/tFYfSyJv4pUqJ", Ok(24));
        check("pUqJrVyVRj5jsiYEkM/tFYfSyJv4pUqJrVyVRj5jsiY=", Ok(32));
        check("aGVsbG8=", Err(KeyError::Size));
        check("", Err(KeyError::Size));
        for (text, at) in
            [("x", 0), ("#", 0), ("aGVsbG8", 4), ("aG=VsbG8", 2), ("aG=", 3), ("aG==x", 4)]
        {
            check(text, Err(KeyError::Base64(at)));
        }
    }
}
