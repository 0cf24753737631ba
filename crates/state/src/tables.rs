//! The tables, and the indexes at which each of them changed last.

use model::command::{Command, Outcome};

use crate::Applied;

/// The whole replicated state at one index.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(crate) index: u64,
}

impl State {
    pub fn new() -> Self {
        Self::default()
    }

    /// The index of the last command applied; 0 before the first.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Applies `command`, the log's entry at `index`, which must be greater than the last one's.
    pub fn apply(&mut self, index: u64, _command: Command) -> Applied {
        assert!(index > self.index, "commands are applied once and in order");
        self.index = index;
        Applied::new(Outcome::Done)
    }
}
