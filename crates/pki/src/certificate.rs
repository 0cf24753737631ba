//! Certificates as they are read: the facts the rest of the crate needs of one, parsed once.

use std::net::IpAddr;

use aws_lc_rs::digest;
use model::time::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::key::{Curve, KeyKind, key_id};
use crate::pem::{self, PemError};

/// Longest certificate read, in bytes of DER: several times the largest useful one.
pub(crate) const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// The bytes are no certificate that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("certificate is malformed")]
    Malformed,
    #[error("certificate key is not EC P-256, P-384, P-521 or RSA")]
    Key,
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::Malformed);
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Malformed),
    }
}

/// What the record of a root, and monitoring, tell of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// SHA-1 of the DER, lower-case hex with colons: how Consul names a root.
    pub fingerprint: String,
    /// Lower-case hex with colons.
    pub serial_number: String,
    /// The low 64 bits of the serial number.
    pub serial_low: u64,
    /// Subject key identifier, hex with colons.
    pub key_id: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub key_kind: KeyKind,
}

impl CertificateInfo {
    /// Reads the first certificate of a PEM text.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        Self::from_der(&pem::certificate(text)?)
    }

    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = parse(der)?;
        let serial = certificate.raw_serial();
        Ok(Self {
            fingerprint: fingerprint(der),
            serial_number: hex(trimmed(serial)),
            serial_low: serial.iter().fold(0, |low, byte| low << 8 | u64::from(*byte)),
            key_id: hex(&subject_key_id(&certificate)),
            not_before: Timestamp::from_unix(certificate.validity().not_before.timestamp()),
            not_after: Timestamp::from_unix(certificate.validity().not_after.timestamp()),
            key_kind: key_kind(certificate.public_key()).ok_or(CertificateError::Key)?,
        })
    }
}

/// SHA-1 of a certificate, lower-case hex with colons.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref())
}

/// Lower-case hex with colons between bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        if !text.is_empty() {
            text.push(':');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Without the zero byte that keeps a number positive.
pub(crate) fn trimmed(serial: &[u8]) -> &[u8] {
    match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        whole => whole,
    }
}

/// The identifier in the certificate, or else the one its key would be given.
pub(crate) fn subject_key_id(certificate: &X509Certificate<'_>) -> Vec<u8> {
    use x509_parser::extensions::ParsedExtension;
    certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
        .unwrap_or_else(|| key_id(certificate.public_key().raw).as_ref().to_vec())
}

/// What sort of key this is, if of one we handle.
pub(crate) fn key_kind(key: &SubjectPublicKeyInfo<'_>) -> Option<KeyKind> {
    if key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
        return [
            (OID_EC_P256, Curve::P256),
            (OID_NIST_EC_P384, Curve::P384),
            (OID_NIST_EC_P521, Curve::P521),
        ]
        .into_iter()
        .find(|(oid, _)| *oid == curve)
        .map(|(_, curve)| KeyKind::Ec(curve));
    }
    match key.parsed() {
        Ok(PublicKey::RSA(key)) => {
            let modulus = trimmed(key.modulus);
            let unused = modulus.first().map_or(0, |first| first.leading_zeros());
            Some(KeyKind::Rsa((modulus.len() as u32 * 8).saturating_sub(unused)))
        }
        _ => None,
    }
}

/// The names of a subject alternative name extension, by the kinds that matter here.
#[derive(Debug, Default)]
pub(crate) struct Names<'a> {
    pub(crate) uris: Vec<&'a str>,
    pub(crate) dns: Vec<&'a str>,
    pub(crate) ips: Vec<IpAddr>,
}

impl<'a> Names<'a> {
    /// `None` if a name is broken; kinds of names unknown here are passed over.
    pub(crate) fn of(extension: &SubjectAlternativeName<'a>) -> Option<Self> {
        let mut names = Self::default();
        for name in &extension.general_names {
            match name {
                GeneralName::URI(uri) => names.uris.push(uri),
                GeneralName::DNSName(dns) => names.dns.push(dns),
                GeneralName::IPAddress(bytes) => names.ips.push(match **bytes {
                    [a, b, c, d] => IpAddr::from([a, b, c, d]),
                    _ => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
                }),
                GeneralName::Invalid(..) => return None,
                _ => {}
            }
        }
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_with_colons() {
        assert_eq!(hex(&[]), "");
        assert_eq!(hex(&[8]), "08");
        assert_eq!(hex(&[0, 0xaf, 0x10]), "00:af:10");
        assert_eq!(hex(trimmed(&[0, 0xaf])), "af");
        assert_eq!(hex(trimmed(&[0])), "00");
    }
}
