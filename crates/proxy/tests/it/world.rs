//! A small mesh: an authority, applications, proxies between them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use mesh::definition::PublicListener;
use mesh::snapshot::Inbound;
use mesh::{DefaultPolicy, Instance, ProxySnapshot, Target, Upstream, UpstreamDefinition};
use model::ca::{CaRoots, IssuedCert};
use model::intention::{Intention, IntentionAction};
use model::spiffe::{SpiffeId, TrustDomain};
use model::time::{GoDuration, Timestamp};
use pki::builtin::BuiltinCa;
use pki::ca_config::CaConfig;
use pki::csr::{self, Csr};
use pki::key::{Curve, KeyKind, PrivateKey};
use proxy::{Metrics, MetricsSnapshot, Proxy, Purpose, Question, RunError, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No test waits longer than this for anything that must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn run<F: Future>(test: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let limited = async { tokio::time::timeout(2 * DEADLINE, test).await };
    runtime.expect("starts").block_on(limited).expect("the test ends in time")
}

/// As [`until`], with a condition that takes time.
pub(crate) async fn until_async<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "never came: {what}");
}

/// Polls until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "never came: {what}");
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_unix(since.as_secs() as i64)
}

pub(crate) fn hours_ago(hours: i64) -> Timestamp {
    now().plus(GoDuration::from_secs(-3600 * hours))
}

/// Signs for one trust domain.
pub(crate) struct Authority {
    ca: BuiltinCa,
    pub(crate) trust_domain: TrustDomain,
}

impl Authority {
    pub(crate) fn new(domain: &str) -> Self {
        let trust_domain: TrustDomain = domain.parse().expect("a domain");
        let ca = BuiltinCa::create(&CaConfig::default(), &trust_domain, hours_ago(1000));
        Self { ca: ca.expect("an authority"), trust_domain }
    }

    pub(crate) fn roots(&self) -> Arc<CaRoots> {
        roots(&[self])
    }

    pub(crate) fn leaf(&self, service: &str) -> Arc<IssuedCert> {
        self.leaf_at(service, now())
    }

    pub(crate) fn leaf_at(&self, service: &str, at: Timestamp) -> Arc<IssuedCert> {
        let id = self.id(service);
        let key = PrivateKey::generate(KeyKind::Ec(Curve::P256)).expect("makes a key");
        let request = csr::build(&key, &id).expect("builds");
        let request = Csr::from_pem(&request).expect("reads");
        let mut leaf = self.ca.sign_leaf(&request, at).expect("signs");
        leaf.private_key_pem = key.to_pem().expect("writes").to_string();
        Arc::new(leaf)
    }

    pub(crate) fn id(&self, service: &str) -> SpiffeId {
        SpiffeId::service(&self.trust_domain, "dc1", service).expect("a name")
    }
}

/// What a cluster serves while it has the roots of all of these.
pub(crate) fn roots(authorities: &[&Authority]) -> Arc<CaRoots> {
    let roots = authorities.iter().map(|authority| authority.ca.ca_root().expect("a root"));
    Arc::new(CaRoots {
        trust_domain: authorities[0].trust_domain.to_string(),
        roots: roots.collect(),
        ..CaRoots::default()
    })
}

pub(crate) const DOMAIN: &str = "11111111-2222-3333-4444-555555555555.consul";

pub(crate) fn intention(
    source: &str,
    destination: &str,
    action: IntentionAction,
) -> Arc<Intention> {
    Arc::new(Intention {
        id: format!("{source}-{destination}"),
        source_namespace: "default".into(),
        source_name: source.into(),
        destination_namespace: "default".into(),
        destination_name: destination.into(),
        action,
        precedence: Intention::precedence_of(source, destination),
        ..Intention::default()
    })
}

pub(crate) fn allow(source: &str, destination: &str) -> Arc<[Arc<Intention>]> {
    [intention(source, destination, IntentionAction::Allow)].into()
}

pub(crate) fn deny(source: &str, destination: &str) -> Arc<[Arc<Intention>]> {
    [intention(source, destination, IntentionAction::Deny)].into()
}

