//! Nobody gets through a proxy whose identity is wrong in any way: not one byte reaches the application.
//!
//! Inbound, clients made by hand (and `openssl s_client`) dial the proxy of `db`. Outbound, a server made by hand is
//! registered as an instance of `db` and the proxy of `web` dials it. Before and after each wrong one a right one comes
//! through, so that each refusal is for its one fault.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig};
use rustls::{ServerConnection, SignatureScheme, Stream};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::json;
use tempfile::TempDir;
use testkit::background::Background;
use testkit::command::Cli;
use testkit::differential::{is_substituted, subject};
use testkit::ports::free_port;
use testkit::process::{Agent, Spec};
use testkit::toy::{Application, dial, exchange, offer};
use testkit::wait;

use crate::minted::{Authority, Minted, Wish, key_pem, self_signed};

/// Longest way from a registration or an intention to its effect on new connections.
const EFFECT_MAX: Duration = Duration::from_secs(30);
/// Longest silence on a connection made by hand.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// What wrong ones try to bring in.
const CONTRABAND: &[u8] = b"must not arrive";

/// An agent whose authority's key the test knows, `db` and `web`, and the proxies of both.
struct Mesh {
    agent: Agent,
    application: Application,
    authority: Authority,
    trust_domain: String,
    /// Where the proxy of db listens for other proxies.
    public: u16,
    /// Where the application of web finds db.
    upstream: u16,
    proxies: Vec<Background>,
}

impl Mesh {
    /// With `is_db_real` the instance of db is the application behind a proxy; otherwise the test brings its own.
    fn start(is_db_real: bool) -> Mesh {
        let key = key_pem();
        let program = subject(env!("CARGO_BIN_EXE_lictor"));
        let application = Application::start();
        let (public, upstream, web) = (free_port(), free_port(), free_port());
        let db_sidecar = json!({ "port": public, "checks": [alive()] });
        let db = if is_db_real {
            json!({ "name": "db", "port": application.port, "connect": { "sidecar_service": db_sidecar } })
        } else {
            json!({ "name": "db", "port": application.port })
        };
        let web = json!({ "name": "web", "port": 9, "connect": { "sidecar_service": {
            "port": web,
            "checks": [alive()],
            "proxy": { "upstreams": [{ "destination_name": "db", "local_bind_port": upstream }] },
        } } });
        let connect = json!({ "enabled": true, "ca_config": { "private_key": key } });
        let agent = Spec::new(&program)
            .config(json!({ "connect": connect }))
            .file("services.json", &json!({ "services": [db, web] }).to_string())
            .start();
        let address = format!("-http-addr={}", agent.address(agent.ports.http));
        let mut proxies = Vec::new();
        for service in ["db", "web"] {
            if service == "db" && !is_db_real {
                continue;
            }
            let args = ["connect", "proxy", &address, "-sidecar-for", service];
            let log = agent.dir().join(format!("{service}-proxy.log"));
            proxies.push(Background::start(&program, &args, log));
        }
        let authority = Authority::of_agent(&agent.http(), &key);
        let roots = agent.http().get("/v1/connect/ca/roots").expect("the agent answers").json();
        let trust_domain = roots["TrustDomain"].as_str().expect("a trust domain").to_owned();
        Mesh { agent, application, authority, trust_domain, public, upstream, proxies }
    }

    fn uri(&self, service: &str) -> String {
        format!("spiffe://{}/ns/default/dc/dc1/svc/{service}", self.trust_domain)
    }

    fn logs(&self) -> String {
        self.proxies.iter().map(|proxy| proxy.log() + "\n").collect()
    }
}

/// A check that is passing from the start: the test looks after the proxies itself.
fn alive() -> serde_json::Value {
    json!({ "name": "alive", "ttl": "1h", "status": "passing" })
}

