//! What rustls asks during a handshake: which leaf to show, and whether to take the peer's.

use std::fmt;
use std::sync::Arc;

use model::spiffe::SpiffeId;
use model::time::Timestamp;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::chain::{CHAIN_CERTIFICATES_MAX, Peer, VerifyError};
use crate::crypto::crypto;
use crate::mesh::{MeshTls, check_expected};

/// Shows the leaf of now, to clients and servers alike.
pub(crate) struct OwnLeaf {
    pub(crate) mesh: Arc<MeshTls>,
}

impl ResolvesServerCert for OwnLeaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.mesh.identity().leaf))
    }
}

impl ResolvesClientCert for OwnLeaf {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.mesh.identity().leaf))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Judges clients: of the trust domain, whoever they are.
pub(crate) struct ClientVerifier {
    pub(crate) mesh: Arc<MeshTls>,
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Every peer of the mesh has one certificate; hints would only make handshakes longer.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        verify_shown(&self.mesh, leaf, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = crypto().signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = crypto().signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto().signature_verification_algorithms.supported_schemes()
    }
}

/// Judges a server: the expected one and no other.
pub(crate) struct ServerVerifier {
    pub(crate) mesh: Arc<MeshTls>,
    pub(crate) expected: Arc<SpiffeId>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let peer = verify_shown(&self.mesh, leaf, intermediates, now)?;
        check_expected(&self.expected, &peer)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = crypto().signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = crypto().signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto().signature_verification_algorithms.supported_schemes()
    }
}

macro_rules! named_debug {
    ($($type:ident),*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($type))
            }
        }
    )*};
}

// Asked for by rustls; the fields tell nothing that `MeshTls` does not.
named_debug!(OwnLeaf, ClientVerifier, ServerVerifier);

fn verify_shown(
    mesh: &MeshTls,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<Arc<Peer>, VerifyError> {
    // Bounded before anything is copied; the copies are of pointers to the handshake's bytes.
    if intermediates.len() >= CHAIN_CERTIFICATES_MAX {
        return Err(VerifyError::TooMany);
    }
    let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf)
        .chain(intermediates)
        .map(|der| CertificateDer::from(der.as_ref()))
        .collect();
    let now = Timestamp::from_unix(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    mesh.verify_chain(&chain, now)
}
