//! Taking the place of the whole state: pieces of a state stream come through the log, are read as
//! they come, and the last one makes what was read the state.
//!
//! So the cost of a restore is spread over its pieces, and the last one costs no more than the
//! others. The pieces are kept, too, until then: a snapshot taken in between must hold them.

use std::fmt;
use std::sync::Arc;

use imbl::Vector;
use model::command::Outcome;
use model::snapshot::{RESTORE_BYTES_MAX, RestoreChunk};
use model::topic::Topic;

use crate::applied::Change;
use crate::snapshot::Decoder;
use crate::{SnapshotError, State};

/// Highest index a restored state may have: far above any real one, and far enough from the end of
/// the numbers that counting on from it never comes there.
pub(crate) const INDEX_MAX: u64 = 1 << 62;

/// A restore under way.
#[derive(Clone)]
pub(crate) struct Staged {
    pub(crate) id: String,
    /// By sequence.
    pub(crate) pieces: Vector<Arc<[u8]>>,
    bytes: u64,
    pub(crate) decoder: Decoder,
}

impl Staged {
    pub(crate) fn new(id: String) -> Self {
        Self { id, pieces: Vector::new(), bytes: 0, decoder: Decoder::new() }
    }

    pub(crate) fn take_in(&mut self, piece: &[u8]) -> Result<(), SnapshotError> {
        self.bytes += piece.len() as u64;
        if self.bytes > RESTORE_BYTES_MAX {
            return Err(SnapshotError::TooLarge);
        }
        self.decoder.feed(piece)?;
        self.pieces.push_back(piece.into());
        Ok(())
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged")
            .field("id", &self.id)
            .field("pieces", &self.pieces.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl State {
    /// Refused pieces leave what can be read as it is and discard what was staged.
    pub(crate) fn apply_restore(&mut self, chunk: RestoreChunk, change: &mut Change) -> Outcome {
        let RestoreChunk { id, sequence, bytes, is_last } = chunk;
        let mut staged = match self.staged.take() {
            Some(staged) if staged.id == id && staged.pieces.len() as u64 == sequence => staged,
            _ if sequence == 0 => Arc::new(Staged::new(id)),
            _ => {
                return Outcome::Refused(format!(
                    "piece {sequence} of restore {id:?} does not follow what came before"
                ));
            }
        };
        if let Err(error) = Arc::make_mut(&mut staged).take_in(&bytes) {
            return Outcome::Refused(error.to_string());
        }
        if !is_last {
            self.staged = Some(staged);
            return Outcome::Done;
        }
        let decoder = Arc::unwrap_or_clone(staged).decoder;
        match decoder.finish() {
            Ok(state) if state.index <= INDEX_MAX => {
                self.give_way_to(state, change);
                Outcome::Done
            }
            Ok(state) => Outcome::Refused(format!("index {} is beyond all bounds", state.index)),
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }

    /// Replaces everything at this change's place in the log, with an index above all of `state`'s.
    fn give_way_to(&mut self, state: Self, change: &mut Change) {
        let log_index = self.log_index();
        let index = change.index.max(state.index + 1);
        let offset = index - log_index;
        assert!(offset >= self.offset, "indexes only go up");
        *self = Self { index, offset, restored_at: index, staged: None, ..state };
        change.index = index;
        change.is_replaced = true;
        change.touch(Topic::Everything);
    }
}
