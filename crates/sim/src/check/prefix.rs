//! A stale read shows what some committed prefix held: the key as it was at the index of the state
//! that answered. And one server never shows an older state than it has shown.

use std::collections::BTreeMap;

use super::linear::Token;

#[derive(Debug, Default)]
pub(crate) struct Prefix {
    /// What each key held, by the index of states that were seen to be committed.
    truth: BTreeMap<String, BTreeMap<u64, Token>>,
    /// By server and its life.
    shown: BTreeMap<(u64, u64), u64>,
    reads: u64,
}

impl Prefix {
    /// A committed state of `index` holds `token` at `key`.
    pub(crate) fn committed(&mut self, key: &str, index: u64, token: Token) -> Result<(), String> {
        let history = match self.truth.get_mut(key) {
            Some(history) => history,
            None => self.truth.entry(key.to_owned()).or_default(),
        };
        match *history.entry(index).or_insert(token) {
            known if known == token => Ok(()),
            known => Err(format!("{key:?} is {known} and {token} at index {index}")),
        }
    }

    pub(crate) fn read(
        &mut self,
        server: (u64, u64),
        key: &str,
        index: u64,
        token: Token,
    ) -> Result<(), String> {
        self.reads += 1;
        let shown = self.shown.entry(server).or_default();
        if index < *shown {
            return Err(format!("server {server:?} showed {shown}, then {index}"));
        }
        *shown = index;
        match self.truth.get(key).and_then(|history| history.get(&index)) {
            Some(held) if *held == token => Ok(()),
            // Older than the first look at the key, before which nobody wrote it.
            None if token == 0 => Ok(()),
            held => Err(format!("{key:?} was {held:?} at index {index}, a stale read saw {token}")),
        }
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_reads_come_from_a_committed_prefix() {
        let check = |reads: &[(u64, u64, Token)], is_good: bool| {
            let mut prefix = Prefix::default();
            for (index, token) in [(1, 0), (3, 1), (4, 1), (3, 1), (7, 2), (9, 0)] {
                prefix.committed("k", index, token).unwrap();
            }
            prefix.committed("k", 4, 2).unwrap_err();
            let verdict = reads.iter().try_for_each(|(server, index, token)| {
                prefix.read((*server, 0), "k", *index, *token)
            });
            assert_eq!(verdict.is_ok(), is_good, "{reads:?}");
        };
        check(&[(1, 1, 0), (1, 3, 1), (1, 4, 1), (1, 7, 2), (1, 9, 0)], true);
        check(&[(1, 7, 2), (2, 4, 1)], true);
        check(&[(1, 0, 0)], true);
        // Not yet, no more, never, and of a state nobody came to.
        check(&[(1, 4, 2)], false);
        check(&[(1, 9, 2)], false);
        check(&[(1, 4, 9)], false);
        check(&[(1, 5, 1)], false);
        check(&[(1, 7, 2), (1, 4, 1)], false);
    }
}
