//! Who waits for which topic. A change wakes those who read what it touched, and nobody else.
//!
//! Only topics somebody waits on have an entry. A touched key wakes the waiters of that key and of
//! every registered prefix of it: prefixes are looked up by their lengths, so the cost grows with
//! the key and not with the number of waiters. No wake-up is lost when a waiter registers first,
//! then looks whether the topic changed meanwhile, and only then sleeps.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use event_listener::{Event, EventListener};
use model::topic::Topic;
use parking_lot::Mutex;

#[derive(Debug, Default)]
pub(crate) struct Registry {
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    exact: HashMap<Topic, Cell, foldhash::fast::RandomState>,
    keys: BTreeMap<String, Cell>,
    prefixes: BTreeMap<String, Cell>,
    /// How many registered prefixes have each length.
    prefix_lengths: BTreeMap<usize, usize>,
}

#[derive(Debug, Default)]
struct Cell {
    event: Arc<Event>,
    waiters: usize,
}

impl Registry {
    /// Registers for every topic of `topics` at once.
    pub(crate) fn listen<'a>(&'a self, topics: &'a [Topic]) -> Listening<'a> {
        let mut watched = self.watched.lock();
        let listeners = topics.iter().map(|topic| watched.join(topic).listen()).collect();
        Listening { registry: self, topics, listeners }
    }

    /// Wakes who waits for what `touched` names. Returns how many cells fired.
    pub(crate) fn wake(&self, touched: &[Topic]) -> usize {
        let mut events = Vec::new();
        {
            let watched = self.watched.lock();
            for topic in touched {
                watched.collect(topic, &mut events);
            }
        }
        for event in &events {
            event.notify(usize::MAX);
        }
        events.len()
    }

    pub(crate) fn wake_all(&self) {
        let events: Vec<_> = {
            let watched = self.watched.lock();
            watched.cells().map(|cell| cell.event.clone()).collect()
        };
        for event in events {
            event.notify(usize::MAX);
        }
    }

    #[cfg(test)]
    fn cells(&self) -> usize {
        let watched = self.watched.lock();
        watched.exact.len() + watched.keys.len() + watched.prefixes.len()
    }
}

impl Watched {
    fn join(&mut self, topic: &Topic) -> Arc<Event> {
        let cell = match topic {
            Topic::Key(key) => self.keys.entry(key.clone()).or_default(),
            Topic::KeyPrefix(prefix) => {
                let cell = self.prefixes.entry(prefix.clone()).or_default();
                if cell.waiters == 0 {
                    *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                }
                cell
            }
            other => self.exact.entry(other.clone()).or_default(),
        };
        cell.waiters += 1;
        cell.event.clone()
    }

    fn leave(&mut self, topic: &Topic) {
        match topic {
            Topic::Key(key) => {
                if self.keys.get_mut(key).is_some_and(Cell::leave) {
                    self.keys.remove(key);
                }
            }
            Topic::KeyPrefix(prefix) => {
                if self.prefixes.get_mut(prefix).is_some_and(Cell::leave) {
                    self.prefixes.remove(prefix);
                    if let Some(count) = self.prefix_lengths.get_mut(&prefix.len()) {
                        *count -= 1;
                        if *count == 0 {
                            self.prefix_lengths.remove(&prefix.len());
                        }
                    }
                }
            }
            other => {
                if self.exact.get_mut(other).is_some_and(Cell::leave) {
                    self.exact.remove(other);
                }
            }
        }
    }

    /// The cells a change of `touched` concerns; agrees with [`Topic::is_woken_by`].
    fn collect(&self, touched: &Topic, events: &mut Vec<Arc<Event>>) {
        let mut add = |cell: &Cell| events.push(cell.event.clone());
        match touched {
            Topic::Key(key) => {
                self.keys.get(key).into_iter().for_each(&mut add);
                self.prefixes_of(key, key.len()).for_each(&mut add);
            }
            Topic::KeyPrefix(tree) => {
                below(&self.keys, tree).for_each(&mut add);
                below(&self.prefixes, tree).for_each(&mut add);
                // Shorter ones only: the tree itself is among those below.
                self.prefixes_of(tree, tree.len().saturating_sub(1))
                    .filter(|_| !tree.is_empty())
                    .for_each(&mut add);
            }
            Topic::Everything => self.cells().for_each(&mut add),
            other => self.exact.get(other).into_iter().for_each(&mut add),
        }
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.exact.values().chain(self.keys.values()).chain(self.prefixes.values())
    }

