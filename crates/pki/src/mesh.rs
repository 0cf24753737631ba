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
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    CertificateError, ClientConfig, CommonState, OtherError, ServerConfig, SupportedProtocolVersion,
};
use rustls_pki_types::CertificateDer;

use crate::chain::ChainMemory;
use crate::crypto::crypto;
use crate::session::{EndpointSessions, Tickets};
use crate::verifier::{ClientVerifier, OwnLeaf, ServerVerifier};

pub use crate::chain::{CHAIN_CERTIFICATES_MAX, Peer, VerifyError};
pub use crate::identity::{Identity, IdentityError};

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
        self.verify_chain(chain, now)
    }

    pub(crate) fn verify_chain(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Arc<Peer>, VerifyError> {
        self.chains.verify(self.identity().roots(), chain, now)
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

pub(crate) fn check_expected(expected: &SpiffeId, peer: &Peer) -> Result<(), VerifyError> {
    if *expected == peer.id {
        return Ok(());
    }
    Err(VerifyError::Unexpected {
        expected: Box::new(expected.clone()),
        found: Box::new(peer.id.clone()),
    })
}

#[cfg(test)]
mod tests;
