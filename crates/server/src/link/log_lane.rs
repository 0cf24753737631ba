//! Consensus messages to one server.
//!
//! The consensus thread only queues; encoding and writing happen here. While the other cannot be
//! reached what is queued is dropped, and consensus is told so that it sends again later.

use std::io;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use replica::{Input, Message, Note};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::alive::Alive;
use super::frame::{self, kind};
use super::hello::{self, Lane};
use super::{BACKOFF_MAX, Backoff, Peer, Stream};
use crate::shared::{Job, Shared};

/// Messages waiting for one server, and the sum of their entries: as much as consensus keeps in
/// flight. Unit of the second: bytes.
const MESSAGES_MAX: usize = 8192;
const BYTES_MAX: usize = 128 * 1024 * 1024;
/// Written at once, when so much is waiting. Unit: bytes.
const WRITE_BYTES: usize = 1024 * 1024;
/// A write that gets nowhere for so long means the connection is dead.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

enum Outgoing {
    Message(Message, usize),
    Note(Note),
}

/// What is still worth saying after a time without a connection: the newest message, since older
/// ones are stale, and behind the notes, which nobody would repeat.
#[derive(Default)]
struct Kept {
    position: Option<Note>,
    remembered: Option<Note>,
    message: Option<Outgoing>,
}

impl Kept {
    fn put(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Note(note @ Note::Position(_)) => self.position = Some(note),
            Outgoing::Note(note @ Note::Remembered(_)) => self.remembered = Some(note),
            message @ Outgoing::Message(..) => self.message = Some(message),
        }
    }

    fn into_order(self) -> Vec<Outgoing> {
        let notes = self.position.into_iter().chain(self.remembered).map(Outgoing::Note);
        notes.chain(self.message).collect()
    }
}

pub(super) struct Queue {
    sender: mpsc::Sender<Outgoing>,
    bytes: Arc<AtomicUsize>,
}

pub(super) struct Inbox {
    receiver: mpsc::Receiver<Outgoing>,
    bytes: Arc<AtomicUsize>,
}

impl Queue {
    pub(super) fn new() -> (Self, Inbox) {
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        (Self { sender, bytes: bytes.clone() }, Inbox { receiver, bytes })
    }

    /// False when there is no room.
    pub(super) fn push_message(&self, message: Message) -> bool {
        let size = message.entries.iter().map(|entry| entry.data.len()).sum();
        if self.bytes.fetch_add(size, Relaxed) + size > BYTES_MAX {
            self.bytes.fetch_sub(size, Relaxed);
            return false;
        }
        let is_queued = self.sender.try_send(Outgoing::Message(message, size)).is_ok();
        if !is_queued {
            self.bytes.fetch_sub(size, Relaxed);
        }
        is_queued
    }

    /// Notes are said again with the next connection, so one may be lost.
    pub(super) fn push_note(&self, note: Note) {
        let _ = self.sender.try_send(Outgoing::Note(note));
    }
}

impl Inbox {
    async fn next(&mut self) -> Option<Outgoing> {
        let next = self.receiver.recv().await;
        next.inspect(|outgoing| self.left(outgoing))
    }

    fn next_now(&mut self) -> Option<Outgoing> {
        let next = self.receiver.try_recv().ok();
        next.inspect(|outgoing| self.left(outgoing))
    }

    fn left(&self, outgoing: &Outgoing) {
        if let Outgoing::Message(_, size) = outgoing {
            self.bytes.fetch_sub(*size, Relaxed);
        }
    }
}

/// Serves the queue for as long as the link lives.
pub(super) async fn run(shared: Weak<Shared>, peer: Weak<Peer>, mut inbox: Inbox) {
    let mut backoff = Backoff::new(BACKOFF_MAX);
    let mut kept = Kept::default();
    loop {
        // Nobody is dialled before there is something to say.
        let Some(outgoing) = inbox.next().await else { return };
        kept.put(outgoing);
        while let Some(newer) = inbox.next_now() {
            kept.put(newer);
        }
        let (Some(server), Some(link)) = (shared.upgrade(), peer.upgrade()) else { return };
        let (id, address) = (link.id, link.address());
        drop(link);
        let connected = hello::connect(&server, &address, id, Lane::Log).await;
        drop(server);
        let ended = match connected {
            Ok(stream) => {
                backoff = Backoff::new(BACKOFF_MAX);
                write_all(stream, std::mem::take(&mut kept).into_order(), &mut inbox).await
            }
            Err(e) => Err(e),
        };
        let Some(server) = shared.upgrade() else { return };
        if let Err(e) = &ended {
            server.link_faults.report(id, &address, e);
        }
        // A server that has ended needs to know no more.
        let _ = server.submit(Job::Input(Input::Unreachable { peer: id }));
        drop(server);
        backoff.pause().await;
    }
}

/// Writes until the connection ends.
async fn write_all(stream: Stream, first: Vec<Outgoing>, inbox: &mut Inbox) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut buffer = BytesMut::new();
    let mut first = first.into_iter();
    let mut next = first.next();
    let mut alive = Alive::new();
    // The other side sends nothing here but signs of life.
    let mut signs = [0; 64];
    loop {
        buffer.clear();
        while let Some(outgoing) = next.take() {
            encode(&outgoing, &mut buffer)?;
            if buffer.len() < WRITE_BYTES {
                next = first.next().or_else(|| inbox.next_now());
            }
        }
        alive.ping(&mut buffer);
        let written = async {
            writer.write_all(&buffer).await?;
            writer.flush().await
        };
        timeout(WRITE_TIMEOUT, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if buffer.capacity() > 4 * WRITE_BYTES {
            buffer = BytesMut::new();
        }
        // Nothing is lost when any of these is dropped while it waits.
        next = loop {
            tokio::select! {
                next = inbox.next() => break next,
                count = reader.read(&mut signs) => match count {
                    Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
                    Ok(_) => alive.answered(),
                    Err(e) => return Err(e),
                },
                () = alive.dead() => return Err(io::ErrorKind::TimedOut.into()),
            }
        };
        if next.is_none() {
            return Ok(());
        }
    }
}

fn encode(outgoing: &Outgoing, into: &mut BytesMut) -> io::Result<()> {
    match outgoing {
        Outgoing::Message(message, _) => {
            let body = replica::wire::encode(message).map_err(io::Error::other)?;
            frame::put(into, kind::MESSAGE, &body);
        }
        Outgoing::Note(note) => {
            let body = rmp_serde::to_vec_named(note).map_err(io::Error::other)?;
            frame::put(into, kind::NOTE, &body);
        }
    }
    Ok(())
}
