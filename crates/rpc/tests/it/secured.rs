//! TLS between agents: each side's demands, with real certificates and a real server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::query::{Query, QueryOptions, Reply};
use rpc::tls::{TlsSettings, TlsSettingsError};
use rpc::{Cluster, Remote, RemoteSettings, ServeSettings};
use serde_json::json;
use tempfile::TempDir;
use testkit::process::{Spec, consul};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake::{World, server, world_with};

/// An authority, a server's certificate and a client's, as `consul tls` makes them.
struct Material(TempDir);

impl Material {
    fn make() -> Self {
        let folder = TempDir::with_prefix("tls-").unwrap();
        let run = |args: &[&str]| {
            let done = std::process::Command::new(consul())
                .args(args)
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        run(&["tls", "ca", "create"]);
        run(&["tls", "cert", "create", "-server", "-dc", "dc1"]);
        run(&["tls", "cert", "create", "-client", "-dc", "dc1"]);
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(Path::new(&self.path(name))).unwrap()
    }

    fn settings(&self, role: &str) -> TlsSettings {
        TlsSettings {
            authorities: Some(self.read("consul-agent-ca.pem")),
            certificate: Some(self.read(&format!("dc1-{role}-consul-0.pem"))),
            key: Some(self.read(&format!("dc1-{role}-consul-0-key.pem"))),
            domain: "consul".into(),
            ..TlsSettings::default()
        }
    }
}

fn asking(tls: &TlsSettings) -> RemoteSettings {
    RemoteSettings {
        tls: tls.outgoing().unwrap(),
        hold: Duration::from_millis(20),
        ..RemoteSettings::new("dc1")
    }
}

async fn works(remote: &Remote) -> bool {
    remote.query(Query::Sessions, QueryOptions::default()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_that_verifies_everything() {
    let material = Material::make();
    let spec = Spec::new(consul()).config(json!({
        "verify_incoming_rpc": true,
        "verify_outgoing": true,
        "verify_server_hostname": true,
        "ca_file": material.path("consul-agent-ca.pem"),
        "cert_file": material.path("dc1-server-consul-0.pem"),
        "key_file": material.path("dc1-server-consul-0-key.pem"),
    }));
    let agent = tokio::task::spawn_blocking(move || spec.start()).await.unwrap();
    let address = agent.address(agent.ports.server);
    let check = async |tls: &TlsSettings, datacenter: &str, fits: bool| {
        let remote = Remote::new(asking(tls));
        let mut server = server(address);
        server.datacenter = datacenter.into();
        remote.set_servers(vec![server]);
        assert_eq!(works(&remote).await, fits, "{tls:?} {datacenter}");
        remote
    };
    let strict = TlsSettings {
        verify_server_hostname: true,
        verify_outgoing: true,
        ..material.settings("client")
    };
    let remote = check(&strict, "dc1", true).await;
    let archive = remote.save_snapshot(Default::default(), Default::default()).await.unwrap();
    let mut chunks = archive.chunks;
    let mut first = chunks.recv().await.unwrap().unwrap();
    assert_eq!(first.split_to(2)[..], [0x1f, 0x8b]);
    // The name is that of another datacenter.
    check(&strict, "dc2", false).await;
    let lenient = TlsSettings { verify_server_hostname: false, ..strict.clone() };
    check(&lenient, "dc2", true).await;
    let nameless = TlsSettings { certificate: None, key: None, ..strict.clone() };
    check(&nameless, "dc1", false).await;
    let foreign = TlsSettings {
        authorities: Some(Material::make().read("consul-agent-ca.pem")),
        ..strict.clone()
    };
    check(&foreign, "dc1", false).await;
    // Plain.
    check(&material.settings("client"), "dc1", false).await;
}

async fn ours(material: &Material, role: &str, verify_incoming: bool) -> World {
    let tls = TlsSettings { verify_incoming, ..material.settings(role) };
    let mut serving = ServeSettings::new("dc1");
    serving.tls = tls.incoming().unwrap();
    let world = world_with(serving, RemoteSettings::new("dc1")).await;
    world.fake.reply(Reply::Sessions(vec![]));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_verifies_and_is_verified() {
    let material = Material::make();
    let check = async |world: &World, tls: &TlsSettings, fits: bool| {
        let remote = Remote::new(asking(tls));
        remote.set_servers(vec![server(world.address)]);
        assert_eq!(works(&remote).await, fits, "{tls:?}");
    };
    let plain = material.settings("client");
    let lenient = TlsSettings { verify_outgoing: true, ..material.settings("client") };
    let strict = TlsSettings { verify_server_hostname: true, ..lenient.clone() };
    let nameless = TlsSettings { certificate: None, key: None, ..strict.clone() };

    let closed = ours(&material, "server", true).await;
    check(&closed, &strict, true).await;
    check(&closed, &lenient, true).await;
    check(&closed, &nameless, false).await;
    check(&closed, &plain, false).await;

    let open = ours(&material, "server", false).await;
    check(&open, &strict, true).await;
    check(&open, &nameless, true).await;
    check(&open, &plain, true).await;

    // Any certificate makes a server for who does not look at names.
    let impostor = ours(&material, "client", true).await;
    check(&impostor, &lenient, true).await;
    check(&impostor, &strict, false).await;

    let bare = world_with(ServeSettings::new("dc1"), RemoteSettings::new("dc1")).await;
    check(&bare, &strict, false).await;
}

/// Consensus is for servers: an agent's certificate is not enough where names are verified.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_needs_the_certificate_of_a_server() {
    let material = Material::make();
    let foreign = Material::make();
    let serve = async |verify_incoming, verify_server_hostname| {
        let tls = TlsSettings {
            verify_incoming,
            verify_server_hostname,
            verify_outgoing: true,
            ..material.settings("server")
        };
        let mut serving = ServeSettings::new("dc1");
        serving.tls = tls.incoming().unwrap();
        let world = world_with(serving, RemoteSettings::new("dc1")).await;
        world.fake.reply(Reply::Sessions(vec![]));
        world
    };
    let check = async |world: &mut World, tls: Option<TlsSettings>, fits: bool| {
        let outgoing = tls.as_ref().map(|tls| tls.outgoing().unwrap().unwrap());
        let dialled = rpc::dial_link(world.address, "dc1", outgoing.as_ref()).await;
        if fits {
            let link = world.links.recv().await.unwrap();
            assert_eq!(link.is_secured, tls.is_some());
            return;
        }
        // The other side may notice only when it reads.
        if let Ok(mut socket) = dialled {
            assert!(!matches!(socket.read(&mut [0]).await, Ok(1..)), "{tls:?}");
        }
        assert!(world.links.try_recv().is_err(), "{tls:?}");
    };
    let as_server = TlsSettings { verify_outgoing: true, ..material.settings("server") };
    let as_client = TlsSettings { verify_outgoing: true, ..material.settings("client") };
    let nameless = TlsSettings { certificate: None, key: None, ..as_client.clone() };
    let stranger = TlsSettings {
        authorities: as_server.authorities.clone(),
        verify_outgoing: true,
        ..foreign.settings("server")
    };

    for verify_incoming in [true, false] {
        let mut strict = serve(verify_incoming, true).await;
        check(&mut strict, Some(as_server.clone()), true).await;
        check(&mut strict, Some(as_client.clone()), false).await;
        check(&mut strict, Some(nameless.clone()), false).await;
        check(&mut strict, Some(stranger.clone()), false).await;
        check(&mut strict, None, false).await;
        // What is not a link needs no server's certificate.
        let remote = Remote::new(asking(&as_client));
        remote.set_servers(vec![server(strict.address)]);
        assert!(works(&remote).await);
    }

    let mut any_certificate = serve(true, false).await;
    check(&mut any_certificate, Some(as_client.clone()), true).await;
    check(&mut any_certificate, Some(nameless.clone()), false).await;
    let mut open = serve(false, false).await;
    check(&mut open, Some(nameless), true).await;
    check(&mut open, None, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn native_tls_and_agents_without_a_certificate() {
    let material = Material::make();
    let world = ours(&material, "server", true).await;
    let outgoing = pki::tls::client_config(
        pki::tls::ServerCheck::By { authorities: &material.read("consul-agent-ca.pem") },
        Some(pki::tls::KeyPairPem {
            cert: &material.read("dc1-client-consul-0.pem"),
            key: &material.read("dc1-client-consul-0-key.pem"),
        }),
    )
    .unwrap();
    let name = || rustls_pki_types::ServerName::try_from("server.dc1.consul").unwrap();
    let request = b"\x82\xadServiceMethod\xabStatus.Ping\xa3Seq\x07\x80";
    let ask = async |first: Option<u8>, alpn: &[&[u8]]| {
        let mut config = (*outgoing).clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        if let Some(first) = first {
            socket.write_u8(first).await.unwrap();
        }
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut socket = connector.connect(name(), socket).await.ok()?;
        socket.write_all(request).await.ok()?;
        socket.shutdown().await.ok()?;
        let mut got = Vec::new();
        socket.read_to_end(&mut got).await.ok()?;
        Some(String::from_utf8_lossy(&got).into_owned()).filter(|text| !text.is_empty())
    };
    assert_eq!(ask(None, &[b"consul/raft"]).await, None);
    assert_eq!(ask(None, &[]).await, None);
    let text = ask(Some(7), &[]).await.unwrap();
    assert!(text.contains("rpc: can't find service Status.Ping"), "{text}");

    let mut config = (*outgoing).clone();
    config.alpn_protocols = vec![b"consul/rpc-single".to_vec()];
    let socket = TcpStream::connect(world.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut socket = connector.connect(name(), socket).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut got = [0; 16];
    socket.read_exact(&mut got).await.unwrap();
    assert_eq!(got[..7], *b"\x83\xa5Error");
}

#[test]
fn settings_that_cannot_be_carried_out() {
    let bare = TlsSettings::default();
    assert!(bare.incoming().unwrap().is_none());
    assert!(bare.outgoing().unwrap().is_none());
    let check = |settings: TlsSettings, want: TlsSettingsError| {
        let error = match (settings.incoming(), settings.outgoing()) {
            (Err(error), _) | (_, Err(error)) => error,
            _ => panic!("that is not possible"),
        };
        assert_eq!(error, want);
    };
    let incoming = TlsSettings { verify_incoming: true, ..TlsSettings::default() };
    check(incoming, TlsSettingsError::IncomingMaterial);
    let outgoing = TlsSettings { verify_outgoing: true, ..TlsSettings::default() };
    check(outgoing, TlsSettingsError::OutgoingMaterial);
}
