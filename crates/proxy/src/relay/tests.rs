//! Two relays back to back on loopback sockets, between two applications that speak plain TCP.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::handshake;
use crate::metrics::Metrics;

/// Configurations of both sides, with certificates of one throw-away authority.
pub(crate) struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

pub(crate) fn configs(version: &'static SupportedProtocolVersion) -> Configs {
    let key = KeyPair::generate().expect("makes a key");
    let mut params = CertificateParams::new(Vec::new()).expect("empty");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).expect("signs");
    let issuer = Issuer::new(params, key);
    let leaf = || {
        let key = KeyPair::generate().expect("makes a key");
        let params = CertificateParams::new(vec!["peer.test".into()]).expect("a name");
        let leaf = params.signed_by(&key, &issuer).expect("signs");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
        (vec![leaf.der().clone()], key)
    };
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).expect("a root");
    let roots = Arc::new(roots);
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .expect("a verifier");
    let (chain, key) = leaf();
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .expect("a certificate");
    server.enable_secret_extraction = true;
    server.ticketer = aws_lc_rs::Ticketer::new().expect("a ticketer");
    let (chain, key) = leaf();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a certificate");
    client.enable_secret_extraction = true;
    Configs { server: Arc::new(server), client: Arc::new(client) }
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, far) = (near.expect("connects"), far.expect("accepts").0);
    for socket in [&near, &far] {
        socket.set_nodelay(true).expect("sets");
        let _ = socket2::SockRef::from(socket).set_tcp_congestion(b"reno");
    }
    (near, far)
}

/// The two ends applications hold, and how each relay ended once it has.
struct Chain {
    client: TcpStream,
    server: TcpStream,
    endings: tokio::task::JoinHandle<(Ending, Ending)>,
    controls: [Rc<Control>; 2],
    is_resumed: bool,
}

async fn chain(configs: &Configs) -> Chain {
    chain_with(configs, u64::MAX).await
}

async fn chain_with(configs: &Configs, records_max: u64) -> Chain {
    let (client, mut near_app) = sockets().await;
    let (mut near_peer, mut far_peer) = sockets().await;
    let (mut far_app, server) = sockets().await;
    let name = ServerName::try_from("peer.test").expect("a name");
    let (near, far) = tokio::join!(
        handshake::connect(&mut near_peer, configs.client.clone(), name),
        handshake::accept(&mut far_peer, configs.server.clone()),
    );
    let (near, far) = (near.expect("dials"), far.expect("accepts"));
    let is_resumed = far.is_resumed();
    assert_eq!(near.is_resumed(), is_resumed);
    let (mut near, mut far) =
        (near.into_session().expect("has keys"), far.into_session().expect("has keys"));
    near.sealer.limit(records_max);
    far.sealer.limit(records_max);
    let controls = [Rc::new(Control::default()), Rc::new(Control::default())];
    let (near_control, far_control) = (controls[0].clone(), controls[1].clone());
    let endings = tokio::task::spawn_local(async move {
        let pool = Rc::new(Pool::default());
        let traffic = Traffic::new(Arc::new(Metrics::default()));
        let near = async {
            let ending =
                relay(&mut near_app, &mut near_peer, near, &pool, &traffic, &near_control).await;
            drop((near_app, near_peer));
            ending
        };
        let far = async {
            let ending =
                relay(&mut far_app, &mut far_peer, far, &pool, &traffic, &far_control).await;
            drop((far_app, far_peer));
            ending
        };
        tokio::join!(near, far)
    });
    Chain { client, server, endings, controls, is_resumed }
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let limited = async { tokio::time::timeout(Duration::from_secs(60), future).await };
    runtime.expect("starts").block_on(LocalSet::new().run_until(limited)).expect("ends in time")
}

/// Bytes that differ at every place and from run to run of the generator.
fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(bytes)
    .collect()
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

#[test]
fn every_byte_arrives_in_both_directions_and_both_ends_close_in_peace() {
    run(async {
        for version in VERSIONS {
            let configs = configs(version);
            for bytes in [0, 1, 63, 4095, 4096, 16_384, 16_385, 70_000, 3_000_000] {
                let Chain { mut client, mut server, endings, .. } = chain(&configs).await;
                let (there, back) = (pattern(7, bytes), pattern(9, bytes / 2));
                let (mut client_read, mut client_write) = client.split();
                let (mut server_read, mut server_write) = server.split();
                let (mut got_there, mut got_back) = (Vec::new(), Vec::new());
                let results = tokio::join!(
                    async {
                        client_write.write_all(&there).await?;
                        client_write.shutdown().await
                    },
                    async {
                        server_write.write_all(&back).await?;
                        server_write.shutdown().await
                    },
                    server_read.read_to_end(&mut got_there),
                    client_read.read_to_end(&mut got_back),
                );
                assert!(matches!(results, (Ok(()), Ok(()), Ok(_), Ok(_))), "{results:?}");
                assert!(got_there == there && got_back == back, "{bytes} bytes differ");
                let endings = endings.await.expect("relays");
                assert!(matches!(endings, (Ending::Clean, Ending::Clean)), "{endings:?}");
            }
        }
    });
}

