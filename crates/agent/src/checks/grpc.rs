//! The gRPC probe: the standard health protocol, spoken by hand over HTTP/2.
//!
//! The protocol is one call with one short text each way, for which a code generator and a
//! framework would be far more than is needed.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::http::{HeaderMap, Request, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::dial::{dial, split_host_port};
use super::{Outcome, tls};

/// Longest answer read; a health answer has seven bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// `ServingStatus.SERVING`.
const SERVING: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcProbe {
    /// `host:port`, or `host:port/service` to ask about one service of the server.
    pub target: String,
    pub use_tls: bool,
    pub tls_skip_verify: bool,
    /// Name expected in the certificate; empty takes the host of the target.
    pub tls_server_name: String,
}

impl GrpcProbe {
    pub(crate) async fn attempt(&self, timeout: Duration) -> Outcome {
        let deadline = Instant::now() + timeout;
        let outcome = match tokio::time::timeout_at(deadline, self.ask(deadline)).await {
            Ok(result) => result,
            Err(_) => Err(rpc_error("DeadlineExceeded", "context deadline exceeded")),
        };
        match outcome {
            Ok(SERVING) => Outcome::passing(format!("gRPC check {}: success", self.target)),
            Ok(_) => Outcome::critical("gRPC application didn't report service healthy"),
            Err(error) => Outcome::critical(error),
        }
    }

    /// The serving status, or the text of what went wrong.
    async fn ask(&self, deadline: Instant) -> Result<u64, String> {
        let (address, service) = self.target.split_once('/').unwrap_or((&self.target, ""));
        let connection_error = |cause: String| {
            let text =
                format!("connection error: desc = \"transport: Error while dialing {cause}\"");
            rpc_error("Unavailable", &text)
        };
        let stream = dial(address, deadline).await.map_err(connection_error)?;
        if !self.use_tls {
            return call(stream, "http", address, service).await;
        }
        let host = split_host_port(address).map_or(address, |(host, _)| host);
        let name = if self.tls_server_name.is_empty() { host } else { &self.tls_server_name };
        let stream =
            tls::connect(stream, name, self.tls_skip_verify, tls::Protocol::Http2).await.map_err(
                |error| rpc_error("Unavailable", &format!("connection error: desc = \"{error}\"")),
            )?;
        call(stream, "https", address, service).await
    }
}

async fn call<S>(stream: S, scheme: &str, authority: &str, service: &str) -> Result<u64, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let closed = || rpc_error("Unavailable", "connection closed");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|_| closed())?;
    let request = Request::post(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "Consul Health Check")
        .body(Full::new(encode_request(service)))
        .map_err(|error| rpc_error("Internal", &error.to_string()))?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(|_| closed())?;
        let (head, mut body) = response.into_parts();
        if !head.status.is_success() {
            let status = head.status.as_u16();
            return Err(rpc_error(
                "Unknown",
                &format!("unexpected HTTP status code received from server: {status}"),
            ));
        }
        let mut data = BytesMut::new();
        let mut trailers = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| closed())?;
            if let Some(bytes) = frame.data_ref() {
                if data.len() + bytes.len() > ANSWER_BYTES_MAX {
                    return Err(rpc_error("ResourceExhausted", "received message larger than max"));
                }
                data.put_slice(bytes);
            } else if let Ok(last) = frame.into_trailers() {
                trailers = Some(last);
            }
        }
        // A call that fails at once says so in its head.
        let status_in = trailers.as_ref().unwrap_or(&head.headers);
        judge(status_in, &data)
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    let mut is_connected = true;
    loop {
        // Both run in this task, so that giving up drops both.
        tokio::select! {
            result = &mut exchange => return result,
            _ = &mut connection, if is_connected => is_connected = false,
        }
    }
}

fn judge(trailers: &HeaderMap, data: &[u8]) -> Result<u64, String> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    let code: u32 = text("grpc-status").and_then(|code| code.parse().ok()).unwrap_or(2);
    if code != 0 {
        let message = percent_decode(text("grpc-message").unwrap_or_default());
        return Err(rpc_error(code_name(code), &message));
    }
    decode_answer(data).ok_or_else(|| rpc_error("Internal", "malformed health answer"))
}

/// `HealthCheckRequest { service = 1 }` in a frame: no compression, length, message.
fn encode_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    frame.freeze()
}

/// `HealthCheckResponse { status = 1 }` out of its frame; `None` when it is malformed.
fn decode_answer(frame: &[u8]) -> Option<u64> {
    let (head, rest) = frame.split_at_checked(5)?;
    let (compressed, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    if *compressed != 0 {
        return None;
    }
    let mut message = rest.get(..length)?;
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = take_varint(&mut message)?,
            (_, 0) => drop(take_varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(buffer: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    super::output::truncate(&mut text, 1024);
    text
}

fn rpc_error(code: &str, message: &str) -> String {
    format!("rpc error: code = {code} desc = {message}")
}

fn code_name(code: u32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    NAMES.get(code as usize).copied().unwrap_or("Unknown")
}

#[cfg(test)]
mod tests;
