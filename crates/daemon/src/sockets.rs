//! Every socket of the edges: bound before anything else is begun, served once all is there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::AgentConfig;
use config::agent::ListenAddress;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Error, role};

/// UDP sockets, and threads, per DNS address.
const DNS_THREADS_MAX: usize = 8;
/// Open connections of an HTTPS or Unix listener. Plain TCP is bounded per client by the edge.
const CONNECTIONS_MAX: usize = 4096;
/// Connections that wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;
/// Pause after a failed accept, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Sockets {
    http: Vec<HttpSocket>,
    pub(crate) dns: Vec<dns::Bound>,
    cluster: Option<role::Sockets>,
}

enum HttpSocket {
    Plain(TcpListener),
    Tls { listener: TcpListener, acceptor: TlsAcceptor, handshake_max: Duration },
    Unix { listener: UnixListener, path: PathBuf },
}

impl Sockets {
    pub(crate) fn bind(config: &AgentConfig) -> Result<Self, Error> {
        let mut http = Vec::new();
        for address in &config.listen.http {
            http.push(match address {
                ListenAddress::Tcp(address) => {
                    HttpSocket::Plain(bind_tcp(*address, "HTTP (ports.http)")?)
                }
                ListenAddress::Unix(path) => bind_unix(path, config)?,
            });
        }
        if !config.listen.https.is_empty() {
            let acceptor = acceptor(config)?;
            let handshake_max = config.settings.limits.https_handshake_timeout.to_std();
            for address in &config.listen.https {
                let ListenAddress::Tcp(address) = address else {
                    return Err(Error::Https(
                        "unix sockets need no TLS; use ports.http".to_owned(),
                    ));
                };
                let listener = bind_tcp(*address, "HTTPS (ports.https)")?;
                let acceptor = acceptor.clone();
                http.push(HttpSocket::Tls { listener, acceptor, handshake_max });
            }
        }
        let threads =
            std::thread::available_parallelism().map_or(1, usize::from).min(DNS_THREADS_MAX);
        let dns = config.listen.dns.iter().map(|address| dns::bind(*address, threads));
        let dns = dns.collect::<Result<_, _>>().map_err(|error| Error::Bind {
            what: format!("{} for DNS (ports.dns)", error.address),
            source: error.source,
        })?;
        let cluster = Some(role::Sockets::bind(config)?);
        Ok(Self { http, dns, cluster })
    }

    /// Those of the cluster; once.
    pub(crate) fn take_cluster(&mut self) -> role::Sockets {
        self.cluster.take().expect("an agent takes one part in a cluster")
    }

    /// Serves the API on every socket of it until `stop`.
    pub(crate) fn serve_http(
        self,
        api: &http::Api,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Vec<dns::Bound> {
        for socket in self.http {
            let (api, stop) = (api.clone(), stop.clone());
            match socket {
                HttpSocket::Plain(listener) => {
                    tasks.spawn(http::serve(listener, api, stop));
                }
                HttpSocket::Tls { listener, acceptor, handshake_max } => {
                    tasks.spawn(serve_tls(listener, acceptor, handshake_max, api, stop));
                }
                HttpSocket::Unix { listener, path } => {
                    tasks.spawn(serve_unix(listener, path, api, stop));
                }
            }
        }
        self.dns
    }
}

fn bind_tcp(address: SocketAddr, what: &str) -> Result<TcpListener, Error> {
    listen(address).map_err(|source| Error::Bind { what: format!("{address} for {what}"), source })
}

/// Listens with room for many who come at once, such as all watchers after a restart: those who find none try again
/// seconds later.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path, config: &AgentConfig) -> Result<HttpSocket, Error> {
    let what = || format!("unix://{} for HTTP (addresses.http)", path.display());
    // Left by an agent that was killed, unless somebody still answers there.
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        let _ = std::fs::remove_file(path);
    }
    let listener =
        UnixListener::bind(path).map_err(|source| Error::Bind { what: what(), source })?;
    if let Ok(mode) = u32::from_str_radix(&config.settings.unix_sockets.mode, 8) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
    }
    Ok(HttpSocket::Unix { listener, path: path.to_owned() })
}

fn acceptor(config: &AgentConfig) -> Result<TlsAcceptor, Error> {
    let files = &config.tls;
    let read = |path: &str| {
        std::fs::read_to_string(path).map_err(|source| Error::File { path: path.into(), source })
    };
    let (cert, key) = (read(&files.cert_file)?, read(&files.key_file)?);
    let authority = match files.ca_file.as_str() {
        _ if !files.verify_incoming_https => None,
        "" => return Err(Error::Https("verify_incoming needs ca_file; write it".to_owned())),
        path => Some(read(path)?),
    };
    let own = pki::tls::KeyPairPem { cert: &cert, key: &key };
    let mut tls = pki::tls::server_config(own, authority.as_deref())
        .map_err(|error| Error::Https(error.to_string()))?;
    // The edge speaks HTTP/1.1; offering more would have clients send what it does not read.
    Arc::make_mut(&mut tls).alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(tls))
}

async fn serve_tls(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handshake_max: Duration,
    api: http::Api,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some((stream, remote)) = accept(&stop, || listener.accept()).await {
        // Over the limit the connection is closed at once.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (acceptor, api, stop) = (acceptor.clone(), api.clone(), stop.clone());
        connections.spawn(async move {
            match timeout(handshake_max, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => api.serve_connection(stream, remote, stop).await,
                Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn serve_unix(
    listener: UnixListener,
    path: PathBuf,
    api: http::Api,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Who comes over a socket file is on this machine.
    let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    while let Some((stream, _)) = accept(&stop, || listener.accept()).await {
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (api, stop) = (api.clone(), stop.clone());
        connections.spawn(async move {
            api.serve_connection(stream, remote, stop).await;
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
    // Somebody else may have removed it.
    let _ = std::fs::remove_file(path);
}

/// The next connection, `None` once stopped.
async fn accept<T, F: Future<Output = io::Result<T>>>(
    stop: &CancellationToken,
    accept: impl Fn() -> F,
) -> Option<T> {
    loop {
        // Dropping accept loses no connection: it stays in the backlog.
        let accepted = tokio::select! {
            () = stop.cancelled() => return None,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
