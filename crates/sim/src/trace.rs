//! What happened, as one number and, for a failing run, as its last lines.

use std::collections::VecDeque;
use std::fmt;

/// Lines kept for a report.
const LINES_KEPT: usize = 60;

#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: VecDeque<String>,
}

impl Default for Trace {
    fn default() -> Self {
        // FNV-1a's offset basis; a fixed function, so that hashes compare across processes.
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new() }
    }
}

impl Trace {
    pub(crate) fn note(&mut self, line: impl fmt::Display) {
        let line = line.to_string();
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn last_lines(&self) -> String {
        self.lines.iter().map(|line| format!("  {line}\n")).collect()
    }
}
