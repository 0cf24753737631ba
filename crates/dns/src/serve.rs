//! Sockets of the DNS edge: UDP on plain threads, TCP and all waiting on the runtime.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rpc::Cluster;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::message::{self, Code};
use crate::recursor;
use crate::respond::{Need, Responder, Supplied, Transport, Verdict, options};
use crate::settings::Settings;

/// How often a UDP thread looks whether it should end while nobody asks.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Questions waiting for a recursor or a remote view at one time; more are answered "failed".
const WAITING_MAX: usize = 1024;
const TCP_CONNECTIONS_MAX: usize = 512;
const TCP_IDLE_MAX: Duration = Duration::from_secs(10);
/// Things one answer may have to wait for before it is given up; bounds alias chains.
const NEEDS_MAX: usize = 256;
/// Longest wait for one of them.
const NEED_WAIT_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct ServeError {
    pub address: SocketAddr,
    pub source: io::Error,
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot serve DNS on {}", self.address)
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Bound sockets, not yet served.
pub struct Bound {
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
    address: SocketAddr,
}

/// Binds UDP (`threads` sockets sharing the port) and TCP. Port 0 picks one, the same for both.
pub fn bind(address: SocketAddr, threads: usize) -> Result<Bound, ServeError> {
    let fail = |source| ServeError { address, source };
    let tcp = std::net::TcpListener::bind(address).map_err(fail)?;
    tcp.set_nonblocking(true).map_err(fail)?;
    let address = tcp.local_addr().map_err(fail)?;
    let fail = |source| ServeError { address, source };
    // The first socket without sharing, so that a port in use by somebody else is noticed.
    UdpSocket::bind(address).map_err(fail)?;
    let udp = (0..threads.max(1)).map(|_| shared_udp(address)).collect::<Result<_, _>>();
    Ok(Bound { udp: udp.map_err(fail)?, tcp: TcpListener::from_std(tcp).map_err(fail)?, address })
}

fn shared_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    // Room for a burst while the thread is off the processor.
    let _ = socket.set_recv_buffer_size(4 << 20);
    socket.bind(&address.into())?;
    let socket: UdpSocket = socket.into();
    socket.set_read_timeout(Some(STOP_CHECK_INTERVAL))?;
    Ok(socket)
}