/// Sends a block there and takes half of it back, in lockstep.
async fn is_exchanged(chain: &mut Chain, seed: u64, bytes: usize) -> bool {
    let block = pattern(seed, bytes);
    let (mut there, mut back) = (vec![0; bytes], vec![0; bytes / 2]);
    let (mut client_read, mut client_write) = chain.client.split();
    let (mut server_read, mut server_write) = chain.server.split();
    let done = tokio::join!(
        client_write.write_all(&block),
        server_write.write_all(&block[..bytes / 2]),
        server_read.read_exact(&mut there),
        client_read.read_exact(&mut back),
    );
    matches!(done, (Ok(()), Ok(()), Ok(_), Ok(_))) && there == block && back == block[..bytes / 2]
}

#[test]
fn keys_are_replaced_before_their_limit_again_and_again() {
    run(async {
        let configs = configs(&rustls::version::TLS13);
        let mut chain = chain_with(&configs, 20).await;
        for round in 0..50 {
            assert!(is_exchanged(&mut chain, round, 200_000).await, "round {round}");
        }
    });
}

#[test]
fn a_peer_that_ends_without_saying_so_is_not_taken_for_a_proper_end() {
    run(async {
        for version in VERSIONS {
            let configs = configs(version);
            let Half { mut app, peer, ending, .. } = half(&configs).await;
            drop(peer);
            let mut bytes = Vec::new();
            assert!(app.read_to_end(&mut bytes).await.is_err());
            assert!(matches!(ending.await.expect("relays"), Ending::Truncated));
        }
    });
}

#[test]
fn bytes_that_are_no_records_end_the_connection_with_an_alert() {
    run(async {
        let configs = configs(&rustls::version::TLS13);
        let cases: [(&[u8], &str); 4] = [
            (
                &[23, 3, 3, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                "Undecryptable",
            ),
            (&[23, 3, 3, 0xff, 0xff], "TooLong"),
            (&[20, 3, 3, 0, 1, 1], "Undecryptable"),
            (&[23, 3, 3, 0, 0], "Undecryptable"),
        ];
        for (bytes, expected) in cases {
            let Half { mut app, mut peer, ending, .. } = half(&configs).await;
            peer.write_all(bytes).await.expect("writes");
            let mut got = Vec::new();
            assert!(app.read_to_end(&mut got).await.is_err() && got.is_empty());
            let ending = ending.await.expect("relays");
            assert_eq!(format!("{ending:?}"), format!("Protocol({expected})"));
            let mut alert = Vec::new();
            let _ = peer.read_to_end(&mut alert).await;
            assert_eq!(alert.first(), Some(&23), "a sealed alert");
        }
    });
}

#[test]
fn a_peer_that_sends_records_without_content_for_ever_is_ended() {
    run(async {
        let configs = configs(&rustls::version::TLS13);
        let Half { mut app, mut peer, mut session, ending } = half(&configs).await;
        // The tickets are sealed already, under the first numbers of the key.
        peer.write_all(&session.outgoing).await.expect("writes");
        for _ in 0..=IDLE_RECORDS_MAX {
            let record =
                ControlRecord::seal(&mut session.sealer, ContentType::ApplicationData, &[]);
            peer.write_all(record.expect("seals").bytes()).await.expect("writes");
        }
        assert!(app.read_u8().await.is_err());
        let ending = ending.await.expect("relays");
        assert!(matches!(ending, Ending::Protocol(RecordError::Unexpected)), "{ending:?}");
    });
}

#[test]
fn a_cut_resets_the_application_and_tells_the_peer() {
    run(async {
        let configs = configs(&rustls::version::TLS13);
        // Before anything was sent, tickets among it, and after.
        for bytes in [0, 1000] {
            let mut chain = chain(&configs).await;
            assert!(is_exchanged(&mut chain, 1, bytes).await);
            chain.controls[1].cut(Cut::Denied);
            let Chain { mut client, mut server, endings, .. } = chain;
            assert!(client.read_u8().await.is_err() && server.read_u8().await.is_err());
            let (near, far) = endings.await.expect("relays");
            assert!(matches!(near, Ending::Alert(ALERT_ACCESS_DENIED)), "{near:?}");
            assert!(matches!(far, Ending::Cut(Cut::Denied)), "{far:?}");
        }
    });
}

#[test]
fn tickets_ride_with_the_first_answer_and_are_good_for_another_connection() {
    run(async {
        let configs = configs(&rustls::version::TLS13);
        for round in 0..5 {
            let mut chain = chain(&configs).await;
            assert_eq!(chain.is_resumed, round > 0);
            assert!(is_exchanged(&mut chain, round, 100).await);
        }
    });
}

#[test]
fn a_stalled_connection_holds_no_more_than_its_buffers() {
    run(async {
        let configs = configs(&rustls::version::TLS13);
        let Chain { mut client, server, .. } = chain(&configs).await;
        let block = vec![1; 1 << 20];
        let mut taken = 0;
        let patience = Duration::from_millis(300);
        while let Ok(written) = tokio::time::timeout(patience, client.write(&block)).await {
            taken += written.expect("is open");
            assert!(taken < 512 << 20, "nobody reads, yet {taken} bytes were taken");
        }
        drop(server);
    });
}

/// One relay and, instead of the other, its bare session.
struct Half {
    app: TcpStream,
    peer: TcpStream,
    session: handshake::Session,
    ending: tokio::task::JoinHandle<Ending>,
}

async fn half(configs: &Configs) -> Half {
    let (app, mut relay_app) = sockets().await;
    let (mut relay_peer, mut peer) = sockets().await;
    let name = ServerName::try_from("peer.test").expect("a name");
    let (near, far) = tokio::join!(
        handshake::connect(&mut relay_peer, configs.client.clone(), name),
        handshake::accept(&mut peer, configs.server.clone()),
    );
    let near = near.expect("dials").into_session().expect("has keys");
    let session = far.expect("accepts").into_session().expect("has keys");
    let ending = tokio::task::spawn_local(async move {
        let traffic = Traffic::new(Arc::new(Metrics::default()));
        let (pool, control) = (Rc::new(Pool::default()), Control::default());
        relay(&mut relay_app, &mut relay_peer, near, &pool, &traffic, &control).await
    });
    Half { app, peer, session, ending }
}

/// Processor time of the calling thread so far. Unit: nanoseconds.
fn thread_cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|field| field.parse().ok()).expect("a number")
}

