//! The server port: what the first byte of a connection asks for, and the streams behind it.
//!
//! Strangers connect here. Each wait has an end, each buffer a bound, and one bad stream ends
//! itself alone.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::codec::{self, CodecError, HEAD_BYTES_MAX, ReplyHead, RequestHead, Values};
use crate::coordinate::Updates;
use crate::failure::Fault;
use crate::service::{self, Service};
use crate::tls::{ALPN_MULTIPLEXED, ALPN_SINGLE, ALPN_SNAPSHOT, Incoming};
use crate::yamux::{self, Side};
use crate::{Cluster, snapshot};

/// First bytes of connections.
pub(crate) const SINGLE: u8 = 0;
const RAFT: u8 = 1;
const OLD_MULTIPLEXER: u8 = 2;
pub(crate) const TLS: u8 = 3;
pub(crate) const MULTIPLEXED: u8 = 4;
pub(crate) const SNAPSHOT: u8 = 5;
const GOSSIP_AREA: u8 = 6;
const TLS_ANONYMOUS: u8 = 7;
const GRPC: u8 = 8;
/// Ours: the consensus of servers. Peers of Consul take it for TLS and close.
pub(crate) const LINK: u8 = 10;
/// Nothing of Consul's begins with what is from here on; a TLS hello does, with 22.
const NATIVE_TLS_MIN: u8 = 20;

/// Streams of one connection at once. An agent holds one for each thing it watches.
const STREAMS_MAX: usize = 16 * 1024;
/// Time from connecting until it is known what is wanted, handshakes included.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Time from the first byte of a request to its last.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Time a client has to take a reply.
const REPLY_MAX: Duration = Duration::from_secs(120);
/// Requests up to this size are read without asking.
const SMALL_BYTES: usize = 64 * 1024;
/// Larger requests at once, so that strangers cannot fill the memory with halves of them.
const LARGE_REQUESTS_MAX: usize = 16;
/// Connections that end orderly have so long when the server stops: longer than a write takes.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// A connection without a request for so long has none under way either, once its peer was told to ask others.
const QUIET: Duration = Duration::from_millis(100);
/// After a failed accept, for instance for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes in both directions.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Socket for T {}

/// A connection of another of our servers for consensus; its first byte was read.
pub struct Link {
    pub socket: Box<dyn Socket>,
    pub peer: SocketAddr,
    /// It came in TLS, with a certificate if those are asked for: a server's where names are verified.
    pub is_secured: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.peer)
            .field("is_secured", &self.is_secured)
            .finish_non_exhaustive()
    }
}

/// Takes links over. Must not block.
pub type LinkHandler = Arc<dyn Fn(Link) + Send + Sync>;

/// How the port behaves.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    pub datacenter: String,
    pub tls: Option<Incoming>,
    /// Connections from one address at once (`limits.rpc_max_conns_per_client`).
    pub connections_per_ip_max: usize,
    /// Longest request. A little above the longest value or transaction accepted.
    pub request_bytes_max: usize,
}