impl Bound {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled. Must be called on a runtime; threads and tasks end by
    /// themselves, tasks on `tracker`.
    pub fn serve(
        self,
        cluster: Arc<dyn Cluster>,
        settings: Arc<ArcSwap<Settings>>,
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> Result<(), ServeError> {
        let patient = Arc::new(Patient {
            cluster: cluster.clone(),
            settings: settings.clone(),
            permits: Semaphore::new(WAITING_MAX),
        });
        let address = self.address;
        for (nth, socket) in self.udp.into_iter().enumerate() {
            let responder = Responder::new(cluster.clone(), settings.clone());
            let (patient, stop, tracker) = (patient.clone(), stop.clone(), tracker.clone());
            let runtime = tokio::runtime::Handle::current();
            std::thread::Builder::new()
                .name(format!("dns-{nth}"))
                .spawn(move || {
                    let _inside = runtime.enter();
                    serve_udp(socket, responder, &patient, &stop, &tracker);
                })
                .map_err(|source| ServeError { address, source })?;
        }
        tracker.spawn(serve_tcp(self.tcp, patient, stop, tracker.clone()));
        Ok(())
    }
}

fn serve_udp(
    socket: UdpSocket,
    mut responder: Responder,
    patient: &Arc<Patient>,
    stop: &CancellationToken,
    tracker: &TaskTracker,
) {
    let socket = Arc::new(socket);
    // A question fits in far less; longer packets are cut and refused as malformed.
    let mut packet = [0u8; 4096];
    let mut out = Vec::with_capacity(4096);
    let nothing = Supplied::default();
    while !stop.is_cancelled() {
        let (length, client) = match socket.recv_from(&mut packet) {
            Ok(received) => received,
            // A timeout, or the notice that an earlier answer reached nobody.
            Err(_) => continue,
        };
        let packet = &packet[..length];
        match responder.respond(packet, Transport::Udp, &nothing, &mut out) {
            Verdict::Drop => {}
            // A client that is gone is no concern of ours.
            Verdict::Ready => drop(socket.send_to(&out, client)),
            Verdict::Needs(_) => {
                let (socket, patient, packet) = (socket.clone(), patient.clone(), packet.to_vec());
                let Ok(permit) = patient.clone().permit() else {
                    if let Ok(question) = message::read(&packet) {
                        responder.code_only(&question, Code::ServFail, &mut out);
                        drop(socket.send_to(&out, client));
                    }
                    continue;
                };
                tracker.spawn(async move {
                    let mut responder = patient.responder();
                    let answered = patient.respond(&mut responder, &packet, Transport::Udp);
                    if let Some(answer) = answered.await {
                        drop(socket.send_to(&answer, client));
                    }
                    drop(permit);
                });
            }
        }
    }
}

async fn serve_tcp(
    listener: TcpListener,
    patient: Arc<Patient>,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    let connections = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    loop {
        // Dropping accept loses no connection: it stays in the backlog.
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept DNS connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Over the limit the connection is closed at once.
        let Ok(permit) = connections.clone().try_acquire_owned() else { continue };
        let (patient, stop) = (patient.clone(), stop.clone());
        tracker.spawn(async move {
            // Dropping the exchange in the middle closes the connection, as stopping must.
            tokio::select! {
                () = stop.cancelled() => {}
                _ = converse(stream, &patient) => {}
            }
            drop(permit);
        });
    }
}

/// Questions and answers in turn, each preceded by its length (RFC 7766), until the client leaves
/// or falls silent.
async fn converse(mut stream: TcpStream, patient: &Patient) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut responder = patient.responder();
    loop {
        let read = async {
            let length = stream.read_u16().await?;
            let mut packet = vec![0; usize::from(length)];
            stream.read_exact(&mut packet).await.map(|_| packet)
        };
        let packet = timeout(TCP_IDLE_MAX, read).await??;
        let Some(answer) = patient.respond(&mut responder, &packet, Transport::Tcp).await else {
            return Ok(());
        };
        let mut framed = Vec::with_capacity(answer.len() + 2);
        framed.extend((answer.len() as u16).to_be_bytes());
        framed.extend(answer);
        timeout(TCP_IDLE_MAX, stream.write_all(&framed)).await??;
    }
}

/// Answers what has to wait for something.
struct Patient {
    cluster: Arc<dyn Cluster>,
    settings: Arc<ArcSwap<Settings>>,
    permits: Semaphore,
}

impl Patient {
    fn permit(self: Arc<Self>) -> Result<Permit, tokio::sync::TryAcquireError> {
        self.permits.try_acquire()?.forget();
        Ok(Permit(self))
    }

    fn responder(&self) -> Responder {
        Responder::new(self.cluster.clone(), self.settings.clone())
    }

    /// The answer to `packet`, `None` if it deserves none.
    async fn respond(
        &self,
        responder: &mut Responder,
        packet: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let settings = self.settings.load_full();
        let mut supplied = Supplied::default();
        let mut out = Vec::new();
        for _ in 0..NEEDS_MAX {
            let need = match responder.respond(packet, transport, &supplied, &mut out) {
                Verdict::Ready => return Some(out),
                Verdict::Drop => return None,
                Verdict::Needs(need) => need,
            };
            match need {
                Need::Recursion => match recursor::forward(&settings, packet, transport).await {
                    Some(answer) => return Some(answer),
                    None => break,
                },
                Need::Host(host) => {
                    let addresses = recursor::resolve(&settings, &host).await;
                    supplied.hosts.insert(host, addresses);
                }
                Need::Query(query) => {
                    let asked = self.cluster.query(query.clone(), options(&settings));
                    let body = match timeout(NEED_WAIT_MAX, asked).await {
                        Ok(Ok(answer)) => Some(answer.body),
                        Ok(Err(_)) | Err(_) => None,
                    };
                    supplied.answers.insert(query, body);
                }
            }
        }
        let question = message::read(packet).ok()?;
        responder.code_only(&question, Code::ServFail, &mut out);
        Some(out)
    }
}

/// One place among those who wait, given back when dropped.
struct Permit(Arc<Patient>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.permits.add_permits(1);
    }
}
