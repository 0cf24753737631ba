//! Certificate requests: what an agent sends to have its key signed, and what the signer makes of
//! one that anybody may have written.
//!
//! A request is only ever read for its key and its one identity (and the further names of agents);
//! whatever else it asks for is not copied into the certificate.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use model::spiffe::{Segment, SpiffeError, SpiffeId, TrustDomain};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::oid_registry::{
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
    OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, Oid,
};
use x509_parser::prelude::FromDer;

use crate::certificate::{Names, key_kind};
use crate::der::{SET, Writer, context};
use crate::issuer::{alternative_names, authority_constraints, seal};
use crate::key::{Curve, KeyError, KeyKind, PrivateKey, RSA_BITS_MAX, RSA_BITS_MIN};
use crate::pem::{self, PemError};
use crate::subject;

/// Longest request read, in bytes of DER: an RSA 4096 key, its signature and the longest identity
/// fit several times.
pub const CSR_BYTES_MAX: usize = 16 * 1024;

/// Most DNS names and addresses in one request.
pub const CSR_NAMES_MAX: usize = 32;

/// `extensionRequest`, 1.2.840.113549.1.9.14.
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];

/// Names to ask for, `id` being the identity.
#[derive(Clone, Copy, Debug)]
pub struct CsrNames<'a> {
    pub id: &'a SpiffeId,
    pub dns: &'a [String],
    pub ips: &'a [IpAddr],
}

impl<'a> From<&'a SpiffeId> for CsrNames<'a> {
    fn from(id: &'a SpiffeId) -> Self {
        Self { id, dns: &[], ips: &[] }
    }
}

/// Writes a request, PEM, signed by `key`.
pub fn build<'a>(key: &PrivateKey, names: impl Into<CsrNames<'a>>) -> Result<String, KeyError> {
    let names = names.into();
    let common_name = subject::common_name(names.id);
    write(key, &common_name, |w| {
        alternative_names(w, &names.id.to_string(), names.dns, names.ips);
    })
}

/// Writes a secondary datacenter's request for an intermediate authority, PEM.
pub(crate) fn build_authority(
    key: &PrivateKey,
    trust_domain: &TrustDomain,
) -> Result<String, KeyError> {
    let common_name = subject::authority_name("sec", trust_domain)?;
    let id = SpiffeId::Signing { trust_domain: trust_domain.clone() };
    write(key, &common_name, |w| {
        authority_constraints(w);
        alternative_names(w, &id.to_string(), &[], &[]);
    })
}

fn write(
    key: &PrivateKey,
    common_name: &str,
    extensions: impl FnOnce(&mut Writer),
) -> Result<String, KeyError> {
    let mut content = Writer::with_capacity(512);
    content.sequence(|w| {
        w.unsigned(&[0]);
        w.raw(&subject::name(common_name));
        w.raw(key.public_key());
        w.nest(context(0), |w| {
            w.sequence(|w| {
                w.oid(EXTENSION_REQUEST);
                w.nest(SET, |w| w.sequence(extensions));
            });
        });
    });
    Ok(pem::encode("CERTIFICATE REQUEST", &seal(key, &content.into_bytes())?))
}

/// A request whose sender has proven to hold the key, for exactly one identity.
///
/// Whether the sender may have that identity is the caller's to decide, from [`Csr::id`].
#[derive(Clone, PartialEq, Eq)]
pub struct Csr {
    pub(crate) id: SpiffeId,
    pub(crate) public_key: Vec<u8>,
    pub(crate) dns: Vec<String>,
    pub(crate) ips: Vec<IpAddr>,
    /// Subject, DER; used for intermediates only.
    pub(crate) subject: Vec<u8>,
    /// Asks to be an authority itself.
    pub(crate) asks_for_authority: bool,
}

