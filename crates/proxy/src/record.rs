//! The TLS record layer of established connections: seal and open records where they lie, allocating nothing.
//!
//! `rustls` makes the handshake and keeps the key schedule; after it, the traffic secrets come here. Its own
//! record layer copies every record through fresh vectors in both directions, which is more than a third of the
//! processor time of a bulk transfer. Here a record is read from the socket into its slot, sealed there and
//! written from there; on the way back it is opened in the read buffer.
//!
//! Source: RFC 8446 section 5 (TLS 1.3); RFC 5246 section 6.2.3.3, RFC 5288 and RFC 7905 (TLS 1.2 with AEADs).

use aws_lc_rs::aead;
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};

/// Type, legacy version and length. Unit: bytes.
pub(crate) const HEADER_BYTES: usize = 5;
/// Largest content of one record (2^14), RFC 8446 section 5.1. Unit: bytes.
pub(crate) const CONTENT_BYTES_MAX: usize = 1 << 14;
/// Room for the explicit nonce that only TLS 1.2 with AES-GCM sends. Unit: bytes.
const EXPLICIT_NONCE_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Room before the content in every slot, whatever the version, so that one slot layout serves all. Unit: bytes.
pub(crate) const PREFIX_BYTES_MAX: usize = HEADER_BYTES + EXPLICIT_NONCE_BYTES;
/// Room after the content: the inner content type (TLS 1.3) and the tag. Unit: bytes.
pub(crate) const SUFFIX_BYTES_MAX: usize = 1 + TAG_BYTES;
/// Largest record body accepted: RFC 8446 allows content + 256, RFC 5246 content + 2048. Unit: bytes.
const BODY_BYTES_MAX_TLS13: usize = CONTENT_BYTES_MAX + 256;
const BODY_BYTES_MAX_TLS12: usize = CONTENT_BYTES_MAX + 2048;

/// Content types of RFC 8446 section 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentType {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
}

impl ContentType {
    const fn byte(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
        }
    }

    const fn parse(byte: u8) -> Option<Self> {
        match byte {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }
}

/// What a peer sent that is no valid record; each ends the connection with the alert of the same meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a record longer than the protocol allows")]
    TooLong,
    #[error("a record of unknown type")]
    UnknownType,
    #[error("a record out of place")]
    Unexpected,
    #[error("a record that does not decrypt")]
    Undecryptable,
    #[error("too many records under one key")]
    Exhausted,
    #[error("a cipher suite the record layer does not know")]
    UnknownSuite,
}

impl RecordError {
    /// The alert description to send, RFC 8446 section 6.
    pub(crate) const fn alert(self) -> u8 {
        match self {
            Self::TooLong => 22,
            Self::UnknownType | Self::Unexpected => 10,
            Self::Undecryptable => 20,
            Self::Exhausted | Self::UnknownSuite => 80,
        }
    }
}

/// How nonce and additional data are made; differs between the versions and between AES-GCM and ChaCha20 in 1.2.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Tls13,
    Tls12ExplicitNonce,
    Tls12ImplicitNonce,
}

impl Form {
    const fn explicit_nonce_bytes(self) -> usize {
        match self {
            Self::Tls12ExplicitNonce => EXPLICIT_NONCE_BYTES,
            Self::Tls13 | Self::Tls12ImplicitNonce => 0,
        }
    }

    const fn body_bytes_max(self) -> usize {
        match self {
            Self::Tls13 => BODY_BYTES_MAX_TLS13,
            Self::Tls12ExplicitNonce | Self::Tls12ImplicitNonce => BODY_BYTES_MAX_TLS12,
        }
    }
}

/// One direction's key, nonce base and count of records. Holds a secret: it has no `Debug`.
struct Keys {
    key: aead::LessSafeKey,
    iv: [u8; NONCE_BYTES],
    form: Form,
    sequence: u64,
}

