//! Writing to a reader that may be slow, while watching the sender that waits for it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::io::{AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::{Ending, Way};
use crate::buffers::{Buffer, SMALL_BYTES};

/// Opened records written to the application in one call.
const SLICES_MAX: usize = 16;
/// Records at most this long are moved together, which is cheaper than a slice each. Unit: bytes.
const JOINED_BYTES_MAX: usize = 1024;

/// Parts of a buffer to be written in order.
#[derive(Default)]
pub(super) struct Slices {
    ranges: [Range<u32>; SLICES_MAX],
    count: usize,
}

impl Slices {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == SLICES_MAX
    }

    pub(super) fn bytes(&self) -> usize {
        self.ranges[..self.count].iter().map(|range| range.len()).sum()
    }

    /// Adds a part; a short one is moved up to the end of the one before it.
    pub(super) fn push(&mut self, buffer: &mut Buffer, content: Range<usize>) {
        let bytes = content.len();
        if bytes <= JOINED_BYTES_MAX
            && let Some(last) = self.ranges[..self.count].last_mut()
        {
            let end = last.end as usize;
            buffer.copy_within(content, end);
            last.end = narrow(end + bytes);
            return;
        }
        self.ranges[self.count] = narrow(content.start)..narrow(content.end);
        self.count += 1;
    }

    /// Drops what was written.
    pub(super) fn advance(&mut self, mut written: usize) {
        let mut done = 0;
        for range in &mut self.ranges[..self.count] {
            let step = written.min(range.len());
            range.start += narrow(step);
            written -= step;
            if range.start < range.end {
                break;
            }
            done += 1;
        }
        self.ranges[..self.count].rotate_left(done);
        self.count -= done;
    }
}

pub(super) fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).expect("buffers are far below 4 GB")
}

/// Writes the contents of opened records. They stay in their buffer, with the records behind them.
pub(super) async fn write_slices(
    app: &mut WriteHalf<'_>,
    source: &ReadHalf<'_>,
    buffer: &Buffer,
    mut slices: Slices,
    way: Way,
) -> Result<(), Ending> {
    while !slices.is_empty() {
        let write = poll_fn(|cx| {
            if let [range] = &slices.ranges[..slices.count] {
                let bytes = &buffer[range.start as usize..range.end as usize];
                return Pin::new(&mut *app).poll_write(cx, bytes);
            }
            let parts: [IoSlice<'_>; SLICES_MAX] = std::array::from_fn(|at| {
                let range = &slices.ranges[at];
                let is_used = at < slices.count;
                let bytes =
                    if is_used { &buffer[range.start as usize..range.end as usize] } else { &[] };
                IoSlice::new(bytes)
            });
            Pin::new(&mut *app).poll_write_vectored(cx, &parts[..slices.count])
        });
        let written = unless_reset(write, source, way).await?;
        slices.advance(written);
    }
    Ok(())
}

/// Writes sealed records. If little is left of them when the socket is full, that moves to a small buffer.
pub(super) async fn write_buffer(
    peer: &mut WriteHalf<'_>,
    source: &ReadHalf<'_>,
    buffer: Buffer,
    range: Range<usize>,
    way: Way,
) -> Result<(), Ending> {
    let (mut buffer, mut range) = (Some(buffer), range);
    while !range.is_empty() {
        let write = poll_fn(|cx| {
            let held = buffer.as_ref().expect("is put back after every move");
            let polled = Pin::new(&mut *peer).poll_write(cx, &held[range.clone()]);
            if polled.is_pending() && held.is_large() && range.len() <= SMALL_BYTES {
                buffer = buffer.take().map(|large| large.moved(range.clone()));
                range = 0..range.len();
            }
            polled
        });
        let written = unless_reset(write, source, way).await?;
        range.start += written;
    }
    Ok(())
}

/// Completes a write, or fails as soon as the socket that fed it is reset: while the reader is slow nobody reads
/// from the sender, and its reset would go unnoticed.
pub(super) async fn unless_reset(
    write: impl Future<Output = io::Result<usize>>,
    source: &ReadHalf<'_>,
    way: Way,
) -> Result<usize, Ending> {
    let mut write = pin!(write);
    // Most writes complete at once; only a stalled one watches its source.
    let first = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await;
    let written = match first {
        Poll::Ready(written) => written,
        Poll::Pending => {
            tokio::select! {
                biased;
                written = &mut write => written,
                // Dropping the write loses nothing: the connection ends here.
                error = reset(source) => return Err(way.read_error(error)),
            }
        }
    };
    match written {
        Ok(0) => Err(way.write_error(io::ErrorKind::WriteZero.into())),
        Ok(written) => Ok(written),
        Err(error) => Err(way.write_error(error)),
    }
}

/// Sends FIN. A socket that the other side already took down is as good as ended.
pub(super) async fn shutdown(half: &mut WriteHalf<'_>) -> io::Result<()> {
    match half.shutdown().await {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        other => other,
    }
}

/// Waits until a socket is in error, and takes the error.
pub(super) async fn reset(socket: &ReadHalf<'_>) -> io::Error {
    match socket.ready(Interest::ERROR).await {
        Err(error) => error,
        Ok(_) => match socket.as_ref().take_error() {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
        },
    }
}
