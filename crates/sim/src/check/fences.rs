//! Locks: every acquisition of a key has a larger index than all that were over before it began,
//! and no index belongs to two holders. So a resource that refuses smaller indexes never takes the
//! writes of two holders out of order.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Fences {
    keys: BTreeMap<String, Vec<Acquisition>>,
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acquisition {
    pub(crate) session: String,
    /// The lock index its holder read.
    pub(crate) fence: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

impl Fences {
    pub(crate) fn acquired(&mut self, key: &str, new: Acquisition) -> Result<(), String> {
        let all = self.keys.entry(key.to_owned()).or_default();
        for before in all.iter() {
            if before.session == new.session && before.fence == new.fence {
                continue;
            }
            if before.fence == new.fence {
                return Err(format!(
                    "sessions {} and {} both hold {key:?} with lock index {}",
                    before.session, new.session, new.fence
                ));
            }
            let is_order_broken = (before.ended < new.began && before.fence > new.fence)
                || (new.ended < before.began && new.fence > before.fence);
            if is_order_broken {
                return Err(format!("lock indexes of {key:?} went back: {before:?}, {new:?}"));
            }
        }
        all.push(new);
        self.count += 1;
        Ok(())
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_grow() {
        let check = |history: &[(&str, u64, u64, u64)], is_good: bool| {
            let mut fences = Fences::default();
            let verdict = history.iter().try_for_each(|(session, fence, began, ended)| {
                let (session, fence) = ((*session).to_owned(), *fence);
                fences.acquired("k", Acquisition { session, fence, began: *began, ended: *ended })
            });
            assert_eq!(verdict.is_ok(), is_good, "{history:?}");
        };
        check(&[("a", 1, 1, 2), ("b", 2, 3, 4), ("a", 3, 5, 6)], true);
        // Taken again by its holder.
        check(&[("a", 1, 1, 2), ("a", 1, 3, 4)], true);
        // At the same time, told in another order.
        check(&[("b", 2, 1, 9), ("a", 1, 2, 8)], true);
        check(&[("a", 1, 1, 2), ("b", 1, 3, 4)], false);
        check(&[("a", 2, 1, 2), ("b", 1, 3, 4)], false);
        check(&[("b", 1, 5, 6), ("a", 2, 1, 2)], false);
        check(&[("a", 1, 1, 2), ("b", 2, 3, 4), ("c", 2, 5, 6)], false);
    }
}
