//! Connections: accepting them, how many of one client, how long they may take, and their end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use agent::Agent;
use agent::monitor::LogHub;
use foldhash::fast::RandomState;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::edge::Edge;
use crate::settings::Settings;

/// Reads the configuration again and applies it; the text says what is wrong with it.
pub type Reload =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// How long connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the head of a request, and between requests.
    pub head: Duration,
    /// For open requests to finish once the server stops.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { head: Duration::from_secs(90), drain: Duration::from_secs(5) }
    }
}

/// The HTTP API of one agent. Cheap to clone; several listeners share it.
#[derive(Clone)]
pub struct Api {
    edge: Arc<Edge>,
    timeouts: Timeouts,
    clients: Clients,
}

impl Api {
    /// Begins with what every API needs; [`ApiBuilder::build`] ends it.
    #[expect(clippy::new_ret_no_self, reason = "the builder is how an Api is made")]
    pub fn new(agent: Arc<Agent>, settings: Settings) -> ApiBuilder {
        ApiBuilder { agent, settings, logs: None, reload: None, timeouts: Timeouts::default() }
    }
}

/// What an [`Api`] may be given beside its agent.
pub struct ApiBuilder {
    agent: Arc<Agent>,
    settings: Settings,
    logs: Option<LogHub>,
    reload: Option<Reload>,
    timeouts: Timeouts,
}

impl ApiBuilder {
    /// Where `/v1/agent/monitor` reads.
    pub fn logs(mut self, logs: LogHub) -> Self {
        self.logs = Some(logs);
        self
    }

    /// What `/v1/agent/reload` does.
    pub fn reload(mut self, reload: Reload) -> Self {
        self.reload = Some(reload);
        self
    }

    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    pub fn build(self) -> Api {
        let Self { agent, settings, logs, reload, timeouts } = self;
        let clients = Clients::new(settings.connections_per_client_max);
        let edge = Arc::new(Edge::new(agent, settings, logs, reload));
        Api { edge, timeouts, clients }
    }
}

/// Serves `api` on `listener` until `stop`, then lets open requests finish for a while.
pub async fn serve(listener: TcpListener, api: Api, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            // A connection accepted in the moment of the stop is closed with the listener.
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors or a client already gone: neither ends the server.
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(admitted) = api.clients.admit(remote.ip()) else {
            tracing::debug!(%remote, "too many connections of one client");
            continue;
        };
        let (api, stop) = (api.clone(), stop.clone());
        connections.spawn(async move {
            api.serve_tcp(stream, remote, stop).await;
            drop(admitted);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Pause after a failed accept, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Smallest buffer of a connection. Unit: bytes.
const BUFFER_BYTES_MIN: usize = 8192;

impl Api {
    async fn serve_tcp(&self, stream: TcpStream, remote: SocketAddr, stop: CancellationToken) {
        // Answers are written whole, so holding them back only costs time.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%remote, %error, "cannot turn off delayed sending");
        }
        self.serve_connection(stream, remote, stop).await;
    }

    /// Serves one connection, whatever it runs over, until it or the server ends.
    pub async fn serve_connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        remote: SocketAddr,
        stop: CancellationToken,
    ) {
        let edge = &self.edge;
        let service =
            service_fn(
                |request| async move { Ok::<_, Infallible>(edge.handle(request, remote).await) },
            );
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.head)
            .max_buf_size(edge.settings.header_bytes_max.max(BUFFER_BYTES_MIN))
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                // Requests still open after the deadline end with their connection.
                tokio::time::timeout(self.timeouts.drain, connection).await.ok()
            }
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%remote, %error, "HTTP connection ended");
        }
    }
}

/// Counts the open connections of each client address.
#[derive(Clone)]
struct Clients {
    max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize, RandomState>>>,
}

/// One counted connection.
struct Admitted {
    clients: Clients,
    address: IpAddr,
}

impl Clients {
    fn new(max: usize) -> Self {
        Self { max, open: Arc::default() }
    }

    /// `None` when the client has as many connections as it may.
    fn admit(&self, address: IpAddr) -> Option<Admitted> {
        let address = address.to_canonical();
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        if self.max > 0 && *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Admitted { clients: self.clone(), address })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn connections_of_one_client_are_counted() {
        let clients = Clients::new(2);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = clients.admit(a);
        let second = clients.admit(a);
        assert!(first.is_some() && second.is_some());
        assert!(clients.admit(a).is_none());
        assert!(clients.admit(b).is_some());
        drop(first);
        assert!(clients.admit(a).is_some());
        drop(second);
        assert!(clients.open.lock().is_empty());
    }
}
