//! At most one server leads in a term.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Elections {
    leaders: BTreeMap<u64, u64>,
}

impl Elections {
    pub(crate) fn leads(&mut self, term: u64, server: u64) -> Result<(), String> {
        match *self.leaders.entry(term).or_insert(server) {
            leader if leader == server => Ok(()),
            leader => Err(format!("servers {leader} and {server} both lead in term {term}")),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.leaders.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_has_one_leader() {
        let check = |history: &[(u64, u64)], is_good: bool| {
            let mut elections = Elections::default();
            let verdict = history.iter().try_for_each(|(term, id)| elections.leads(*term, *id));
            assert_eq!(verdict.is_ok(), is_good, "{history:?}");
        };
        check(&[(1, 1), (2, 2), (3, 1)], true);
        check(&[(1, 1), (1, 1)], true);
        check(&[(4, 1), (3, 2)], true);
        check(&[(1, 1), (1, 2)], false);
        check(&[(1, 1), (2, 2), (1, 3)], false);
    }
}