/// The snapshot of a proxy that does nothing yet.
pub(crate) fn snapshot(authority: &Authority, service: &str) -> ProxySnapshot {
    let id = authority.id(service);
    ProxySnapshot {
        proxy_id: format!("{service}-sidecar-proxy").into(),
        identity: id.as_service().expect("is a service").clone(),
        roots: authority.roots(),
        leaf: authority.leaf(service),
        inbound: None,
        upstreams: Vec::new(),
        refused: [].into(),
    }
}

/// Lets the mesh reach the application at `app`, when `intentions` allow it; else denies.
pub(crate) fn inbound(app: SocketAddr, intentions: Arc<[Arc<Intention>]>) -> Option<Inbound> {
    let listener = PublicListener::new(("0.0.0.0", 0), ("127.0.0.1", app.port()));
    Some(Inbound { listener: listener.into(), intentions, default_policy: DefaultPolicy::Deny })
}

/// Leads to `service`, which answers at these addresses.
pub(crate) fn upstream(authority: &Authority, service: &str, at: &[SocketAddr]) -> Arc<Upstream> {
    upstream_expecting(&authority.id(service), service, at)
}

pub(crate) fn upstream_expecting(id: &SpiffeId, service: &str, at: &[SocketAddr]) -> Arc<Upstream> {
    let target = Target { service: service.into(), datacenter: String::new() };
    let instances = at.iter().map(|address| {
        Arc::new(Instance {
            address: address.ip().to_string(),
            port: address.port(),
            expected: id.clone(),
            node: "one".into(),
            service_id: service.into(),
        })
    });
    Arc::new(Upstream {
        definition: UpstreamDefinition::new(target, ("127.0.0.1", 0)),
        instances: Some(instances.collect()),
    })
}

/// A proxy that runs.
pub(crate) struct Running {
    pub(crate) snapshots: watch::Sender<Option<Arc<ProxySnapshot>>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) questions: mpsc::Receiver<Question>,
    pub(crate) end: JoinHandle<Result<(), RunError>>,
    listening: watch::Receiver<proxy::Listening>,
}

impl Running {
    pub(crate) fn start(snapshot: Option<ProxySnapshot>) -> Self {
        Self::start_with(snapshot, settings())
    }

    pub(crate) fn start_with(snapshot: Option<ProxySnapshot>, settings: Settings) -> Self {
        let proxy = Proxy::new(settings);
        let (metrics, listening) = (proxy.metrics(), proxy.listening());
        let (sender, receiver) = watch::channel(snapshot.map(Arc::new));
        let (ask, questions) = mpsc::channel(16);
        let shutdown = CancellationToken::new();
        let end = tokio::spawn(proxy.run(receiver, Some(ask), shutdown.clone()));
        Self { snapshots: sender, shutdown, metrics, questions, end, listening }
    }

    pub(crate) async fn public(&mut self) -> SocketAddr {
        let address = self.address(|purpose| *purpose == Purpose::Public).await;
        SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
    }

    pub(crate) async fn upstream(&mut self) -> SocketAddr {
        self.address(|purpose| *purpose != Purpose::Public).await
    }

    async fn address(&mut self, is_it: impl Fn(&Purpose) -> bool) -> SocketAddr {
        let find = |listening: &BTreeMap<Purpose, SocketAddr>| {
            listening.iter().find(|(purpose, _)| is_it(purpose)).map(|(_, address)| *address)
        };
        let listening = self.listening.wait_for(|listening| find(listening).is_some());
        let listening = tokio::time::timeout(DEADLINE, listening).await.expect("listens in time");
        find(&listening.expect("runs")).expect("was waited for")
    }

    /// Puts a changed snapshot in force.
    pub(crate) fn change(&self, change: impl FnOnce(&mut ProxySnapshot)) {
        self.snapshots.send_modify(|held| {
            let mut snapshot = ProxySnapshot::clone(held.as_ref().expect("has one"));
            change(&mut snapshot);
            *held = Some(Arc::new(snapshot));
        });
    }

    /// As [`Running::change`], and waits until the proxy has taken it in.
    pub(crate) async fn apply(&self, change: impl FnOnce(&mut ProxySnapshot)) {
        let before = self.count(|metrics| metrics.snapshots_applied);
        self.change(change);
        until("it is applied", || self.count(|metrics| metrics.snapshots_applied) > before).await;
    }