/// What wrong peers show, by name, each wrong in one way. `service` is whom they claim to be.
fn wrong_ones(mesh: &Mesh, service: &str, other: &str) -> Vec<(String, Minted)> {
    let uri = mesh.uri(service);
    let sign = |uris: &[&str]| mesh.authority.sign(&Wish { uris, ..Wish::default() });
    let gateway = format!("spiffe://{}/gateway/mesh/dc/dc1", mesh.trust_domain);
    let agent = format!("spiffe://{}/agent/client/dc/dc1/id/node1", mesh.trust_domain);
    let signing = format!("spiffe://{}", mesh.trust_domain);
    let foreign = "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/";
    let foreign = format!("{foreign}{service}");
    let impostor = Authority::impostor(&mesh.authority, &mesh.trust_domain);
    let mut chain_of_impostor = impostor.sign(&Wish { uris: &[&uri], ..Wish::default() });
    chain_of_impostor.chain_pem.push_str(&impostor.root_pem);
    let mut all = vec![
        ("a leaf of another service".to_owned(), Minted::by_agent(&mesh.agent.http(), other)),
        (
            "an expired leaf".to_owned(),
            mesh.authority.sign(&Wish { uris: &[&uri], years: (2019, 2020), ..Wish::default() }),
        ),
        (
            "a leaf of the future".to_owned(),
            mesh.authority.sign(&Wish { uris: &[&uri], years: (2090, 2100), ..Wish::default() }),
        ),
        ("a leaf of a stranger of the same name".to_owned(), chain_of_impostor),
        (
            "a certificate that vouches for itself".to_owned(),
            self_signed(&Wish { uris: &[&uri], ..Wish::default() }),
        ),
        ("a gateway".to_owned(), sign(&[&gateway])),
        ("an agent".to_owned(), sign(&[&agent])),
        ("the trust domain itself".to_owned(), sign(&[&signing])),
        ("no name at all".to_owned(), sign(&[])),
        ("a name that is no SPIFFE id".to_owned(), sign(&["https://example.com/"])),
    ];
    // The real proxy looks at none of these.
    if !is_substituted() {
        all.extend([
            ("another trust domain under our own root".to_owned(), sign(&[&foreign])),
            ("two names".to_owned(), sign(&[&uri, &mesh.uri("another")])),
            (
                "a certificate that may sign".to_owned(),
                mesh.authority.sign(&Wish { uris: &[&uri], is_ca: true, ..Wish::default() }),
            ),
            (
                "the root with its key".to_owned(),
                Minted {
                    chain_pem: mesh.authority.root_pem.clone(),
                    key_pem: mesh.authority.key_pem.clone(),
                },
            ),
        ]);
    }
    all
}

#[test]
fn a_client_without_the_right_identity_reaches_nothing() {
    let mesh = Mesh::start(true);
    let http = mesh.agent.http();
    let deny =
        r#"{"SourceName":"denied","DestinationName":"db","SourceType":"consul","Action":"deny"}"#;
    let created = http.send("POST", "/v1/connect/intentions", &[], deny.as_bytes());
    assert_eq!(created.expect("the agent answers").status, 200);
    let right = Minted::by_agent(&http, "api");
    let reaches = |mesh: &Mesh, why: &str| {
        let reached = wait::poll(EFFECT_MAX, || {
            (speak(mesh.public, Some(&right)).ok()? == CONTRABAND).then_some(())
        });
        assert!(reached.is_some(), "the right client does not come through {why}\n{}", mesh.logs());
    };
    reaches(&mesh, "at the start");
    // The same library and authority, and nothing wrong: refusals are not for how the certificates were made.
    let minted = mesh.authority.sign(&Wish { uris: &[&mesh.uri("api")], ..Wish::default() });
    assert_eq!(
        speak(mesh.public, Some(&minted)).unwrap_or_default(),
        CONTRABAND,
        "{}",
        mesh.logs()
    );

    let mut wrong = wrong_ones(&mesh, "api", "denied");
    let mut stranger = Spec::new(subject(env!("CARGO_BIN_EXE_lictor"))).start();
    wrong.push(("a leaf of another cluster".to_owned(), Minted::by_agent(&stranger.http(), "api")));
    stranger.kill();
    let uri = mesh.uri("api");
    let server_only = [ExtendedKeyUsagePurpose::ServerAuth];
    let wish = Wish { uris: &[&uri], usages: &server_only, ..Wish::default() };
    wrong.push(("a leaf for servers only".to_owned(), mesh.authority.sign(&wish)));
    let mut attempts: Vec<(String, Option<&Minted>)> =
        wrong.iter().map(|(name, minted)| (name.clone(), Some(minted))).collect();
    attempts.push(("no certificate".to_owned(), None));
    for (name, minted) in attempts {
        let before = mesh.application.seen();
        let back = speak(mesh.public, minted);
        assert!(back.as_ref().map_or(true, Vec::is_empty), "{name}: {back:?} came back");
        let word = String::from_utf8_lossy(CONTRABAND).into_owned();
        let back = s_client(mesh.public, minted);
        assert!(!back.contains(&word), "{name}, by openssl: {back:?} came back");
        assert_eq!(mesh.application.seen(), before, "{name}: bytes reached the application");
        reaches(&mesh, &format!("after {name}"));
    }

    // Nobody comes in without TLS, either.
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"\x16\x03\x01\x00\x05hello", b"\0\0\0\0"] {
        let before = mesh.application.seen();
        // Whether an alert comes back or nothing is the proxy's choice.
        let _ = offer(mesh.public, bytes);
        assert_eq!(mesh.application.seen(), before, "{bytes:?} reached the application");
    }
    reaches(&mesh, "at the end");
}

