//! Key-value entries and the operations on them.

use serde::{Deserialize, Serialize};

use crate::wire;

/// Longest value accepted, unless `limits.kv_max_value_size` says otherwise. Unit: bytes.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;

/// One entry, as `/v1/kv/:key` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DirEntry {
    /// How often a session has acquired this key; grows with every new holder.
    pub lock_index: u64,
    #[serde(with = "wire::exact_text")]
    pub key: String,
    pub flags: u64,
    #[serde(with = "wire::bytes")]
    pub value: Vec<u8>,
    /// Session that holds the lock, empty when free.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    pub create_index: u64,
    pub modify_index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvOp {
    #[serde(rename = "set")]
    Set,
    #[serde(rename = "delete")]
    Delete,
    /// Delete if the entry's modify index is the given one.
    #[serde(rename = "delete-cas")]
    DeleteCas,
    #[serde(rename = "delete-tree")]
    DeleteTree,
    /// Set if the entry's modify index is the given one; 0 means it must not exist.
    #[serde(rename = "cas")]
    Cas,
    /// Set and acquire for the entry's session.
    #[serde(rename = "lock")]
    Lock,
    /// Set and release from the entry's session.
    #[serde(rename = "unlock")]
    Unlock,
}

/// One write. The compare index travels in `entry.modify_index`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KvRequest {
    pub op: KvOp,
    #[serde(rename = "DirEnt")]
    pub entry: DirEntry,
}