    pub(crate) fn set_intentions(&self, intentions: Arc<[Arc<Intention>]>) {
        self.change(|snapshot| {
            snapshot.inbound.as_mut().expect("has one").intentions = intentions;
        });
    }

    pub(crate) fn count(&self, pick: impl Fn(MetricsSnapshot) -> u64) -> u64 {
        pick(self.metrics.snapshot())
    }
}

pub(crate) fn settings() -> Settings {
    Settings { workers: 2, ..Settings::default() }
}

/// An application of the mesh, `web`, with an upstream to another, `db`.
pub(crate) struct Pair {
    pub(crate) authority: Authority,
    pub(crate) web: Running,
    pub(crate) db: Running,
    pub(crate) app: App,
    /// Where web reaches db.
    pub(crate) entry: SocketAddr,
    /// Where db's proxy listens; on every address of the loopback.
    pub(crate) db_address: SocketAddr,
}

impl Pair {
    pub(crate) async fn new(behaviour: Behaviour) -> Self {
        Self::with(behaviour, settings()).await
    }

    pub(crate) async fn with(behaviour: Behaviour, settings: Settings) -> Self {
        let authority = Authority::new(DOMAIN);
        let app = App::start(behaviour).await;
        let inbound = inbound(app.address, allow("web", "db"));
        let db = ProxySnapshot { inbound, ..snapshot(&authority, "db") };
        let mut db = Running::start_with(Some(db), settings.clone());
        let db_address = SocketAddr::from((Ipv4Addr::LOCALHOST, db.public().await.port()));
        let upstreams = vec![upstream(&authority, "db", &[db_address])];
        let web = ProxySnapshot { upstreams, ..snapshot(&authority, "web") };
        let mut web = Running::start_with(Some(web), settings);
        let entry = web.upstream().await;
        Self { authority, web, db, app, entry, db_address }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.entry).await.expect("web's proxy listens")
    }

    /// Whether a new connection gets an answer from the application behind it all.
    pub(crate) async fn is_served(&self) -> bool {
        is_served(self.entry).await
    }
}

/// What an application does with a connection.
#[derive(Clone, Copy)]
pub(crate) enum Behaviour {
    /// Sends back what comes, and ends when the other side does.
    Echo,
    /// Hands the connection to the test.
    Give,
}

/// A plain TCP server that counts what reaches it.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicU64>,
    given: mpsc::Receiver<TcpStream>,
}

impl App {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let connections = Arc::new(AtomicU64::new(0));
        let (give, given) = mpsc::channel(1024);
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                match behaviour {
                    Behaviour::Give => give.send(stream).await.expect("the test goes on"),
                    Behaviour::Echo => {
                        tokio::spawn(async move {
                            let (mut read, mut write) = stream.split();
                            let _ = tokio::io::copy(&mut read, &mut write).await;
                            let _ = write.shutdown().await;
                        });
                    }
                }
            }
        });
        Self { address, connections, given }
    }

    pub(crate) async fn take(&mut self) -> TcpStream {
        let taken = tokio::time::timeout(DEADLINE, self.given.recv()).await;
        taken.expect("a connection comes in time").expect("the application runs")
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Sends a line and reads it back, through whatever is between.
pub(crate) async fn is_echoed(stream: &mut TcpStream, line: &[u8]) -> bool {
    let mut back = vec![0; line.len()];
    let exchange = async {
        stream.write_all(line).await?;
        stream.read_exact(&mut back).await
    };
    let done = tokio::time::timeout(DEADLINE, exchange).await.expect("answers in time");
    done.is_ok() && back == line
}

/// As [`is_echoed`] on a new connection. One that is reset while it is being made was not served.
pub(crate) async fn is_served(entry: SocketAddr) -> bool {
    match TcpStream::connect(entry).await {
        Ok(mut stream) => is_echoed(&mut stream, b"are you there").await,
        Err(error) => {
            // The proxy may be faster to refuse than the test is to notice that it was connected.
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "somebody listens");
            false
        }
    }
}

/// Reads to the end; `Err` if that is a reset.
pub(crate) async fn read_all(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("ends in time")?;
    Ok(bytes)
}

/// Bytes that differ at every place and with the seed.
pub(crate) fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
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
