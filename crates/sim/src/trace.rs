//! What happened, as one number and, for a failing run, as its last lines.

use std::collections::VecDeque;
use std::fmt;

/// Lines kept for a report.
const LINES_KEPT: usize = 60;

#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: VecDeque<String>,
    /// Whether all is printed as it happens, for whoever looks into a seed: `SIM_TRACE=1`.
    is_shown: bool,
}

impl Default for Trace {
    fn default() -> Self {
        let is_shown = std::env::var_os("SIM_TRACE").is_some();
        Self { hash: BASIS, lines: VecDeque::new(), is_shown }
    }
}

/// FNV-1a's; a fixed function, so that hashes compare across processes.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

fn mix(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Of any bytes.
pub(crate) fn fingerprint(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(BASIS, mix)
}

impl Trace {
    pub(crate) fn note(&mut self, line: impl fmt::Display) {
        let line = line.to_string();
        self.hash = line.bytes().fold(self.hash, mix);
        if self.is_shown {
            eprintln!("  {line}");
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
