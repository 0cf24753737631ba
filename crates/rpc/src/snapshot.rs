//! Whole states on a connection of their own: a request, then the archive in one direction.

use bytes::Bytes;
use model::error::Error;
use model::msgpack;
use model::query::{Consistency, QueryMeta, Token};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::codec::{CodecError, HEAD_BYTES_MAX, REPLY_HEAD_BYTES_MAX, Values};
use crate::failure::{NO_PATH, error_of};
use crate::port::Socket;
use crate::service::Service;
use crate::wire::{WireMeta, merged};
use crate::{Archive, Chunks};

const SAVE: u64 = 0;
const RESTORE: u64 = 1;
/// Pieces read or written at once, and how many wait in between.
const PIECE_BYTES: usize = 64 * 1024;
const PIECES: usize = 4;

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    datacenter: String,
    token: String,
    allow_stale: bool,
    op: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Response {
    error: String,
}

/// Serves one connection.
pub(crate) async fn answer(service: &Service, socket: Box<dyn Socket>) -> Result<(), CodecError> {
    let (reader, mut writer) = tokio::io::split(socket);
    let mut values = Values::new(reader);
    let request: Request = msgpack::from_slice(&values.expect(HEAD_BYTES_MAX).await?)?;
    let result = perform(service, request, values).await;
    let (error, meta, chunks) = match result {
        Ok((meta, chunks)) => (String::new(), meta, chunks),
        Err(error) => (error.message, QueryMeta::default(), None),
    };
    let head = merged(&Response { error }, &WireMeta::of(&meta))?;
    writer.write_all(&head).await?;
    if let Some(mut chunks) = chunks {
        while let Some(chunk) = chunks.recv().await {
            match chunk {
                Ok(chunk) => writer.write_all(&chunk).await?,
                // Cut off without an orderly end, which the reader finds out by its checksums.
                Err(error) => {
                    tracing::warn!(%error, "a snapshot broke off");
                    return Ok(());
                }
            }
        }
    }
    writer.flush().await?;
    writer.shutdown().await?;
    Ok(())
}

async fn perform<R: tokio::io::AsyncRead + Send + Unpin + 'static>(
    service: &Service,
    request: Request,
    values: Values<R>,
) -> Result<(QueryMeta, Option<Chunks>), Error> {
    let Request { datacenter, token, allow_stale, op } = request;
    if !datacenter.is_empty() && !datacenter.eq_ignore_ascii_case(&service.datacenter) {
        return Err(Error::invalid(NO_PATH));
    }
    let token = Token(token.into());
    match op {
        SAVE => {
            let consistency = if allow_stale { Consistency::Stale } else { Consistency::Default };
            let Archive { meta, chunks } =
                service.cluster.save_snapshot(consistency, token).await?;
            Ok((meta, Some(chunks)))
        }
        RESTORE => {
            let (sender, chunks) = mpsc::channel(PIECES);
            let (begun, reader) = values.into_rest();
            let feeding = feed(begun, reader, sender);
            let mut restoring = service.cluster.restore_snapshot(chunks, token);
            // When the restoring ends first, nobody wants the rest.
            tokio::select! {
                restored = &mut restoring => restored?,
                () = feeding => restoring.await?,
            }
            Ok((QueryMeta::default(), None))
        }
        other => Err(Error::invalid(format!("unrecognized snapshot op {other}"))),
    }
}

/// Passes on what was read and what is still to come; ends when nobody takes it.
async fn feed(
    begun: Bytes,
    mut reader: impl tokio::io::AsyncRead + Unpin,
    sender: mpsc::Sender<Result<Bytes, Error>>,
) {
    if !begun.is_empty() && sender.send(Ok(begun)).await.is_err() {
        return;
    }
    loop {
        let mut piece = bytes::BytesMut::with_capacity(PIECE_BYTES);
        let chunk = match reader.read_buf(&mut piece).await {
            Ok(0) => return,
            Ok(_) => Ok(piece.freeze()),
            Err(error) => Err(Error::internal(format!("read the snapshot: {error}"))),
        };
        let is_last = chunk.is_err();
        if sender.send(chunk).await.is_err() || is_last {
            return;
        }
    }
}

/// Asks for the state over a connection made for it.
pub(crate) async fn save(
    mut socket: Box<dyn Socket>,
    datacenter: String,
    consistency: Consistency,
    token: &Token,
) -> Result<Archive, Error> {
    let allow_stale = consistency == Consistency::Stale;
    let request = Request { datacenter, token: token.0.to_string(), allow_stale, op: SAVE };
    let body = msgpack::to_vec(&request).map_err(crate::remote::unencodable)?;
    let asked = async {
        socket.write_all(&body).await?;
        socket.flush().await?;
        socket.shutdown().await
    };
    asked.await.map_err(broken)?;
    let mut values = Values::new(socket);
    let meta = response(&mut values).await?.meta(consistency);
    let (sender, chunks) = mpsc::channel(PIECES);
    let (begun, reader) = values.into_rest();
    // Ends with the connection or with its receiver.
    tokio::spawn(feed(begun, reader, sender));
    Ok(Archive { meta, chunks })
}

/// Gives a state over a connection made for it.
pub(crate) async fn restore(
    socket: Box<dyn Socket>,
    datacenter: String,
    mut archive: Chunks,
    token: &Token,
) -> Result<(), Error> {
    let request =
        Request { datacenter, token: token.0.to_string(), allow_stale: false, op: RESTORE };
    let body = msgpack::to_vec(&request).map_err(crate::remote::unencodable)?;
    let (reader, mut writer) = tokio::io::split(socket);
    writer.write_all(&body).await.map_err(broken)?;
    let mut is_cut_off = false;
    while let Some(chunk) = archive.recv().await {
        // A server that has seen enough stops reading; it says why in its response.
        if writer.write_all(&chunk?).await.is_err() {
            is_cut_off = true;
            break;
        }
    }
    if !is_cut_off {
        let _ = writer.flush().await;
        let _ = writer.shutdown().await;
    }
    response(&mut Values::new(reader)).await.map(drop)
}

async fn response<R: tokio::io::AsyncRead + Unpin>(
    values: &mut Values<R>,
) -> Result<WireMeta, Error> {
    let bytes = values
        .expect(REPLY_HEAD_BYTES_MAX)
        .await
        .map_err(|error| Error::internal(format!("read the snapshot response: {error}")))?;
    let Response { error } = msgpack::from_slice(&bytes).map_err(crate::remote::malformed)?;
    match error.is_empty() {
        true => msgpack::from_slice(&bytes).map_err(crate::remote::malformed),
        false => Err(error_of(&error)),
    }
}

fn broken(error: std::io::Error) -> Error {
    Error::new(model::error::ErrorKind::Unavailable, format!("snapshot connection: {error}"))
}
