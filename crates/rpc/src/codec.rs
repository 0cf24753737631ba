//! Requests and replies on a stream: a head and a body, two values back to back.
//!
//! No length stands before them. A value may come in many pieces and several in one; what was read
//! too much is kept for the next.

use std::io;

use bytes::{Bytes, BytesMut};
use model::msgpack::{self, DecodeError, EncodeError, Scanner};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest head: a method name and a number.
pub(crate) const HEAD_BYTES_MAX: usize = 4 * 1024;
/// Longest head of a reply, which may bring a text.
pub(crate) const REPLY_HEAD_BYTES_MAX: usize = 1024 * 1024;
/// Read at once.
const READ_BYTES: usize = 8 * 1024;
/// A buffer that has held more gives its memory back.
const KEPT_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RequestHead {
    pub(crate) service_method: String,
    pub(crate) seq: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ReplyHead {
    pub(crate) error: String,
    pub(crate) seq: u64,
    pub(crate) service_method: String,
}

/// Why a stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("stream")]
    Io(#[from] io::Error),
    #[error("stream closed in the middle of a value")]
    CutOff,
    #[error("malformed value: {0}")]
    Decode(#[from] DecodeError),
    #[error("encode: {0}")]
    Encode(#[from] EncodeError),
}

/// The reading side of a stream.
#[derive(Debug)]
pub(crate) struct Values<R> {
    reader: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Values<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::new() }
    }

    /// The next value of at most `bytes_max` bytes; `None` when the stream ended before it.
    ///
    /// May be dropped while it waits: what has come stays for the next call.
    pub(crate) async fn next(&mut self, bytes_max: usize) -> Result<Option<Bytes>, CodecError> {
        let mut scanner = Scanner::new(bytes_max);
        loop {
            if let Some(length) = scanner.scan(&self.buffer)? {
                let value = self.buffer.split_to(length).freeze();
                if self.buffer.is_empty() && length > KEPT_BYTES_MAX {
                    self.buffer = BytesMut::new();
                }
                return Ok(Some(value));
            }
            if self.fill().await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(CodecError::CutOff),
                };
            }
        }
    }

    /// The next value, whose absence is an error.
    pub(crate) async fn expect(&mut self, bytes_max: usize) -> Result<Bytes, CodecError> {
        self.next(bytes_max).await?.ok_or(CodecError::CutOff)
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        self.reader.read_buf(&mut self.buffer).await
    }

    /// Resolves when the peer is gone. What it sends meanwhile is kept, up to a bound.
    pub(crate) async fn gone(&mut self) {
        while self.buffer.len() < KEPT_BYTES_MAX {
            if !matches!(self.fill().await, Ok(1..)) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Waits until something has come; false when the stream ended.
    pub(crate) async fn begun(&mut self) -> io::Result<bool> {
        Ok(!self.buffer.is_empty() || self.fill().await? > 0)
    }

    pub(crate) fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// What was read too much, and the reader.
    pub(crate) fn into_rest(self) -> (Bytes, R) {
        (self.buffer.freeze(), self.reader)
    }
}

/// Writes a head and an encoded body.
pub(crate) async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    head: &impl Serialize,
    body: &[u8],
) -> Result<(), CodecError> {
    let mut bytes = Vec::with_capacity(128 + body.len().min(KEPT_BYTES_MAX));
    msgpack::append(&mut bytes, head)?;
    if body.len() <= KEPT_BYTES_MAX {
        bytes.extend_from_slice(body);
        writer.write_all(&bytes).await?;
    } else {
        writer.write_all(&bytes).await?;
        writer.write_all(body).await?;
    }
    writer.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::prelude::*;
    use tokio::io::ReadBuf;

    use super::*;

    /// Gives its bytes in pieces of these sizes, over and over.
    struct Pieces {
        bytes: Vec<u8>,
        at: usize,
        sizes: Vec<usize>,
        turn: usize,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let size = self.sizes[self.turn % self.sizes.len()];
            let count = size.min(self.bytes.len() - self.at).min(buffer.remaining());
            buffer.put_slice(&self.bytes[self.at..self.at + count]);
            self.at += count;
            self.turn += 1;
            Poll::Ready(Ok(()))
        }
    }

    fn read(bytes: Vec<u8>, sizes: Vec<usize>) -> (Vec<Bytes>, Option<CodecError>) {
        let mut values = Values::new(Pieces { bytes, at: 0, sizes, turn: 0 });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut all = Vec::new();
            loop {
                match values.next(1000).await {
                    Ok(Some(value)) => all.push(value),
                    Ok(None) => return (all, None),
                    Err(error) => return (all, Some(error)),
                }
            }
        })
    }

    proptest! {
        #[test]
        fn values_are_the_same_in_whatever_pieces_they_come(
            texts in proptest::collection::vec("[a-z]{0,90}", 0..20),
            sizes in proptest::collection::vec(1usize..50, 1..5),
        ) {
            let want: Vec<Vec<u8>> =
                texts.iter().map(|text| msgpack::to_vec(&[text, text]).unwrap()).collect();
            let (got, error) = read(want.concat(), sizes);
            prop_assert!(error.is_none());
            prop_assert_eq!(got, want);
        }

        #[test]
        fn strangers_bytes_end_in_an_error_or_the_end(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            sizes in proptest::collection::vec(1usize..50, 1..5),
        ) {
            let length = bytes.len();
            let (got, error) = read(bytes, sizes);
            let taken: usize = got.iter().map(Bytes::len).sum();
            prop_assert!(taken == length || error.is_some());
        }
    }

    #[test]
    fn too_long_and_cut_off() {
        let check = |bytes: &[u8], want: &str| {
            let (_, error) = read(bytes.to_vec(), vec![3]);
            assert_eq!(error.unwrap().to_string(), want);
        };
        check(&[0xda, 0x03, 0xe8], "malformed value: the value is longer than 1000 bytes");
        check(&[0xa3, 1], "stream closed in the middle of a value");
    }
}
