//! When a leaf is renewed or forgotten: plain functions of dates.

use std::ops::Range;
use std::time::Duration;

use model::time::Timestamp;
use tokio::time::Instant;

use super::LEAF_IDLE;

/// Part of its life after which a leaf is renewed; each draws its own point within, so that leaves
/// issued together are not renewed together.
pub(super) const RENEWAL_WINDOW: Range<f64> = 0.6..0.9;
/// Shortest time until a renewal, so that a leaf that arrives nearly expired (a skewed clock) does
/// not keep the servers busy.
const RENEWAL_MIN: Duration = Duration::from_secs(1);

/// Time from `now` until `fraction` of the life from `valid_after` to `valid_before` is over.
pub(super) fn renew_after(
    valid_after: Timestamp,
    valid_before: Timestamp,
    now: Timestamp,
    fraction: f64,
) -> Duration {
    let life = valid_before.since(valid_after).to_std();
    let gone = now.since(valid_after).to_std();
    life.mul_f64(fraction).saturating_sub(gone).max(RENEWAL_MIN)
}

/// What an entry whose date has come wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attention {
    Forget,
    Renew,
    Later(Instant),
}

pub(super) fn attend(
    now: Instant,
    used_at: Instant,
    is_watched: bool,
    renew_at: Option<Instant>,
) -> Attention {
    let idle_at = used_at + LEAF_IDLE;
    if !is_watched && now >= idle_at {
        return Attention::Forget;
    }
    match renew_at {
        Some(at) if now >= at => Attention::Renew,
        Some(at) if is_watched => Attention::Later(at),
        Some(at) => Attention::Later(at.min(idle_at)),
        None if is_watched => Attention::Later(now + LEAF_IDLE),
        None => Attention::Later(idle_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_falls_inside_the_window() {
        let check = |life: i64, gone: i64, fraction: f64, want: u64| {
            let from = Timestamp::from_unix(1_000_000);
            let at = |seconds| Timestamp::from_unix(1_000_000 + seconds);
            let got = renew_after(from, at(life), at(gone), fraction);
            assert_eq!(got, Duration::from_secs(want), "{life} {gone} {fraction}");
        };
        check(72 * 3600, 60, 0.6, 155_460);
        check(72 * 3600, 60, 0.9, 233_220);
        check(3600, 0, 0.5, 1800);
        // Past the point, expired, or from the future: soon, never at once.
        check(3600, 3000, 0.6, 1);
        check(3600, 9000, 0.6, 1);
        check(-5, 0, 0.6, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn attention() {
        let start = Instant::now();
        let at = |hours: u64| start + Duration::from_secs(hours * 3600);
        let check = |now, used, watched, renew: Option<u64>, want| {
            assert_eq!(attend(at(now), at(used), watched, renew.map(at)), want);
        };
        check(50, 0, false, Some(50), Attention::Renew);
        check(50, 0, false, Some(60), Attention::Later(at(60)));
        check(50, 0, false, Some(90), Attention::Later(at(72)));
        check(72, 0, false, Some(72), Attention::Forget);
        check(72, 1, false, Some(72), Attention::Renew);
        check(500, 0, true, Some(500), Attention::Renew);
        check(500, 0, true, Some(510), Attention::Later(at(510)));
        check(72, 0, false, None, Attention::Forget);
        check(10, 0, false, None, Attention::Later(at(72)));
    }
}
