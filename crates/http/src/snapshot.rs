//! `/v1/snapshot`: the whole state of the servers as an archive, out and in.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use model::error::{Error, ErrorKind};
use model::query::Consistency;
use model::snapshot::RESTORE_BYTES_MAX;
use tokio::sync::mpsc;

use crate::agent_info::done;
use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::Request;
use crate::response::{self, Body, Response};

/// Pieces of an archive on their way to the servers.
const PIECES_MAX: usize = 4;
/// How long the next piece of a body may take to arrive.
const PIECE_WAIT: Duration = Duration::from_secs(60);
/// Read on of a refused archive, so that its sender comes to read why. Unit: bytes.
const REFUSED_BYTES_MAX: u64 = 64 << 20;

const GZIP: HeaderValue = HeaderValue::from_static("application/x-gzip");

pub(crate) async fn save(edge: &Edge, request: Request) -> Result<Response, Failure> {
    edge.check_datacenter(&request)?;
    let consistency = match request.parameters.has("stale") {
        true => Consistency::Stale,
        false => Consistency::Default,
    };
    let token = edge.token(&request);
    let archive = edge.agent.cluster().save_snapshot(consistency, token).await?;
    let mut response = Response::new(Body::Archive(archive.chunks));
    response::set_meta(&mut response, &archive.meta, false);
    response.headers_mut().insert(CONTENT_TYPE, GZIP);
    Ok(response)
}

pub(crate) async fn restore(edge: &Edge, request: Request) -> Result<Response, Failure> {
    edge.check_datacenter(&request)?;
    let token = edge.token(&request);
    let (sender, archive) = mpsc::channel(PIECES_MAX);
    let mut body = request.body;
    let restoring = edge.agent.cluster().restore_snapshot(archive, token);
    // Dropped, the archive's sender goes, and what was not read to its end is not used.
    let (restored, is_read) = tokio::join!(restoring, feed(&mut body, sender));
    match restored {
        Ok(()) => done(),
        Err(error) => Err(Failure { closes: !is_read, ..error.into() }),
    }
}

/// Passes a body on as it comes. Whether it was read to its end.
async fn feed(body: &mut Incoming, sender: mpsc::Sender<Result<Bytes, Error>>) -> bool {
    let mut sender = Some(sender);
    let (mut bytes, mut refused_bytes) = (0, 0);
    loop {
        let piece = match tokio::time::timeout(PIECE_WAIT, body.frame()).await {
            Ok(None) => return true,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) => Ok(piece),
                // Trailers tell nothing.
                Err(_) => continue,
            },
            Ok(Some(Err(_))) => Err(Error::invalid("the body ended early")),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "the body did not arrive in time")),
        };
        bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        let piece = match piece {
            Ok(_) if bytes > RESTORE_BYTES_MAX => {
                let text = format!("the snapshot has more than {RESTORE_BYTES_MAX} bytes");
                Err(Error::invalid(text))
            }
            piece => piece,
        };
        let is_end = piece.is_err();
        match &sender {
            Some(taker) => {
                let length = piece.as_ref().map_or(0, |piece| piece.len() as u64);
                if taker.send(piece).await.is_err() {
                    // Refused; who sends it may read the answer only once he has sent it all.
                    sender = None;
                    refused_bytes = length;
                }
            }
            None => refused_bytes += piece.map_or(0, |piece| piece.len() as u64),
        }
        if is_end || refused_bytes > REFUSED_BYTES_MAX {
            return false;
        }
    }
}