    /// Cells of the registered prefixes of `key` up to `length_max` bytes.
    fn prefixes_of<'a>(
        &'a self,
        key: &'a str,
        length_max: usize,
    ) -> impl Iterator<Item = &'a Cell> {
        self.prefix_lengths
            .range(..=length_max)
            .filter_map(|(length, _)| self.prefixes.get(key.get(..*length)?))
    }
}

fn below<'a>(cells: &'a BTreeMap<String, Cell>, prefix: &'a str) -> impl Iterator<Item = &'a Cell> {
    cells
        .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
        .map(|(_, cell)| cell)
}

impl Cell {
    /// Whether nobody is left.
    fn leave(&mut self) -> bool {
        self.waiters -= 1;
        self.waiters == 0
    }
}

/// A registration; it ends with this value.
pub(crate) struct Listening<'a> {
    registry: &'a Registry,
    topics: &'a [Topic],
    listeners: Vec<EventListener>,
}

impl Listening<'_> {
    /// Resolves once any of the topics was woken after the registration.
    pub(crate) async fn woken(&mut self) {
        poll_fn(|context| {
            let is_woken = self.listeners.iter_mut().any(|l| Pin::new(l).poll(context).is_ready());
            if is_woken { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut watched = self.registry.watched.lock();
        for topic in self.topics {
            watched.leave(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::*;

    fn topics() -> Vec<Topic> {
        let text = |s: &str| s.to_owned();
        vec![
            Topic::Nodes,
            Topic::Service(text("web")),
            Topic::Service(text("db")),
            Topic::Key(text("")),
            Topic::Key(text("a")),
            Topic::Key(text("a/b")),
            Topic::Key(text("é/x")),
            Topic::KeyPrefix(text("")),
            Topic::KeyPrefix(text("a")),
            Topic::KeyPrefix(text("a/")),
            Topic::KeyPrefix(text("a/b/c")),
            Topic::KeyPrefix(text("é")),
            Topic::KeyPrefix(text("b")),
            Topic::Everything,
        ]
    }

    fn is_woken(listening: &mut Listening<'_>) -> bool {
        let woken = std::pin::pin!(listening.woken());
        woken.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn wakes_exactly_whom_the_topics_say() {
        let topics = topics();
        for watched in &topics {
            for touched in &topics {
                let registry = Registry::default();
                let other = [Topic::KeyPrefix("zz".into()), Topic::Checks];
                let mut bystander = registry.listen(&other);
                let own = [watched.clone()];
                let mut listening = registry.listen(&own);
                assert!(!is_woken(&mut listening));
                registry.wake(std::slice::from_ref(touched));
                assert_eq!(
                    is_woken(&mut listening),
                    watched.is_woken_by(touched),
                    "{watched:?} by {touched:?}"
                );
                let is_every_key = *touched == Topic::KeyPrefix(String::new());
                let reaches_all = is_every_key || *touched == Topic::Everything;
                assert_eq!(is_woken(&mut bystander), reaches_all);
            }
        }
    }

    #[test]
    fn nothing_is_kept_for_those_who_left() {
        let registry = Registry::default();
        let topics = topics();
        let first = registry.listen(&topics);
        let second = registry.listen(&topics);
        assert_eq!(registry.cells(), topics.len());
        drop(first);
        assert_eq!(registry.cells(), topics.len());
        drop(second);
        assert_eq!(registry.cells(), 0);
        assert!(registry.watched.lock().prefix_lengths.is_empty());
    }

    #[test]
    fn one_of_several_topics_is_enough() {
        let registry = Registry::default();
        let topics = [Topic::Nodes, Topic::Checks];
        let mut listening = registry.listen(&topics);
        registry.wake(&[Topic::Checks]);
        assert!(is_woken(&mut listening));
    }
}
