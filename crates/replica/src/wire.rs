//! The bytes of a [`Message`] on its way between servers.

use protobuf::Message as _;

use crate::Message;

pub fn encode(message: &Message) -> Result<Vec<u8>, String> {
    message.write_to_bytes().map_err(|e| e.to_string())
}

/// Errors: bytes that are no message.
pub fn decode(bytes: &[u8]) -> Result<Message, String> {
    Message::parse_from_bytes(bytes).map_err(|e| e.to_string())
}
