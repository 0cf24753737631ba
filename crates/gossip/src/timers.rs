//! What the machine has to do later: an ordered queue of moments.

use std::collections::BTreeMap;

use crate::time::Mono;

/// Names a timer that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey(Mono, u64);

/// Timers of the same moment fire in the order they were set.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    queue: BTreeMap<TimerKey, T>,
    next: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers { queue: BTreeMap::new(), next: 0 }
    }
}

impl<T> Timers<T> {
    pub(crate) fn set(&mut self, at: Mono, timer: T) -> TimerKey {
        self.next += 1;
        let key = TimerKey(at, self.next);
        self.queue.insert(key, timer);
        key
    }

    /// Fired and cancelled timers may be cancelled again.
    pub(crate) fn cancel(&mut self, key: TimerKey) {
        self.queue.remove(&key);
    }

    /// The next timer that is due.
    pub(crate) fn pop(&mut self, now: Mono) -> Option<T> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    pub(crate) fn next_wake(&self) -> Option<Mono> {
        self.queue.first_key_value().map(|(key, _)| key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order() {
        let mut timers = Timers::default();
        timers.set(Mono(5), "later");
        let gone = timers.set(Mono(1), "cancelled");
        timers.set(Mono(1), "first");
        timers.set(Mono(1), "second");
        timers.cancel(gone);
        timers.cancel(gone);
        assert_eq!(timers.next_wake(), Some(Mono(1)));
        assert_eq!(timers.pop(Mono(4)), Some("first"));
        assert_eq!(timers.pop(Mono(4)), Some("second"));
        assert_eq!(timers.pop(Mono(4)), None);
        assert_eq!(timers.pop(Mono(5)), Some("later"));
    }
}
