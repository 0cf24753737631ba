//! States at equal indexes are equal, on whichever servers and in whichever lives.

use std::collections::BTreeMap;

/// Fingerprints kept; servers that lag further meet newer ones once they have caught up.
const KEPT_MAX: usize = 20_000;

#[derive(Debug, Default)]
pub(crate) struct Agreement {
    seen: BTreeMap<u64, (u64, u64)>,
    compared: u64,
}

impl Agreement {
    pub(crate) fn published(&mut self, server: u64, index: u64, hash: u64) -> Result<(), String> {
        if let Some((other, known)) = self.seen.get(&index) {
            self.compared += 1;
            if *known != hash {
                return Err(format!("servers {other} and {server} differ at index {index}"));
            }
            return Ok(());
        }
        self.seen.insert(index, (server, hash));
        if self.seen.len() > KEPT_MAX {
            self.seen.pop_first();
        }
        Ok(())
    }

    pub(crate) fn compared(&self) -> u64 {
        self.compared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_indexes_have_equal_states() {
        let check = |history: &[(u64, u64, u64)], is_good: bool| {
            let mut agreement = Agreement::default();
            let verdict =
                history.iter().try_for_each(|(id, at, hash)| agreement.published(*id, *at, *hash));
            assert_eq!(verdict.is_ok(), is_good, "{history:?}");
        };
        check(&[(1, 5, 50), (2, 5, 50), (1, 6, 60), (3, 6, 60), (2, 5, 50)], true);
        check(&[(1, 5, 50), (2, 5, 51)], false);
        check(&[(1, 5, 50), (1, 6, 60), (1, 5, 51)], false);
    }
}
