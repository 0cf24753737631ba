//! Lamport clocks: how a pool without a common time orders what it says.

/// Starts at 1, so that 0 means never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LamportClock(u64);

impl Default for LamportClock {
    fn default() -> Self {
        Self(1)
    }
}

impl LamportClock {
    /// The time of the next message.
    pub(crate) fn time(self) -> u64 {
        self.0
    }

    /// Takes the time for a message of our own.
    pub(crate) fn take(&mut self) -> u64 {
        let time = self.0;
        self.witness(time);
        time
    }

    /// Moves past a time seen elsewhere.
    pub(crate) fn witness(&mut self, seen: u64) {
        if seen >= self.0 {
            self.0 = seen.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_passes_what_it_sees() {
        let mut clock = LamportClock::default();
        assert_eq!((clock.take(), clock.time()), (1, 2));
        clock.witness(1);
        assert_eq!(clock.time(), 2);
        clock.witness(7);
        assert_eq!(clock.time(), 8);
        clock.witness(u64::MAX);
        clock.witness(u64::MAX);
        assert_eq!(clock.time(), u64::MAX);
    }
}
