//! The clocks of one server: a monotonic one that runs at a rate of its own, and a wall clock that
//! is stepped about.

use std::time::Duration;

use model::time::Timestamp;
use replica::{Mono, Now};

/// Rate of a true clock. Unit: millionths.
pub(super) const TRUE_RATE: u64 = 1_000_000;
/// Where wall clocks begin. Unit: seconds of Unix time.
const WALL_BEGIN: i64 = 1_800_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Millionths of true time.
    rate: u64,
    /// A true moment and its own at which the rate began.
    since: (Mono, Mono),
    /// Unit: seconds.
    pub(super) wall_offset: i64,
}

impl Clock {
    pub(super) fn new(now: Mono, own: Mono) -> Self {
        Self { rate: TRUE_RATE, since: (now, own), wall_offset: 0 }
    }

    pub(super) fn mono(&self, now: Mono) -> Mono {
        let span = u128::from(now.0 - self.since.0.0);
        Mono(self.since.1.0 + (span * u128::from(self.rate) / u128::from(TRUE_RATE)) as u64)
    }

    pub(super) fn now(&self, now: Mono) -> Now {
        let seconds = (now.0 / 1_000_000_000) as i64 + WALL_BEGIN + self.wall_offset;
        Now { mono: self.mono(now), wall: Timestamp::from_unix(seconds) }
    }

    pub(super) fn set_rate(&mut self, now: Mono, rate: u64) {
        self.since = (now, self.mono(now));
        self.rate = rate;
    }

    /// How long a span of its own truly lasts, at least.
    pub(super) fn true_span(&self, own: Duration) -> Duration {
        let nanos = own.as_nanos() * u128::from(TRUE_RATE) / u128::from(self.rate);
        Duration::from_nanos(nanos as u64 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_at_its_own_rate_and_never_back() {
        let second = 1_000_000_000;
        let mut clock = Clock::new(Mono(0), Mono(7));
        assert_eq!(clock.mono(Mono(second)), Mono(second + 7));
        clock.set_rate(Mono(second), TRUE_RATE / 2);
        assert_eq!(clock.mono(Mono(3 * second)), Mono(2 * second + 7));
        clock.set_rate(Mono(3 * second), 2 * TRUE_RATE);
        assert_eq!(clock.mono(Mono(4 * second)), Mono(4 * second + 7));
        let span = clock.true_span(Duration::from_millis(50));
        assert!(clock.mono(Mono(4 * second).plus(span)).0 >= 4 * second + 7 + 50_000_000);
        assert!(span < Duration::from_millis(26));
    }
}
