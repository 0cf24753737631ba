//! Connections of a pool: a task reads and one writes, the machine decides.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gossip::{Input, StreamId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Pause after a failed accept, so that a lack of descriptors does not spin.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Longest connect, write and rest of a closing stream; the machine's own deadlines are shorter or the same.
const PATIENCE: Duration = Duration::from_secs(30);
/// Read at once. Unit: bytes.
const READ_BYTES: usize = 64 * 1024;
/// Messages written and not yet sent; the machine writes one or two on each stream.
const WRITES_MAX: usize = 16;

/// The writing end. Dropping it closes the stream once everything written has gone out.
pub(super) struct Handle(mpsc::Sender<Bytes>);

impl Handle {
    /// False when too much waits already, or the stream is broken.
    pub(super) fn write(&self, bytes: Bytes) -> bool {
        self.0.try_send(bytes).is_ok()
    }
}

/// Serves an accepted connection.
pub(super) fn serve(stream: TcpStream, id: StreamId, inputs: mpsc::Sender<Input>) -> Handle {
    let (handle, writes) = mpsc::channel(WRITES_MAX);
    tokio::spawn(run(stream, id, writes, inputs));
    Handle(handle)
}

/// Opens a connection and says how that went.
pub(super) fn connect(to: SocketAddr, id: StreamId, inputs: mpsc::Sender<Input>) -> Handle {
    let (handle, writes) = mpsc::channel(WRITES_MAX);
    tokio::spawn(async move {
        let connected = match timeout(PATIENCE, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("connecting took too long".to_owned()),
        };
        match connected {
            Ok(stream) => {
                if inputs.send(Input::StreamConnected { id }).await.is_ok() {
                    run(stream, id, writes, inputs).await;
                }
            }
            // Nobody to tell: the pool has ended.
            Err(reason) => drop(inputs.send(Input::StreamFailed { id, reason }).await),
        }
    });
    Handle(handle)
}

async fn run(
    stream: TcpStream,
    id: StreamId,
    writes: mpsc::Receiver<Bytes>,
    inputs: mpsc::Sender<Input>,
) {
    let (reading, writing) = stream.into_split();
    let reader = tokio::spawn(read(reading, id, inputs));
    write(writing, writes).await;
    // The machine is done with it, or the peer takes nothing: what still arrives is of no use, but closing before the
    // peer has read everything would take it back from him.
    let abort = reader.abort_handle();
    if timeout(PATIENCE, reader).await.is_err() {
        abort.abort();
    }
}

async fn write(mut writing: OwnedWriteHalf, mut writes: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = writes.recv().await {
        match timeout(PATIENCE, writing.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            // The reader sees the broken stream as well and says so.
            Ok(Err(_)) | Err(_) => return,
        }
    }
    // The peer may have closed first.
    let _ = writing.shutdown().await;
}

async fn read(mut reading: OwnedReadHalf, id: StreamId, inputs: mpsc::Sender<Input>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        let input = match reading.read_buf(&mut buffer).await {
            Ok(0) => Input::StreamClosed { id },
            Ok(_) => Input::StreamData { id, bytes: buffer.split().freeze() },
            Err(error) => Input::StreamFailed { id, reason: error.to_string() },
        };
        let is_last = !matches!(input, Input::StreamData { .. });
        if inputs.send(input).await.is_err() || is_last {
            return;
        }
    }
}
