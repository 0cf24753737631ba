//! What one server took for committed no other takes for something else, and every later leader
//! has it in its log.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Completeness {
    /// Term of the committed entry at each log index, and the highest term any server had reached
    /// when it was first seen to be committed.
    committed: BTreeMap<u64, (u64, u64)>,
}

impl Completeness {
    /// A server in term `seen_in` applied the entry of `term` at `index`.
    pub(crate) fn committed(&mut self, index: u64, term: u64, seen_in: u64) -> Result<(), String> {
        match *self.committed.entry(index).or_insert((term, seen_in)) {
            (known, _) if known == term => Ok(()),
            (known, _) => {
                Err(format!("entry {index} is committed of term {known} and of term {term}"))
            }
        }
    }

    /// A server that leads `term` holds the log that `term_at` tells, `None` where it ends; what is
    /// before `first` is in its snapshot.
    pub(crate) fn leads(
        &self,
        server: u64,
        term: u64,
        first: u64,
        term_at: impl Fn(u64) -> Option<u64>,
    ) -> Result<(), String> {
        // What was committed in a later term is not its business.
        for (index, (committed, _)) in self.committed.range(first..).filter(|(_, c)| c.1 < term) {
            let found = term_at(*index);
            if found != Some(*committed) {
                return Err(format!(
                    "server {server} leads term {term} with {found:?} at {index}, where an entry \
                     of term {committed} was committed"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_stays_and_leaders_have_it() {
        let commits = |history: &[(u64, u64, u64)]| {
            let mut checker = Completeness::default();
            let verdict = history
                .iter()
                .try_for_each(|(at, term, seen)| checker.committed(*at, *term, *seen));
            verdict.map(|()| checker)
        };
        commits(&[(1, 1, 1), (2, 1, 1), (2, 1, 3), (3, 3, 3)]).unwrap();
        commits(&[(1, 1, 1), (2, 1, 1), (2, 2, 2)]).unwrap_err();

        let checker = commits(&[(1, 1, 1), (2, 1, 1), (3, 2, 2)]).unwrap();
        let check = |term, log: &[u64], is_good: bool| {
            let term_at = |index: u64| log.get(index as usize - 1).copied();
            assert_eq!(checker.leads(9, term, 1, term_at).is_ok(), is_good, "{term} {log:?}");
        };
        check(3, &[1, 1, 2], true);
        check(3, &[1, 1, 2, 2], true);
        // It leads while the third is being committed by itself.
        check(2, &[1, 1], true);
        check(3, &[1, 1], false);
        check(3, &[1, 1, 1], false);
        check(3, &[], false);
        checker.leads(9, 3, 3, |index| (index == 3).then_some(2)).unwrap();
    }
}
