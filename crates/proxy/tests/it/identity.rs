//! Who is let in: nobody whose certificate does not prove it, and not one byte before it does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh::ProxySnapshot;
use mesh::definition::{PublicListener, TlsMin};
use model::ca::{CaRoots, IssuedCert};
use pki::mesh::{Identity, MeshTls};
use pki::roots::Roots;
use proxy::Settings;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::world::{
    App, Authority, Behaviour, DOMAIN, Pair, Running, allow, hours_ago, inbound, is_echoed,
    is_served, read_all, roots, run, settings, snapshot, until, until_async, upstream_expecting,
};

/// db with its proxy, which allows web.
async fn db() -> (Authority, App, Running, SocketAddr) {
    let authority = Authority::new(DOMAIN);
    let app = App::start(Behaviour::Echo).await;
    let inbound = inbound(app.address, allow("web", "db"));
    let mut db = Running::start(Some(ProxySnapshot { inbound, ..snapshot(&authority, "db") }));
    let address = db.public().await;
    (authority, app, db, address)
}

/// Shakes hands as the holder of `leaf`, sends a line, and reads the answer.
async fn exchange(
    to: SocketAddr,
    trusted: &CaRoots,
    leaf: &IssuedCert,
    expected: &Authority,
) -> std::io::Result<Vec<u8>> {
    let roots = Roots::of_cluster(trusted).expect("roots");
    let identity = Identity::new(Arc::new(roots), &leaf.cert_pem, &leaf.private_key_pem);
    let mesh = MeshTls::new(identity.expect("an identity"));
    let config = mesh.dialer(expected.id("db")).config(to);
    tls_exchange(to, config).await
}

async fn tls_exchange(
    to: SocketAddr,
    config: Arc<rustls::ClientConfig>,
) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect(to).await?;
    let name = ServerName::try_from("db.test").expect("a name");
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    stream.write_all(b"line").await?;
    let mut back = vec![0; 4];
    stream.read_exact(&mut back).await?;
    Ok(back)
}

/// A client that shows this certificate whatever it is, and takes any server.
fn careless(certificate: Option<&IssuedCert>) -> Arc<rustls::ClientConfig> {
    careless_with(certificate, rustls::DEFAULT_VERSIONS)
}

fn careless_with(
    certificate: Option<&IssuedCert>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    #[derive(Debug)]
    struct Anybody;
    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let config = match certificate {
        None => config.with_no_client_auth(),
        Some(leaf) => {
            use rustls::pki_types::pem::PemObject;
            let chain = CertificateDer::pem_slice_iter(leaf.cert_pem.as_bytes());
            let chain = chain.collect::<Result<_, _>>().expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(leaf.private_key_pem.as_bytes());
            config.with_client_auth_cert(chain, key.expect("PEM")).expect("belong together")
        }
    };
    Arc::new(config)
}

#[test]
fn a_client_without_a_good_certificate_reaches_nothing() {
    run(async {
        let (authority, app, db, address) = db().await;
        let foreign = Authority::new("99999999-2222-3333-4444-555555555555.consul");
        let impostor = Authority::new(DOMAIN);
        let expired = authority.leaf_at("web", hours_ago(100));
        let good = exchange(address, &authority.roots(), &authority.leaf("web"), &authority).await;
        assert_eq!(good.expect("web is allowed"), b"line");
        assert_eq!(app.connections(), 1);

        let refused = [
            ("no certificate", tls_exchange(address, careless(None)).await),
            ("expired", tls_exchange(address, careless(Some(&expired))).await),
            ("foreign domain", tls_exchange(address, careless(Some(&foreign.leaf("web")))).await),
            ("other authority", tls_exchange(address, careless(Some(&impostor.leaf("web")))).await),
        ];
        for (who, outcome) in refused {
            assert!(outcome.is_err(), "{who} got {outcome:?}");
        }
        until("all are counted", || db.count(|metrics| metrics.inbound_handshake_failed) == 4)
            .await;
        let other = exchange(address, &authority.roots(), &authority.leaf("api"), &authority).await;
        let refusal = other.expect_err("another service is denied").to_string();
        assert!(refusal.contains("AccessDenied"), "{refusal}");
        assert_eq!(db.count(|metrics| metrics.inbound_denied), 1);
        assert_eq!(app.connections(), 1, "nobody else reached the application");
    });
}

