//! Configuration entries in archives: text that holds the kind and the request that once wrote the
//! entry.

use model::config_entry::{ConfigEntry, ConfigEntryBlob, ConfigEntryOp, invalid_kind};
use model::msgpack::{self, DecodeError, Decoder, EncodeError};
use serde::Deserialize;
use serde_bytes::ByteBuf;

/// What is read of the request.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    entry: ConfigEntry,
}

/// The entry in a record's value; `None` for kinds not kept here.
pub(super) fn decode(value: &[u8]) -> Result<Option<ConfigEntry>, DecodeError> {
    let blob: ByteBuf = msgpack::from_slice(value)?;
    let mut decoder = Decoder::new(&blob);
    let kind = String::deserialize(&mut decoder)?;
    match Request::deserialize(&mut decoder) {
        Ok(Request { entry }) => Ok(Some(entry)),
        Err(DecodeError::Mismatch(text)) if text == invalid_kind(&kind) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn encode(entry: &ConfigEntry) -> Result<Vec<u8>, EncodeError> {
    let (op, entry) = (ConfigEntryOp::Upsert, entry.clone());
    let blob = ConfigEntryBlob { op, datacenter: String::new(), entry, token: String::new() };
    msgpack::to_vec(&ByteBuf::from(blob.to_bytes()?))
}

/// The kind of an entry of any kind. For telling only.
pub(super) fn kind_of(value: &[u8]) -> Option<String> {
    let blob: ByteBuf = msgpack::from_slice(value).ok()?;
    String::deserialize(&mut Decoder::new(&blob)).ok()
}
