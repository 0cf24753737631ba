//! PEM text: how keys, requests and certificates travel in JSON and files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

/// Longest PEM text read, in bytes: a bundle of roots with room to spare.
pub(crate) const PEM_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of base64 on a line, as every other writer of PEM has it.
const LINE_BYTES: usize = 64;

/// One section with a line break at the end, so that sections can be joined as they are.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::with_capacity(body.len() + body.len() / LINE_BYTES + 64 + label.len());
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_BYTES));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// There is no section of the wanted kind, or its base64 is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PEM-encoded data found")]
pub struct PemError;

/// Every certificate of the text in its order; other sections are passed over.
///
/// Errors: no certificate, a broken section, or a text longer than the bound.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found = CertificateDer::pem_slice_iter(bounded(text)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| PemError)?;
    if found.is_empty() { Err(PemError) } else { Ok(found) }
}

/// The first certificate of the text.
pub(crate) fn certificate(text: &str) -> Result<CertificateDer<'static>, PemError> {
    CertificateDer::from_pem_slice(bounded(text)?).map_err(|_| PemError)
}

pub(crate) fn request(text: &str) -> Result<CertificateSigningRequestDer<'static>, PemError> {
    CertificateSigningRequestDer::from_pem_slice(bounded(text)?).map_err(|_| PemError)
}

pub(crate) fn bounded(text: &str) -> Result<&[u8], PemError> {
    if text.len() > PEM_BYTES_MAX { Err(PemError) } else { Ok(text.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_back() {
        for length in [1, 47, 48, 49, 96, 700] {
            let der = vec![7u8; length];
            let text = encode("CERTIFICATE", &der);
            assert!(text.lines().all(|line| line.len() <= LINE_BYTES), "{text}");
            assert_eq!(certificate(&text).unwrap().as_ref(), der);
            assert_eq!(certificates(&(text.clone() + &text)).unwrap().len(), 2);
        }
        assert_eq!(certificate("zz"), Err(PemError));
        assert_eq!(certificates(""), Err(PemError));
        assert_eq!(certificate(&"a".repeat(PEM_BYTES_MAX + 1)), Err(PemError));
    }
}
