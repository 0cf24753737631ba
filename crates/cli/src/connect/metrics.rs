//! The proxy's counters over HTTP, for whoever collects them.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use proxy::Metrics;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::output::Failure;

/// Collectors served at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 16;
/// How long a collector may take to send its request, or stay idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, lest a full file table spins.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves `/metrics` for the rest of the process. Errors: the address cannot be listened on.
pub(super) async fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::new(format!("==> cannot listen on {address} for metrics: {error}"))
    })?;
    tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let permit = room.clone().acquire_owned().await.expect("it is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let metrics = metrics.clone();
                    tokio::spawn(async move {
                        answer(stream, metrics).await;
                        drop(permit);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
            }
        }
    });
    Ok(())
}

async fn answer(stream: TcpStream, metrics: Arc<Metrics>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let is_metrics = request.uri().path() == "/metrics";
        let body = if is_metrics { text(&metrics) } else { "only /metrics is here\n".to_owned() };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        if is_metrics {
            let format = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4");
            response.headers_mut().insert(CONTENT_TYPE, format);
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    // A collector that breaks off is its own affair.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// The Prometheus text format.
fn text(metrics: &Metrics) -> String {
    let mut out = String::new();
    for (name, value) in metrics.snapshot().named() {
        let is_gauge = name.ends_with("_open") || name.starts_with("is_");
        let kind = if is_gauge { "gauge" } else { "counter" };
        let total = if is_gauge { "" } else { "_total" };
        // Writing to a text cannot fail.
        let _ = writeln!(
            out,
            "# TYPE lictor_proxy_{name}{total} {kind}\nlictor_proxy_{name}{total} {value}"
        );
    }
    out
}
