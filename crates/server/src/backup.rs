//! The whole state out of this server as an archive, and into it from one.
//!
//! Saving reads a clone of the published state on a thread of its own and hands the archive out as
//! its reader takes it, so that neither the consensus thread nor other readers notice. Restoring
//! reads and checks an archive to its end before the first piece of it enters the log.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::archive::Origin;
use bytes::Bytes;
use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::query::{Consistency, QueryMeta, Token};
use model::snapshot::{RESTORE_BYTES_MAX, RESTORE_CHUNK_BYTES_MAX, RestoreChunk};
use rpc::{Archive, Chunks, Cluster as _};
use state::State;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore, mpsc};

use crate::server::Server;

/// Archives saved at once. Each holds a thread, and keeps the state it began with in memory.
const SAVES_MAX: usize = 4;
/// Pieces of an archive on their way to its reader, and of a state on its way into the log.
const PIECES_MAX: usize = 4;
/// Longest piece of an archive handed out. Unit: bytes.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// How an archive calls those who vote, and those who do not.
const VOTER: u8 = 0;
const NONVOTER: u8 = 1;
/// How long a reader may take for one piece before its archive is given up.
const PIECE_WAIT: Duration = Duration::from_secs(60);

/// What is under way on this server.
pub(crate) struct Backups {
    saving: Arc<Semaphore>,
    restoring: Mutex<()>,
}

impl Default for Backups {
    fn default() -> Self {
        Self { saving: Arc::new(Semaphore::new(SAVES_MAX)), restoring: Mutex::new(()) }
    }
}

/// Begins an archive of the state as it is now.
///
/// Errors: `NoLeader`, and `Unavailable` when too many are being saved.
pub(crate) async fn save(server: &Server, consistency: Consistency) -> Result<Archive, Error> {
    let saving = server.backups.saving.clone().try_acquire_owned();
    let saving = saving.map_err(|_| busy("too many snapshots are being saved"))?;
    // An archive stands for all that was acknowledged before, so the leader makes sure that it is
    // one, unless any server will do.
    server
        .shared
        .confirm(match consistency {
            Consistency::Default | Consistency::Consistent => Consistency::Consistent,
            Consistency::Stale => Consistency::Stale,
        })
        .await?;
    let state = server.shared.state.load_full();
    let leadership = server.leadership();
    let meta = QueryMeta {
        index: state.index().max(1),
        last_contact: Duration::ZERO,
        known_leader: leadership.leader.is_some(),
        consistency,
    };
    let origin = origin(server);
    let (sender, chunks) = mpsc::channel(PIECES_MAX);
    // Ends with its reader: a piece that is not taken ends the writing.
    tokio::task::spawn_blocking(move || {
        let mut out = Outgoing { sender, piece: Vec::new(), runtime: Handle::current() };
        let written = ::archive::save(&origin, &state, &mut out);
        if let Err(error) = written {
            tracing::warn!(%error, "a snapshot was not saved to its end");
            out.fail(&error);
        }
        drop(saving);
    });
    Ok(Archive { meta, chunks })
}

/// Replaces the state by what `archive` holds.
///
/// Errors: `Invalid` for an archive that is not sound, `Unavailable` while another is restored;
/// else those of commands, and the state is the one before or the one after.
pub(crate) async fn restore(server: &Server, archive: Chunks, token: Token) -> Result<(), Error> {
    let _restoring =
        server.backups.restoring.try_lock().map_err(|_| busy("a snapshot is being restored"))?;
    let panicked = |_| Error::internal("reading a snapshot panicked");
    let state = tokio::task::spawn_blocking(|| read(archive)).await.map_err(panicked)??;
    let index = state.index();
    let opaque = state.opaque_counts();
    let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let mut out = Pieces { sender, piece: Vec::new() };
        // Nothing but a proposer that gave up ends this early.
        let _ = state.write_snapshot(&mut out).and_then(|()| out.finish());
    });
    let id = format!("{:032x}", rand::random::<u128>());
    let mut sequence = 0;
    let mut next = pieces.recv().await;
    while let Some(bytes) = next.take() {
        next = pieces.recv().await;
        let is_last = next.is_none();
        let chunk = RestoreChunk { id: id.clone(), sequence, bytes, is_last };
        if let Err(error) = propose(server, chunk, &token).await {
            // What is staged would lie in every server's memory until the next restore.
            let nothing = RestoreChunk { id, sequence: 0, bytes: Vec::new(), is_last: false };
            let _ = propose(server, nothing, &token).await;
            return Err(error);
        }
        sequence += 1;
    }
    tracing::info!(index, pieces = sequence, "restored a snapshot");
    if !opaque.is_empty() {
        let kinds: Vec<_> = opaque.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let kinds = kinds.join(", ");
        tracing::warn!(kinds, "records are kept for which there is nothing here to act on");
    }
    Ok(())
}

