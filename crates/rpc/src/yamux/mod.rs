//! Many streams over one connection: yamux, as Consul's agents speak it.
//!
//! Why our own: the crates there are acknowledge a stream only with its first reply (a blocking
//! query's is minutes away, and peers open no more than 256 unacknowledged streams), or stop
//! reading for all streams when one is not read. Here a stream that is not read holds its own
//! window of 256 KiB and disturbs nobody.
//!
//! [`open`] turns a socket into a [`Session`]; [`state`] is the protocol without input and output.
//! Source: the yamux specification of HashiCorp.

mod frame;
mod state;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;

pub use self::frame::Violation;
use self::frame::{HEADER_BYTES, Header, Kind};
pub use self::state::Side;
use self::state::{Progress, State};

/// How often a sign of life is asked for; the next one must have come by then.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Longest time the peer may refuse to take bytes.
const WRITE_MAX: Duration = Duration::from_secs(30);
/// Streams opened by the peer and not yet taken care of, as many as Consul allows itself.
const BACKLOG: usize = 256;
/// Frames are gathered up to this size before they are written.
const BATCH_BYTES: usize = 64 * 1024;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the peer broke the protocol: {0}")]
    Violation(#[from] Violation),
    #[error("connection")]
    Io(#[from] io::Error),
    #[error("the peer takes no bytes")]
    WriteTimeout,
    #[error("the peer gives no sign of life")]
    Silent,
}

/// Opens streams. Clones share the session, which ends when its driver is dropped.
#[derive(Clone, Debug)]
pub struct Session {
    state: Arc<Mutex<State>>,
}

/// Streams the peer opened, in their order.
pub type Incoming = mpsc::Receiver<Stream>;

/// Begins a session over `socket` with at most `streams_max` streams at once.
///
/// Returns its handle, the streams the peer opens, and the driver: the future that moves the bytes.
/// It resolves when the peer closed the connection or something went wrong; all streams are broken
/// then. Dropping it ends the session.
pub fn open<S: AsyncRead + AsyncWrite + Send + 'static>(
    socket: S,
    side: Side,
    streams_max: usize,
) -> (Session, Incoming, impl Future<Output = Result<(), SessionError>> + Send) {
    let state = Arc::new(Mutex::new(State::new(side, streams_max)));
    let (offer, incoming) = mpsc::channel(BACKLOG);
    let session = Session { state: state.clone() };
    let driver = async move {
        let _closing = Closing(state.clone());
        let (reader, writer) = tokio::io::split(socket);
        // The first to end ends the session; nothing is lost that the others still could do.
        tokio::select! {
            ended = receive(&state, reader, offer) => ended,
            ended = send(&state, writer) => ended,
            ended = keep_alive(&state) => ended,
        }
    };
    (session, incoming, driver)
}

/// Breaks all streams when the driver ends, however it does.
struct Closing(Arc<Mutex<State>>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.lock().close();
    }
}

impl Session {
    /// A new stream; `None` when the session is ending or has as many as it may.
    pub fn open_stream(&self) -> Option<Stream> {
        let id = self.state.lock().open()?;
        Some(Stream { id, state: self.state.clone() })
    }

    /// Tells the peer to use another session from now on. Streams there are go on.
    pub fn go_away(&self) {
        self.state.lock().go_away();
    }

    pub fn is_usable(&self) -> bool {
        self.state.lock().is_usable()
    }

    /// Streams there are, idle ones among them.
    pub fn stream_count(&self) -> usize {
        self.state.lock().stream_count()
    }
}

async fn receive(
    state: &Arc<Mutex<State>>,
    reader: impl AsyncRead + Unpin,
    offer: mpsc::Sender<Stream>,
) -> Result<(), SessionError> {
    let mut reader = tokio::io::BufReader::with_capacity(BATCH_BYTES, reader);
    let mut piece = vec![0; BATCH_BYTES];
    let mut bytes = [0; HEADER_BYTES];
    loop {
        match reader.read_exact(&mut bytes).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let header = Header::read(&bytes)?;
        let opened = state.lock().receive(header)?;
        if let Some(id) = opened {
            let stream = Stream { id, state: state.clone() };
            // A dropped stream is reset, which is what a peer over its backlog gets.
            drop(offer.try_send(stream));
        }
        if header.kind != Kind::Data {
            continue;
        }
        let mut left = header.length as usize;
        while left > 0 {
            let count = reader.read(&mut piece[..left.min(BATCH_BYTES)]).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            left -= count;
            state.lock().receive_data(header, &piece[..count], left == 0);
        }
    }
}

async fn send(
    state: &Arc<Mutex<State>>,
    mut writer: impl AsyncWrite + Unpin,
) -> Result<(), SessionError> {
    let mut batch = Vec::new();
    loop {
        batch.clear();
        poll_fn(|context| {
            let mut state = state.lock();
            state.send(&mut batch, BATCH_BYTES, context.waker());
            match batch.is_empty() && !state.is_closed() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
        if batch.is_empty() {
            return Ok(());
        }
        let written = async {
            writer.write_all(&batch).await?;
            writer.flush().await
        };
        match tokio::time::timeout(WRITE_MAX, written).await {
            Ok(written) => written?,
            Err(_) => return Err(SessionError::WriteTimeout),
        }
        batch.shrink_to(BATCH_BYTES);
    }
}

async fn keep_alive(state: &Mutex<State>) -> Result<(), SessionError> {
    loop {
        tokio::time::sleep(KEEPALIVE).await;
        if !state.lock().ping() {
            return Err(SessionError::Silent);
        }
    }
}

/// One stream. Shut down, it ends our half; dropped before both halves ended, it is reset.
#[derive(Debug)]
pub struct Stream {
    id: u32,
    state: Arc<Mutex<State>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.state.lock().release(self.id);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let space = buffer.remaining();
        let take = |bytes: &[u8]| buffer.put_slice(bytes);
        match self.state.lock().read(self.id, space, take, context.waker()) {
            Progress::Moved(_) | Progress::End => Poll::Ready(Ok(())),
            Progress::Broken => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Progress::Wait => Poll::Pending,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.state.lock().write(self.id, data, context.waker()) {
            Progress::Moved(count) => Poll::Ready(Ok(count)),
            Progress::End | Progress::Broken => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Progress::Wait => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.state.lock().flush(self.id, context.waker()) {
            Progress::Moved(_) | Progress::End => Poll::Ready(Ok(())),
            Progress::Broken => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Progress::Wait => Poll::Pending,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.lock().finish(self.id);
        self.poll_flush(context)
    }
}
