//! Handshakes in memory: full, resumed, across rotations, and every one that must not succeed.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::ca::CaRoots;
use model::spiffe::TrustDomain;
use model::time::GoDuration;
use rustls::{ClientConnection, Connection, HandshakeKind, ServerConnection};

use rustls_pki_types::{ServerName, UnixTime};

use super::*;
use crate::builtin::BuiltinCa;
use crate::ca_config::CaConfig;
use crate::csr::{self, Csr};
use crate::key::{KeyKind, PrivateKey};
use crate::roots::Roots;
use crate::svid::SvidError;

const HOUR: i64 = 3600;

fn domain() -> TrustDomain {
    TrustDomain::of_cluster("11111111-1111-1111-1111-111111111111").unwrap()
}

fn id(service: &str) -> SpiffeId {
    SpiffeId::service(&domain(), "dc1", service).unwrap()
}

fn endpoint(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The time of a test, moved by hand.
#[derive(Debug)]
struct Clock(AtomicI64);

impl Clock {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_900_000_000)))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.0.load(Ordering::Relaxed))
    }

    fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.now().unix_seconds as u64;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn authority(clock: &Clock) -> BuiltinCa {
    BuiltinCa::create(&CaConfig::default(), &domain(), clock.now()).unwrap()
}

fn roots(authorities: &[&BuiltinCa]) -> Arc<Roots> {
    let record = CaRoots {
        trust_domain: domain().to_string(),
        roots: authorities.iter().map(|ca| ca.ca_root().unwrap()).collect(),
        ..CaRoots::default()
    };
    Arc::new(Roots::of_cluster(&record).unwrap())
}

fn identity(ca: &BuiltinCa, roots: &Arc<Roots>, service: &str, now: Timestamp) -> Identity {
    let key = PrivateKey::generate(KeyKind::LEAF).unwrap();
    let csr = Csr::from_pem(&csr::build(&key, &id(service)).unwrap()).unwrap();
    let leaf = ca.sign_leaf(&csr, now).unwrap();
    Identity::new(Arc::clone(roots), &leaf.cert_pem, &key.to_pem().unwrap()).unwrap()
}

/// A mesh of one authority with the proxies of `web` and `db`.
struct Pair {
    clock: Arc<Clock>,
    ca: BuiltinCa,
    web: Arc<MeshTls>,
    db: Arc<MeshTls>,
    dialer: Dialer,
    listener: Arc<ServerConfig>,
}

impl Pair {
    fn new() -> Self {
        Self::with(Versions::Tls13)
    }

    fn with(versions: Versions) -> Self {
        let clock = Clock::new();
        let ca = authority(&clock);
        let roots = roots(&[&ca]);
        let proxy = |service: &str| {
            let time: Arc<dyn TimeProvider> = Arc::clone(&clock) as _;
            MeshTls::with(identity(&ca, &roots, service, clock.now()), versions, time)
        };
        let (web, db) = (proxy("web"), proxy("db"));
        let (dialer, listener) = (web.dialer(id("db")), db.server_config());
        Self { clock, ca, web, db, dialer, listener }
    }

    fn dial(&self) -> Result<Link, rustls::Error> {
        Link::open(self.dialer.config(endpoint(1)), &self.listener)
    }

    fn swap(&self, ca: &BuiltinCa, roots: &Arc<Roots>) {
        self.web.swap(identity(ca, roots, "web", self.clock.now()));
        self.db.swap(identity(ca, roots, "db", self.clock.now()));
    }

    /// Both ends of `link` know each other, by the rules of now.
    fn check_known(&self, link: &Link) {
        let now = self.clock.now();
        assert_eq!(self.dialer.peer(&link.client, now).unwrap().id, id("db"));
        assert_eq!(self.db.peer(&link.server, now).unwrap().id, id("web"));
    }
}

/// Two ends of a connection that pass bytes to each other directly.
#[derive(Debug)]
struct Link {
    client: Connection,
    server: Connection,
}

impl Link {
    /// Runs the handshake and what follows it, tickets among it.
    fn open(client: Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let name = ServerName::try_from("db.default.dc1.internal").unwrap();
        let mut link = Self {
            client: ClientConnection::new(client, name)?.into(),
            server: ServerConnection::new(Arc::clone(server))?.into(),
        };
        link.settle()?;
        assert!(!link.client.is_handshaking() && !link.server.is_handshaking());
        Ok(link)
    }

    fn settle(&mut self) -> Result<(), rustls::Error> {
        loop {
            let moved = pass(&mut self.client, &mut self.server)?
                + pass(&mut self.server, &mut self.client)?;
            if moved == 0 {
                return Ok(());
            }
        }
    }

