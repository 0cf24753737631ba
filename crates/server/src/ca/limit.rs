//! How many leaves are signed, per second and at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::error::{Error, ErrorKind};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest wait for a turn before a request is turned away. Source: Consul.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// What the provider settings say. Source: `CSRMaxPerSecond`, `CSRMaxConcurrent`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// `None` for no limit.
    pub(crate) per_second: Option<f64>,
    /// At least one.
    pub(crate) concurrent: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Limiter {
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    /// When the next request may be signed, at a limited rate.
    next: Option<Instant>,
    /// Permits for the number in `concurrent`; made anew when that changes.
    permits: Option<Arc<Semaphore>>,
    concurrent: usize,
}

impl Limiter {
    /// Waits a bounded time for a turn.
    ///
    /// Errors: `Unavailable` with when to try again.
    pub(crate) async fn admit(&self, limits: Limits) -> Result<OwnedSemaphorePermit, Error> {
        let (wait, permits) = self.reserve(limits)?;
        if !wait.is_zero() {
            // Dropped here, the turn is lost to nobody but the one who left.
            tokio::time::sleep(wait).await;
        }
        match tokio::time::timeout(WAIT_MAX, permits.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(limited(WAIT_MAX)),
        }
    }

    fn reserve(&self, limits: Limits) -> Result<(Duration, Arc<Semaphore>), Error> {
        let mut turns = self.turns.lock();
        let mut wait = Duration::ZERO;
        if let Some(rate) = limits.per_second {
            let now = Instant::now();
            let turn = turns.next.map_or(now, |next| next.max(now));
            wait = turn - now;
            if wait > WAIT_MAX {
                return Err(limited(wait));
            }
            turns.next = Some(turn + Duration::from_secs_f64(1.0 / rate));
        }
        if turns.concurrent != limits.concurrent || turns.permits.is_none() {
            turns.concurrent = limits.concurrent;
            turns.permits = Some(Arc::new(Semaphore::new(limits.concurrent)));
        }
        let permits = turns.permits.clone().ok_or_else(|| limited(WAIT_MAX))?;
        Ok((wait, permits))
    }
}

fn limited(retry_after: Duration) -> Error {
    Error {
        kind: ErrorKind::Unavailable,
        message: "Rate limit reached, try again later".into(),
        retry_after: Some(retry_after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_admits_what_fits_into_the_wait() {
        let limiter = Limiter::default();
        let limits = Limits { per_second: Some(10.0), concurrent: 8 };
        // One at once, five more within half a second, the rest is told when to come back.
        let waits: Vec<_> =
            (0..10).map(|_| limiter.reserve(limits).map(|(wait, _)| wait)).collect();
        assert_eq!(waits.iter().filter(|wait| wait.is_ok()).count(), 6);
        let refused = waits.into_iter().find_map(Result::err).unwrap();
        assert_eq!(refused.message, "Rate limit reached, try again later");
        assert!(refused.retry_after.unwrap() > WAIT_MAX);
    }

    #[test]
    fn no_rate_admits_all() {
        let limiter = Limiter::default();
        let limits = Limits { per_second: None, concurrent: 1 };
        for _ in 0..10_000 {
            assert_eq!(limiter.reserve(limits).unwrap().0, Duration::ZERO);
        }
    }
}
