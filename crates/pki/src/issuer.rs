//! Writing certificates: an authority's name and key, read once, and the fixed shapes it signs.
//!
//! The shapes are Consul's, extension by extension and in its order, observed on 1.8.7; only serial
//! numbers differ, random where Consul counts, so that issuing needs no write to the log.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::rand;
use model::spiffe::{SpiffeId, TrustDomain};
use model::time::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME,
};

use crate::certificate;
use crate::der::{BIT_STRING, OCTET_STRING, Writer, context, context_primitive};
use crate::key::{KeyError, PrivateKey, key_id};
use crate::subject;

/// From and until when a certificate is good. Units: whole seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// A serial number: positive, at most 20 bytes (RFC 5280 section 4.1.2.2).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Serial {
    /// 126 random bits: the top two are fixed so that all have the same length and are positive.
    Wide([u8; 16]),
    /// 64 random bits, for roots, whose record has room for no more.
    Low([u8; 8]),
}

impl Serial {
    pub(crate) fn wide() -> Result<Self, KeyError> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes)?;
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Ok(Self::Wide(bytes))
    }

    pub(crate) fn low() -> Result<Self, KeyError> {
        let mut bytes = [0; 8];
        rand::fill(&mut bytes)?;
        // Zero is no serial number; the chance is 2^-64, the branch is free.
        Ok(Self::Low(if bytes == [0; 8] { [1; 8] } else { bytes }))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Wide(bytes) => bytes,
            Self::Low(bytes) => bytes,
        }
    }
}

/// An authority that can sign: its key, and what of its certificate goes into those it signs.
pub(crate) struct Issuer {
    key: PrivateKey,
    /// Subject of the authority's certificate, DER.
    name: Vec<u8>,
    /// Subject key identifier of the authority's certificate.
    key_id: Vec<u8>,
    pub(crate) not_after: Timestamp,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Issuer {
    /// `None` if the key is not that of the certificate.
    pub(crate) fn new(key: PrivateKey, authority: &X509Certificate<'_>) -> Option<Self> {
        (key.public_key() == authority.public_key().raw).then(|| Self {
            key,
            name: authority.subject().as_raw().to_vec(),
            key_id: certificate::subject_key_id(authority),
            not_after: Timestamp::from_unix(authority.validity().not_after.timestamp()),
        })
    }

    /// A leaf for `id`. `dns` and `ips` are further names, as agents have for their HTTPS listeners.
    pub(crate) fn leaf(
        &self,
        id: &SpiffeId,
        public_key: &[u8],
        dns: &[String],
        ips: &[IpAddr],
        serial: Serial,
        validity: Validity,
    ) -> Result<Vec<u8>, KeyError> {
        let subject = subject::name(&subject::common_name(id));
        let body = Body { serial, issuer: &self.name, validity, subject: &subject, public_key };
        write_signed(&self.key, body, |w| {
            key_usage(w, LEAF_USAGE);
            extension(w, EXTENDED_KEY_USAGE, false, |w| {
                w.sequence(|w| {
                    w.oid(CLIENT_AUTH);
                    w.oid(SERVER_AUTH);
                });
            });
            extension(w, BASIC_CONSTRAINTS, true, |w| w.sequence(|_| {}));
            subject_key_id(w, key_id(public_key).as_ref());
            authority_key_id(w, &self.key_id);
            alternative_names(w, &id.to_string(), dns, ips);
        })
    }

    /// An intermediate authority below this one, which may sign leaves only.
    pub(crate) fn intermediate(
        &self,
        trust_domain: &TrustDomain,
        subject: &[u8],
        public_key: &[u8],
        serial: Serial,
        validity: Validity,
    ) -> Result<Vec<u8>, KeyError> {
        let body = Body { serial, issuer: &self.name, validity, subject, public_key };
        write_signed(&self.key, body, |w| {
            key_usage(w, AUTHORITY_USAGE);
            extension(w, BASIC_CONSTRAINTS, true, |w| {
                w.sequence(|w| {
                    w.boolean_true();
                    w.unsigned(&[0]);
                });
            });
            subject_key_id(w, key_id(public_key).as_ref());
            authority_key_id(w, &self.key_id);
            signing_name(w, trust_domain);
        })
    }

    /// The same authority as `other` says it is, but vouched for by this one: leaves that `other`
    /// signed become good for those who know only us.
    pub(crate) fn cross_signed(
        &self,
        other: &X509Certificate<'_>,
        serial: Serial,
        validity: Validity,
    ) -> Result<Vec<u8>, KeyError> {
        let body = Body {
            serial,
            issuer: &self.name,
            validity,
            subject: other.subject().as_raw(),
            public_key: other.public_key().raw,
        };
        let kept = |wanted| other.iter_extensions().find(|extension| extension.oid == wanted);
        write_signed(&self.key, body, |w| {
            match kept(OID_X509_EXT_KEY_USAGE) {
                Some(usage) => extension(w, KEY_USAGE, usage.critical, |w| w.raw(usage.value)),
                None => key_usage(w, AUTHORITY_USAGE),
            }
            if let Some(constraints) = kept(OID_X509_EXT_BASIC_CONSTRAINTS) {
                extension(w, BASIC_CONSTRAINTS, true, |w| w.raw(constraints.value));
            }
            subject_key_id(w, &certificate::subject_key_id(other));
            authority_key_id(w, &self.key_id);
            if let Some(names) = kept(OID_X509_EXT_SUBJECT_ALT_NAME) {
                extension(w, ALTERNATIVE_NAMES, names.critical, |w| w.raw(names.value));
            }
        })
    }
}

/// A root certificate for `key`, signed by itself.
pub(crate) fn root(
    key: &PrivateKey,
    trust_domain: &TrustDomain,
    serial: Serial,
    validity: Validity,
) -> Result<Vec<u8>, KeyError> {
    let name = subject::name(&subject::authority_name("pri", trust_domain)?);
    let own_id = key_id(key.public_key());
    let body =
        Body { serial, issuer: &name, validity, subject: &name, public_key: key.public_key() };
    write_signed(key, body, |w| {
        key_usage(w, AUTHORITY_USAGE);
        extension(w, BASIC_CONSTRAINTS, true, |w| w.sequence(Writer::boolean_true));
        subject_key_id(w, own_id.as_ref());
        authority_key_id(w, own_id.as_ref());
        signing_name(w, trust_domain);
    })
}

struct Body<'a> {
    serial: Serial,
    /// Names as DER.
    issuer: &'a [u8],
    validity: Validity,
    subject: &'a [u8],
    /// `SubjectPublicKeyInfo`, DER.
    public_key: &'a [u8],
}

