//! Connections that other servers opened.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use replica::{Input, Note};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc};

use super::frame::{self, FRAME_BYTES_MAX, kind};
use super::hello::{self, Hello, Lane};
use super::request::{self, Request};
use super::{Stream, snapshot_lane};
use crate::shared::{Job, Shared};

/// Requests of one server answered at once; the next is read when one is done.
const REQUESTS_MAX: usize = 4096;
/// Answers waiting to be written.
const ANSWERS_MAX: usize = 256;
/// Log of one connection taken in and not yet looked at. What follows waits in the connection.
/// Unit: bytes.
const LOG_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Serves a connection to its end, or to that of the server.
pub(crate) async fn accept(shared: Arc<Shared>, stream: Stream) {
    let ended = shared.ended.listen();
    if shared.is_closed() {
        return;
    }
    // Dropped, a connection is closed; what came in whole has been handed on.
    tokio::select! {
        () = serve(shared, stream) => {}
        () = ended => {}
    }
}

async fn serve(shared: Arc<Shared>, mut stream: Stream) {
    let hello = match hello::accept(&shared, &mut stream).await {
        Ok(hello) => hello,
        Err(e) => {
            tracing::warn!(error = %e, "refused a connection of another server");
            return;
        }
    };
    let from = hello.consensus_id;
    let ended = match hello.lane {
        Lane::Log => take_log(&shared, hello, stream).await,
        Lane::Request => answer_requests(shared.clone(), stream).await,
        Lane::Snapshot => snapshot_lane::receive(&shared, from, stream).await,
    };
    if let Err(e) = ended {
        tracing::debug!(from = format_args!("{from:016x}"), error = %e, "a connection ended");
    }
}

async fn take_log(shared: &Arc<Shared>, hello: Hello, mut stream: Stream) -> io::Result<()> {
    let from = hello.consensus_id;
    let note = Note::Position(hello.position);
    let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    shared.submit(Job::Input(Input::Note { from, note })).map_err(closed)?;
    let room = Arc::new(Semaphore::new(LOG_BYTES_MAX));
    let ended = loop {
        let frame = match frame::read(&mut stream, FRAME_BYTES_MAX).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break Ok(()),
            Err(e) => break Err(e),
        };
        let size = u32::try_from(frame.body.len()).unwrap_or(u32::MAX);
        let Ok(permit) = room.clone().acquire_many_owned(size).await else { break Ok(()) };
        let input = match frame.kind {
            kind::MESSAGE => {
                let message = replica::wire::decode(&frame.body).map_err(io::Error::other)?;
                if message.from != from {
                    break Err(io::Error::other("a message in the name of another server"));
                }
                Input::Message(Box::new(message))
            }
            kind::NOTE => {
                let note = rmp_serde::from_slice(&frame.body).map_err(io::Error::other)?;
                Input::Note { from, note }
            }
            kind::PING => {
                pong(&mut stream).await?;
                continue;
            }
            other => break Err(io::Error::other(format!("unknown kind {other}"))),
        };
        if shared.submit(Job::Peer(input, permit)).is_err() {
            return Ok(());
        }
    };
    // A server that has ended needs to know no more.
    let _ = shared.submit(Job::Input(Input::Disconnected { peer: from }));
    ended
}

async fn pong(stream: &mut Stream) -> io::Result<()> {
    let mut out = BytesMut::new();
    frame::put(&mut out, kind::PONG, &[]);
    stream.write_all(&out).await?;
    stream.flush().await
}

async fn answer_requests(shared: Arc<Shared>, stream: Stream) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (answers, mut outbox) = mpsc::channel::<Outgoing>(ANSWERS_MAX);
    let writing = tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        while let Some(outgoing) = outbox.recv().await {
            buffer.clear();
            put(&mut buffer, &outgoing)?;
            while let Ok(outgoing) = outbox.try_recv() {
                put(&mut buffer, &outgoing)?;
            }
            writer.write_all(&buffer).await?;
            writer.flush().await?;
        }
        io::Result::Ok(())
    });
    let room = Arc::new(Semaphore::new(REQUESTS_MAX));
    while let Some(mut frame) = frame::read(&mut reader, FRAME_BYTES_MAX).await? {
        if frame.kind == kind::PING {
            // A connection that takes no answers any more is at its end.
            answers.send(Outgoing::Pong).await.map_err(io::Error::other)?;
            continue;
        }
        if frame.kind != kind::REQUEST || frame.body.len() < 8 {
            return Err(io::Error::other("no request"));
        }
        let serial = frame.body.get_u64_le();
        let request: Request = rmp_serde::from_slice(&frame.body).map_err(io::Error::other)?;
        let Ok(permit) = room.clone().acquire_owned().await else { break };
        let (shared, answers) = (shared.clone(), answers.clone());
        tokio::spawn(async move {
            let answer = shared.answer_peer(request).await;
            // Nobody is left to hear it when the connection is gone.
            let _ = answers.send(Outgoing::Answer(serial, answer)).await;
            drop(permit);
        });
    }
    drop(answers);
    writing.await.map_err(io::Error::other)?
}

enum Outgoing {
    Answer(u64, request::Result),
    Pong,
}

fn put(out: &mut BytesMut, outgoing: &Outgoing) -> io::Result<()> {
    match outgoing {
        Outgoing::Pong => frame::put(out, kind::PONG, &[]),
        Outgoing::Answer(serial, answer) => {
            let mut body = serial.to_le_bytes().to_vec();
            rmp_serde::encode::write_named(&mut body, answer).map_err(io::Error::other)?;
            frame::put(out, kind::ANSWER, &body);
        }
    }
    Ok(())
}
