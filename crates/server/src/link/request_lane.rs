//! Requests to one server, many at once over one connection.

use std::collections::HashMap;
use std::io;
use std::sync::Weak;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::alive::Alive;
use super::frame::{self, FRAME_BYTES_MAX, kind};
use super::hello::{self, Lane};
use super::request::{self, Request};
use super::{Backoff, Peer, REQUEST_BACKOFF_MAX, Stream};
use crate::shared::Shared;

/// Requests waiting to be written. Those written are bounded by who answers.
const CALLS_MAX: usize = 4096;
/// A write that gets nowhere for so long means the connection is dead.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request never left; asking again is safe.
    NotSent,
    /// The connection broke: what became of the request is unknown.
    Broken,
}

type Reply = oneshot::Sender<std::result::Result<request::Result, Failure>>;

struct Call {
    body: Vec<u8>,
    reply: Reply,
}

pub(super) struct Calls(mpsc::Sender<Call>);

pub(super) struct Inbox(mpsc::Receiver<Call>);

impl Calls {
    pub(super) fn new() -> (Self, Inbox) {
        let (sender, receiver) = mpsc::channel(CALLS_MAX);
        (Self(sender), Inbox(receiver))
    }
}

impl Peer {
    /// Asks and waits for the answer, as long as the caller does.
    pub(crate) async fn ask(
        &self,
        request: &Request,
    ) -> std::result::Result<request::Result, Failure> {
        let body = rmp_serde::to_vec_named(request).map_err(|_| Failure::NotSent)?;
        let (reply, replied) = oneshot::channel();
        self.requests.0.try_send(Call { body, reply }).map_err(|_| Failure::NotSent)?;
        replied.await.unwrap_or(Err(Failure::Broken))
    }
}

/// Serves calls for as long as the link lives.
pub(super) async fn run(shared: Weak<Shared>, peer: Weak<Peer>, mut inbox: Inbox) {
    let mut backoff = Backoff::new(REQUEST_BACKOFF_MAX);
    while let Some(first) = inbox.0.recv().await {
        let (Some(server), Some(link)) = (shared.upgrade(), peer.upgrade()) else { return };
        let (id, address) = (link.id, link.address());
        drop(link);
        let connected = hello::connect(&server, &address, id, Lane::Request).await;
        match connected {
            Ok(stream) => {
                drop(server);
                backoff = Backoff::new(REQUEST_BACKOFF_MAX);
                // Its end has been told to all who waited.
                let _ = serve(stream, first, &mut inbox).await;
            }
            Err(e) => {
                server.link_faults.report(id, &address, &e);
                drop(server);
                let _ = first.reply.send(Err(Failure::NotSent));
                // Nobody waits for the end of the pause.
                let mut pause = std::pin::pin!(backoff.pause());
                loop {
                    tokio::select! {
                        () = &mut pause => break,
                        call = inbox.0.recv() => match call {
                            Some(call) => { let _ = call.reply.send(Err(Failure::NotSent)); }
                            None => return,
                        },
                    }
                }
            }
        }
    }
}

/// Writes calls and hands answers out until the connection ends; then those without an answer
/// learn that it broke, because their senders are dropped.
async fn serve(stream: Stream, first: Call, inbox: &mut Inbox) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (frames_in, mut frames) = mpsc::channel(64);
    let reading = tokio::spawn(async move {
        while let Ok(Some(frame)) = frame::read(&mut reader, FRAME_BYTES_MAX).await {
            if frames_in.send(frame).await.is_err() {
                return;
            }
        }
    });
    let _reading = AbortOnDrop(reading.abort_handle());
    let mut waiting: HashMap<u64, Reply> = HashMap::new();
    let mut serial = 0_u64;
    let mut buffer = BytesMut::new();
    let mut next = Some(first);
    let mut alive = Alive::new();
    loop {
        buffer.clear();
        while let Some(Call { body, reply }) = next.take() {
            serial += 1;
            waiting.insert(serial, reply);
            let mut framed = serial.to_le_bytes().to_vec();
            framed.extend_from_slice(&body);
            frame::put(&mut buffer, kind::REQUEST, &framed);
            next = inbox.0.try_recv().ok();
        }
        if !waiting.is_empty() {
            alive.ping(&mut buffer);
        }
        if !buffer.is_empty() {
            let written = async {
                writer.write_all(&buffer).await?;
                writer.flush().await
            };
            timeout(WRITE_TIMEOUT, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
        }
        // Nothing is lost when any of these is dropped while it waits.
        tokio::select! {
            () = alive.due(), if !waiting.is_empty() => {}
            () = alive.dead() => return Err(io::ErrorKind::TimedOut.into()),
            frame = frames.recv() => {
                let Some(mut frame) = frame else { return Err(io::ErrorKind::ConnectionReset.into()) };
                alive.answered();
                if frame.kind == kind::PONG {
                    continue;
                }
                if frame.kind != kind::ANSWER || frame.body.len() < 8 {
                    return Err(io::Error::other("no answer"));
                }
                let to = frame.body.get_u64_le();
                let answer: request::Result =
                    rmp_serde::from_slice(&frame.body).map_err(io::Error::other)?;
                if let Some(reply) = waiting.remove(&to) {
                    // Who asked may have given up.
                    let _ = reply.send(Ok(answer));
                }
            }
            call = inbox.0.recv() => match call {
                Some(call) => next = Some(call),
                None => return Ok(()),
            },
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
