//! Connections to one agent: dialing over TCP, unix socket or TLS, and the pool of idle ones.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::address::Address;
use crate::client_config::TlsFiles;
use crate::error::Error;

/// Longest time to establish a connection, TLS handshake included.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections kept for reuse: as many as a proxy's authorizations usefully run at once.
const IDLE_MAX: usize = 16;

pub(crate) struct Transport {
    address: Address,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Transport {
    pub(crate) fn new(address: Address, files: &TlsFiles) -> Result<Self, Error> {
        let tls = match &address {
            Address::Tcp { host, tls: true, .. } => {
                let name = files.server_name.as_deref().unwrap_or(host);
                let server_name = ServerName::try_from(name.to_owned())
                    .map_err(|_| Error::Tls(format!("{name:?} is not a server name")))?;
                Some((TlsConnector::from(crate::tls::rustls_config(files)?), server_name))
            }
            _ => None,
        };
        Ok(Self { address, tls, idle: Mutex::new(Vec::new()) })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends `request` over an idle or a new connection, which goes back to the pool by
    /// [`Self::recycle`] once its answer has been read.
    ///
    /// A pooled connection may have been closed by the agent meanwhile. A request that never left
    /// is sent again; one that left is repeated only if it is a read.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), Error> {
        let spare = (request.method() == Method::GET).then(|| request.clone());
        while let Some(mut connection) = self.idle_connection().await {
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message().or_else(|| spare.clone()) {
                    Some(unsent) => request = unsent,
                    None => return Err(self.transport_error(&error.into_error())),
                },
            }
        }
        let mut connection = self.dial().await?;
        match connection.send_request(request).await {
            Ok(response) => Ok((response, connection)),
            Err(error) => Err(self.transport_error(&error)),
        }
    }

    pub(crate) fn recycle(&self, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && !connection.is_closed() {
            idle.push(connection);
        }
    }

    pub(crate) fn transport_error(&self, error: &hyper::Error) -> Error {
        // Hyper's own text is general; what went wrong with the socket is its source.
        let cause = std::error::Error::source(error).map(|source| format!(": {source}"));
        Error::Transport {
            address: self.address.to_string(),
            reason: format!("{error}{}", cause.unwrap_or_default()),
        }
    }

    /// An idle connection that the agent has not closed. Its last answer was read to the end, so
    /// it becomes ready as soon as its task has noticed.
    async fn idle_connection(&self) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut connection = self.idle.lock().pop()?;
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    async fn dial(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let fail = |source| Error::Connect { address: self.address.to_string(), source };
        match tokio::time::timeout(DIAL_TIMEOUT, self.dial_unbounded()).await {
            Ok(result) => result.map_err(fail),
            Err(_) => Err(fail(io::Error::from(io::ErrorKind::TimedOut))),
        }
    }

    async fn dial_unbounded(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let (host, port) = match &self.address {
            Address::Unix(path) => return handshake(UnixStream::connect(path).await?).await,
            Address::Tcp { host, port, .. } => (host.as_str(), *port),
        };
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => handshake(stream).await,
            Some((connector, name)) => {
                handshake(connector.connect(name.clone(), stream).await?).await
            }
        }
    }
}

async fn handshake<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // The task ends when the sender is dropped or the agent closes; its error reaches whoever
    // waits on the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

pub(crate) type SharedTransport = Arc<Transport>;