impl ServeSettings {
    pub fn new(datacenter: impl Into<String>) -> Self {
        Self {
            datacenter: datacenter.into(),
            tls: None,
            connections_per_ip_max: 100,
            request_bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// What all connections share.
struct Port {
    service: Service,
    settings: ServeSettings,
    on_link: LinkHandler,
    large: Semaphore,
    connections: Mutex<HashMap<IpAddr, usize>>,
    tasks: TaskTracker,
    /// No more connections; requests under way are answered.
    stop: CancellationToken,
    /// Whatever is left is cut.
    cut: CancellationToken,
}

/// Requests of one connection.
#[derive(Debug, Default)]
struct Work {
    begun: AtomicU64,
    under_way: AtomicUsize,
}

impl Work {
    fn begin(&self) -> UnderWay<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// Resolves when there was no request for a while.
    async fn quiet(&self) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(QUIET).await;
            let is_quiet = self.begun.load(Ordering::Relaxed) == begun;
            if is_quiet && self.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }
}

struct UnderWay<'a>(&'a Work);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers on `listener` until `stop`, then closes all connections.
pub async fn serve(
    listener: TcpListener,
    settings: ServeSettings,
    cluster: Arc<dyn Cluster>,
    on_link: LinkHandler,
    stop: CancellationToken,
) {
    let service =
        Service { cluster, datacenter: settings.datacenter.clone(), updates: Updates::default() };
    let port = Arc::new(Port {
        service,
        settings,
        on_link,
        large: Semaphore::new(LARGE_REQUESTS_MAX),
        connections: Mutex::default(),
        tasks: TaskTracker::new(),
        stop: stop.clone(),
        cut: CancellationToken::new(),
    });
    let coordinates = port.clone();
    port.tasks.spawn(async move {
        let Port { service, stop, .. } = &*coordinates;
        service.updates.propose(&*service.cluster, stop).await;
    });
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((socket, peer)) => port.clone().admit(socket, peer),
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the server port");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Who comes now is to go to another server.
    drop(listener);
    port.tasks.close();
    if tokio::time::timeout(DRAIN_MAX, port.tasks.wait()).await.is_err() {
        tracing::warn!("connections of the server port did not end in time");
        port.cut.cancel();
        port.tasks.wait().await;
    }
}

/// Counts a connection of an address as long as it lives.
struct Admitted {
    port: Arc<Port>,
    ip: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut connections = self.port.connections.lock();
        if let Some(count) = connections.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.ip);
            }
        }
    }
}

impl Port {
    fn admit(self: Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let ip = peer.ip().to_canonical();
        let is_full = {
            let mut connections = self.connections.lock();
            let count = connections.entry(ip).or_default();
            let is_full = *count >= self.settings.connections_per_ip_max;
            *count += usize::from(!is_full);
            is_full
        };
        if is_full {
            tracing::warn!(%peer, "too many connections from this address");
            return;
        }
        let admitted = Admitted { port: self.clone(), ip };
        let port = self.clone();
        self.tasks.spawn(async move {
            let Some(ended) = port.cut.run_until_cancelled(port.connection(socket, peer)).await
            else {
                return;
            };
            if let Err(refusal) = ended {
                tracing::warn!(%peer, reason = %refusal, "connection refused");
            }
            drop(admitted);
        });
    }

    async fn connection(
        self: &Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
    ) -> Result<(), Refusal> {
        tune(&socket);
        let opened = tokio::time::timeout(HANDSHAKE_MAX, self.open(socket, peer));
        let Some(opened) = self.stop.run_until_cancelled(opened).await else { return Ok(()) };
        let alone = async |socket| {
            let work = Work::default();
            tokio::select! {
                () = self.stream(socket, &work) => {}
                () = self.quiet(&work) => {}
            }
        };
        match opened.map_err(|_| Refusal::TooSlow)?? {
            None => {}
            Some(Opened::Single(socket)) => alone(socket).await,
            Some(Opened::Multiplexed(socket)) => self.session(socket, peer).await,
            Some(Opened::Snapshot(socket)) => {
                if let Err(error) = snapshot::answer(&self.service, socket).await {
                    tracing::debug!(%peer, %error, "snapshot stream ended early");
                }
            }
            Some(Opened::Foreign(socket)) => {
                self.stop.run_until_cancelled(foreign(socket)).await;
            }
            Some(Opened::Link(link)) => (self.on_link)(link),
        }
        Ok(())
    }

    /// From the first byte to a protocol, through TLS if that is asked for.
    async fn open(
        &self,
        mut socket: TcpStream,
        peer: SocketAddr,
    ) -> Result<Option<Opened>, Refusal> {
        let mut first = [0];
        // Looked at and left there: a TLS hello belongs to TLS.
        if socket.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        let [first] = first;
        if first >= NATIVE_TLS_MIN {
            return self.open_native(socket).await;
        }
        socket.read_u8().await?;
        if first != TLS && first != TLS_ANONYMOUS {
            let tls = self.settings.tls.as_ref();
            if tls.is_some_and(|tls| tls.is_required) {
                return Err(Refusal::Plain);
            }
            self.check_link(first, None)?;
            return Opened::by(first, Box::new(socket), peer, false).map(Some);
        }
        let Some(tls) = &self.settings.tls else { return Err(Refusal::NoTls) };
        if first == TLS_ANONYMOUS {
            let socket = TlsAcceptor::from(tls.anonymous.clone()).accept(socket).await?;
            return Ok(Some(Opened::Foreign(Box::new(socket))));
        }
        let mut socket = TlsAcceptor::from(tls.config.clone()).accept(socket).await?;
        let inner = socket.read_u8().await?;
        self.check_link(inner, socket.get_ref().1.peer_certificates())?;
        Opened::by(inner, Box::new(socket), peer, true).map(Some)
    }