impl Keys {
    fn new(
        version: ProtocolVersion,
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> Result<Self, RecordError> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => return Err(RecordError::UnknownSuite),
        };
        let form = match (version, secrets) {
            (ProtocolVersion::TLSv1_3, _) => Form::Tls13,
            (ProtocolVersion::TLSv1_2, ConnectionTrafficSecrets::Chacha20Poly1305 { .. }) => {
                Form::Tls12ImplicitNonce
            }
            (ProtocolVersion::TLSv1_2, _) => Form::Tls12ExplicitNonce,
            _ => return Err(RecordError::UnknownSuite),
        };
        let key = aead::UnboundKey::new(algorithm, key.as_ref())
            .map_err(|_| RecordError::UnknownSuite)?;
        let iv = iv.as_ref().try_into().map_err(|_| RecordError::UnknownSuite)?;
        Ok(Self { key: aead::LessSafeKey::new(key), iv, form, sequence })
    }

    /// The nonce base with the sequence number folded in, RFC 8446 section 5.3. In TLS 1.2 with AES-GCM its last
    /// eight bytes are what goes out as explicit nonce: unique under one key, which is all that RFC 5288 asks.
    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        nonce
    }

    /// The additional data of TLS 1.2: sequence, type, version, length of the content.
    fn additional_data_tls12(&self, content_type: u8, content_bytes: usize) -> [u8; 13] {
        let mut data = [0; 13];
        data[..8].copy_from_slice(&self.sequence.to_be_bytes());
        data[8] = content_type;
        data[9..11].copy_from_slice(&LEGACY_VERSION);
        data[11..].copy_from_slice(&length(content_bytes));
        data
    }
}

/// The version every record names, RFC 8446 section 5.1.
const LEGACY_VERSION: [u8; 2] = [3, 3];

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("records are bounded by 2^14 + 2048 bytes").to_be_bytes()
}

/// Seals the records one side sends.
pub(crate) struct Sealer {
    keys: Keys,
    records_max: u64,
}

impl Sealer {
    /// `records_max` is the confidentiality limit of the suite: how many records one key may seal.
    pub(crate) fn new(
        version: ProtocolVersion,
        (sequence, secrets): &(u64, ConnectionTrafficSecrets),
        records_max: u64,
    ) -> Result<Self, RecordError> {
        Ok(Self { keys: Keys::new(version, *sequence, secrets)?, records_max })
    }

    /// Where the content starts in a record. Unit: bytes.
    pub(crate) const fn prefix_bytes(&self) -> usize {
        HEADER_BYTES + self.keys.form.explicit_nonce_bytes()
    }

    /// What follows the content in a record. Unit: bytes.
    pub(crate) const fn suffix_bytes(&self) -> usize {
        match self.keys.form {
            Form::Tls13 => 1 + TAG_BYTES,
            Form::Tls12ExplicitNonce | Form::Tls12ImplicitNonce => TAG_BYTES,
        }
    }

    /// Whether `records` more bring the key to its limit, so that it must be updated first.
    pub(crate) const fn needs_update(&self, records: u64) -> bool {
        self.keys.sequence.saturating_add(records) >= self.records_max
    }

    pub(crate) const fn is_tls13(&self) -> bool {
        matches!(self.keys.form, Form::Tls13)
    }

    pub(crate) const fn records_max(&self) -> u64 {
        self.records_max
    }

    /// Lowers how many records the key may seal, so that tests see it being replaced.
    #[cfg(test)]
    pub(crate) fn limit(&mut self, records_max: u64) {
        self.records_max = self.records_max.min(records_max);
    }

    /// Seals the content that lies in `record` at `prefix_bytes()`, and returns the length of the whole record.
    ///
    /// Shape: `record` holds prefix, content, suffix and may be longer. Errors: `Exhausted` when the key is used up.
    pub(crate) fn seal(
        &mut self,
        content_type: ContentType,
        record: &mut [u8],
        content_bytes: usize,
    ) -> Result<usize, RecordError> {
        let prefix_bytes = self.prefix_bytes();
        let total = prefix_bytes + content_bytes + self.suffix_bytes();
        assert!(content_bytes <= CONTENT_BYTES_MAX && record.len() >= total, "the slot fits");
        if self.keys.sequence >= self.records_max {
            return Err(RecordError::Exhausted);
        }
        let nonce = self.keys.nonce();
        let (prefix, rest) = record.split_at_mut(prefix_bytes);
        prefix[1..3].copy_from_slice(&LEGACY_VERSION);
        prefix[3..5].copy_from_slice(&length(total - HEADER_BYTES));
        let tag_at = total - prefix_bytes - TAG_BYTES;
        let (sealed, tag_room) = rest.split_at_mut(tag_at);
        let unique = aead::Nonce::assume_unique_for_key(nonce);
        let tag = match self.keys.form {
            Form::Tls13 => {
                prefix[0] = ContentType::ApplicationData.byte();
                sealed[content_bytes] = content_type.byte();
                self.keys.key.seal_in_place_separate_tag(unique, aead::Aad::from(&*prefix), sealed)
            }
            Form::Tls12ExplicitNonce | Form::Tls12ImplicitNonce => {
                prefix[0] = content_type.byte();
                if self.keys.form == Form::Tls12ExplicitNonce {
                    prefix[HEADER_BYTES..].copy_from_slice(&nonce[4..]);
                }
                let data = self.keys.additional_data_tls12(content_type.byte(), content_bytes);
                self.keys.key.seal_in_place_separate_tag(unique, aead::Aad::from(data), sealed)
            }
        }
        .map_err(|_| RecordError::Exhausted)?;
        tag_room[..TAG_BYTES].copy_from_slice(tag.as_ref());
        self.keys.sequence += 1;
        Ok(total)
    }
}

