//! Frames: `length u32 | kind u8 | body`, little endian; the length counts kind and body.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest frame: an append is cut at 1 MiB unless one entry alone is larger, and entries in
/// flight are bounded by 64 MiB. Unit: bytes.
pub(super) const FRAME_BYTES_MAX: usize = 72 * 1024 * 1024;
/// Memory reserved for a frame before its bytes arrive: a length alone must not cost much.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

pub(super) mod kind {
    pub(in super::super) const HELLO: u8 = 1;
    pub(in super::super) const REFUSED: u8 = 2;
    pub(in super::super) const MESSAGE: u8 = 3;
    pub(in super::super) const NOTE: u8 = 4;
    pub(in super::super) const REQUEST: u8 = 5;
    pub(in super::super) const ANSWER: u8 = 6;
    pub(in super::super) const SNAPSHOT: u8 = 7;
    pub(in super::super) const CHUNK: u8 = 8;
    pub(in super::super) const END: u8 = 9;
    pub(in super::super) const PING: u8 = 10;
    pub(in super::super) const PONG: u8 = 11;
}

pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) body: Bytes,
}

pub(super) fn put(out: &mut BytesMut, kind: u8, body: &[u8]) {
    out.reserve(5 + body.len());
    out.put_u32_le(body.len() as u32 + 1);
    out.put_u8(kind);
    out.put_slice(body);
}

/// Reads one frame of up to `bytes_max`. `None` at the end of the stream.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if length == 0 || length > bytes_max {
        return Err(io::Error::other(format!(
            "a frame of {length} bytes, the most is {bytes_max}"
        )));
    }
    let mut body = BytesMut::with_capacity((length - 1).min(RESERVED_BYTES_MAX));
    let mut rest = from.take(length as u64 - 1);
    while body.len() < length - 1 {
        if rest.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(Frame { kind: head[4], body: body.freeze() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_and_bad_lengths_are_refused() {
        let mut bytes = BytesMut::new();
        put(&mut bytes, 7, b"body");
        put(&mut bytes, 8, b"");
        let mut input = &bytes[..];
        let first = read(&mut input, 5).await.unwrap().unwrap();
        assert_eq!((first.kind, &first.body[..]), (7, &b"body"[..]));
        let second = read(&mut input, 5).await.unwrap().unwrap();
        assert_eq!((second.kind, second.body.len()), (8, 0));
        assert!(read(&mut input, 5).await.unwrap().is_none());
        for (bytes, limit) in [(&bytes[..], 4), (&[0, 0, 0, 0, 1][..], 9), (&bytes[..7], 9)] {
            assert!(read(&mut &bytes[..], limit).await.is_err());
        }
    }
}