#[test]
fn a_server_that_is_not_the_expected_one_gets_no_byte() {
    run(async {
        let (authority, app, _db, address) = db().await;
        let foreign = Authority::new("99999999-2222-3333-4444-555555555555.consul");
        for expected in [authority.id("billing"), foreign.id("db")] {
            let upstreams = vec![upstream_expecting(&expected, "billing", &[address])];
            let web = ProxySnapshot { upstreams, ..snapshot(&authority, "web") };
            let mut web = Running::start(Some(web));
            assert!(!is_served(web.upstream().await).await, "the application sees a failure");
            assert_eq!(web.count(|metrics| metrics.outbound_failed), 1);
            assert_eq!(web.count(|metrics| metrics.bytes_to_peer), 0);
        }
        assert_eq!(app.connections(), 0);
    });
}

#[test]
fn a_connection_that_says_nothing_is_no_failure() {
    run(async {
        let (_authority, _app, db, address) = db().await;
        drop(TcpStream::connect(address).await.expect("listens"));
        until("it is over", || {
            let metrics = db.metrics.snapshot();
            metrics.inbound_accepted == 1 && metrics.inbound_open == 0
        })
        .await;
        assert_eq!(db.count(|metrics| metrics.inbound_handshake_failed), 0);
    });
}

#[test]
fn garbage_on_the_port_disturbs_nobody() {
    run(async {
        let pair = Pair::new(Behaviour::Echo).await;
        let mut pair = pair;
        let address = pair.db.public().await;
        let mut honest = pair.connect().await;
        assert!(is_echoed(&mut honest, b"before").await);
        let garbage: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\n\r\n",
            &[0; 100],
            &[22, 3, 1, 0xff, 0xff, 1, 2, 3],
            &[22, 3, 1, 0, 4, 1, 0, 0, 0],
            &[0xff; 70_000],
        ];
        for bytes in garbage {
            let mut stream = TcpStream::connect(address).await.expect("listens");
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            // Closed or reset, with an alert or without: never an answer of the application.
            let answer = read_all(&mut stream).await.unwrap_or_default();
            assert!(answer.len() < 64 && !answer.windows(4).any(|window| window == b"HTTP"));
        }
        until("all are counted", || pair.db.count(|metrics| metrics.inbound_handshake_failed) == 5)
            .await;
        assert!(is_echoed(&mut honest, b"after").await);
        assert_eq!(pair.app.connections(), 1);
    });
}

#[test]
fn clients_that_stall_in_the_handshake_are_ended_and_others_served() {
    run(async {
        let settings = Settings { workers: 1, handshakes_max: 8, ..settings() };
        let mut pair = Pair::with(Behaviour::Echo, settings).await;
        let address = pair.db.public().await;
        let mut stalled = Vec::new();
        for number in 0..20 {
            let mut stream = TcpStream::connect(address).await.expect("listens");
            if number % 2 == 0 {
                stream.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("writes");
            }
            stalled.push(stream);
        }
        until("the oldest made room", || pair.db.count(|metrics| metrics.handshakes_evicted) == 12)
            .await;
        let mut honest = pair.connect().await;
        assert!(is_echoed(&mut honest, b"served").await);
        // The remaining ones end by time.
        pair.db.change(|snapshot| {
            let inbound = snapshot.inbound.as_mut().expect("has one");
            let mut listener = PublicListener::clone(&inbound.listener);
            listener.handshake_timeout = Duration::from_millis(20);
            inbound.listener = Arc::new(listener);
        });
        let mut late = TcpStream::connect(address).await.expect("listens");
        assert!(read_all(&mut late).await.unwrap_or_default().is_empty());
    });
}

#[test]
fn a_resumed_handshake_is_decided_like_a_full_one() {
    run(async {
        let pair = Pair::new(Behaviour::Echo).await;
        for _ in 0..5 {
            assert!(pair.is_served().await);
        }
        let metrics = pair.db.metrics.snapshot();
        assert_eq!((metrics.handshakes_full, metrics.handshakes_resumed), (1, 4));
        pair.db.set_intentions(crate::world::deny("web", "db"));
        until_async("it is denied", async || !pair.is_served().await).await;
        let metrics = pair.db.metrics.snapshot();
        let handshakes = (metrics.handshakes_full, metrics.handshakes_resumed);
        assert_eq!(handshakes, (1, 4 + metrics.inbound_allowed - 5 + metrics.inbound_denied));
        assert_eq!((metrics.inbound_denied, pair.app.connections()), (1, metrics.inbound_allowed));
    });
}