    /// Errors: what begins with `first` is a link, and who opens it is no server.
    fn check_link(
        &self,
        first: u8,
        certificates: Option<&[CertificateDer<'_>]>,
    ) -> Result<(), Refusal> {
        let tls = self.settings.tls.as_ref();
        let is_admitted =
            tls.is_none_or(|tls| tls.admits_link(certificates, &self.settings.datacenter));
        if first == LINK && !is_admitted {
            return Err(Refusal::NoServer(self.settings.datacenter.clone()));
        }
        Ok(())
    }

    async fn open_native(&self, socket: TcpStream) -> Result<Option<Opened>, Refusal> {
        let Some(tls) = &self.settings.tls else { return Err(Refusal::NoTls) };
        let socket = TlsAcceptor::from(tls.config.clone()).accept(socket).await?;
        let protocol = socket.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let socket = Box::new(socket);
        match protocol.as_deref() {
            Some(ALPN_SINGLE) => Ok(Some(Opened::Single(socket))),
            Some(ALPN_MULTIPLEXED) => Ok(Some(Opened::Multiplexed(socket))),
            Some(ALPN_SNAPSHOT) => Ok(Some(Opened::Snapshot(socket))),
            _ => Err(Refusal::NoProtocol),
        }
    }

    async fn session(self: &Arc<Self>, socket: Box<dyn Socket>, peer: SocketAddr) {
        let (session, mut incoming, driver) = yamux::open(socket, Side::Server, STREAMS_MAX);
        let streams = TaskTracker::new();
        let work = Arc::new(Work::default());
        let ending = CancellationToken::new();
        let _end_streams = ending.clone().drop_guard();
        let accept = async {
            while let Some(stream) = incoming.recv().await {
                let (port, ending, work) = (self.clone(), ending.clone(), work.clone());
                streams.spawn(async move {
                    ending.run_until_cancelled(port.stream(stream, &work)).await;
                });
            }
        };
        let leave = async {
            self.stop.cancelled().await;
            session.go_away();
            self.quiet(&work).await;
        };
        // The driver ends with the connection; the streams are told then.
        tokio::select! {
            ended = driver => if let Err(error) = ended {
                tracing::debug!(%peer, %error, "session ended");
            },
            () = accept => {}
            () = leave => {}
        }
    }

    /// Resolves when the server stops and there was no request for a while.
    async fn quiet(&self, work: &Work) {
        self.stop.cancelled().await;
        work.quiet().await;
    }

    /// Requests of one stream, one after the other.
    async fn stream(&self, stream: impl Socket, work: &Work) {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut values = Values::new(reader);
        loop {
            match self.request(&mut values, &mut writer, work).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "stream ended");
                    break;
                }
            }
        }
        // A peer that is gone does not mind.
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
    }

    /// One request; false when the stream is at its end.
    async fn request<R: AsyncRead + Unpin>(
        &self,
        values: &mut Values<R>,
        writer: &mut (impl AsyncWrite + Unpin),
        work: &Work,
    ) -> Result<bool, CodecError> {
        if !values.begun().await? {
            return Ok(false);
        }
        let _under_way = work.begin();
        let late = |_| CodecError::Io(std::io::ErrorKind::TimedOut.into());
        let read = async {
            let head: RequestHead =
                model::msgpack::from_slice(&values.expect(HEAD_BYTES_MAX).await?)?;
            match values.expect(SMALL_BYTES.min(self.settings.request_bytes_max)).await {
                Ok(body) => Ok((head, body, None)),
                Err(CodecError::Decode(model::msgpack::DecodeError::TooLong(_))) => {
                    let permit = self.large.acquire().await.ok();
                    let body = values.expect(self.settings.request_bytes_max).await?;
                    Ok((head, body, permit))
                }
                Err(error) => Err(error),
            }
        };
        let read = tokio::time::timeout(REQUEST_MAX, read).await.map_err(late)?;
        let (head, body, _permit) = read?;
        let RequestHead { service_method, seq } = head;
        let handled = {
            let mut handling = std::pin::pin!(self.service.handle(&service_method, &body));
            tokio::select! {
                handled = &mut handling => handled,
                // Nobody waits for the answer any more.
                () = values.gone() => return Ok(false),
                () = self.stop.cancelled() => match service::waits(&body) {
                    // Any other server can be asked the same.
                    true => return Ok(false),
                    false => handling.await,
                },
            }
        };
        let (error, body, goes_on) = match handled {
            Ok(body) => (String::new(), body, true),
            // There is a body with an error, too: an empty map.
            Err(Fault { text, closes }) => (text, vec![0x80], !closes),
        };
        let head = ReplyHead { error, seq, service_method };
        let written = codec::write(writer, &head, &body);
        tokio::time::timeout(REPLY_MAX, written).await.map_err(late)??;
        Ok(goes_on)
    }
}

