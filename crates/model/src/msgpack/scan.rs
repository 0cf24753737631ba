//! Finds where a value ends while its bytes still arrive.

use super::head::{Head, head};
use super::{DEPTH_MAX, DecodeError};

/// Walks over one value in pieces. Looks at each byte once, however many pieces it comes in.
#[derive(Clone, Debug)]
pub struct Scanner {
    bytes_max: usize,
    /// Up to here the value was walked over.
    offset: usize,
    /// Values still to come on each level, outermost first.
    open: Vec<u64>,
}

impl Scanner {
    /// For a value of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, offset: 0, open: vec![1] }
    }

    /// Goes on in `buffer`, which begins with the value and holds at least what it held before.
    /// `Some` is the length of the value; `None` asks for more bytes.
    ///
    /// Errors: `TooLong` as soon as a declared length tells it, `TooDeep`, `Reserved`.
    pub fn scan(&mut self, buffer: &[u8]) -> Result<Option<usize>, DecodeError> {
        while let Some(left) = self.open.last_mut() {
            if *left == 0 {
                self.open.pop();
                continue;
            }
            let rest = buffer.get(self.offset..).unwrap_or_default();
            let (head, width) = match head(rest) {
                Ok(found) => found,
                Err(DecodeError::Incomplete) => return self.wait(),
                Err(error) => return Err(error),
            };
            let (body, inside) = match head {
                Head::Raw(length) | Head::Other(length) => (length, 0),
                Head::List(length) => (0, length as u64),
                Head::Map(length) => (0, 2 * length as u64),
                _ => (0, 0),
            };
            // Every value inside takes a byte at least.
            let needed = width as u64 + body as u64 + inside;
            if self.offset as u64 + needed > self.bytes_max as u64 {
                return Err(DecodeError::TooLong(self.bytes_max));
            }
            if rest.len() < width + body {
                return self.wait();
            }
            self.offset += width + body;
            *left -= 1;
            if inside > 0 {
                if self.open.len() > DEPTH_MAX {
                    return Err(DecodeError::TooDeep);
                }
                self.open.push(inside);
            }
        }
        Ok(Some(self.offset))
    }

    fn wait(&self) -> Result<Option<usize>, DecodeError> {
        if self.offset >= self.bytes_max {
            return Err(DecodeError::TooLong(self.bytes_max));
        }
        Ok(None)
    }
}
