//! Reading an application's bytes straight into the slots of the records they will be sealed in.

use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::ReadHalf;

use crate::buffers::{Buffer, Pool, RECORDS_PER_ROUND};
use crate::record::{CONTENT_BYTES_MAX, ContentType, RecordError, Sealer};

/// Where records and their contents lie in a buffer that is read into.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    prefix_bytes: usize,
    suffix_bytes: usize,
}

impl Layout {
    pub(super) const fn of(sealer: &Sealer) -> Self {
        Self { prefix_bytes: sealer.prefix_bytes(), suffix_bytes: sealer.suffix_bytes() }
    }

    pub(super) const fn slot_bytes(self) -> usize {
        self.prefix_bytes + CONTENT_BYTES_MAX + self.suffix_bytes
    }

    /// Seals `content_bytes` that fill the slots of `buffer` one after the other; returns the length of the records,
    /// which lie back to back.
    pub(super) fn seal(
        self,
        sealer: &mut Sealer,
        buffer: &mut Buffer,
        content_bytes: usize,
    ) -> Result<usize, RecordError> {
        let mut left = content_bytes;
        let mut sealed = 0;
        for slot in buffer.chunks_mut(self.slot_bytes()) {
            if left == 0 {
                break;
            }
            let content = left.min(CONTENT_BYTES_MAX);
            sealed += sealer.seal(ContentType::ApplicationData, slot, content)?;
            left -= content;
        }
        Ok(sealed)
    }
}

/// Reads into the content of the first slot, or of all when the last read filled the first.
///
/// No buffer is held while there is nothing to read. The plain read of one slot also tells the runtime that the
/// socket is drained when it comes back short, which a vectored one does not.
pub(super) fn poll_read_slots(
    app: &mut ReadHalf<'_>,
    cx: &mut Context<'_>,
    pool: &Rc<Pool>,
    layout: Layout,
    is_bulk: bool,
) -> Poll<io::Result<(Buffer, usize)>> {
    let mut buffer = pool.large();
    if !is_bulk {
        let start = layout.prefix_bytes;
        let mut content = ReadBuf::new(&mut buffer[start..start + CONTENT_BYTES_MAX]);
        ready!(Pin::new(app).poll_read(cx, &mut content))?;
        let read = content.filled().len();
        return Poll::Ready(Ok((buffer, read)));
    }
    loop {
        let mut slots = buffer.chunks_exact_mut(layout.slot_bytes());
        let mut contents: [IoSliceMut<'_>; RECORDS_PER_ROUND] = std::array::from_fn(|_| {
            let slot = slots.next().expect("a large buffer has room for a round");
            IoSliceMut::new(&mut slot[layout.prefix_bytes..][..CONTENT_BYTES_MAX])
        });
        match app.try_read_vectored(&mut contents) {
            Ok(read) => return Poll::Ready(Ok((buffer, read))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(app.as_ref().poll_read_ready(cx))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}
