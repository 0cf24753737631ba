//! Entries of one index and term are equal on all servers, and so is all before them: each place
//! has one content and one term before it, and the rest follows by induction.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct LogMatching {
    /// By index and term: a fingerprint of the content, and the term of the entry before, once it
    /// is known.
    places: BTreeMap<(u64, u64), (u64, Option<u64>)>,
}

impl LogMatching {
    pub(crate) fn holds(
        &mut self,
        (index, term): (u64, u64),
        content: u64,
        term_before: Option<u64>,
    ) -> Result<(), String> {
        let known = self.places.entry((index, term)).or_insert((content, term_before));
        if known.0 != content {
            return Err(format!("entry {index} of term {term} has two contents"));
        }
        match (known.1, term_before) {
            (Some(one), Some(other)) if one != other => Err(format!(
                "entry {index} of term {term} follows one of term {one} and one of term {other}"
            )),
            (before, now) => {
                known.1 = before.or(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_history() {
        let check = |history: &[((u64, u64), u64, Option<u64>)], is_good: bool| {
            let mut logs = LogMatching::default();
            let verdict =
                history.iter().try_for_each(|(at, c, before)| logs.holds(*at, *c, *before));
            assert_eq!(verdict.is_ok(), is_good, "{history:?}");
        };
        check(&[((1, 1), 7, Some(0)), ((2, 1), 8, Some(1)), ((2, 1), 8, Some(1))], true);
        // Replaced by a later leader's.
        check(&[((2, 1), 8, Some(1)), ((2, 2), 9, Some(1)), ((3, 2), 1, Some(2))], true);
        // Behind a snapshot the entry before is unknown.
        check(&[((9, 3), 8, None), ((9, 3), 8, Some(2)), ((9, 3), 8, None)], true);
        check(&[((2, 1), 8, Some(1)), ((2, 1), 9, Some(1))], false);
        check(&[((2, 3), 8, Some(1)), ((2, 3), 8, Some(2))], false);
        check(&[((9, 3), 8, None), ((9, 3), 8, Some(2)), ((9, 3), 8, Some(1))], false);
    }
}