impl fmt::Debug for Csr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csr").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a request is not signed. All but none of these are the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("certificate request is longer than {CSR_BYTES_MAX} bytes")]
    TooLong,
    #[error("certificate request is malformed")]
    Malformed,
    #[error(
        "certificate request key must be EC P-256, P-384, P-521 or RSA of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits"
    )]
    Key,
    #[error("certificate request is signed with an algorithm that is not accepted")]
    Algorithm,
    #[error("certificate request is not signed by its own key")]
    Signature,
    #[error("certificate request must have exactly one URI name, has {0}")]
    Uris(usize),
    #[error("certificate request has more than {CSR_NAMES_MAX} names")]
    Names,
    #[error("certificate request: {0}")]
    Id(SpiffeError),
    #[error("certificate request is for another trust domain")]
    TrustDomain,
    #[error("certificate request is for another datacenter")]
    Datacenter,
    #[error("certificate request is for a namespace or partition other than default")]
    Namespace,
    #[error("certificate request is for an identity that is not given out on request")]
    Form,
    #[error("certificate request asks for an authority")]
    Authority,
    #[error("certificate request asks for the name of a server")]
    ServerName,
}

impl Csr {
    /// Reads and proves a request: form, key, signature by that key, one URI that is an identity.
    pub fn from_pem(text: &str) -> Result<Self, CsrError> {
        if text.len() > CSR_BYTES_MAX * 2 {
            return Err(CsrError::TooLong);
        }
        Self::from_der(&pem::request(text)?)
    }

    /// As [`Csr::from_pem`], from DER.
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > CSR_BYTES_MAX {
            return Err(CsrError::TooLong);
        }
        let Ok(([], request)) = X509CertificationRequest::from_der(der) else {
            return Err(CsrError::Malformed);
        };
        let info = &request.certification_request_info;
        let kind = match key_kind(&info.subject_pki) {
            Some(KeyKind::Rsa(bits)) if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) => {
                return Err(CsrError::Key);
            }
            kind => kind.ok_or(CsrError::Key)?,
        };
        let requested = requested_extensions(&request)?;
        let names = names(requested)?;
        let [uri] = names.uris[..] else { return Err(CsrError::Uris(names.uris.len())) };
        if names.dns.len() + names.ips.len() > CSR_NAMES_MAX {
            return Err(CsrError::Names);
        }
        if !names.dns.iter().all(|name| is_dns_name(name)) {
            return Err(CsrError::Malformed);
        }
        let id = uri.parse().map_err(CsrError::Id)?;
        // Last, because it costs the most.
        verify_signature(&request, kind)?;
        Ok(Self {
            id,
            public_key: info.subject_pki.raw.to_vec(),
            dns: names.dns.iter().map(|name| (*name).to_owned()).collect(),
            ips: names.ips,
            subject: info.subject.as_raw().to_vec(),
            asks_for_authority: requested.iter().any(|extension| {
                matches!(extension.parsed_extension(), ParsedExtension::BasicConstraints(constraints) if constraints.ca)
            }),
        })
    }

    /// Who the certificate would be for.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Judges a request for a leaf against the cluster it was sent to: own trust domain and
    /// datacenter, a service or a client agent, nothing that only servers may be called.
    pub fn check(&self, trust_domain: &TrustDomain, datacenter: &str) -> Result<(), CsrError> {
        if self.id.trust_domain() != trust_domain {
            return Err(CsrError::TrustDomain);
        }
        let (partition, namespace, named_datacenter) = match &self.id {
            SpiffeId::Service(id) => (&id.partition, &id.namespace, &id.datacenter),
            SpiffeId::Agent(id) => (&id.partition, &Segment::default(), &id.datacenter),
            SpiffeId::Server { .. } | SpiffeId::MeshGateway { .. } | SpiffeId::Signing { .. } => {
                return Err(CsrError::Form);
            }
        };
        if self.asks_for_authority {
            return Err(CsrError::Authority);
        }
        if *named_datacenter != *datacenter {
            return Err(CsrError::Datacenter);
        }
        // Other namespaces and partitions do not exist, so nobody can hold a right to them.
        if *partition != Segment::default() || *namespace != Segment::default() {
            return Err(CsrError::Namespace);
        }
        // A leaf with such a name could pass for a server where names decide (`server.<dc>.<domain>`).
        let is_server = |name: &String| {
            name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("server."))
                || name.starts_with('*')
        };
        if self.dns.iter().any(is_server) {
            return Err(CsrError::ServerName);
        }
        Ok(())
    }
}

