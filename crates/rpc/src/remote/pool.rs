//! Connections to servers: one session for each, its idle streams used again, last in first out.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::msgpack;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::ServerAddress;
use crate::codec::{self, CodecError, REPLY_HEAD_BYTES_MAX, ReplyHead, RequestHead, Values};
use crate::dial::dial;
use crate::port::{self, Socket};
use crate::tls;
use crate::yamux::{self, Session, SessionError, Side, Stream};

/// Idle streams kept for use, as many as Consul's agents keep.
const IDLE_STREAMS_MAX: usize = 32;
/// A session without calls ends after this time.
const IDLE_SESSION_MAX: Duration = Duration::from_secs(127);
/// Streams at once: everything an agent may wait for.
const STREAMS_MAX: usize = 64 * 1024;
/// Longest reply: the whole key-value store of large clusters fits.
const REPLY_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The server knows nothing of it.
    #[error("connect: {0}")]
    NotSent(io::Error),
    /// The server may have done it.
    #[error("connection lost: {0}")]
    Lost(io::Error),
    #[error("no reply in time")]
    TooLate,
    #[error("{0}")]
    Malformed(CodecError),
}

#[derive(Debug)]
struct Connection {
    session: Session,
    idle: Mutex<Vec<Values<Stream>>>,
    /// Calls under way.
    busy: AtomicUsize,
    last_used: Mutex<Instant>,
    _driver: AbortOnDropHandle<()>,
}

/// Name and address: a server that moved is another one.
type Key = (String, SocketAddr);
/// Locked while connecting, so that many who ask at once make one connection.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

#[derive(Debug)]
pub(super) struct Pool {
    tls: Option<tls::Outgoing>,
    slots: Mutex<HashMap<Key, Slot>>,
}

/// A call under way on a connection.
struct Busy(Arc<Connection>);

impl Busy {
    fn begin(connection: Arc<Connection>) -> Self {
        connection.busy.fetch_add(1, Ordering::Relaxed);
        Self(connection)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.last_used.lock() = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub(super) fn new(tls: Option<tls::Outgoing>) -> Self {
        Self { tls, slots: Mutex::default() }
    }

    /// Calls `method` with an encoded argument. Inside: the reply's body, or the text of an error.
    ///
    /// Dropped while it waits, it gives up its stream, which tells the server.
    pub(super) async fn call(
        &self,
        server: &ServerAddress,
        method: &str,
        body: &[u8],
        wait: Duration,
    ) -> Result<Result<Bytes, String>, CallError> {
        let connection = Busy::begin(self.connection(server).await.map_err(CallError::NotSent)?);
        let Busy(connection) = &connection;
        let idle = connection.idle.lock().pop();
        let mut stream = match idle.or_else(|| connection.session.open_stream().map(Values::new)) {
            Some(stream) => stream,
            None => {
                self.forget(server, connection).await;
                return Err(CallError::NotSent(io::ErrorKind::NotConnected.into()));
            }
        };
        let exchanged = tokio::time::timeout(wait, exchange(&mut stream, method, body)).await;
        match exchanged {
            // The stream goes down with its call.
            Err(_) => Err(CallError::TooLate),
            Ok(Ok(Ok(reply))) => {
                let mut idle = connection.idle.lock();
                if idle.len() < IDLE_STREAMS_MAX {
                    idle.push(stream);
                }
                Ok(Ok(reply))
            }
            // Servers close a stream after some errors; after none is it used again.
            Ok(Ok(Err(text))) => Ok(Err(text)),
            Ok(Err(error)) => {
                self.forget(server, connection).await;
                Err(match error {
                    CodecError::Io(error) => CallError::Lost(error),
                    CodecError::CutOff => CallError::Lost(io::ErrorKind::UnexpectedEof.into()),
                    other => CallError::Malformed(other),
                })
            }
        }
    }

    fn slot(&self, server: &ServerAddress) -> Slot {
        let key = (server.name.clone(), server.address);
        self.slots.lock().entry(key).or_default().clone()
    }

    async fn connection(&self, server: &ServerAddress) -> io::Result<Arc<Connection>> {
        let slot = self.slot(server);
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|known| known.session.is_usable()) {
            return Ok(connection.clone());
        }
        let socket = self.dial(server, port::MULTIPLEXED).await?;
        let (session, incoming, driver) = yamux::open(socket, Side::Client, STREAMS_MAX);
        // Servers open no streams; those that do are refused.
        drop(incoming);
        let name = server.name.clone();
        let driver = tokio::spawn(async move {
            match driver.await {
                Ok(()) => tracing::debug!(server = name, "connection closed"),
                Err(SessionError::Io(error)) => {
                    tracing::debug!(server = name, %error, "connection lost");
                }
                Err(error) => tracing::warn!(server = name, %error, "connection ended"),
            }
        });
        let connection = Arc::new(Connection {
            session,
            idle: Mutex::default(),
            busy: AtomicUsize::new(0),
            last_used: Mutex::new(Instant::now()),
            _driver: AbortOnDropHandle::new(driver),
        });
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// A connection that begins with `first`, within TLS if that is set.
    pub(super) async fn dial(
        &self,
        server: &ServerAddress,
        first: u8,
    ) -> io::Result<Box<dyn Socket>> {
        dial(server.address, &server.datacenter, self.tls.as_ref(), first).await
    }

    /// Gives up a connection that failed, unless there is a newer one.
    async fn forget(&self, server: &ServerAddress, failed: &Arc<Connection>) {
        if failed.session.is_usable() {
            // One stream ended, perhaps because the server closed it idle.
            failed.idle.lock().clear();
            return;
        }
        let slot = self.slot(server);
        let mut slot = slot.lock().await;
        if slot.as_ref().is_some_and(|known| Arc::ptr_eq(known, failed)) {
            *slot = None;
        }
    }

    /// Ends connections without calls for a while, and those that broke.
    pub(super) async fn sweep(&self) {
        let slots: Vec<(Key, Slot)> =
            self.slots.lock().iter().map(|(key, slot)| (key.clone(), slot.clone())).collect();
        for (key, slot) in slots {
            // Whoever connects right now uses it, too.
            let Ok(mut slot) = slot.try_lock() else { continue };
            let is_over = slot.as_ref().is_none_or(|connection| {
                let is_idle = connection.busy.load(Ordering::Relaxed) == 0
                    && connection.last_used.lock().elapsed() >= IDLE_SESSION_MAX;
                is_idle || !connection.session.is_usable()
            });
            if is_over {
                *slot = None;
                self.slots.lock().remove(&key);
            }
        }
    }

    pub(super) async fn count(&self) -> usize {
        let slots: Vec<Slot> = self.slots.lock().values().cloned().collect();
        let mut count = 0;
        for slot in slots {
            count += usize::from(slot.lock().await.as_ref().is_some_and(|c| c.session.is_usable()));
        }
        count
    }

    pub(super) async fn close(&self) {
        self.slots.lock().clear();
    }
}

/// One request and its reply.
async fn exchange(
    stream: &mut Values<Stream>,
    method: &str,
    body: &[u8],
) -> Result<Result<Bytes, String>, CodecError> {
    let head = RequestHead { service_method: method.to_owned(), seq: 0 };
    codec::write(stream.reader(), &head, body).await?;
    let head: ReplyHead = msgpack::from_slice(&stream.expect(REPLY_HEAD_BYTES_MAX).await?)?;
    let reply = stream.expect(REPLY_BYTES_MAX).await?;
    Ok(if head.error.is_empty() { Ok(reply) } else { Err(head.error) })
}
