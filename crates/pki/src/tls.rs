//! Plain TLS, by names and a CA file: for HTTPS listeners of the API and for clients of them.
//!
//! Texts are PEM, read from files by the caller. Nothing here knows the mesh.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::crypto::crypto;
use crate::key::{KeyError, PrivateKey};
use crate::pem::{self, PemError};

/// A certificate chain and its key.
#[derive(Clone, Copy)]
pub struct KeyPairPem<'a> {
    pub cert: &'a str,
    pub key: &'a str,
}

/// Whether and how a client judges the server.
#[derive(Clone, Copy, Debug)]
pub enum ServerCheck<'a> {
    /// Name and chain, to the authorities of this PEM.
    By { authorities: &'a str },
    /// Not at all, because the user said so (`CONSUL_HTTP_SSL_VERIFY=false`).
    Nothing,
}

/// Which file of the settings is at fault, and why.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsError {
    #[error("certificate: {0}")]
    Certificate(PemError),
    #[error("private key: {0}")]
    Key(KeyError),
    #[error("certificate authorities: {0}")]
    Authorities(PemError),
    #[error("certificate authorities: none can be used")]
    NoAuthority,
    #[error("private key and certificate do not belong together")]
    Mismatch(#[source] rustls::Error),
}

/// For an HTTPS listener: TLS 1.2 and 1.3, HTTP/2 and 1.1. With `client_authorities`, clients must
/// show a certificate that leads to one of them.
pub fn server_config(
    own: KeyPairPem<'_>,
    client_authorities: Option<&str>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = match client_authorities {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(text) => client_verifier(text, Anonymous::Refused)?,
    };
    server_config_by(own, verifier)
}

/// As [`server_config`], but clients need not show a certificate. One that is shown must lead to an authority.
pub fn server_config_if_shown(
    own: KeyPairPem<'_>,
    client_authorities: &str,
) -> Result<Arc<ServerConfig>, TlsError> {
    server_config_by(own, client_verifier(client_authorities, Anonymous::Admitted)?)
}

/// What becomes of clients without a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Anonymous {
    Refused,
    Admitted,
}

fn client_verifier(
    text: &str,
    anonymous: Anonymous,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(authorities(text)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(crypto()));
    let builder = match anonymous {
        Anonymous::Refused => builder,
        Anonymous::Admitted => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|_| TlsError::NoAuthority)
}

fn server_config_by(
    own: KeyPairPem<'_>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(crypto()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the cipher suites fit both versions")
        .with_client_cert_verifier(verifier);
    let (chain, key) = key_pair(own)?;
    let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Mismatch)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// For a client of the API, showing `own` if it has one.
pub fn client_config(
    check: ServerCheck<'_>,
    own: Option<KeyPairPem<'_>>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier: Arc<dyn ServerCertVerifier> = match check {
        ServerCheck::By { authorities } => server_verifier(authorities)?,
        ServerCheck::Nothing => Arc::new(AnyServer),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(crypto()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the cipher suites fit both versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let (chain, key) = key_pair(own)?;
            builder.with_client_auth_cert(chain, key).map_err(TlsError::Mismatch)?
        }
    };
    Ok(Arc::new(config))
}

/// Judges servers by name and chain, to the authorities of this PEM.
pub fn server_verifier(text: &str) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let roots = Arc::new(authorities(text)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(crypto()))
        .build()
        .map_err(|_| TlsError::NoAuthority)?;
    Ok(verifier)
}

type KeyPairDer = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn key_pair(pair: KeyPairPem<'_>) -> Result<KeyPairDer, TlsError> {
    let chain = pem::certificates(pair.cert).map_err(TlsError::Certificate)?;
    let key = PrivateKey::from_pem(pair.key).and_then(|key| key.to_der()).map_err(TlsError::Key)?;
    Ok((chain, key))
}

fn authorities(text: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    // Bundles of systems hold odd certificates among the good; those are passed over.
    store.add_parsable_certificates(pem::certificates(text).map_err(TlsError::Authorities)?);
    if store.is_empty() { Err(TlsError::NoAuthority) } else { Ok(store) }
}

/// Takes any server, yet insists that it holds the key it shows.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            leaf,
            signature,
            &crypto().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            leaf,
            signature,
            &crypto().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::openssl;

    /// A certificate for `localhost` that is its own authority, with its key.
    fn made() -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let path = path.to_str().unwrap();
        let cert = openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            path,
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]);
        (cert, std::fs::read_to_string(path).unwrap())
    }

    fn handshake(
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
        name: &'static str,
    ) -> Result<(), rustls::Error> {
        let name = ServerName::try_from(name).unwrap();
        let mut client = rustls::ClientConnection::new(client, name).unwrap();
        let mut server = rustls::ServerConnection::new(server).unwrap();
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut moved = bytes.len();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            moved += bytes.len();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
            if moved == 0 {
                return Ok(());
            }
        }
    }

    #[test]
    fn listeners_and_clients_from_files() {
        let (cert, key) = made();
        let (client_cert, client_key) = made();
        let own = KeyPairPem { cert: &cert, key: &key };
        let as_client = Some(KeyPairPem { cert: &client_cert, key: &client_key });
        let by = ServerCheck::By { authorities: &cert };
        let open = server_config(own, None).unwrap();
        let closed = server_config(own, Some(&client_cert)).unwrap();

        let check = |server: &Arc<ServerConfig>, check, own, name, fits: bool| {
            let client = client_config(check, own).unwrap();
            let result = handshake(client, Arc::clone(server), name);
            assert_eq!(result.is_ok(), fits, "{result:?}");
        };
        check(&open, by, None, "localhost", true);
        check(&open, by, None, "elsewhere", false);
        check(&open, ServerCheck::By { authorities: &client_cert }, None, "localhost", false);
        check(&open, ServerCheck::Nothing, None, "elsewhere", true);
        check(&closed, by, as_client, "localhost", true);
        check(&closed, by, None, "localhost", false);
        check(&closed, by, Some(own), "localhost", false);
    }

    #[test]
    fn bad_files_are_named() {
        let (cert, key) = made();
        let (_, other_key) = made();
        let check = |cert: &str, key: &str, authorities: Option<&str>, want: &str| {
            let error = server_config(KeyPairPem { cert, key }, authorities).unwrap_err();
            assert_eq!(error.to_string(), want);
        };
        check("", &key, None, "certificate: no PEM-encoded data found");
        check(&cert, "", None, "private key: no PEM-encoded data found");
        check(&cert, &key, Some(""), "certificate authorities: no PEM-encoded data found");
        check(&cert, &other_key, None, "private key and certificate do not belong together");
        let broken = pem::encode("CERTIFICATE", &[1, 2, 3]);
        check(&cert, &key, Some(&broken), "certificate authorities: none can be used");
    }
}
