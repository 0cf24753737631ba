//! Whether an outcome counts, when several in a row are asked for.

use model::check::CheckStatus;

/// Outcomes in a row, and how many it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    success_before_passing: u32,
    failures_before_critical: u32,
    successes: u32,
    failures: u32,
}

impl Streak {
    /// 0 and 1 alike let the first outcome count.
    pub fn new(success_before_passing: u32, failures_before_critical: u32) -> Self {
        Self { success_before_passing, failures_before_critical, successes: 0, failures: 0 }
    }

    /// Counts an outcome and says whether the check takes its status. A warning is a success.
    pub fn counts(&mut self, status: CheckStatus) -> bool {
        match status {
            CheckStatus::Passing | CheckStatus::Warning => {
                self.successes = self.successes.saturating_add(1);
                self.failures = 0;
                self.successes >= self.success_before_passing
            }
            CheckStatus::Critical => {
                self.failures = self.failures.saturating_add(1);
                self.successes = 0;
                self.failures >= self.failures_before_critical
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_in_a_row() {
        // p, w, c: outcomes; upper case: it counts.
        let check = |successes, failures, run: &str| {
            let mut streak = Streak::new(successes, failures);
            for (at, letter) in run.chars().enumerate() {
                let status = match letter.to_ascii_lowercase() {
                    'p' => CheckStatus::Passing,
                    'w' => CheckStatus::Warning,
                    _ => CheckStatus::Critical,
                };
                assert_eq!(streak.counts(status), letter.is_uppercase(), "{run} at {at}");
            }
        };
        check(0, 0, "PCPW");
        check(1, 1, "PCPW");
        check(3, 0, "ppPPCppPW");
        check(0, 3, "PccCCPccC");
        check(2, 2, "pwcCpPcpP".replace("pwc", "pWc").as_str());
    }
}
