//! How healthy this node believes itself to be: the worse, the slower it accuses others (Lifeguard).

/// One above the worst score.
const SCORES: i32 = 8;

/// 0 is healthy, 7 the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Awareness(i32);

impl Awareness {
    pub(crate) fn score(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn apply(&mut self, delta: i32) {
        self.0 = self.0.saturating_add(delta).clamp(0, SCORES - 1);
    }

    /// A span stretched by the score.
    pub(crate) fn scale(self, span: std::time::Duration) -> std::time::Duration {
        span * (self.score() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_stays_within_its_bounds() {
        let mut awareness = Awareness::default();
        for (delta, score) in [(-1, 0), (1, 1), (3, 4), (10, 7), (-1, 6), (i32::MIN, 0)] {
            awareness.apply(delta);
            assert_eq!(awareness.score(), score, "{delta}");
        }
    }
}
