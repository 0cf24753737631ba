//! Mutual TLS between peers of the mesh: one identity, swapped while connections go on.
//!
//! [`MeshTls`] holds the current [`Identity`]; every configuration made from it reads the identity
//! at each handshake, so a new leaf or new roots need no new listener and disturb no connection.
//! Call [`MeshTls::peer`] (or [`Dialer::peer`]) after **every** handshake: a resumed one has not
//! been through the verifiers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use model::spiffe::SpiffeId;
use model::time::Timestamp;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName,
    OtherError, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::chain::{ChainMemory, leaf_digest};
use crate::crypto::crypto;
use crate::key::{KeyError, PrivateKey};
use crate::roots::{Roots, RootsEpoch};
use crate::session::{EndpointSessions, Tickets};
use crate::svid::{self, Svid, SvidError};
use crate::{certificate, pem};

pub use crate::chain::{CHAIN_CERTIFICATES_MAX, Peer, VerifyError};

/// The own leaf and the roots peers are verified by; both never change.
pub struct Identity {
    roots: Arc<Roots>,
    leaf: Arc<CertifiedKey>,
    svid: Svid,
    generation: Generation,
}

/// Tells identities apart; sessions live only as long as theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    roots: RootsEpoch,
    leaf: [u8; 32],
}

/// Why an own leaf cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("own certificate: {0}")]
    Certificate(#[from] certificate::CertificateError),
    #[error("own {0}")]
    Svid(#[from] SvidError),
    #[error("own private key: {0}")]
    Key(#[from] KeyError),
    #[error("own private key and certificate do not belong together")]
    Mismatch,
}

impl Identity {
    /// `cert_pem` is the chain to show, leaf first; `key_pem` the leaf's key. That the leaf leads
    /// to `roots` is not asked: while roots rotate, either may arrive first.
    pub fn new(roots: Arc<Roots>, cert_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        let chain = pem::certificates(cert_pem).map_err(certificate::CertificateError::from)?;
        let leaf = chain.first().ok_or(IdentityError::Mismatch)?;
        let svid = svid::check_leaf(leaf, roots.trust_domain())?;
        let generation = Generation { roots: roots.epoch(), leaf: leaf_digest(leaf) };
        let key = PrivateKey::from_pem(key_pem)?.to_der()?;
        let leaf =
            CertifiedKey::from_der(chain, key, crypto()).map_err(|_| IdentityError::Mismatch)?;
        Ok(Self { roots, leaf: Arc::new(leaf), svid, generation })
    }

    pub fn id(&self) -> &SpiffeId {
        &self.svid.id
    }

    pub fn roots(&self) -> &Arc<Roots> {
        &self.roots
    }

    pub fn serial_number(&self) -> &str {
        &self.svid.serial_number
    }

    pub fn not_before(&self) -> Timestamp {
        self.svid.not_before
    }

    pub fn not_after(&self) -> Timestamp {
        self.svid.not_after
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("svid", &self.svid).field("roots", &self.roots).finish()
    }
}

/// Which versions of TLS are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    #[default]
    Tls13,
    /// For meshes with proxies that offer no more than TLS 1.2.
    Tls12AndTls13,
}

impl Versions {
    fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls13 => vec![&rustls::version::TLS13],
            Self::Tls12AndTls13 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
        }
    }
}

/// The TLS side of one proxy.
pub struct MeshTls {
    identity: ArcSwap<Identity>,
    chains: ChainMemory,
    versions: Versions,
    time: Arc<dyn TimeProvider>,
}

impl MeshTls {
    /// TLS 1.3 only, dates judged by the system's clock.
    pub fn new(identity: Identity) -> Arc<Self> {
        Self::with(identity, Versions::default(), Arc::new(DefaultTimeProvider))
    }

    /// As [`MeshTls::new`], with the versions and the clock that handshakes use.
    pub fn with(identity: Identity, versions: Versions, time: Arc<dyn TimeProvider>) -> Arc<Self> {
        Arc::new(Self {
            identity: ArcSwap::from_pointee(identity),
            chains: ChainMemory::default(),
            versions,
            time,
        })
    }

    /// Uses another leaf or other roots from the next handshake on. Connections live on; judge them
    /// again with [`MeshTls::peer`] if a removed root shall end them.
    pub fn swap(&self, identity: Identity) {
        self.identity.store(Arc::new(identity));
    }

    pub fn identity(&self) -> Guard<Arc<Identity>> {
        self.identity.load()
    }

    /// Who is at the other end of a connection whose handshake is done, judged by the roots and the
    /// time of now, whether the handshake was a full or a resumed one.
    pub fn peer(&self, connection: &CommonState, now: Timestamp) -> Result<Arc<Peer>, VerifyError> {
        let chain = connection.peer_certificates().ok_or(VerifyError::NoCertificate)?;
        self.chains.verify(&self.identity().roots, chain, now)
    }

