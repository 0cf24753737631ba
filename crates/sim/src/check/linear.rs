//! Whether what clients saw of one key could have come from one place that does one thing at a
//! time, each between the moment it was asked and the moment it was answered.
//!
//! A search for such an order, after Wing and Gong (1993) with Lowe's memory of what was tried
//! (2017): a set of operations that are done and the value they leave is never looked at twice.
//! What can change nothing is put first wherever it fits, since that forbids nothing later.

use std::collections::HashSet;

/// What a key holds: every write leaves another one, 0 means that the key is absent.
pub(crate) type Token = u64;

/// Steps of one search before it is given up as undecided; two to three per operation are usual.
const STEPS_MAX: usize = 300_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Read(Token),
    Write(Token),
    Delete,
    Swap { expected: Token, new: Token, is_done: bool },
    DeleteSwap { expected: Token, is_done: bool },
}

/// One operation of one client. `ended` is `None` when nobody was told: it may have happened at any
/// time since, or never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) act: Act,
    pub(crate) began: u64,
    pub(crate) ended: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    Broken,
    /// Too many orders to try.
    Undecided,
}

impl Act {
    /// What the key held before, if it tells.
    pub(crate) fn saw(self) -> Option<Token> {
        match self {
            Self::Read(seen) => Some(seen),
            Self::Swap { expected, .. } | Self::DeleteSwap { expected, .. } => Some(expected),
            Self::Write(_) | Self::Delete => None,
        }
    }

    /// What the key holds after it, if it changed it; told apart from [`Self::saw`] of those that
    /// tell nothing.
    pub(crate) fn left(self) -> Option<Token> {
        match self {
            Self::Write(new) | Self::Swap { new, is_done: true, .. } => Some(new),
            Self::Delete | Self::DeleteSwap { is_done: true, .. } => Some(0),
            _ => Some(Token::MAX),
        }
    }

    /// What the key holds after it, or `None` when it would have been answered otherwise. An
    /// unanswered one is only asked for its effect.
    fn on(self, value: Token, is_answered: bool) -> Option<Token> {
        match self {
            Self::Read(seen) => (seen == value).then_some(value),
            Self::Write(new) => Some(new),
            Self::Delete => Some(0),
            Self::Swap { expected, new, .. } if !is_answered => (expected == value).then_some(new),
            Self::Swap { expected, new, is_done } => {
                ((expected == value) == is_done).then_some(if is_done { new } else { value })
            }
            Self::DeleteSwap { expected, .. } if !is_answered => (expected == value).then_some(0),
            // To delete what is not there succeeds.
            Self::DeleteSwap { expected, is_done } => {
                let holds = value == 0 || expected == value;
                (holds == is_done).then_some(if is_done { 0 } else { value })
            }
        }
    }
}

impl Operation {
    /// Whether it changes nothing, whatever it meets. A deletion of what is not there is not of that
    /// kind: it may be what is needed later.
    fn is_powerless(&self) -> bool {
        let is_lost = match self.act {
            Act::Read(_) => true,
            Act::Swap { is_done, .. } | Act::DeleteSwap { is_done, .. } => !is_done,
            Act::Write(_) | Act::Delete => false,
        };
        is_lost && self.ended.is_some()
    }
}

/// The operations of one key, oldest first once sorted.
pub(crate) fn judge(mut operations: Vec<Operation>) -> Verdict {
    operations.sort_by_key(|operation| operation.began);
    // Nobody saw anything of an unanswered read.
    operations.retain(|o| o.ended.is_some() || !matches!(o.act, Act::Read(_)));
    let mut search = Search { steps: 0, tried: HashSet::new(), operations: &operations };
    let done = Done { bits: vec![0; operations.len().div_ceil(64)], first_open: 0 };
    search.run(done)
}

#[derive(Clone)]
struct Done {
    bits: Vec<u64>,
    /// All before it are done.
    first_open: usize,
}

impl Done {
    fn has(&self, at: usize) -> bool {
        self.bits[at / 64] & (1 << (at % 64)) != 0
    }

    fn add(&mut self, at: usize) {
        self.bits[at / 64] |= 1 << (at % 64);
    }
}

struct Search<'a> {
    operations: &'a [Operation],
    tried: HashSet<(Vec<u64>, Token)>,
    steps: usize,
}

