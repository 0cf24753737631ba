//! Cuts a stream of records into their values.

use std::io::{self, Read};

use model::msgpack::{DecodeError, Scanner};

/// Longest value of one record: well above the largest that servers accept. Unit: bytes.
const VALUE_BYTES_MAX: usize = 64 << 20;
/// Read at once. Unit: bytes.
const PIECE_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Records<R> {
    input: R,
    /// Read and not handed out from `start` on. Grown as bytes arrive: a length that lies must not
    /// reserve memory for nothing.
    buffer: Vec<u8>,
    start: usize,
    /// Handed out so far.
    pub(super) bytes: u64,
}

/// Why there is no further value.
pub(super) enum Fault {
    Io(io::Error),
    Value(DecodeError),
}

impl<R: Read> Records<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, bytes: 0 }
    }

    /// The next byte; `None` at the end.
    pub(super) fn kind(&mut self) -> io::Result<Option<u8>> {
        if self.start == self.buffer.len() && !self.fill()? {
            return Ok(None);
        }
        let kind = self.buffer[self.start];
        self.start += 1;
        self.bytes += 1;
        Ok(Some(kind))
    }

    /// The bytes of the next value.
    pub(super) fn value(&mut self) -> Result<&[u8], Fault> {
        let mut scanner = Scanner::new(VALUE_BYTES_MAX);
        loop {
            let found = scanner.scan(&self.buffer[self.start..]).map_err(Fault::Value)?;
            if let Some(length) = found {
                let value = self.start..self.start + length;
                self.start = value.end;
                self.bytes += length as u64;
                return Ok(&self.buffer[value]);
            }
            if !self.fill().map_err(Fault::Io)? {
                return Err(Fault::Value(DecodeError::Incomplete));
            }
        }
    }

    /// Reads on. False at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..std::mem::take(&mut self.start));
        let before = self.buffer.len();
        let read = (&mut self.input).take(PIECE_BYTES_MAX as u64).read_to_end(&mut self.buffer)?;
        debug_assert_eq!(self.buffer.len(), before + read);
        Ok(read > 0)
    }
}