/// Serves those who come without a certificate to get one: nothing yet.
async fn foreign(socket: Box<dyn Socket>) {
    let (reader, mut writer) = tokio::io::split(socket);
    let mut values = Values::new(reader);
    let answered = async {
        let head: RequestHead = model::msgpack::from_slice(&values.expect(HEAD_BYTES_MAX).await?)?;
        values.expect(SMALL_BYTES).await?;
        let RequestHead { service_method, seq } = head;
        let error = format!("rpc: can't find service {service_method}");
        codec::write(&mut writer, &ReplyHead { error, seq, service_method }, &[0x80]).await?;
        Ok(tokio::io::AsyncWriteExt::shutdown(&mut writer).await?)
    };
    let answered: Result<Result<(), CodecError>, _> =
        tokio::time::timeout(REQUEST_MAX, answered).await;
    if let Ok(Err(error)) = answered {
        tracing::debug!(%error, "request without a certificate ended early");
    }
}

enum Opened {
    Single(Box<dyn Socket>),
    Multiplexed(Box<dyn Socket>),
    Snapshot(Box<dyn Socket>),
    /// Came without a certificate, on the way to one.
    Foreign(Box<dyn Socket>),
    Link(Link),
}

impl Opened {
    fn by(
        first: u8,
        socket: Box<dyn Socket>,
        peer: SocketAddr,
        is_secured: bool,
    ) -> Result<Self, Refusal> {
        match first {
            SINGLE => Ok(Self::Single(socket)),
            MULTIPLEXED => Ok(Self::Multiplexed(socket)),
            SNAPSHOT => Ok(Self::Snapshot(socket)),
            LINK => Ok(Self::Link(Link { socket, peer, is_secured })),
            RAFT => Err(Refusal::Raft),
            OLD_MULTIPLEXER | GOSSIP_AREA | GRPC => Err(Refusal::NotSpoken(first)),
            TLS | TLS_ANONYMOUS if is_secured => Err(Refusal::TwiceTls),
            other => Err(Refusal::Unknown(other)),
        }
    }
}

/// Why a connection is closed before anything was answered.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it did not tell in time what it wants")]
    TooSlow,
    #[error("it is plain, and TLS is required here")]
    Plain,
    #[error("it asks for TLS, and there is no certificate here")]
    NoTls,
    #[error("TLS within TLS")]
    TwiceTls,
    #[error("native TLS without a protocol known here")]
    NoProtocol,
    #[error("it speaks Consul's Raft; servers of both cannot form one cluster")]
    Raft,
    #[error(
        "it opens a link of servers without a certificate of one: verify_server_hostname asks for the name \
         server.{0}.<domain>"
    )]
    NoServer(String),
    #[error("protocol {0} is not spoken here")]
    NotSpoken(u8),
    #[error("unknown first byte {0}")]
    Unknown(u8),
    #[error("handshake: {0}")]
    Io(#[from] std::io::Error),
}

/// Small messages go out at once; dead peers are noticed without traffic.
pub(crate) fn tune(socket: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    // Without them it is slower, not wrong.
    let _ = socket.set_nodelay(true);
    let _ = socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive);
}
