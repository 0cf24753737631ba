//! The form of a command in the log: one byte for the kind, then msgpack with field names, so that
//! fields may be added without breaking what was written before.

use model::command::Command;

/// A [`Command`] in msgpack.
const KIND_COMMAND: u8 = 1;

pub(crate) fn encode(command: &Command) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(KIND_COMMAND);
    rmp_serde::encode::write_named(&mut bytes, command).map_err(|e| e.to_string())?;
    Ok(bytes)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Command, String> {
    match bytes.split_first() {
        Some((&KIND_COMMAND, body)) => rmp_serde::from_slice(body).map_err(|e| e.to_string()),
        Some((kind, _)) => Err(format!("unknown kind {kind}, written by a later release?")),
        None => Err("empty".into()),
    }
}

#[cfg(test)]
mod tests {
    use model::catalog::RegisterRequest;
    use model::kv::{DirEntry, KvOp, KvRequest};
    use model::service::NodeService;
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_come_back_as_they_were() {
        let kv = DirEntry { key: "k/é".into(), value: vec![0, 255, 7], ..DirEntry::default() };
        let mut service = NodeService { name: "web".into(), port: 80, ..NodeService::default() };
        service.proxy.config.insert("nested".into(), json!({"a": [1, 2.5, null, "x"]}));
        let register = RegisterRequest { service: Some(service), ..RegisterRequest::default() };
        for command in [
            Command::Kv(KvRequest { op: KvOp::DeleteCas, entry: kv }),
            Command::Register(Box::new(register)),
            Command::ReapTombstones(77),
        ] {
            assert_eq!(decode(&encode(&command).unwrap()), Ok(command));
        }
    }

    #[test]
    fn foreign_bytes_are_refused_with_a_reason() {
        assert_eq!(decode(&[]), Err("empty".into()));
        assert!(decode(&[9, 1]).unwrap_err().contains("unknown kind 9"));
        decode(&[KIND_COMMAND, 0xc1]).unwrap_err();
    }
}