#[test]
fn a_ticket_that_comes_after_its_identity_was_replaced_is_not_used() {
    run(async {
        let mut pair = Pair::new(Behaviour::Give).await;
        let mut client = pair.connect().await;
        let mut server = pair.app.take().await;
        // Tickets ride with the first bytes of the server, and by then web is somebody else.
        let leaf = pair.authority.leaf("web");
        pair.web.apply(|snapshot| snapshot.leaf = leaf).await;
        server.write_all(b"ticket").await.expect("writes");
        client.read_exact(&mut [0; 6]).await.expect("reads");
        let _second = pair.connect().await;
        pair.app.take().await;
        let metrics = pair.db.metrics.snapshot();
        assert_eq!((metrics.handshakes_full, metrics.handshakes_resumed), (2, 0));
    });
}

#[test]
fn certificates_and_roots_are_replaced_under_traffic_and_nothing_is_lost() {
    run(async {
        let mut pair = Pair::new(Behaviour::Echo).await;
        let next = Authority::new(DOMAIN);
        let mut long_lived = pair.connect().await;
        let both = roots(&[&pair.authority, &next]);
        type Step<'a> = Box<dyn Fn(&mut ProxySnapshot, &str) + 'a>;
        let steps: [Step<'_>; 4] = [
            Box::new(|snapshot, name| snapshot.leaf = pair.authority.leaf(name)),
            Box::new(|snapshot, _| snapshot.roots = both.clone()),
            Box::new(|snapshot, name| snapshot.leaf = next.leaf(name)),
            Box::new(|snapshot, _| snapshot.roots = next.roots()),
        ];
        let stream = |seed, entry| async move {
            let mut stream = TcpStream::connect(entry).await.expect("listens");
            is_echoed(&mut stream, &crate::world::pattern(seed, 50_000)).await
        };
        for (number, step) in steps.iter().enumerate() {
            let seed = number as u64;
            for (side, name) in [(&pair.db, "db"), (&pair.web, "web")] {
                let traffic = tokio::spawn(stream(seed, pair.entry));
                side.apply(|snapshot| step(snapshot, name)).await;
                assert!(traffic.await.expect("runs"), "traffic during step {number} of {name}");
                assert!(stream(seed, pair.entry).await, "traffic after step {number} of {name}");
                assert!(is_echoed(&mut long_lived, b"still here").await);
            }
        }
        drop(steps);
        // Now the old authority is nobody.
        let address = pair.db.public().await;
        let old = tls_exchange(address, careless(Some(&pair.authority.leaf("web")))).await;
        assert!(old.is_err(), "{old:?}");
        assert_eq!(pair.web.count(|metrics| metrics.outbound_failed), 0);
    });
}

/// A client that can do no more than TLS 1.2, as Envoy's defaults are.
fn only_tls12(leaf: &IssuedCert) -> Arc<rustls::ClientConfig> {
    careless_with(Some(leaf), &[&rustls::version::TLS12])
}

#[test]
fn tls12_is_spoken_only_where_it_is_asked_for() {
    run(async {
        let (authority, app, db, address) = db().await;
        let leaf = authority.leaf("web");
        assert!(tls_exchange(address, only_tls12(&leaf)).await.is_err());
        assert_eq!(app.connections(), 0);
        db.change(|snapshot| {
            let inbound = snapshot.inbound.as_mut().expect("has one");
            let mut listener = PublicListener::clone(&inbound.listener);
            listener.tls_min = TlsMin::Tls12;
            inbound.listener = Arc::new(listener);
        });
        until_async("it is spoken", async || {
            tls_exchange(address, only_tls12(&leaf)).await.is_ok()
        })
        .await;
        assert_eq!(app.connections(), 1);
        let api = authority.leaf("api");
        assert!(tls_exchange(address, only_tls12(&api)).await.is_err());
        assert!(tls_exchange(address, careless(Some(&leaf))).await.is_ok());
    });
}
