//! What a leaf is asked for with, and who signed it.

use model::ca::CaRoots;
use model::error::Error as ClusterError;
use model::spiffe::{SpiffeId, TrustDomain};
use pki::csr;
use pki::key::{KeyKind, PrivateKey};

/// A new key and the request to certify it for `service`.
pub(super) fn make_request(
    roots: &CaRoots,
    datacenter: &str,
    service: &str,
) -> Result<(SpiffeId, PrivateKey, String), ClusterError> {
    let trust_domain: TrustDomain = roots
        .trust_domain
        .parse()
        .map_err(|error| ClusterError::internal(format!("trust domain of the roots: {error}")))?;
    let id = SpiffeId::service(&trust_domain, datacenter, service)
        .map_err(|error| ClusterError::invalid(error.to_string()))?;
    let internal = |error: pki::key::KeyError| ClusterError::internal(error.to_string());
    let key = PrivateKey::generate(KeyKind::LEAF).map_err(internal)?;
    let request = csr::build(&key, &id).map_err(internal)?;
    Ok((id, key, request))
}

/// Identifier of the key that signed the first certificate of `chain_pem`: hex with colons.
pub(super) fn signer_of(chain_pem: &str) -> Option<String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use x509_parser::extensions::ParsedExtension;

    let der = CertificateDer::from_pem_slice(chain_pem.as_bytes()).ok()?;
    let (_, cert) = x509_parser::parse_x509_certificate(&der).ok()?;
    let identifier =
        cert.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
            _ => None,
        })?;
    let hex: Vec<String> = identifier.0.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(hex.join(":"))
}
