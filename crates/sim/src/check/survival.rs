//! A write answered with success is there ever after; one answered as refused is never there. Told
//! by keys that are written once and by nobody else.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Survival {
    acknowledged: BTreeMap<String, u64>,
    refused: BTreeSet<String>,
}

impl Survival {
    pub(crate) fn acknowledged(&mut self, key: String, now: u64) {
        self.acknowledged.insert(key, now);
    }

    /// Its asker was told that it did not and will not happen.
    pub(crate) fn refused(&mut self, key: String) {
        self.refused.insert(key);
    }

    /// What a server shows that is known to have everything acknowledged before `since`.
    pub(crate) fn check(
        &self,
        since: u64,
        mut has: impl FnMut(&str) -> bool,
    ) -> Result<(), String> {
        for (key, _) in self.acknowledged.iter().filter(|(_, at)| **at <= since) {
            if !has(key) {
                return Err(format!("the acknowledged write of {key:?} is lost"));
            }
        }
        match self.refused.iter().find(|key| has(key)) {
            Some(key) => Err(format!("the refused write of {key:?} came about")),
            None => Ok(()),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.acknowledged.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_writes_stay_and_refused_ones_never_come() {
        let mut survival = Survival::default();
        survival.acknowledged("a".into(), 1);
        survival.acknowledged("b".into(), 5);
        survival.refused("x".into());
        for (since, keys, is_good) in [
            (9, vec!["a", "b"], true),
            (9, vec!["a", "b", "asked and not answered"], true),
            (4, vec!["a"], true),
            (9, vec!["a"], false),
            (4, vec!["b"], false),
            (9, vec!["a", "b", "x"], false),
        ] {
            let verdict = survival.check(since, |key| keys.contains(&key));
            assert_eq!(verdict.is_ok(), is_good, "{since} {keys:?}");
        }
    }
}