/// One relay on a thread of its own; answers the processor time it took.
fn on_thread<H, C>(
    app: std::net::TcpStream,
    peer: std::net::TcpStream,
    handshake: H,
) -> std::thread::JoinHandle<u64>
where
    H: AsyncFnOnce(&mut TcpStream) -> handshake::Handshaken<C> + Send + 'static,
    C: handshake::Machine,
{
    std::thread::spawn(move || {
        run(async move {
            let mut app = TcpStream::from_std(app).expect("registers");
            let mut peer = TcpStream::from_std(peer).expect("registers");
            let session = handshake(&mut peer).await.into_session().expect("has keys");
            let pool = Rc::new(Pool::default());
            let traffic = Traffic::new(Arc::new(Metrics::default()));
            let before = thread_cpu_nanos();
            let control = Control::default();
            let ending = relay(&mut app, &mut peer, session, &pool, &traffic, &control).await;
            assert!(matches!(ending, Ending::Clean), "{ending:?}");
            thread_cpu_nanos() - before
        })
    })
}

#[test]
#[ignore = "measures: run in release, alone"]
fn bulk_cost_per_byte() {
    use std::io::{Read, Write};
    const BYTES: usize = 8 << 30;
    let configs = configs(&rustls::version::TLS13);
    let std_pair = || {
        run(async {
            let (near, far) = sockets().await;
            (near.into_std().expect("leaves"), far.into_std().expect("leaves"))
        })
    };
    for _ in 0..3 {
        let (client, near_app) = std_pair();
        let (near_peer, far_peer) = std_pair();
        let (far_app, server) = std_pair();
        client.set_nonblocking(false).expect("sets");
        server.set_nonblocking(false).expect("sets");
        let (server_config, client_config) = (configs.server.clone(), configs.client.clone());
        let near = on_thread(near_app, near_peer, async move |peer| {
            let name = ServerName::try_from("peer.test").expect("a name");
            handshake::connect(peer, client_config, name).await.expect("dials")
        });
        let far = on_thread(far_app, far_peer, async move |peer| {
            handshake::accept(peer, server_config).await.expect("accepts")
        });
        let started = std::time::Instant::now();
        let sender = std::thread::spawn(move || {
            let (mut client, block) = (client, vec![7; 128 << 10]);
            for _ in 0..BYTES / block.len() {
                client.write_all(&block).expect("writes");
            }
            client.shutdown(std::net::Shutdown::Write).expect("ends");
            client
        });
        let (mut server, mut block, mut got) = (server, vec![0; 128 << 10], 0);
        loop {
            match server.read(&mut block).expect("reads") {
                0 => break,
                read => got += read,
            }
        }
        assert_eq!(got, BYTES);
        let took = started.elapsed().as_secs_f64();
        server.shutdown(std::net::Shutdown::Write).expect("ends");
        drop(sender.join().expect("sends"));
        let cpu = [near, far].map(|relay| relay.join().expect("relays") as f64 / BYTES as f64);
        println!(
            "{:.2} Gbit/s, ns per byte: {:.3} sealing, {:.3} opening, {:.3} the pair",
            BYTES as f64 * 8e-9 / took,
            cpu[0],
            cpu[1],
            cpu[0] + cpu[1]
        );
    }
}