async fn propose(server: &Server, chunk: RestoreChunk, token: &Token) -> Result<(), Error> {
    match server.command(Command::Restore(chunk), token.clone()).await? {
        Outcome::Done => Ok(()),
        Outcome::Refused(reason) => Err(Error::new(ErrorKind::Conflict, reason)),
        other => Err(Error::internal(format!("a restore came to {other:?}"))),
    }
}

/// Reads an archive to its end, on a thread that may wait.
fn read(archive: Chunks) -> Result<State, Error> {
    let mut incoming = Incoming { archive, piece: Bytes::new(), failure: None };
    let (_, state) = match ::archive::restore(&mut incoming) {
        Ok(read) => read,
        // Its source failed, or what came is at fault.
        Err(error) => {
            return Err(incoming.failure.unwrap_or_else(|| Error::invalid(error.to_string())));
        }
    };
    let mut length = Length(0);
    state.write_snapshot(&mut length).map_err(|error| Error::invalid(error.to_string()))?;
    if length.0 > RESTORE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the state in the snapshot has {} bytes, more than {RESTORE_BYTES_MAX}",
            length.0
        )));
    }
    Ok(state)
}

fn origin(server: &Server) -> Origin {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let membership = server.membership();
    let servers = membership.peers.iter().map(|(id, peer)| ::archive::Server {
        suffrage: if membership.is_voter(*id) { VOTER } else { NONVOTER },
        id: peer.node_id.clone(),
        address: peer.address.clone(),
    });
    Origin {
        term: server.leadership().term,
        unix_millis: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        servers: servers.collect(),
        configuration_index: membership.index,
    }
}

fn busy(message: &str) -> Error {
    Error {
        kind: ErrorKind::Unavailable,
        message: format!("{message}, try again later"),
        retry_after: Some(Duration::from_secs(1)),
    }
}

/// Hands an archive out, piece by piece.
struct Outgoing {
    sender: mpsc::Sender<Result<Bytes, Error>>,
    piece: Vec<u8>,
    runtime: Handle,
}

impl Outgoing {
    fn send(&self, piece: Result<Bytes, Error>) -> io::Result<()> {
        let sent = self.runtime.block_on(self.sender.send_timeout(piece, PIECE_WAIT));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes it any more"))
    }

    /// Tells the reader that no more is to come, if he still listens.
    fn fail(&self, error: &io::Error) {
        let _ = self.sender.try_send(Err(Error::internal(error.to_string())));
    }
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES_MAX {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.piece) {
            piece if piece.is_empty() => Ok(()),
            piece => self.send(Ok(piece.into())),
        }
    }
}

/// Reads an archive as it arrives.
struct Incoming {
    archive: Chunks,
    piece: Bytes,
    /// Why there is no more of it.
    failure: Option<Error>,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.archive.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => {
                    let text = error.message.clone();
                    self.failure = Some(error);
                    return Err(io::Error::other(text));
                }
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Cuts a state stream into pieces for the log.
struct Pieces {
    sender: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn finish(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = RESTORE_CHUNK_BYTES_MAX - self.piece.len();
        let taken = bytes.len().min(room);
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == RESTORE_CHUNK_BYTES_MAX {
            self.finish()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts and writes nowhere.
struct Length(u64);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
