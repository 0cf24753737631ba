//! Buffers of one worker thread, borrowed while bytes are in flight and given back at once.
//!
//! An idle connection holds none, so ten thousand of them cost no buffers; a stalled one holds as much as is stuck
//! in it, at most a large buffer each way.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::record::{CONTENT_BYTES_MAX, PREFIX_BYTES_MAX, SUFFIX_BYTES_MAX};

/// Records per bulk round. Four keep a round of 64 KB in the second-level cache, which beat 256 KB by a fifth.
pub(crate) const RECORDS_PER_ROUND: usize = 4;
/// Unit: bytes.
const LARGE_BYTES: usize =
    RECORDS_PER_ROUND * (PREFIX_BYTES_MAX + CONTENT_BYTES_MAX + SUFFIX_BYTES_MAX);
/// What little is stuck in a stalled connection moves here, so that it does not hold a large buffer. Unit: bytes.
pub(crate) const SMALL_BYTES: usize = 4096;
/// Idle buffers a thread keeps; more are freed, so that a burst does not stay in memory for ever.
const IDLE_LARGE_MAX: usize = 64;
const IDLE_SMALL_MAX: usize = 256;

/// A thread's idle buffers.
#[derive(Default)]
pub(crate) struct Pool {
    large: RefCell<Vec<Box<[u8]>>>,
    small: RefCell<Vec<Box<[u8]>>>,
}

impl Pool {
    pub(crate) fn large(self: &Rc<Self>) -> Buffer {
        let idle = self.large.borrow_mut().pop();
        let bytes = idle.unwrap_or_else(|| vec![0; LARGE_BYTES].into_boxed_slice());
        Buffer { bytes, pool: Rc::clone(self) }
    }

    pub(crate) fn small(self: &Rc<Self>) -> Buffer {
        let idle = self.small.borrow_mut().pop();
        let bytes = idle.unwrap_or_else(|| vec![0; SMALL_BYTES].into_boxed_slice());
        Buffer { bytes, pool: Rc::clone(self) }
    }
}

/// Bytes of no particular content, given back to the pool when dropped.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    pool: Rc<Pool>,
}

impl Buffer {
    pub(crate) fn is_large(&self) -> bool {
        self.bytes.len() == LARGE_BYTES
    }

    /// A buffer of the other size that starts with `range` of this one, which goes back to the pool.
    pub(crate) fn moved(self, range: std::ops::Range<usize>) -> Self {
        let mut other = if self.is_large() { self.pool.small() } else { self.pool.large() };
        let bytes = &self.bytes[range];
        other[..bytes.len()].copy_from_slice(bytes);
        other
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let (idle, max) = if bytes.len() == LARGE_BYTES {
            (&self.pool.large, IDLE_LARGE_MAX)
        } else {
            (&self.pool.small, IDLE_SMALL_MAX)
        };
        let mut idle = idle.borrow_mut();
        if idle.len() < max {
            idle.push(bytes);
        }
    }
}
