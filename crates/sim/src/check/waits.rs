//! Whoever waits is woken: once the answer is another than the one he has, he gets it.
//!
//! A waiter does what a blocking query does: he sleeps until a topic he read is touched, reads
//! again, and leaves when the index grew. The checker looks at the truth instead of the topics.

use model::query::{Query, Reply};
use model::topic::Topic;
use state::{Read, State};

#[derive(Debug, Default)]
pub(crate) struct Waits {
    waiting: Vec<Waiter>,
    answered: u64,
}

#[derive(Debug)]
struct Waiter {
    query: Query,
    index: u64,
    topics: Vec<Topic>,
    /// What he has.
    reply: Reply,
}

impl Waits {
    pub(crate) fn begin(&mut self, query: Query, state: &State) {
        let Read { index, topics, reply } = state.read(&query);
        self.waiting.push(Waiter { query, index, topics, reply });
    }

    /// Does what the server does with the topics a change touched.
    pub(crate) fn wake(&mut self, touched: &[Topic], state: &State) {
        let before = self.waiting.len();
        self.waiting.retain_mut(|waiter| {
            let is_woken = waiter
                .topics
                .iter()
                .any(|watched| touched.iter().any(|topic| watched.is_woken_by(topic)));
            if !is_woken {
                return true;
            }
            let Read { index, topics, .. } = state.read(&waiter.query);
            waiter.topics = topics;
            index <= waiter.index
        });
        self.answered += (before - self.waiting.len()) as u64;
    }

    /// The server is gone, and the connections of those who waited with it.
    pub(crate) fn disconnect(&mut self) {
        self.waiting.clear();
    }

    pub(crate) fn check(&self, state: &State) -> Result<(), String> {
        for Waiter { query, index, topics, reply } in &self.waiting {
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
