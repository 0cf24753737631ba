//! A promise that was broken, and how to see it again.

use std::fmt;

#[derive(Debug)]
pub struct Violation {
    pub seed: u64,
    pub what: String,
    /// The test that runs this seed alone.
    pub(crate) test: &'static str,
    pub(crate) last_lines: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, what, test, last_lines } = self;
        writeln!(f, "seed {seed}: {what}")?;
        writeln!(f, "run it alone: SIM_SEED={seed} cargo test -p sim {test} -- --nocapture")?;
        write!(f, "the last that happened:\n{last_lines}")
    }
}
