//! The index of an answer is never 0 and never falls, through crashes too, and grows with every
//! change of the answer.

use std::collections::BTreeMap;

use model::query::{Query, Reply};
use state::{Read, State};

#[derive(Debug)]
pub(crate) struct Indexes {
    queries: Vec<Query>,
    seen: BTreeMap<usize, (u64, Reply)>,
}

impl Default for Indexes {
    fn default() -> Self {
        let queries = vec![
            Query::KvGet { key: "a".into() },
            Query::KvGet { key: "a/b".into() },
            Query::KvList { prefix: "a/".into() },
            Query::KvKeys { prefix: String::new(), separator: "/".into() },
            Query::Sessions,
            Query::Nodes { node_meta: Vec::new() },
        ];
        Self { queries, seen: BTreeMap::new() }
    }
}

impl Indexes {
    pub(crate) fn check(&mut self, state: &State) -> Result<(), String> {
        for (number, query) in self.queries.iter().enumerate() {
            let Read { index, reply, .. } = state.read(query);
            if index == 0 {
                return Err(format!("the index of {query:?} is 0"));
            }
            if let Some((before, reply_before)) = self.seen.get(&number) {
                if index < *before {
                    return Err(format!("the index of {query:?} fell from {before} to {index}"));
                }
                if index == *before && reply != *reply_before {
                    return Err(format!("{query:?} changed at the same index {index}"));
                }
            }
            self.seen.insert(number, (index, reply));
        }
        Ok(())
    }
}
