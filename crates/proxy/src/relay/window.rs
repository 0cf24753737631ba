//! The read buffer of a peer's records: whole ones are opened in it, the rest waits in it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::ReadHalf;

use crate::buffers::{Buffer, Pool, RECORDS_PER_ROUND, SMALL_BYTES};
use crate::record::{CONTENT_BYTES_MAX, HEADER_BYTES, Opener, RecordError, SUFFIX_BYTES_MAX};

/// A round of full TLS 1.3 records: where a large read ends, so that a bulk sender's records end there too and no
/// part of the next one has to be moved. Unit: bytes.
const ROUND_BYTES: usize =
    RECORDS_PER_ROUND * (HEADER_BYTES + CONTENT_BYTES_MAX + SUFFIX_BYTES_MAX);

/// The part of a read buffer that holds records not opened yet.
pub(super) struct Window {
    pub(super) buffer: Option<Buffer>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// The last read brought so much that the next one gets a large buffer.
    is_bulk: bool,
}

impl Window {
    /// Starts with what came in behind the handshake.
    pub(super) fn new(pool: &Rc<Pool>, incoming: &[u8]) -> Self {
        if incoming.is_empty() {
            return Self { buffer: None, start: 0, end: 0, is_bulk: false };
        }
        let mut buffer = pool.large();
        buffer[..incoming.len()].copy_from_slice(incoming);
        Self { buffer: Some(buffer), start: 0, end: incoming.len(), is_bulk: false }
    }

    pub(super) fn has_whole_record(&self, opener: &Opener) -> Result<bool, RecordError> {
        let Some(buffer) = &self.buffer else { return Ok(false) };
        let bytes = &buffer[self.start..self.end];
        Ok(opener.record_bytes(bytes)?.is_some_and(|record| record <= bytes.len()))
    }

    /// Moves the rest to the front of a buffer that has room for the record it starts; none is held for no rest.
    pub(super) fn make_room(
        &mut self,
        pool: &Rc<Pool>,
        opener: &Opener,
    ) -> Result<(), RecordError> {
        let Some(mut buffer) = self.buffer.take() else { return Ok(()) };
        let rest = self.start..self.end;
        (self.start, self.end) = (0, rest.len());
        if rest.is_empty() {
            return Ok(());
        }
        let wanted = opener.record_bytes(&buffer[rest.clone()])?.unwrap_or(0);
        self.buffer = Some(if wanted > buffer.len() {
            let mut larger = pool.large();
            larger[..rest.len()].copy_from_slice(&buffer[rest]);
            larger
        } else {
            buffer.copy_within(rest, 0);
            buffer
        });
        Ok(())
    }

    /// Reads behind the rest. While there is nothing to read, no more than a rest is held.
    pub(super) fn poll_read(
        &mut self,
        peer: &mut ReadHalf<'_>,
        cx: &mut Context<'_>,
        pool: &Rc<Pool>,
    ) -> Poll<io::Result<usize>> {
        let fresh = || if self.is_bulk { pool.large() } else { pool.small() };
        let mut buffer = self.buffer.take().unwrap_or_else(fresh);
        let end = if buffer.is_large() { ROUND_BYTES } else { SMALL_BYTES };
        let mut room = ReadBuf::new(&mut buffer[self.end..end]);
        let polled = Pin::new(peer).poll_read(cx, &mut room);
        let read = room.filled().len();
        self.end += read;
        if polled.is_pending() && self.end == 0 {
            return Poll::Pending;
        }
        self.buffer = Some(buffer);
        ready!(polled)?;
        self.is_bulk = read >= SMALL_BYTES;
        Poll::Ready(Ok(read))
    }
}
