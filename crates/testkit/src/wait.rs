//! Waiting for a state of another process, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at: short against anything an agent does, long against the cost of asking.
const POLL: Duration = Duration::from_millis(15);

/// Asks until an answer comes; panics with `what` once `limit` has passed.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    match poll(limit, &mut ask) {
        Some(found) => found,
        None => panic!("waited {limit:?} in vain: {what}"),
    }
}

/// Asks until an answer comes, or `limit` has passed. Asks at least once.
pub fn poll<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = ask() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}