/// Extensions of the one request for them; of two, a reader might see either.
fn requested_extensions<'r>(
    request: &'r X509CertificationRequest<'_>,
) -> Result<&'r [X509Extension<'r>], CsrError> {
    let mut found = None;
    for attribute in request.certification_request_info.iter_attributes() {
        if let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute()
            && found.replace(asked.extensions.as_slice()).is_some()
        {
            return Err(CsrError::Malformed);
        }
    }
    Ok(found.unwrap_or_default())
}

fn names<'a>(requested: &'a [X509Extension<'a>]) -> Result<Names<'a>, CsrError> {
    let mut found = None;
    for extension in requested {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                let names = Names::of(names).ok_or(CsrError::Malformed)?;
                if found.replace(names).is_some() {
                    return Err(CsrError::Malformed);
                }
            }
            ParsedExtension::ParseError { .. } => return Err(CsrError::Malformed),
            _ => {}
        }
    }
    Ok(found.unwrap_or_default())
}

/// Letters a DNS name may have in a certificate; longer ones than DNS allows are no names.
fn is_dns_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_*".contains(&byte))
}

fn verify_signature(request: &X509CertificationRequest<'_>, kind: KeyKind) -> Result<(), CsrError> {
    let hash = |known: [(Oid<'static>, Hash); 3]| {
        known
            .into_iter()
            .find(|(oid, _)| *oid == request.signature_algorithm.algorithm)
            .map(|(_, hash)| hash)
            .ok_or(CsrError::Algorithm)
    };
    let algorithm: &'static dyn VerificationAlgorithm = match kind {
        KeyKind::Ec(curve) => match (curve, hash(ecdsa_algorithms())?) {
            (Curve::P256, Hash::Sha256) => &ECDSA_P256_SHA256_ASN1,
            (Curve::P256, Hash::Sha384) => &ECDSA_P256_SHA384_ASN1,
            (Curve::P256, Hash::Sha512) => &ECDSA_P256_SHA512_ASN1,
            (Curve::P384, Hash::Sha256) => &ECDSA_P384_SHA256_ASN1,
            (Curve::P384, Hash::Sha384) => &ECDSA_P384_SHA384_ASN1,
            (Curve::P384, Hash::Sha512) => &ECDSA_P384_SHA512_ASN1,
            (Curve::P521, Hash::Sha256) => &ECDSA_P521_SHA256_ASN1,
            (Curve::P521, Hash::Sha384) => &ECDSA_P521_SHA384_ASN1,
            (Curve::P521, Hash::Sha512) => &ECDSA_P521_SHA512_ASN1,
        },
        KeyKind::Rsa(_) => match hash(rsa_algorithms())? {
            Hash::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
            Hash::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
            Hash::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
        },
    };
    let info = &request.certification_request_info;
    UnparsedPublicKey::new(algorithm, &info.subject_pki.subject_public_key.data)
        .verify(info.raw, &request.signature_value.data)
        .map_err(|_| CsrError::Signature)
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

fn ecdsa_algorithms() -> [(Oid<'static>, Hash); 3] {
    [
        (OID_SIG_ECDSA_WITH_SHA256, Hash::Sha256),
        (OID_SIG_ECDSA_WITH_SHA384, Hash::Sha384),
        (OID_SIG_ECDSA_WITH_SHA512, Hash::Sha512),
    ]
}

fn rsa_algorithms() -> [(Oid<'static>, Hash); 3] {
    [
        (OID_PKCS1_SHA256WITHRSA, Hash::Sha256),
        (OID_PKCS1_SHA384WITHRSA, Hash::Sha384),
        (OID_PKCS1_SHA512WITHRSA, Hash::Sha512),
    ]
}

#[cfg(test)]
mod tests;
