//! A snapshot on its way to a server that lags too far behind.
//!
//! The state is written by a thread of its own into a short channel, so it goes as fast as the
//! connection and no more than a few pieces are in memory. The receiver writes them to its disk
//! while it reads them into a state, and answers when both are whole.

use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use replica::{Input, Membership, Message, Snapshot};
use serde::{Deserialize, Serialize};
use state::State;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use wal::SnapshotMeta;

use super::frame::{self, FRAME_BYTES_MAX, kind};
use super::hello::{self, Lane};
use super::{Peer, Stream};
use crate::metrics::add;
use crate::shared::{Job, Shared};

/// Pieces the state is sent in, and how many wait between its writer and the connection, on each
/// side. Unit of the first: bytes.
const CHUNK_BYTES: usize = 256 * 1024;
const CHUNKS_MAX: usize = 4;
/// A transfer in which nothing moves for so long is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(with = "serde_bytes_like")]
    message: Vec<u8>,
    index: u64,
    term: u64,
    membership: Membership,
}

/// Msgpack bytes instead of a list of numbers.
mod serde_bytes_like {
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_bytes(Visitor)
    }
}

/// Sends and tells consensus how it ended.
pub(super) async fn send(
    shared: Weak<Shared>,
    peer: Arc<Peer>,
    message: Message,
    snapshot: Snapshot,
) {
    let (to, index) = (peer.id, snapshot.index);
    let Some(server) = shared.upgrade() else { return };
    let sent = stream_out(&server, &peer, message, snapshot).await;
    let is_received = sent.is_ok();
    match sent {
        Ok(()) => {
            add(&server.metrics.snapshots_sent, 1);
            tracing::info!(to = format_args!("{to:016x}"), index, "sent a snapshot");
        }
        Err(e) => server.link_faults.report(to, &peer.address(), &e),
    }
    // A server that has ended needs to know no more.
    let _ = server.submit(Job::Input(Input::SnapshotSent { to, is_received }));
}

async fn stream_out(
    shared: &Arc<Shared>,
    peer: &Peer,
    message: Message,
    snapshot: Snapshot,
) -> io::Result<()> {
    let mut stream = hello::connect(shared, &peer.address(), peer.id, Lane::Snapshot).await?;
    let Snapshot { index, term, membership, state } = snapshot;
    let message = replica::wire::encode(&message).map_err(io::Error::other)?;
    let header = Header { message, index, term, membership };
    let body = rmp_serde::to_vec_named(&header).map_err(io::Error::other)?;
    let mut buffer = BytesMut::new();
    frame::put(&mut buffer, kind::SNAPSHOT, &body);
    write(&mut stream, &buffer).await?;
    let (chunks, mut outbox) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    let writing = tokio::task::spawn_blocking(move || {
        let mut out = Chunks { chunks, buffer: BytesMut::new() };
        state.write_snapshot(&mut out).and_then(|()| out.flush())
    });
    while let Some(chunk) = outbox.recv().await {
        buffer.clear();
        frame::put(&mut buffer, kind::CHUNK, &chunk);
        write(&mut stream, &buffer).await?;
    }
    // A state that could not be written whole ends the connection without this mark.
    writing.await.map_err(io::Error::other)??;
    buffer.clear();
    frame::put(&mut buffer, kind::END, &[]);
    write(&mut stream, &buffer).await?;
    let answer = timeout(STALL_TIMEOUT, frame::read(&mut stream, FRAME_BYTES_MAX)).await;
    match answer.map_err(|_| io::ErrorKind::TimedOut)?? {
        Some(frame) if frame.kind == kind::END => Ok(()),
        Some(frame) => Err(io::Error::other(String::from_utf8_lossy(&frame.body).into_owned())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    timeout(STALL_TIMEOUT, written).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Cuts what is written into pieces.
struct Chunks {
    chunks: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = self.buffer.split().freeze();
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        if chunk.is_empty() { Ok(()) } else { self.chunks.blocking_send(chunk).map_err(gone) }
    }
}

/// Takes a snapshot in and hands it to consensus.
pub(super) async fn receive(shared: &Arc<Shared>, from: u64, mut stream: Stream) -> io::Result<()> {
    let frame = next(&mut stream).await?;
    let header: Header = rmp_serde::from_slice(&frame.body).map_err(io::Error::other)?;
    let message = replica::wire::decode(&header.message).map_err(io::Error::other)?;
    if frame.kind != kind::SNAPSHOT || message.from != from {
        return Err(io::Error::other("no snapshot of the server that sends it"));
    }
    // One at a time: two could not both be the newest, and each takes memory for a whole state.
    let _turn = shared.receiving.lock().await;
    let (chunks, inbox) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    let store = shared.snapshots.clone();
    let Header { message: _, index, term, membership } = header;
    let meta = SnapshotMeta { index, term, configuration: membership.encode().into() };
    let serial = shared.received_serial.fetch_add(1, Ordering::Relaxed);
    let reading = tokio::task::spawn_blocking(move || {
        let input = Incoming { chunks: inbox, chunk: Bytes::new() };
        take_in(input, store, meta, serial)
    });
    let mut is_whole = false;
    loop {
        let frame = next(&mut stream).await?;
        match frame.kind {
            kind::CHUNK if chunks.send(frame.body).await.is_ok() => {}
            kind::END => {
                is_whole = true;
                break;
            }
            _ => break,
        }
    }
    drop(chunks);
    let taken = reading.await.map_err(io::Error::other)?;
    let mut answer = BytesMut::new();
    match taken {
        Ok((state, file)) if is_whole => {
            let snapshot = Box::new(Snapshot { index, term, membership, state });
            let message = Box::new(message);
            add(&shared.metrics.snapshots_received, 1);
            let input = Input::SnapshotReceived { message, snapshot };
            // A server that has ended needs to know no more.
            let _ = shared.submit(Job::Received(input, file));
            frame::put(&mut answer, kind::END, &[]);
        }
        Ok(_) => frame::put(&mut answer, kind::REFUSED, b"it ended early"),
        Err(e) => {
            tracing::warn!(error = %e, "could not take in a snapshot");
            frame::put(&mut answer, kind::REFUSED, e.to_string().as_bytes());
        }
    }
    write(&mut stream, &answer).await
}

async fn next(stream: &mut Stream) -> io::Result<frame::Frame> {
    let frame = timeout(STALL_TIMEOUT, frame::read(stream, FRAME_BYTES_MAX)).await;
    frame.map_err(|_| io::ErrorKind::TimedOut)??.ok_or(io::ErrorKind::UnexpectedEof.into())
}

type TakenIn = (State, Option<wal::ReceivedSnapshot>);

fn take_in(
    mut input: Incoming,
    store: Option<wal::SnapshotStore>,
    meta: SnapshotMeta,
    serial: u64,
) -> io::Result<TakenIn> {
    let Some(store) = store else {
        return Ok((State::read_snapshot(&mut input).map_err(io::Error::other)?, None));
    };
    let mut state = None;
    let file = store.receive(meta, serial, |out| {
        let mut copy = Copy { input, out };
        state = Some(State::read_snapshot(&mut copy).map_err(io::Error::other)?);
        Ok(())
    });
    let file = file.map_err(io::Error::other)?;
    state.map(|state| (state, Some(file))).ok_or_else(|| io::Error::other("nothing was read"))
}

/// Reads pieces as they come.
struct Incoming {
    chunks: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

/// Writes what is read beside reading it.
struct Copy<'a> {
    input: Incoming,
    out: &'a mut dyn Write,
}

impl Read for Copy<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into)?;
        self.out.write_all(&into[..count])?;
        Ok(count)
    }
}