    fn kinds(&self) -> (HandshakeKind, HandshakeKind) {
        (self.client.handshake_kind().unwrap(), self.server.handshake_kind().unwrap())
    }

    fn is_resumed(&self) -> bool {
        let kinds = self.kinds();
        assert_eq!(kinds.0, kinds.1);
        kinds.0 == HandshakeKind::Resumed
    }

    fn check_carries_bytes(&mut self) {
        for request in [&b"ping"[..], &b"pong"[..]] {
            self.client.writer().write_all(request).unwrap();
            self.settle().unwrap();
            let mut read = vec![0; request.len()];
            self.server.reader().read_exact(&mut read).unwrap();
            self.server.writer().write_all(&read).unwrap();
            self.settle().unwrap();
            self.client.reader().read_exact(&mut read).unwrap();
            assert_eq!(read, request);
        }
    }
}

fn pass(from: &mut Connection, to: &mut Connection) -> Result<usize, rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(bytes.len())
}

#[test]
fn both_ends_know_each_other() {
    let pair = Pair::new();
    let mut link = pair.dial().unwrap();
    assert_eq!(link.kinds(), (HandshakeKind::Full, HandshakeKind::Full));
    assert_eq!(link.client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let suite = link.client.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    pair.check_known(&link);
    link.check_carries_bytes();
}

#[test]
fn later_handshakes_are_resumed_and_still_judged() {
    let pair = Pair::new();
    assert!(!pair.dial().unwrap().is_resumed());
    for _ in 0..5 {
        let mut link = pair.dial().unwrap();
        assert!(link.is_resumed());
        pair.check_known(&link);
        link.check_carries_bytes();
    }
    // A link may live on for longer than the leaves it was made with.
    let link = pair.dial().unwrap();
    assert!(link.is_resumed());
    let now = pair.clock.now();
    let later = now.plus(GoDuration::from_secs(73 * HOUR));
    assert_eq!(pair.db.peer(&link.server, later), Err(VerifyError::Expired));
    assert_eq!(pair.dialer.peer(&link.client, later), Err(VerifyError::Expired));
    let earlier = now.plus(GoDuration::from_secs(-HOUR));
    assert_eq!(pair.db.peer(&link.server, earlier), Err(VerifyError::NotYetValid));
}

#[test]
fn sessions_belong_to_one_endpoint_and_one_identity() {
    let pair = Pair::new();
    pair.dial().unwrap();
    let elsewhere = Link::open(pair.dialer.config(endpoint(2)), &pair.listener).unwrap();
    assert!(!elsewhere.is_resumed(), "another endpoint of the same identity");
    assert!(pair.dial().unwrap().is_resumed());

    // Another expectation never sees the session, and the full handshake tells on the server.
    let other = pair.web.dialer(id("cache"));
    let error = Link::open(other.config(endpoint(1)), &pair.listener).unwrap_err();
    let unexpected =
        VerifyError::Unexpected { expected: Box::new(id("cache")), found: Box::new(id("db")) };
    assert_eq!(refusal(&error), Some(&unexpected));
}

#[test]
fn old_sessions_end_with_a_new_leaf_of_either_side() {
    let pair = Pair::new();
    let roots = roots(&[&pair.ca]);
    let renew = |mesh: &MeshTls, service: &str| {
        mesh.swap(identity(&pair.ca, &roots, service, pair.clock.now()));
    };
    pair.dial().unwrap();
    assert!(pair.dial().unwrap().is_resumed());
    renew(&pair.web, "web");
    let link = pair.dial().unwrap();
    assert!(!link.is_resumed());
    let shown = pair.db.peer(&link.server, pair.clock.now()).unwrap().serial_number.clone();
    assert_eq!(shown, pair.web.identity().serial_number());
    assert!(pair.dial().unwrap().is_resumed());
    renew(&pair.db, "db");
    let link = pair.dial().unwrap();
    assert!(!link.is_resumed());
    let shown = pair.dialer.peer(&link.client, pair.clock.now()).unwrap().serial_number.clone();
    assert_eq!(shown, pair.db.identity().serial_number());
}

/// The order of a rotation as seen by a connection: old root, both, new leaves, new root alone.
#[test]
fn a_rotation_drops_nothing() {
    let pair = Pair::new();
    let old = authority(&pair.clock);
    let only_old = roots(&[&old]);
    pair.swap(&old, &only_old);
    let mut first = pair.dial().unwrap();
    pair.check_known(&first);

    let new = authority(&pair.clock);
    let cross = old.cross_sign_root(new.root_cert(), pair.clock.now()).unwrap();
    let new = new.with_intermediates(&[cross]);
    let both = roots(&[&old, &new]);
    let now = pair.clock.now();

    // A leaf of the new root at one end, only the old root known at the other: cross-signing.
    pair.db.swap(identity(&new, &only_old, "db", now));
    let mut second = pair.dial().unwrap();
    assert!(!second.is_resumed());
    pair.check_known(&second);

    // Roots arrive, leaves follow.
    pair.swap(&old, &both);
    pair.check_known(&pair.dial().unwrap());
    pair.swap(&new, &both);
    let mut third = pair.dial().unwrap();
    assert!(!third.is_resumed());
    pair.check_known(&third);
    assert!(pair.dial().unwrap().is_resumed());
    for link in [&first, &second, &third] {
        pair.check_known(link);
    }

    // The old root goes: what stands on it alone can be told apart, and bytes still flow.
    let only_new = roots(&[&new]);
    pair.swap(&new, &only_new);
    pair.check_known(&third);
    assert_eq!(pair.db.peer(&first.server, now), Err(VerifyError::UnknownAuthority));
    assert_eq!(pair.dialer.peer(&first.client, now), Err(VerifyError::UnknownAuthority));
    let fourth = pair.dial().unwrap();
    assert!(!fourth.is_resumed());
    pair.check_known(&fourth);
    for link in [&mut first, &mut second, &mut third] {
        link.check_carries_bytes();
    }
}

/// A client that still stands on a removed root cannot come back by its old session.
#[test]
fn a_removed_root_ends_resumption() {
    let pair = Pair::new();
    pair.dial().unwrap();
    assert!(pair.dial().unwrap().is_resumed());
    let new = authority(&pair.clock);
    let only_new = roots(&[&new]);
    pair.db.swap(identity(&new, &only_new, "db", pair.clock.now()));
    assert!(pair.dial().is_err());
}

#[test]
fn expired_leaves_are_refused() {
    let pair = Pair::new();
    pair.dial().unwrap();
    pair.clock.advance(73 * HOUR);
    let error = pair.dial().unwrap_err();
    assert_eq!(error, rustls::Error::InvalidCertificate(rustls::CertificateError::Expired));

    // Only the client's: the server refuses.
    let pair = Pair::new();
    pair.clock.advance(73 * HOUR);
    let roots = roots(&[&pair.ca]);
    pair.db.swap(identity(&pair.ca, &roots, "db", pair.clock.now()));
    let error = pair.dial().unwrap_err();
    assert_eq!(error, rustls::Error::InvalidCertificate(rustls::CertificateError::Expired));
}

#[test]
fn a_known_peer_still_expires() {
    let pair = Pair::new();
    pair.dial().unwrap();
    let config = pair.web.dialer(id("db"));
    assert!(Link::open(config.config(endpoint(9)), &pair.listener).is_ok());
    pair.clock.advance(73 * HOUR);
    let roots = roots(&[&pair.ca]);
    pair.web.swap(identity(&pair.ca, &roots, "web", pair.clock.now()));
    let error = Link::open(config.config(endpoint(9)), &pair.listener).unwrap_err();
    assert_eq!(error, rustls::Error::InvalidCertificate(rustls::CertificateError::Expired));
}

#[test]
fn foreign_meshes_do_not_mix() {
    let ours = Pair::new();
    let theirs = Pair::new();
    let refused = |client: &Dialer, server: &Arc<ServerConfig>| {
        Link::open(client.config(endpoint(1)), server).unwrap_err()
    };
    refused(&theirs.dialer, &ours.listener);
    refused(&ours.dialer, &theirs.listener);
}

#[test]
fn a_client_must_show_a_certificate() {
    let pair = Pair::new();
    let verifier = ServerVerifier { mesh: Arc::clone(&pair.web), expected: Arc::new(id("db")) };
    let time: Arc<dyn TimeProvider> = Arc::clone(&pair.clock) as _;
    let bare = ClientConfig::builder_with_details(Arc::clone(crypto()), time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let error = Link::open(Arc::new(bare), &pair.listener).unwrap_err();
    assert_eq!(error, rustls::Error::NoCertificatesPresented);
}

#[test]
fn wrong_servers_are_told_apart_from_expected_ones() {
    let pair = Pair::new();
    let refused = |expected: SpiffeId| {
        Link::open(pair.web.dialer(expected).config(endpoint(1)), &pair.listener).unwrap_err()
    };
    refused(id("DB"));
    refused(id("db2"));
    refused(SpiffeId::service(&domain(), "dc2", "db").unwrap());
    let elsewhere = TrustDomain::of_cluster("22222222").unwrap();
    refused(SpiffeId::service(&elsewhere, "dc1", "db").unwrap());
    refused(SpiffeId::agent(&domain(), "dc1", "db").unwrap());
}

#[test]
fn old_clients_are_served_where_that_is_allowed() {
    let pair = Pair::with(Versions::Tls12AndTls13);
    pair.check_known(&pair.dial().unwrap());
    let mut old = (*pair.dialer.config(endpoint(3))).clone();
    let verifier = ServerVerifier { mesh: Arc::clone(&pair.web), expected: Arc::new(id("db")) };
    old = ClientConfig::builder_with_details(Arc::clone(crypto()), Arc::clone(&old.time_provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(OwnLeaf { mesh: Arc::clone(&pair.web) }));
    let link = Link::open(Arc::new(old.clone()), &pair.listener).unwrap();
    assert_eq!(link.client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    pair.check_known(&link);
    assert!(Link::open(Arc::new(old), &Pair::new().listener).is_err(), "not by default");
}

#[test]
fn endpoints_are_forgotten_in_the_order_of_their_use() {
    let pair = Pair::new();
    let kept = pair.dialer.config(endpoint(1));
    for port in 2..2 + ENDPOINTS_MAX as u16 {
        pair.dialer.config(endpoint(port));
        assert!(Arc::ptr_eq(&pair.dialer.config(endpoint(1)), &kept));
    }
    assert_eq!(pair.dialer.endpoints.lock().configs.len(), ENDPOINTS_MAX);
    assert!(!pair.dialer.endpoints.lock().configs.contains_key(&endpoint(2)));
}

#[test]
fn an_identity_is_whole_or_refused() {
    let clock = Clock::new();
    let ca = authority(&clock);
    let roots = roots(&[&ca]);
    let key = PrivateKey::generate(KeyKind::LEAF).unwrap();
    let csr = Csr::from_pem(&csr::build(&key, &id("web")).unwrap()).unwrap();
    let chain = ca.sign_leaf(&csr, clock.now()).unwrap().cert_pem;
    let key_pem = key.to_pem().unwrap();
    let other = PrivateKey::generate(KeyKind::LEAF).unwrap().to_pem().unwrap();
    let check = |cert: &str, key: &str, want: &str| {
        let error = Identity::new(Arc::clone(&roots), cert, key).unwrap_err().to_string();
        assert_eq!(error, want);
    };
    check(&chain, &other, "own private key and certificate do not belong together");
    check("", &key_pem, "own certificate: no PEM-encoded data found");
    check(&chain, "", "own private key: no PEM-encoded data found");
    check(ca.root_cert(), &key_pem, "own certificate of an authority where a leaf is wanted");
    let found = Identity::new(Arc::clone(&roots), &chain, &key_pem).unwrap();
    assert_eq!(found.id(), &id("web"));
    assert!(!format!("{found:?}").contains("PRIVATE"));

    let elsewhere = TrustDomain::of_cluster("22222222").unwrap();
    let foreign = BuiltinCa::create(&CaConfig::default(), &elsewhere, clock.now()).unwrap();
    let foreign_roots = Arc::new(Roots::new(&elsewhere, [foreign.root_cert()]).unwrap());
    let error = Identity::new(foreign_roots, &chain, &key_pem).unwrap_err();
    assert_eq!(error, IdentityError::Svid(SvidError::TrustDomain));
}

#[test]
fn memory_of_peers_is_bounded_and_bound_to_its_roots() {
    let pair = Pair::new();
    let now = pair.clock.now();
    let old_roots = roots(&[&pair.ca]);
    let memory = ChainMemory::default();
    let shown = |service: &str| {
        let identity = identity(&pair.ca, &old_roots, service, now);
        identity.leaf.cert.clone()
    };
    let first = shown("web");
    let verified = memory.verify(&old_roots, &first, now).unwrap();
    let again = memory.verify(&old_roots, &first, now).unwrap();
    assert!(Arc::ptr_eq(&verified, &again), "from memory");
    memory.verify(&old_roots, &shown("db"), now).unwrap();
    assert_eq!(memory.len(), 2);
    let end = verified.not_after.plus(GoDuration::from_secs(1));
    assert_eq!(memory.verify(&old_roots, &first, end), Err(VerifyError::Expired));

    let new = authority(&pair.clock);
    let new_roots = roots(&[&new]);
    let forgotten = memory.verify(&new_roots, &first, now);
    assert_eq!(forgotten, Err(VerifyError::UnknownAuthority));
    memory.verify(&roots(&[&pair.ca, &new]), &first, now).unwrap();
    assert_eq!(memory.len(), 1, "what other roots vouched for is gone");
}