#[test]
fn a_server_without_the_right_identity_hears_nothing() {
    let mesh = Mesh::start(false);
    let http = mesh.agent.http();
    let right = Minted::by_agent(&http, "db");
    let server = Server::start(&right);
    let instance = json!({
        "Name": "db-by-hand", "Kind": "connect-proxy", "Port": server.port, "Address": "127.0.0.1",
        "Proxy": { "DestinationServiceName": "db" },
    });
    let answer = http.put("/v1/agent/service/register", instance.to_string());
    assert_eq!(answer.expect("the agent answers").status, 200);
    let hears = |why: &str| {
        let heard = wait::poll(EFFECT_MAX, || exchange(mesh.upstream, CONTRABAND).ok());
        assert!(heard.is_some(), "the right server hears nothing {why}\n{}", mesh.logs());
    };
    hears("at the start");
    let minted = mesh.authority.sign(&Wish { uris: &[&mesh.uri("db")], ..Wish::default() });
    server.show(&minted);
    hears("when its certificate is made by hand");

    let mut wrong = wrong_ones(&mesh, "db", "api");
    let uri = mesh.uri("db");
    let client_only = [ExtendedKeyUsagePurpose::ClientAuth];
    let wish = Wish { uris: &[&uri], usages: &client_only, ..Wish::default() };
    wrong.push(("a leaf for clients only".to_owned(), mesh.authority.sign(&wish)));
    // A client of another datacenter is welcome if its service is; a server is asked for by its datacenter, too.
    let uri = format!("spiffe://{}/ns/default/dc/dc9/svc/db", mesh.trust_domain);
    let wish = Wish { uris: &[&uri], ..Wish::default() };
    wrong.push(("another datacenter".to_owned(), mesh.authority.sign(&wish)));
    for (name, minted) in wrong {
        server.show(&minted);
        let before = server.heard();
        let back = offer(mesh.upstream, CONTRABAND);
        assert!(matches!(back, Ok(0) | Err(_)), "{name}: {back:?} bytes came back");
        assert_eq!(server.heard(), before, "{name}: the server heard the application");
        server.show(&right);
        hears(&format!("after {name}"));
    }
}

/// Dials a proxy with a certificate, or without, sends, and returns what comes back.
fn speak(port: u16, minted: Option<&Minted>) -> io::Result<Vec<u8>> {
    let mut socket = dial(port)?;
    let name = ServerName::try_from("db.default.dc1.internal").expect("a name");
    let connection = ClientConnection::new(client_config(minted), name);
    let mut connection = connection.map_err(io::Error::other)?;
    let mut tls = Stream::new(&mut connection, &mut socket);
    tls.write_all(CONTRABAND)?;
    let mut back = vec![0; CONTRABAND.len()];
    tls.read_exact(&mut back)?;
    Ok(back)
}

fn client_config(minted: Option<&Minted>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks them")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(aws_lc_rs::default_provider())));
    Arc::new(match minted {
        Some(minted) => builder
            .with_client_auth_cert(minted.chain(), minted.key())
            .expect("key and certificate go together"),
        None => builder.with_no_client_auth(),
    })
}

/// The other client: `openssl s_client`, what it prints.
fn s_client(port: u16, minted: Option<&Minted>) -> String {
    let folder = TempDir::with_prefix("s_client-").expect("a temporary folder can be made");
    let connect = format!("127.0.0.1:{port}");
    // Without -ign_eof it would leave at the end of its input, before an answer.
    let mut args = vec!["s_client", "-connect", &connect, "-quiet", "-ign_eof"];
    if let Some(minted) = minted {
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("a temporary folder is writable");
        };
        write("chain.pem", &minted.chain_pem);
        write("key.pem", &minted.key_pem);
        args.extend(["-cert", "chain.pem", "-cert_chain", "chain.pem", "-key", "key.pem"]);
    }
    Cli::new("openssl").current_dir(folder.path()).run_with(&args, CONTRABAND).stdout
}

/// Takes any server: the clients here are the wrong ones.
#[derive(Debug)]
struct AnyServer(CryptoProvider);

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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS server that echoes, counts what it hears, and shows whatever certificate it is told to.
struct Server {
    port: u16,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    heard: Arc<Mutex<usize>>,
}

impl Server {
    fn start(minted: &Minted) -> Server {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let server = Server {
            port,
            config: Arc::new(Mutex::new(Server::config(minted))),
            heard: Arc::default(),
        };
        let (config, heard) = (server.config.clone(), server.heard.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = config.lock().expect("no holder panics").clone();
                let heard = heard.clone();
                // A client that breaks off is its own affair.
                thread::spawn(move || Server::serve(stream, config, &heard));
            }
        });
        server
    }

    fn serve(
        mut stream: TcpStream,
        config: Arc<ServerConfig>,
        heard: &Mutex<usize>,
    ) -> io::Result<()> {
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut tls = Stream::new(&mut connection, &mut stream);
        let mut buffer = [0; 4096];
        loop {
            let length = tls.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            *heard.lock().expect("no holder panics") += length;
            tls.write_all(&buffer[..length])?;
        }
    }

    fn show(&self, minted: &Minted) {
        *self.config.lock().expect("no holder panics") = Server::config(minted);
    }

    fn heard(&self) -> usize {
        *self.heard.lock().expect("no holder panics")
    }

    fn config(minted: &Minted) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider speaks them")
            .with_no_client_auth();
        let mut config = builder
            .with_single_cert(minted.chain(), minted.key())
            .expect("key and certificate go together");
        // Every connection shows its certificate anew.
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }
}
