//! Whoever waits is woken: once the answer is another than the one he has, he gets it. And nobody
//! is answered for nothing.
//!
//! A waiter does what a blocking query does: he reads, registers for the topics he read, looks
//! again, sleeps until one of them is touched, reads again, and leaves when the index grew. The
//! checker looks at the truth instead of the topics.

use model::query::{Query, Reply};
use model::topic::Topic;
use state::{Read, State};

#[derive(Debug, Default)]
pub(crate) struct Waits {
    waiting: Vec<Waiter>,
    next: u64,
    answered: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    query: Query,
    index: u64,
    topics: Vec<Topic>,
    /// What he has.
    reply: Reply,
    is_registered: bool,
}

impl Waits {
    /// Reads and registers in one.
    pub(crate) fn begin(&mut self, query: Query, state: &State) {
        let number = self.read(query, state);
        self.register(number, state);
    }

    /// The first half; nothing wakes him yet.
    pub(crate) fn read(&mut self, query: Query, state: &State) -> u64 {
        let Read { index, topics, reply } = state.read(&query);
        self.next += 1;
        let number = self.next;
        self.waiting.push(Waiter { number, query, index, topics, reply, is_registered: false });
        number
    }

    /// The second half: he registers and looks again.
    pub(crate) fn register(&mut self, number: u64, state: &State) {
        self.register_blindly(number);
        self.waiting.retain_mut(|waiter| {
            if waiter.number != number {
                return true;
            }
            let Read { index, topics, .. } = state.read(&waiter.query);
            waiter.topics = topics;
            index <= waiter.index
        });
    }

    /// As somebody would who does not know better.
    pub(crate) fn register_blindly(&mut self, number: u64) {
        for waiter in self.waiting.iter_mut().filter(|waiter| waiter.number == number) {
            waiter.is_registered = true;
        }
    }

    /// Does what the server does with the topics a change touched. With `is_broken` everybody who
    /// is woken is answered.
    pub(crate) fn wake(
        &mut self,
        touched: &[Topic],
        state: &State,
        is_broken: bool,
    ) -> Result<(), String> {
        let before = self.waiting.len();
        let mut fault = None;
        self.waiting.retain_mut(|waiter| {
            let watches = |topic: &Topic| touched.iter().any(|t| topic.is_woken_by(t));
            let is_woken = is_broken || waiter.topics.iter().any(watches);
            if !waiter.is_registered || !is_woken {
                return true;
            }
            let Read { index, topics, reply } = state.read(&waiter.query);
            waiter.topics = topics;
            let is_answered = is_broken || index > waiter.index;
            if is_answered && is_for_nothing(waiter, index, &reply) {
                fault = Some(format!("{:?} was answered for nothing at {index}", waiter.query));
            }
            !is_answered
        });
        self.answered += (before - self.waiting.len()) as u64;
        fault.map_or(Ok(()), Err)
    }

    /// The server is gone, and the connections of those who waited with it.
    pub(crate) fn disconnect(&mut self) {
        self.waiting.clear();
    }

    pub(crate) fn check(&self, state: &State) -> Result<(), String> {
        for waiter in self.waiting.iter().filter(|waiter| waiter.is_registered) {
            let Waiter { query, index, topics, reply, .. } = waiter;
            let now = state.read(query);
            if now.reply != *reply {
                return Err(format!(
                    "{query:?} waits at index {index} on {topics:?}, but has changed at {}",
                    now.index
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }
}

/// Whether the answer is the one he has. An empty one says nothing: what was there in between may
/// be gone again; nor does one whose index tells of something deleted beside it.
fn is_for_nothing(waiter: &Waiter, index: u64, reply: &Reply) -> bool {
    let is_entry_there = matches!(reply, Reply::KvEntries(rows) if !rows.is_empty());
    let is_one_key = matches!(waiter.query, Query::KvGet { .. });
    *reply == waiter.reply && ((is_one_key && is_entry_there) || index <= waiter.index)
}

#[cfg(test)]
mod tests {
    use model::command::Command;
    use model::kv::{DirEntry, KvOp, KvRequest};

    use super::*;

    fn put(state: &mut State, key: &str) -> Vec<Topic> {
        let index = state.index() + 1;
        let value = index.to_string().into_bytes();
        let entry = DirEntry { key: key.into(), value, ..DirEntry::default() };
        state.apply(index, Command::Kv(KvRequest { op: KvOp::Set, entry })).touched
    }

    fn waiting_for_a() -> (State, Waits, u64) {
        let (mut state, mut waits) = (State::new(), Waits::default());
        put(&mut state, "a");
        let number = waits.read(Query::KvGet { key: "a".into() }, &state);
        (state, waits, number)
    }

    #[test]
    fn who_waits_is_woken_by_what_concerns_him() {
        let (mut state, mut waits, number) = waiting_for_a();
        waits.register(number, &state);
        let touched = put(&mut state, "b");
        waits.wake(&touched, &state, false).unwrap();
        waits.check(&state).unwrap();
        assert_eq!(waits.answered(), 0);
        let touched = put(&mut state, "a");
        waits.check(&state).unwrap_err();
        waits.wake(&touched, &state, false).unwrap();
        waits.check(&state).unwrap();
        assert_eq!(waits.answered(), 1);
    }

    #[test]
    fn a_change_between_reading_and_registering_is_seen() {
        let (mut state, mut waits, number) = waiting_for_a();
        let touched = put(&mut state, "a");
        waits.wake(&touched, &state, false).unwrap();
        waits.check(&state).unwrap();
        waits.register(number, &state);
        waits.check(&state).unwrap();

        let (mut state, mut waits, number) = waiting_for_a();
        put(&mut state, "a");
        waits.register_blindly(number);
        waits.check(&state).unwrap_err();
    }

    #[test]
    fn an_answer_for_nothing_is_rejected() {
        let (mut state, mut waits, number) = waiting_for_a();
        waits.register(number, &state);
        let touched = put(&mut state, "b");
        waits.wake(&touched, &state, true).unwrap_err();
    }

    #[test]
    fn to_be_woken_before_the_change_is_to_miss_it() {
        let (mut state, mut waits, number) = waiting_for_a();
        waits.register(number, &state);
        let before = state.clone();
        let touched = put(&mut state, "a");
        waits.wake(&touched, &before, false).unwrap();
        waits.check(&state).unwrap_err();
    }
}