impl Search<'_> {
    fn run(&mut self, start: Done) -> Verdict {
        let mut stack = vec![(start, 0)];
        while let Some((mut done, value)) = stack.pop() {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Verdict::Undecided;
            }
            let next = self.take_silent(&mut done, value);
            if self.is_complete(&done) {
                return Verdict::Linearizable;
            }
            for at in next.into_iter().rev() {
                let operation = self.operations[at];
                let Some(after) = operation.act.on(value, operation.ended.is_some()) else {
                    continue;
                };
                let mut done = done.clone();
                done.add(at);
                if self.tried.insert((done.bits.clone(), after)) {
                    stack.push((done, after));
                }
            }
        }
        Verdict::Broken
    }

    /// Does all that can change nothing, and tells what else may come next.
    fn take_silent(&self, done: &mut Done, value: Token) -> Vec<usize> {
        loop {
            let next = self.next(done);
            let is_silent = |at: &usize| {
                let operation = self.operations[*at];
                operation.is_powerless() && operation.act.on(value, true) == Some(value)
            };
            let silent: Vec<usize> = next.iter().copied().filter(is_silent).collect();
            if silent.is_empty() {
                return next;
            }
            silent.into_iter().for_each(|at| done.add(at));
        }
    }

    /// Those that began before any open one had to be over.
    fn next(&self, done: &mut Done) -> Vec<usize> {
        while done.first_open < self.operations.len() && done.has(done.first_open) {
            done.first_open += 1;
        }
        let mut next = Vec::new();
        let mut deadline = u64::MAX;
        for at in done.first_open..self.operations.len() {
            let operation = self.operations[at];
            if operation.began > deadline {
                break;
            }
            if !done.has(at) {
                next.push(at);
                deadline = deadline.min(operation.ended.unwrap_or(u64::MAX));
            }
        }
        next
    }

    fn is_complete(&self, done: &Done) -> bool {
        (done.first_open..self.operations.len())
            .all(|at| done.has(at) || self.operations[at].ended.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::Act::{Delete, DeleteSwap, Read, Swap, Write};
    use super::*;

    const NEVER: u64 = 0;

    /// Act, beginning and end; an end of [`NEVER`] was not answered.
    type Row = (Act, u64, u64);

    fn check(name: &str, rows: &[Row], expected: Verdict) {
        let operation = |(act, began, ended): &Row| Operation {
            act: *act,
            began: *began,
            ended: (*ended != NEVER).then_some(*ended),
        };
        assert_eq!(judge(rows.iter().map(operation).collect()), expected, "{name}");
    }

    fn swap(expected: Token, new: Token, is_done: bool) -> Act {
        Swap { expected, new, is_done }
    }

    fn delete_swap(expected: Token, is_done: bool) -> Act {
        DeleteSwap { expected, is_done }
    }

    #[test]
    fn good_histories_are_accepted() {
        let good: &[(&str, &[Row])] = &[
            ("nothing", &[]),
            ("read of nothing", &[(Read(0), 1, 2)]),
            ("one after another", &[(Write(1), 1, 2), (Read(1), 3, 4), (Write(2), 5, 6)]),
            ("either of two at once", &[(Write(1), 1, 9), (Read(0), 2, 3), (Read(1), 4, 5)]),
            (
                "two writes at once, seen one way",
                &[(Write(1), 1, 9), (Write(2), 1, 9), (Read(2), 10, 11), (Read(2), 12, 13)],
            ),
            (
                "two writes at once, seen the other way",
                &[(Write(1), 1, 9), (Write(2), 1, 9), (Read(1), 10, 11)],
            ),
            ("unanswered, never seen", &[(Write(1), 1, 2), (Write(2), 3, NEVER), (Read(1), 9, 10)]),
            (
                "unanswered, seen late",
                &[(Write(1), 1, 2), (Write(2), 3, NEVER), (Read(1), 9, 10), (Read(2), 11, 12)],
            ),
            ("deleted", &[(Write(1), 1, 2), (Delete, 3, 4), (Read(0), 5, 6)]),
            ("swap", &[(Write(1), 1, 2), (swap(1, 2, true), 3, 4), (Read(2), 5, 6)]),
            ("swap of the absent", &[(swap(0, 1, true), 1, 2), (swap(0, 2, false), 3, 4)]),
            (
                "of two swaps at once one wins",
                &[(Write(1), 1, 2), (swap(1, 2, true), 3, 9), (swap(1, 3, false), 3, 9)],
            ),
            (
                "a swap fails for an unanswered write",
                &[
                    (Write(1), 1, 2),
                    (Write(2), 3, NEVER),
                    (swap(1, 3, false), 4, 5),
                    (Read(2), 6, 7),
                ],
            ),
            (
                "an unanswered swap came through",
                &[(Write(1), 1, 2), (swap(1, 2, false), 3, NEVER), (Read(2), 8, 9)],
            ),
            ("delete of the absent", &[(delete_swap(7, true), 1, 2), (Read(0), 3, 4)]),
            (
                "delete of another",
                &[(Write(1), 1, 2), (delete_swap(7, false), 3, 4), (Read(1), 5, 6)],
            ),
            ("delete of this", &[(Write(1), 1, 2), (delete_swap(1, true), 3, 4), (Read(0), 5, 6)]),
            (
                "at last a read beside something unanswered that cannot happen any more",
                &[(Write(1), 1, 2), (Read(1), 3, 9), (delete_swap(7, false), 4, NEVER)],
            ),
            (
                "a delete that could have met nothing is needed later",
                &[(Delete, 1, 9), (Write(1), 2, 3), (Read(0), 10, 11)],
            ),
            ("unanswered read", &[(Write(1), 1, 2), (Read(9), 3, NEVER), (Read(1), 4, 5)]),
        ];
        for (name, rows) in good {
            check(name, rows, Verdict::Linearizable);
        }
    }

    #[test]
    fn bad_histories_are_rejected() {
        let bad: &[(&str, &[Row])] = &[
            ("phantom", &[(Read(5), 1, 2)]),
            ("stale", &[(Write(1), 1, 2), (Read(0), 3, 4)]),
            ("lost", &[(Write(1), 1, 2), (Write(2), 3, 4), (Read(1), 5, 6)]),
            ("from the future", &[(Read(1), 1, 2), (Write(1), 3, 4)]),
            (
                "back and forth",
                &[(Write(1), 1, 2), (Write(2), 3, 20), (Read(2), 4, 5), (Read(1), 6, 7)],
            ),
            (
                "two readers disagree on two writes",
                &[(Write(1), 1, 9), (Write(2), 1, 9), (Read(1), 10, 11), (Read(2), 12, 13)],
            ),
            (
                "applied twice",
                &[(Write(1), 1, NEVER), (Read(1), 2, 3), (Write(2), 4, 5), (Read(1), 6, 7)],
            ),
            (
                "risen from the dead",
                &[(Write(1), 1, 2), (Delete, 3, 4), (Read(0), 5, 6), (Read(1), 7, 8)],
            ),
            (
                "both swaps won",
                &[(Write(1), 1, 2), (swap(1, 2, true), 3, 9), (swap(1, 3, true), 3, 9)],
            ),
            ("a swap won against nothing", &[(Write(1), 1, 2), (swap(7, 2, true), 3, 4)]),
            ("a swap lost for nothing", &[(Write(1), 1, 2), (swap(1, 2, false), 3, 4)]),
            (
                "a lost swap was applied",
                &[(Write(1), 1, 2), (swap(7, 2, false), 3, 4), (Read(2), 5, 6)],
            ),
            (
                "an unanswered swap without its condition",
                &[(Write(1), 1, 2), (swap(7, 2, false), 3, NEVER), (Read(2), 5, 6)],
            ),
            ("a delete did nothing", &[(Write(1), 1, 2), (Delete, 3, 4), (Read(1), 5, 6)]),
            ("a delete of another won", &[(Write(1), 1, 2), (delete_swap(7, true), 3, 4)]),
            ("a delete of this lost", &[(Write(1), 1, 2), (delete_swap(1, false), 3, 4)]),
            ("seen, then unseen", &[(Write(1), 1, NEVER), (Read(1), 2, 3), (Read(0), 4, 5)]),
        ];
        for (name, rows) in bad {
            check(name, rows, Verdict::Broken);
        }
    }

    /// Many clients at once, in a real order: found without trying all.
    #[test]
    fn a_long_and_wide_history_is_decided() {
        let mut rows = Vec::new();
        for at in 1..=300 {
            rows.push((Write(at), at * 10, at * 10 + 45));
            rows.push((Read(at), at * 10 + 3, at * 10 + 48));
        }
        check("wide", &rows, Verdict::Linearizable);
        rows.push((Read(7), 9_000, 9_001));
        check("wide, and a stale read", &rows, Verdict::Broken);
    }
}