    /// For listeners: clients must show a certificate of the trust domain. Who of them may come in
    /// is decided by the caller, from [`MeshTls::peer`].
    pub fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let mut config =
            ServerConfig::builder_with_details(Arc::clone(crypto()), Arc::clone(&self.time))
                .with_protocol_versions(&self.versions.list())
                .expect("the cipher suites fit every version listed")
                .with_client_cert_verifier(Arc::new(ClientVerifier { mesh: Arc::clone(self) }))
                .with_cert_resolver(Arc::new(OwnLeaf { mesh: Arc::clone(self) }));
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(Tickets::new(self));
        // Each ticket costs a tenth of a resumed handshake. One is enough: a connection uses one and
        // brings one, so a client comes to hold as many as it has connections at once.
        config.send_tls13_tickets = 1;
        Arc::new(config)
    }

    /// For connections to one expected identity, at whatever endpoints it has.
    pub fn dialer(self: &Arc<Self>, expected: SpiffeId) -> Dialer {
        let expected = Arc::new(expected);
        let verifier = ServerVerifier { mesh: Arc::clone(self), expected: Arc::clone(&expected) };
        let mut base =
            ClientConfig::builder_with_details(Arc::clone(crypto()), Arc::clone(&self.time))
                .with_protocol_versions(&self.versions.list())
                .expect("the cipher suites fit every version listed")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_client_cert_resolver(Arc::new(OwnLeaf { mesh: Arc::clone(self) }));
        base.resumption = Resumption::disabled();
        Dialer { mesh: Arc::clone(self), expected, base, endpoints: Mutex::default() }
    }
}

impl fmt::Debug for MeshTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshTls").field("identity", &*self.identity()).finish_non_exhaustive()
    }
}

/// Endpoints a dialer keeps sessions for; a service with more instances than this resumes less.
/// With the bound of tickets per endpoint at 2 KB each, at most 32 MB, a fraction of it in practice.
const ENDPOINTS_MAX: usize = 512;

/// Dials one expected identity. Sessions are kept per endpoint, as each endpoint's tickets are
/// good at that endpoint only.
pub struct Dialer {
    mesh: Arc<MeshTls>,
    expected: Arc<SpiffeId>,
    /// Cloned per endpoint; the clones share the verifier, without which nothing is resumed.
    base: ClientConfig,
    endpoints: Mutex<Endpoints>,
}

#[derive(Default)]
struct Endpoints {
    /// With the number of the latest dial.
    configs: BTreeMap<SocketAddr, (u64, Arc<ClientConfig>)>,
    dials: u64,
}

impl Dialer {
    /// The configuration for one connection to `endpoint`. The server name given beside it when
    /// connecting is only sent, never verified.
    pub fn config(&self, endpoint: SocketAddr) -> Arc<ClientConfig> {
        let mut endpoints = self.endpoints.lock();
        endpoints.dials += 1;
        let dial = endpoints.dials;
        if let Some((latest, config)) = endpoints.configs.get_mut(&endpoint) {
            *latest = dial;
            return Arc::clone(config);
        }
        if endpoints.configs.len() >= ENDPOINTS_MAX {
            let longest_ago = endpoints.configs.iter().min_by_key(|(_, (latest, _))| *latest);
            if let Some(endpoint) = longest_ago.map(|(endpoint, _)| *endpoint) {
                endpoints.configs.remove(&endpoint);
            }
        }
        let mut config = self.base.clone();
        config.resumption = Resumption::store(Arc::new(EndpointSessions::new(&self.mesh)));
        let config = Arc::new(config);
        endpoints.configs.insert(endpoint, (dial, Arc::clone(&config)));
        config
    }

    pub fn expected(&self) -> &SpiffeId {
        &self.expected
    }

    /// As [`MeshTls::peer`], and that the peer is the expected one.
    pub fn peer(&self, connection: &CommonState, now: Timestamp) -> Result<Arc<Peer>, VerifyError> {
        let peer = self.mesh.peer(connection, now)?;
        check_expected(&self.expected, &peer)?;
        Ok(peer)
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// What the verifiers here found wrong with the peer, out of the error of a handshake, for logs:
/// rustls itself would show the structure instead of the message.
pub fn refusal(error: &rustls::Error) -> Option<&VerifyError> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref()
        }
        _ => None,
    }
}

fn check_expected(expected: &SpiffeId, peer: &Peer) -> Result<(), VerifyError> {
    if *expected == peer.id {
        return Ok(());
    }
    Err(VerifyError::Unexpected {
        expected: Box::new(expected.clone()),
        found: Box::new(peer.id.clone()),
    })
}

/// Shows the leaf of now, to clients and servers alike.
struct OwnLeaf {
    mesh: Arc<MeshTls>,
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
struct ClientVerifier {
    mesh: Arc<MeshTls>,
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
struct ServerVerifier {
    mesh: Arc<MeshTls>,
    expected: Arc<SpiffeId>,
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
    mesh.chains.verify(&mesh.identity().roots, &chain, now)
}

#[cfg(test)]
mod tests;
