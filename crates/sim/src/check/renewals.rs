//! A session lives for its time to live from the moment its creation or renewal was asked for, once
//! that was answered with success, unless a client ends it.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Renewals {
    /// Until when each must live. Unit: nanoseconds.
    until: BTreeMap<String, u64>,
}

impl Renewals {
    /// `asked` is when the request was sent, `ttl` in nanoseconds.
    pub(crate) fn renewed(&mut self, id: &str, asked: u64, ttl: u64) {
        let until = self.until.entry(id.to_owned()).or_default();
        *until = (*until).max(asked + ttl);
    }

    /// A client has begun to end it.
    pub(crate) fn ending(&mut self, id: &str) {
        self.until.remove(id);
    }

    /// What a committed state shows at `now`.
    pub(crate) fn check(
        &mut self,
        now: u64,
        is_there: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        self.until.retain(|_, until| *until > now);
        match self.until.iter().find(|(id, _)| !is_there(id)) {
            Some((id, until)) => Err(format!(
                "session {id} ended {} ms before its time to live",
                (until - now) / 1_000_000
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_never_end_early() {
        // Renewed at 10 and at 15, for 10 each.
        let check = |now, is_ending: bool, is_there: bool, is_good: bool| {
            let mut renewals = Renewals::default();
            renewals.renewed("s", 15, 10);
            renewals.renewed("s", 10, 10);
            if is_ending {
                renewals.ending("s");
            }
            assert_eq!(renewals.check(now, |_| is_there).is_ok(), is_good, "{now}");
        };
        check(24, false, true, true);
        check(25, false, false, true);
        check(24, true, false, true);
        check(24, false, false, false);
        check(21, false, false, false);
    }
}
