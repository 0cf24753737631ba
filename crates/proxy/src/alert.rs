//! Alerts, and the short records that carry them.
//!
//! Source: RFC 8446 section 6.

use crate::record::{ContentType, PREFIX_BYTES_MAX, RecordError, SUFFIX_BYTES_MAX, Sealer};

pub(crate) const ALERT_CLOSE_NOTIFY: u8 = 0;
pub(crate) const ALERT_USER_CANCELED: u8 = 90;
pub(crate) const ALERT_FATAL: u8 = 2;
pub(crate) const ALERT_ACCESS_DENIED: u8 = 49;
pub(crate) const ALERT_BAD_CERTIFICATE: u8 = 42;
pub(crate) const ALERT_INTERNAL_ERROR: u8 = 80;

/// A sealed record that carries an alert or a short message.
pub(crate) struct ControlRecord {
    bytes: [u8; PREFIX_BYTES_MAX + CONTROL_BYTES_MAX + SUFFIX_BYTES_MAX],
    length: usize,
}

/// Unit: bytes.
const CONTROL_BYTES_MAX: usize = 8;

impl ControlRecord {
    pub(crate) fn seal(
        sealer: &mut Sealer,
        content_type: ContentType,
        content: &[u8],
    ) -> Result<Self, RecordError> {
        let mut bytes = [0; PREFIX_BYTES_MAX + CONTROL_BYTES_MAX + SUFFIX_BYTES_MAX];
        bytes[sealer.prefix_bytes()..][..content.len()].copy_from_slice(content);
        let length = sealer.seal(content_type, &mut bytes, content.len())?;
        Ok(Self { bytes, length })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
