//! The proxy's own identity and what it makes of peers: the one place where `pki` is plugged in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use mesh::ProxySnapshot;
use mesh::definition::TlsMin;
use model::ca::{CaRoots, IssuedCert};
use model::spiffe::SpiffeId;
use model::time::Timestamp;
use pki::mesh::{Dialer, Identity, MeshTls, Peer, VerifyError, Versions};
use pki::roots::Roots;
use rustls::pki_types::ServerName;
use rustls::time_provider::DefaultTimeProvider;
use rustls::{ClientConfig, CommonState, ServerConfig};

use crate::error::RunError;

/// Roots and leaf in force. New handshakes use what was installed last; open connections live on.
#[derive(Clone)]
pub(crate) struct Tls {
    mesh: Arc<MeshTls>,
    server: Arc<ServerConfig>,
    versions: Versions,
    roots: Arc<CaRoots>,
    leaf: Arc<IssuedCert>,
    installs: Arc<AtomicU64>,
}

impl Tls {
    pub(crate) fn new(snapshot: &ProxySnapshot) -> Result<Self, RunError> {
        let versions = versions(snapshot);
        let mesh = MeshTls::with(identity(snapshot)?, versions, Arc::new(DefaultTimeProvider));
        let mut server = ServerConfig::clone(&mesh.server_config());
        // Our own record layer takes over after the handshake.
        server.enable_secret_extraction = true;
        Ok(Self {
            server: Arc::new(server),
            mesh,
            versions,
            roots: snapshot.roots.clone(),
            leaf: snapshot.leaf.clone(),
            installs: Arc::default(),
        })
    }

    /// What serves `snapshot`: this one with its roots and leaf swapped, or a new one if the versions changed.
    pub(crate) fn updated(&self, snapshot: &ProxySnapshot) -> Result<Self, RunError> {
        if self.versions != versions(snapshot) {
            return Self::new(snapshot);
        }
        let is_same =
            Arc::ptr_eq(&self.roots, &snapshot.roots) && Arc::ptr_eq(&self.leaf, &snapshot.leaf);
        if !is_same {
            let identity = identity(snapshot)?;
            // Before and after, so that a handshake that begins in between belongs to neither.
            self.installs.fetch_add(1, Ordering::SeqCst);
            self.mesh.swap(identity);
            self.installs.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Self { roots: snapshot.roots.clone(), leaf: snapshot.leaf.clone(), ..self.clone() })
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// Who a client is, after its handshake, full or resumed.
    pub(crate) fn peer(&self, common: &CommonState) -> Result<Arc<Peer>, VerifyError> {
        self.mesh.peer(common, now())
    }

    /// What dials `expected`, wherever it is.
    pub(crate) fn dialer(&self, expected: &SpiffeId) -> Outgoing {
        Outgoing {
            dialer: self.mesh.dialer(expected.clone()),
            name: server_name(expected),
            installs: self.installs.clone(),
        }
    }

    /// Whether both hand out the same sessions, so that dialers of one are good for the other.
    pub(crate) fn is_same_mesh(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mesh, &other.mesh)
    }
}

/// Dials one expected identity.
pub(crate) struct Outgoing {
    dialer: Dialer,
    name: ServerName<'static>,
    installs: Arc<AtomicU64>,
}

/// The identity a handshake was made with.
///
/// A ticket that comes after the identity was replaced still stands for the old one, whose root may be gone when the
/// ticket is used: it must not be kept.
pub(crate) struct Era {
    installs: Arc<AtomicU64>,
    begun_at: u64,
}

impl Era {
    pub(crate) fn is_current(&self) -> bool {
        self.installs.load(Ordering::SeqCst) == self.begun_at
    }
}

impl Outgoing {
    pub(crate) fn config(&self, endpoint: SocketAddr) -> Arc<ClientConfig> {
        let config = self.dialer.config(endpoint);
        if config.enable_secret_extraction {
            return config;
        }
        let mut config = ClientConfig::clone(&config);
        config.enable_secret_extraction = true;
        Arc::new(config)
    }

    /// To be taken before the handshake begins.
    pub(crate) fn era(&self) -> Era {
        let begun_at = self.installs.load(Ordering::SeqCst);
        Era { installs: self.installs.clone(), begun_at }
    }

    pub(crate) fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }

    /// Who answered, after the handshake, full or resumed: the expected one or an error.
    pub(crate) fn peer(&self, common: &CommonState) -> Result<Arc<Peer>, VerifyError> {
        self.dialer.peer(common, now())
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        unix_seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    }
}

fn versions(snapshot: &ProxySnapshot) -> Versions {
    match snapshot.inbound.as_ref().map(|inbound| inbound.listener.tls_min) {
        Some(TlsMin::Tls12) => Versions::Tls12AndTls13,
        Some(TlsMin::Tls13) | None => Versions::Tls13,
    }
}

fn identity(snapshot: &ProxySnapshot) -> Result<Identity, RunError> {
    let roots =
        Roots::of_cluster(&snapshot.roots).map_err(|error| RunError::Identity(error.into()))?;
    for unfit in roots.unfit() {
        tracing::warn!(root = unfit.fingerprint, reason = %unfit.reason, "root left out");
    }
    let leaf = &snapshot.leaf;
    Identity::new(Arc::new(roots), &leaf.cert_pem, &leaf.private_key_pem)
        .map_err(|error| RunError::Identity(error.into()))
}

/// The name mesh gateways and Envoy route by. It takes no part in verification, so a service whose name fits no DNS
/// name is dialled without one.
fn server_name(expected: &SpiffeId) -> ServerName<'static> {
    let name = expected.as_service().and_then(|id| {
        let (service, namespace, datacenter) = (&id.service, &id.namespace, &id.datacenter);
        let domain = id.trust_domain.as_str();
        let name = format!("{service}.{namespace}.{datacenter}.internal.{domain}");
        ServerName::try_from(name).ok()
    });
    name.unwrap_or(ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into()))
}
