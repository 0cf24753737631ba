//! Measures what signing and handshakes cost, one core, nothing but memory (Linux).
//!
//! Run with `cargo run --release -p pki --example timing`.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use model::spiffe::{SpiffeId, TrustDomain};
use model::time::Timestamp;
use pki::builtin::BuiltinCa;
use pki::ca_config::CaConfig;
use pki::csr::{self, Csr};
use pki::key::{KeyKind, PrivateKey};
use pki::mesh::{Dialer, Identity, MeshTls};
use pki::roots::Roots;
use rustls::{ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection};

const ROUNDS: u32 = 5000;

fn main() {
    let now = Timestamp::from(SystemTime::now());
    let domain = TrustDomain::of_cluster("11111111-1111-1111-1111-111111111111").unwrap();
    let ca = BuiltinCa::create(&CaConfig::default(), &domain, now).unwrap();
    let id = |service: &str| SpiffeId::service(&domain, "dc1", service).unwrap();
    let key = PrivateKey::generate(KeyKind::LEAF).unwrap();
    let text = csr::build(&key, &id("web")).unwrap();
    let request = Csr::from_pem(&text).unwrap();

    measure("key", || {
        PrivateKey::generate(KeyKind::LEAF).unwrap();
    });
    measure("request written", || {
        csr::build(&key, &id("web")).unwrap();
    });
    measure("request read and verified", || {
        Csr::from_pem(&text).unwrap();
    });
    measure("leaf signed and encoded", || {
        ca.sign_leaf(&request, now).unwrap();
    });
    measure("request to leaf, whole", || {
        let csr = Csr::from_pem(&text).unwrap();
        csr.check(&domain, "dc1").unwrap();
        ca.sign_leaf(&csr, now).unwrap();
    });

    let roots = Arc::new(Roots::new(&domain, [ca.root_cert()]).unwrap());
    let identity = |service: &str| {
        let key = PrivateKey::generate(KeyKind::LEAF).unwrap();
        let csr = Csr::from_pem(&csr::build(&key, &id(service)).unwrap()).unwrap();
        let leaf = ca.sign_leaf(&csr, now).unwrap();
        Identity::new(Arc::clone(&roots), &leaf.cert_pem, &key.to_pem().unwrap()).unwrap()
    };
    let web = MeshTls::new(identity("web"));
    let db = MeshTls::new(identity("db"));
    let dialer = web.dialer(id("db"));
    let listener = db.server_config();

    let mut fresh_ports = 1u16;
    measure("handshake pair, full, peers known", || {
        // A port never dialled before has no session.
        fresh_ports = fresh_ports.wrapping_add(1);
        let link = handshake(&web.dialer(id("db")), &listener, fresh_ports);
        assert_eq!(link.1.handshake_kind(), Some(HandshakeKind::Full));
    });
    measure("handshake pair, full, peers new", || {
        let web = MeshTls::new(identity("web"));
        let db = MeshTls::new(identity("db"));
        handshake(&web.dialer(id("db")), &db.server_config(), 1);
    });
    measure("  of that, the two identities", || {
        MeshTls::new(identity("web"));
        MeshTls::new(identity("db"));
    });
    handshake(&dialer, &listener, 1);
    measure("handshake pair, resumed, both judged", || {
        let link = handshake(&dialer, &listener, 1);
        assert_eq!(link.1.handshake_kind(), Some(HandshakeKind::Resumed));
        dialer.peer(&link.0, now).unwrap();
        db.peer(&link.1, now).unwrap();
    });
    let link = handshake(&dialer, &listener, 1);
    measure("peer judged again", || {
        db.peer(&link.1, now).unwrap();
    });
}

fn measure(name: &str, mut work: impl FnMut()) {
    for _ in 0..ROUNDS / 10 {
        work();
    }
    let (wall, on_cpu) = (Instant::now(), cpu_nanos());
    for _ in 0..ROUNDS {
        work();
    }
    let each = |nanos: u64| nanos as f64 / f64::from(ROUNDS) / 1e3;
    let (cpu, wall) = (each(cpu_nanos() - on_cpu), each(wall.elapsed().as_nanos() as u64));
    println!("{name:40} {cpu:8.1} us CPU {wall:8.1} us");
}

/// Time this thread has been running, which other load on the machine does not change.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

fn handshake(dialer: &Dialer, listener: &Arc<ServerConfig>, port: u16) -> (Connection, Connection) {
    let config = dialer.config(([127, 0, 0, 1], port).into());
    let name = "db.default.dc1.internal".try_into().unwrap();
    let mut client: Connection = ClientConnection::new(config, name).unwrap().into();
    let mut server: Connection = ServerConnection::new(Arc::clone(listener)).unwrap().into();
    while pass(&mut client, &mut server) + pass(&mut server, &mut client) > 0 {}
    (client, server)
}

fn pass(from: &mut Connection, to: &mut Connection) -> usize {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets().unwrap();
    }
    bytes.len()
}
