//! Tells a disk that has become slow from one that was slow once.

use std::time::{Duration, Instant};

/// Syncs in a row that must be quick before a slow disk counts as recovered.
const QUICK_IN_A_ROW: u32 = 50;

#[derive(Debug)]
pub(crate) struct SlowDisk {
    bound: Duration,
    span: Duration,
    /// Since when every sync was slow.
    since: Option<Instant>,
    is_slow: bool,
    quick: u32,
}

impl SlowDisk {
    /// A disk is slow when every sync of a `span` takes longer than `bound`.
    pub(crate) fn new(bound: Duration, span: Duration) -> Self {
        Self { bound, span, since: None, is_slow: false, quick: 0 }
    }

    /// Whether the disk has just become slow, or recovered; `None` when nothing changed.
    pub(crate) fn synced(&mut self, took: Duration, now: Instant) -> Option<bool> {
        if took <= self.bound {
            self.since = None;
            self.quick += 1;
            let has_recovered = self.is_slow && self.quick >= QUICK_IN_A_ROW;
            return has_recovered.then(|| {
                self.is_slow = false;
                false
            });
        }
        self.quick = 0;
        let begun = now.checked_sub(took).unwrap_or(now);
        let since = *self.since.get_or_insert(begun);
        let has_become_slow = !self.is_slow && now.duration_since(since) >= self.span;
        has_become_slow.then(|| {
            self.is_slow = true;
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_only_when_it_stays_slow() {
        let millis = Duration::from_millis;
        let mut disk = SlowDisk::new(millis(200), millis(5000));
        let mut now = Instant::now();
        let mut sync = |took: u64| {
            now += millis(took);
            disk.synced(millis(took), now)
        };
        for _ in 0..10 {
            assert_eq!(sync(900), None, "one in two is quick");
            assert_eq!(sync(5), None);
        }
        for _ in 0..5 {
            assert_eq!(sync(900), None);
        }
        assert_eq!(sync(900), Some(true));
        assert_eq!(sync(900), None, "said once");
        for _ in 0..QUICK_IN_A_ROW - 1 {
            assert_eq!(sync(5), None);
        }
        assert_eq!(sync(5), Some(false));
    }
}
