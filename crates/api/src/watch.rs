//! The rules of waiting on an index or hash, kept in one place for every long poll.

use crate::params::QueryParams;
use crate::response::ResponseMeta;

/// Position of a repeated blocking query. Source: blocking queries, HTTP API documentation.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    index: u64,
    hash: String,
    has_answer: bool,
}

impl Watch {
    /// `params` extended so that the next call waits for news; the first call answers at once.
    pub fn next_params(&self, params: &QueryParams) -> QueryParams {
        QueryParams { index: self.index, hash: self.hash.clone(), ..params.clone() }
    }

    /// Takes note of an answer; returns whether it may differ from the one before.
    ///
    /// An index that goes backwards means the servers were restored: the next call starts over.
    /// An answer without index (0) is waited on as 1, lest the caller spin. Where the answer
    /// carries a hash, the hash decides.
    pub fn observe(&mut self, meta: &ResponseMeta) -> bool {
        let first = !std::mem::replace(&mut self.has_answer, true);
        if !meta.hash.is_empty() {
            let changed = first || meta.hash != self.hash;
            self.hash = meta.hash.clone();
            return changed;
        }
        let index = meta.index.max(1);
        let changed = first || index != self.index;
        self.index = if index < self.index { 0 } else { index };
        changed
    }

    /// Forgets the position: the next call answers at once.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_rules() {
        let mut watch = Watch::default();
        let mut check = |index: u64, changed: bool, next: u64| {
            let meta = ResponseMeta { index, ..ResponseMeta::default() };
            assert_eq!(watch.observe(&meta), changed, "{index}");
            assert_eq!(watch.next_params(&QueryParams::default()).index, next, "{index}");
        };
        check(0, true, 1);
        check(7, true, 7);
        check(7, false, 7);
        check(5, true, 0);
        check(5, true, 5);
    }

    #[test]
    fn hashes_decide_where_given() {
        let mut watch = Watch::default();
        let mut check = |hash: &str, changed: bool| {
            let meta = ResponseMeta { hash: hash.into(), ..ResponseMeta::default() };
            assert_eq!(watch.observe(&meta), changed);
            assert_eq!(watch.next_params(&QueryParams::default()).hash, hash);
        };
        check("a", true);
        check("a", false);
        check("b", true);
    }
}
