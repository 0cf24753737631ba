//! Handshake messages of an established TLS 1.3 session, put together from records.

use crate::record::RecordError;

/// Longest handshake message after the handshake; a ticket holds our own certificate chain. Unit: bytes.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

pub(super) const MESSAGE_NEW_SESSION_TICKET: u8 = 4;
pub(super) const MESSAGE_KEY_UPDATE: u8 = 24;

/// Handshake messages that are not whole yet.
#[derive(Default)]
pub(super) struct Messages {
    pub(super) bytes: Vec<u8>,
    /// Records in a row that carried nothing for the application.
    pub(super) idle_records: u32,
}

impl Messages {
    pub(super) fn is_partial(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes out the first message if it is all there.
    pub(super) fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>, RecordError> {
        let Some([kind, length @ ..]) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let kind = *kind;
        let end = 4
            + usize::from(length[0]) * 65_536
            + usize::from(length[1]) * 256
            + usize::from(length[2]);
        if end > MESSAGE_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        if self.bytes.len() < end {
            return Ok(None);
        }
        let payload = self.bytes[4..end].to_vec();
        self.bytes.drain(..end);
        if self.bytes.is_empty() {
            // Tickets come once in a connection's life: their room is not kept.
            self.bytes = Vec::new();
        }
        Ok(Some((kind, payload)))
    }
}
