//! The rules a certificate must keep to speak for an identity, beyond its chain being right.
//!
//! Source: SPIFFE X.509-SVID sections 2 to 5; RFC 5280 section 4.2. Chain building, signatures and
//! dates are webpki's; it does not look at most of what is judged here.

use model::spiffe::{SpiffeError, SpiffeId, TrustDomain};
use model::time::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::Oid;

use crate::certificate::{self, Names};

/// Longest serial number in bytes (RFC 5280 section 4.1.2.2).
const SERIAL_BYTES_MAX: usize = 20;

/// Why a certificate is not taken as what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    #[error("certificate is malformed")]
    Malformed,
    #[error("certificate must have exactly one URI name, has {0}")]
    Uris(usize),
    #[error("certificate: {0}")]
    Id(SpiffeError),
    #[error("certificate is of another trust domain")]
    TrustDomain,
    #[error("certificate without subject must have its names marked critical")]
    NamesNotCritical,
    #[error("certificate of an authority where a leaf is wanted")]
    IsAuthority,
    #[error("certificate of a leaf where an authority is wanted")]
    NotAuthority,
    #[error("certificate does not have the key usage of a leaf, marked critical")]
    LeafUsage,
    #[error("certificate of an authority may not sign certificates")]
    AuthorityUsage,
    #[error("certificate is not for both clients and servers")]
    ExtendedUsage,
    #[error("certificate carries name constraints of a kind that is not enforced")]
    NameConstraints,
    #[error("certificate has an extension twice")]
    Twice,
}

impl SvidError {
    /// The message without data, for errors that hold a fixed text.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "it is malformed",
            Self::Uris(_) => "it has more than one URI name",
            Self::Id(_) => "its URI name is no identity of an authority",
            Self::TrustDomain => "it is of another trust domain",
            Self::NamesNotCritical => "it has no subject",
            Self::IsAuthority | Self::NotAuthority => "it is not a CA certificate",
            Self::LeafUsage | Self::AuthorityUsage | Self::ExtendedUsage => {
                "its key usage does not allow signing certificates"
            }
            Self::NameConstraints => "it carries URI name constraints",
            Self::Twice => "it has an extension twice",
        }
    }
}

/// What a leaf that keeps all rules says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svid {
    pub id: SpiffeId,
    /// Lower-case hex with colons.
    pub serial_number: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Judges a leaf, DER, that a bundle of `trust_domain` has verified. Dates are read, not judged.
pub fn check_leaf(der: &[u8], trust_domain: &TrustDomain) -> Result<Svid, SvidError> {
    let certificate = certificate::parse(der).map_err(|_| SvidError::Malformed)?;
    check_form(&certificate)?;
    let mut uri = None;
    let mut usage_fits = false;
    for extension in certificate.iter_extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(found) => {
                let names = Names::of(found).ok_or(SvidError::Malformed)?;
                let [one] = names.uris[..] else { return Err(SvidError::Uris(names.uris.len())) };
                if !extension.critical && certificate.subject().iter().next().is_none() {
                    return Err(SvidError::NamesNotCritical);
                }
                uri = Some(one);
            }
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                return Err(SvidError::IsAuthority);
            }
            ParsedExtension::KeyUsage(usage) => {
                usage_fits = extension.critical
                    && usage.digital_signature()
                    && !usage.key_cert_sign()
                    && !usage.crl_sign();
            }
            ParsedExtension::ExtendedKeyUsage(usage)
                if !(usage.client_auth && usage.server_auth) =>
            {
                return Err(SvidError::ExtendedUsage);
            }
            // Constraints say what an authority may sign; in a leaf they are nonsense.
            ParsedExtension::NameConstraints(_) => return Err(SvidError::NameConstraints),
            _ => {}
        }
    }
    let id: SpiffeId = uri.ok_or(SvidError::Uris(0))?.parse().map_err(SvidError::Id)?;
    if id.trust_domain() != trust_domain {
        return Err(SvidError::TrustDomain);
    }
    if matches!(id, SpiffeId::Signing { .. }) {
        return Err(SvidError::IsAuthority);
    }
    if !usage_fits {
        return Err(SvidError::LeafUsage);
    }
    let (not_before, not_after) = lifetime(&certificate);
    let serial_number = certificate::hex(certificate::trimmed(certificate.raw_serial()));
    Ok(Svid { id, serial_number, not_before, not_after })
}

/// Judges a root or an intermediate of `trust_domain`.
///
/// An authority need not have an identity, as those of other makers have none; if it has one, it
/// is that of the trust domain, without a path.
pub(crate) fn check_authority(
    certificate: &X509Certificate<'_>,
    trust_domain: &TrustDomain,
) -> Result<(), SvidError> {
    check_form(certificate)?;
    let mut is_authority = false;
    for extension in certificate.iter_extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(found) => {
                let names = Names::of(found).ok_or(SvidError::Malformed)?;
                match names.uris[..] {
                    [] => {}
                    [uri] => match uri.parse().map_err(SvidError::Id)? {
                        SpiffeId::Signing { trust_domain: own } if own == *trust_domain => {}
                        SpiffeId::Signing { .. } => return Err(SvidError::TrustDomain),
                        _ => return Err(SvidError::Id(SpiffeError::UnknownForm)),
                    },
                    _ => return Err(SvidError::Uris(names.uris.len())),
                }
            }
            ParsedExtension::BasicConstraints(constraints) => is_authority = constraints.ca,
            ParsedExtension::KeyUsage(usage) if !usage.key_cert_sign() => {
                return Err(SvidError::AuthorityUsage);
            }
            ParsedExtension::ExtendedKeyUsage(usage)
                if !(usage.any || usage.client_auth && usage.server_auth) =>
            {
                return Err(SvidError::AuthorityUsage);
            }
            ParsedExtension::NameConstraints(constraints) => {
                let of_uris = constraints
                    .permitted_subtrees
                    .iter()
                    .chain(&constraints.excluded_subtrees)
                    .flatten()
                    .any(|tree| {
                        !matches!(tree.base, GeneralName::DNSName(_) | GeneralName::IPAddress(_))
                    });
                if of_uris {
                    return Err(SvidError::NameConstraints);
                }
            }
            _ => {}
        }
    }
    if is_authority { Ok(()) } else { Err(SvidError::NotAuthority) }
}

/// From and until when the certificate is good.
pub(crate) fn lifetime(certificate: &X509Certificate<'_>) -> (Timestamp, Timestamp) {
    let validity = certificate.validity();
    (
        Timestamp::from_unix(validity.not_before.timestamp()),
        Timestamp::from_unix(validity.not_after.timestamp()),
    )
}

/// What holds for leaves and authorities alike.
fn check_form(certificate: &X509Certificate<'_>) -> Result<(), SvidError> {
    let serial = certificate.raw_serial();
    let is_positive = serial.first().is_some_and(|first| first & 0x80 == 0);
    if !is_positive || certificate::trimmed(serial).len() > SERIAL_BYTES_MAX {
        return Err(SvidError::Malformed);
    }
    let mut seen: Vec<&Oid<'_>> = Vec::with_capacity(certificate.extensions().len());
    for extension in certificate.iter_extensions() {
        if let ParsedExtension::ParseError { .. } = extension.parsed_extension() {
            return Err(SvidError::Malformed);
        }
        if seen.contains(&&extension.oid) {
            return Err(SvidError::Twice);
        }
        seen.push(&extension.oid);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