/// Opens the records the other side sends.
pub(crate) struct Opener {
    keys: Keys,
}

/// An opened record: its real type and where its content lies in the buffer that was given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) content_type: ContentType,
    pub(crate) content: std::ops::Range<usize>,
    /// Length of the whole record, which the next one follows.
    pub(crate) record_bytes: usize,
}

impl Opener {
    pub(crate) fn new(
        version: ProtocolVersion,
        (sequence, secrets): &(u64, ConnectionTrafficSecrets),
    ) -> Result<Self, RecordError> {
        Ok(Self { keys: Keys::new(version, *sequence, secrets)? })
    }

    /// How long the record at the front of `buffer` is, `None` while its header is not all there.
    pub(crate) fn record_bytes(&self, buffer: &[u8]) -> Result<Option<usize>, RecordError> {
        let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let body_bytes = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if body_bytes > self.keys.form.body_bytes_max() {
            return Err(RecordError::TooLong);
        }
        Ok(Some(HEADER_BYTES + body_bytes))
    }

    /// Opens the record at the front of `buffer` in place; `None` while it is not all there.
    pub(crate) fn open(&mut self, buffer: &mut [u8]) -> Result<Option<Opened>, RecordError> {
        let Some(record_bytes) = self.record_bytes(buffer)? else { return Ok(None) };
        let Some(record) = buffer.get_mut(..record_bytes) else { return Ok(None) };
        let (header, body) = record.split_at_mut(HEADER_BYTES);
        let outer = ContentType::parse(header[0]).ok_or(RecordError::UnknownType)?;
        let explicit_bytes = self.keys.form.explicit_nonce_bytes();
        if body.len() < explicit_bytes + TAG_BYTES {
            return Err(RecordError::Undecryptable);
        }
        let mut nonce = self.keys.nonce();
        let (explicit, sealed) = body.split_at_mut(explicit_bytes);
        let (content_type, content_bytes) = match self.keys.form {
            Form::Tls13 => {
                if outer != ContentType::ApplicationData {
                    return Err(RecordError::Unexpected);
                }
                let unique = aead::Nonce::assume_unique_for_key(nonce);
                let inner = self
                    .keys
                    .key
                    .open_in_place(unique, aead::Aad::from(&*header), sealed)
                    .map_err(|_| RecordError::Undecryptable)?;
                // The content ends with its type, then any number of zeros as padding.
                let last = inner.iter().rposition(|byte| *byte != 0);
                let last = last.ok_or(RecordError::Unexpected)?;
                (ContentType::parse(inner[last]).ok_or(RecordError::UnknownType)?, last)
            }
            Form::Tls12ExplicitNonce | Form::Tls12ImplicitNonce => {
                nonce[NONCE_BYTES - explicit_bytes..].copy_from_slice(explicit);
                let content_bytes = sealed.len() - TAG_BYTES;
                let data = self.keys.additional_data_tls12(outer.byte(), content_bytes);
                let unique = aead::Nonce::assume_unique_for_key(nonce);
                self.keys
                    .key
                    .open_in_place(unique, aead::Aad::from(data), sealed)
                    .map_err(|_| RecordError::Undecryptable)?;
                (outer, content_bytes)
            }
        };
        if content_bytes > CONTENT_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        self.keys.sequence = self.keys.sequence.checked_add(1).ok_or(RecordError::Exhausted)?;
        let start = HEADER_BYTES + explicit_bytes;
        Ok(Some(Opened { content_type, content: start..start + content_bytes, record_bytes }))
    }
}

#[cfg(test)]
mod tests;
