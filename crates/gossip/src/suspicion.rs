//! How long a suspect may defend itself: the more members accuse it, the shorter (Lifeguard, 2018).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::time::Mono;

/// An accusation whose time is running.
#[derive(Clone, Debug)]
pub(crate) struct Suspicion {
    started: Mono,
    min: Duration,
    max: Duration,
    /// Confirmations that bring the timeout down to the minimum.
    wanted: usize,
    /// The first accuser, who does not count, and all who confirmed.
    accusers: BTreeSet<String>,
}

impl Suspicion {
    pub(crate) fn new(
        from: &str,
        wanted: usize,
        min: Duration,
        max: Duration,
        now: Mono,
    ) -> Suspicion {
        Suspicion { started: now, min, max, wanted, accusers: [from.to_owned()].into() }
    }

    /// Counts one more accuser; returns whether that is news.
    pub(crate) fn confirm(&mut self, from: &str) -> bool {
        if self.confirmations() >= self.wanted {
            return false;
        }
        self.accusers.insert(from.to_owned())
    }

    /// When the suspect is declared dead, as things stand.
    pub(crate) fn deadline(&self) -> Mono {
        self.started.plus(timeout(self.confirmations(), self.wanted, self.min, self.max))
    }

    pub(crate) fn confirmations(&self) -> usize {
        self.accusers.len() - 1
    }
}

fn timeout(confirmations: usize, wanted: usize, min: Duration, max: Duration) -> Duration {
    if wanted == 0 {
        return min;
    }
    let part = ((confirmations + 1) as f64).ln() / ((wanted + 1) as f64).ln();
    let seconds = max.as_secs_f64() - part * (max.as_secs_f64() - min.as_secs_f64());
    let milliseconds = (seconds * 1000.0).floor().max(0.0);
    min.max(Duration::from_millis(milliseconds as u64))
}

/// The shortest timeout in a pool of `nodes`, ourselves included.
pub(crate) fn timeout_min(multiplier: u32, nodes: usize, probe_interval: Duration) -> Duration {
    let scale = (nodes.max(1) as f64).log10().max(1.0);
    // Whole milliseconds of the scale, as peers compute it.
    let thousandths = (scale * 1000.0) as u32;
    probe_interval * multiplier * thousandths / 1000
}

/// How many confirmations are wanted in a pool of `nodes`; none when it could not give that many.
pub(crate) fn confirmations_wanted(multiplier: u32, nodes: usize) -> usize {
    let wanted = multiplier.saturating_sub(2) as usize;
    if nodes.saturating_sub(2) < wanted { 0 } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmations_shorten_the_timeout() {
        let check = |confirmations, wanted, want| {
            let (min, max) = (Duration::from_secs(4), Duration::from_secs(24));
            let got = timeout(confirmations, wanted, min, max);
            assert_eq!(got, Duration::from_millis(want), "{confirmations} of {wanted}");
        };
        check(0, 0, 4000);
        check(0, 2, 24_000);
        check(1, 2, 11_381);
        check(2, 2, 4000);
        check(0, 4, 24_000);
        check(3, 4, 6772);
    }

    #[test]
    fn large_pools_take_longer() {
        let check = |nodes, want| {
            let got = timeout_min(4, nodes, Duration::from_secs(1));
            assert_eq!(got, Duration::from_millis(want), "{nodes}");
        };
        check(0, 4000);
        check(10, 4000);
        check(100, 8000);
        check(50, 6792);
        check(1000, 12_000);
    }

    #[test]
    fn small_pools_want_no_confirmations() {
        for (nodes, want) in [(1, 0), (2, 0), (3, 0), (4, 2), (100, 2)] {
            assert_eq!(confirmations_wanted(4, nodes), want, "{nodes}");
        }
    }

    #[test]
    fn only_others_than_the_first_accuser_confirm() {
        let second = Duration::from_secs(1);
        let mut suspicion = Suspicion::new("a", 2, second, second * 6, Mono(0));
        assert_eq!(suspicion.deadline(), Mono(0).plus(second * 6));
        assert!(!suspicion.confirm("a"));
        assert!(suspicion.confirm("b"));
        assert!(!suspicion.confirm("b"));
        assert!(suspicion.confirm("c"));
        assert!(!suspicion.confirm("d"));
        assert_eq!(suspicion.deadline(), Mono(0).plus(second));
    }
}
