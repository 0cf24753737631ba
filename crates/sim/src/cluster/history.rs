//! What clients did to the keys that are judged: a few at a time, and every few seconds others, so
//! that no history grows too long to judge.

use std::collections::BTreeMap;
use std::time::Duration;

use replica::Mono;

use crate::check::linear::{self, Act, Operation, Verdict};

/// How long one generation of keys is in use.
const GENERATION: Duration = Duration::from_secs(4);
/// Keys in use at a time; few, so that operations meet.
const KEYS: u64 = 3;

#[derive(Debug, Default)]
pub(super) struct History {
    keys: BTreeMap<String, Vec<Operation>>,
    pub(super) judged: u64,
    pub(super) undecided: u64,
}

pub(super) fn generation(now: Mono) -> u64 {
    now.0 / GENERATION.as_nanos() as u64
}

pub(super) fn key(generation: u64, number: u64) -> String {
    format!("r{generation:04}/{}", number % KEYS)
}

/// All keys somebody may be using.
pub(super) fn keys_in_use(now: Mono) -> impl Iterator<Item = String> {
    let newest = generation(now);
    (newest.saturating_sub(1)..=newest).flat_map(|g| (0..KEYS).map(move |number| key(g, number)))
}

impl History {
    pub(super) fn add(&mut self, key: &str, act: Act, began: Mono, ended: Option<Mono>) {
        let operation = Operation { act, began: began.0, ended: ended.map(|ended| ended.0) };
        self.keys.entry(key.to_owned()).or_default().push(operation);
    }

    /// Judges what no operation can come to any more, or all.
    pub(super) fn judge(&mut self, now: Mono, is_all: bool) -> Result<(), String> {
        let bound = key(generation(now).saturating_sub(2), 0);
        let is_over = |key: &String| is_all || *key < bound;
        while let Some(entry) = self.keys.first_entry().filter(|entry| is_over(entry.key())) {
            let (key, operations) = entry.remove_entry();
            self.judged += operations.len() as u64;
            match linear::judge(operations.clone()) {
                Verdict::Linearizable => {}
                Verdict::Undecided => self.undecided += 1,
                Verdict::Broken => return Err(story(&key, operations)),
            }
        }
        Ok(())
    }
}

/// Without what can be left out and still be wrong.
fn story(key: &str, mut operations: Vec<Operation>) -> String {
    operations.sort_by_key(|operation| operation.began);
    let is_broken =
        |operations: &[Operation]| linear::judge(operations.to_vec()) == Verdict::Broken;
    // What began after all was lost tells nothing.
    while let Some(last) = operations.pop() {
        if !is_broken(&operations) {
            operations.push(last);
            break;
        }
    }
    let mut at = 0;
    while at < operations.len() {
        // Of what is left out nobody must have seen anything, or it would be wrong for that reason.
        let left_out = operations.remove(at);
        let is_seen = operations.iter().any(|operation| operation.act.saw() == left_out.act.left());
        if is_seen || !is_broken(&operations) {
            operations.insert(at, left_out);
            at += 1;
        }
    }
    let mut story = format!("what clients saw of {key:?} has no order:");
    for Operation { act, began, ended } in operations {
        let ended = ended.map(|ended| ended / 1000);
        story.push_str(&format!("\n    {act:?} from {} to {ended:?} µs", began / 1000));
    }
    story
}