/// Room for a P-256 leaf with a usual name, so that writing it allocates once.
const CERTIFICATE_BYTES_USUAL: usize = 1024;

fn write_signed(
    key: &PrivateKey,
    body: Body<'_>,
    extensions: impl FnOnce(&mut Writer),
) -> Result<Vec<u8>, KeyError> {
    let algorithm = key.kind().signature_algorithm();
    let mut signed = Writer::with_capacity(CERTIFICATE_BYTES_USUAL);
    signed.sequence(|w| {
        w.nest(context(0), |w| w.unsigned(&[2]));
        w.unsigned(body.serial.bytes());
        w.raw(algorithm);
        w.raw(body.issuer);
        w.sequence(|w| {
            w.time(body.validity.not_before);
            w.time(body.validity.not_after);
        });
        w.raw(body.subject);
        w.raw(body.public_key);
        w.nest(context(3), |w| w.sequence(extensions));
    });
    seal(key, &signed.into_bytes())
}

/// The outer form of certificates and requests alike: content, algorithm, signature.
pub(crate) fn seal(key: &PrivateKey, content: &[u8]) -> Result<Vec<u8>, KeyError> {
    let signature = key.sign(content)?;
    let mut whole = Writer::with_capacity(content.len() + signature.len() + 32);
    whole.sequence(|w| {
        w.raw(content);
        w.raw(key.kind().signature_algorithm());
        w.bit_string(&signature);
    });
    Ok(whole.into_bytes())
}

// Last number of the `2.5.29.x` object identifiers of extensions.
const SUBJECT_KEY_ID: u8 = 14;
const KEY_USAGE: u8 = 15;
const ALTERNATIVE_NAMES: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const AUTHORITY_KEY_ID: u8 = 35;
const EXTENDED_KEY_USAGE: u8 = 37;

const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// Bits of a key usage with the number of unused ones before them.
/// Leaf: digital signature, key and data encipherment, key agreement.
const LEAF_USAGE: &[u8] = &[3, 0xb8];
/// Authority: digital signature, certificate and CRL sign.
const AUTHORITY_USAGE: &[u8] = &[1, 0x86];

fn extension(w: &mut Writer, number: u8, critical: bool, value: impl FnOnce(&mut Writer)) {
    w.sequence(|w| {
        w.oid(&[0x55, 0x1d, number]);
        if critical {
            w.boolean_true();
        }
        w.nest(OCTET_STRING, value);
    });
}

fn key_usage(w: &mut Writer, bits: &[u8]) {
    extension(w, KEY_USAGE, true, |w| w.primitive(BIT_STRING, bits));
}

fn subject_key_id(w: &mut Writer, id: &[u8]) {
    extension(w, SUBJECT_KEY_ID, false, |w| w.primitive(OCTET_STRING, id));
}

fn authority_key_id(w: &mut Writer, id: &[u8]) {
    extension(w, AUTHORITY_KEY_ID, false, |w| {
        w.sequence(|w| w.primitive(context_primitive(0), id));
    });
}

/// The identity, then further names in the order Go writes them: DNS, addresses, URI last.
pub(crate) fn alternative_names(w: &mut Writer, uri: &str, dns: &[String], ips: &[IpAddr]) {
    extension(w, ALTERNATIVE_NAMES, false, |w| {
        w.sequence(|w| {
            for name in dns {
                w.primitive(context_primitive(2), name.as_bytes());
            }
            for ip in ips {
                match ip {
                    IpAddr::V4(ip) => w.primitive(context_primitive(7), &ip.octets()),
                    IpAddr::V6(ip) => w.primitive(context_primitive(7), &ip.octets()),
                }
            }
            w.primitive(context_primitive(6), uri.as_bytes());
        });
    });
}

fn signing_name(w: &mut Writer, trust_domain: &TrustDomain) {
    let id = SpiffeId::Signing { trust_domain: trust_domain.clone() };
    alternative_names(w, &id.to_string(), &[], &[]);
}

/// `basicConstraints` with `CA` set, as a request for an intermediate carries it.
pub(crate) fn authority_constraints(w: &mut Writer) {
    extension(w, BASIC_CONSTRAINTS, true, |w| w.sequence(Writer::boolean_true));
}
