//! What is to be gossiped, and how often it was.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// Order of sending: fewest transmits, then longest, then newest.
type Rank = (u32, Reverse<usize>, Reverse<u64>);

#[derive(Clone, Debug)]
struct Entry {
    message: Bytes,
    /// Whom the message is about; a newer one about the same takes its place.
    about: Option<String>,
    /// Whether somebody waits for it to be sent.
    is_awaited: bool,
}

/// Messages that ride on packets until each was sent often enough.
#[derive(Debug, Default)]
pub(crate) struct BroadcastQueue {
    entries: BTreeMap<Rank, Entry>,
    by_subject: BTreeMap<String, Rank>,
    next_id: u64,
    /// Of the entries that are awaited, how many are still under way.
    awaited: usize,
}

impl BroadcastQueue {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether all messages that are waited for have been sent, or replaced.
    pub(crate) fn is_awaited_sent(&self) -> bool {
        self.awaited == 0
    }

    /// Adds a message; one about the same subject is replaced.
    pub(crate) fn push(&mut self, message: Bytes, about: Option<&str>, is_awaited: bool) {
        if let Some(rank) = about.and_then(|about| self.by_subject.remove(about)) {
            self.remove(rank);
        }
        self.next_id += 1;
        let rank = (0, Reverse(message.len()), Reverse(self.next_id));
        if let Some(about) = about {
            self.by_subject.insert(about.to_owned(), rank);
        }
        self.awaited += usize::from(is_awaited);
        let about = about.map(str::to_owned);
        self.entries.insert(rank, Entry { message, about, is_awaited });
    }

    /// Takes the next messages that together, each with `overhead` bytes more, fit into `room`; counts them as sent
    /// and drops those sent `limit` times.
    pub(crate) fn take(
        &mut self,
        overhead: usize,
        room: &mut usize,
        limit: u32,
        parts_left: &mut usize,
        out: &mut Vec<Bytes>,
    ) {
        let mut chosen = VecDeque::new();
        for (rank, entry) in &self.entries {
            if *parts_left == 0 || *room <= overhead {
                break;
            }
            let cost = overhead + entry.message.len();
            if cost <= *room {
                *room -= cost;
                *parts_left -= 1;
                out.push(entry.message.clone());
                chosen.push_back(*rank);
            }
        }
        for rank in chosen {
            self.count_transmit(rank, limit);
        }
    }

    /// Drops what was sent most often until `limit` messages are left.
    pub(crate) fn prune(&mut self, limit: usize) {
        while self.entries.len() > limit {
            let Some((rank, _)) = self.entries.last_key_value() else { return };
            self.remove(*rank);
        }
    }

    fn count_transmit(&mut self, rank: Rank, limit: u32) {
        let Some(entry) = self.remove(rank) else { return };
        let (transmits, length, id) = rank;
        if transmits + 1 >= limit {
            return;
        }
        let rank = (transmits + 1, length, id);
        if let Some(about) = &entry.about {
            self.by_subject.insert(about.clone(), rank);
        }
        self.awaited += usize::from(entry.is_awaited);
        self.entries.insert(rank, entry);
    }

    fn remove(&mut self, rank: Rank) -> Option<Entry> {
        let entry = self.entries.remove(&rank)?;
        if let Some(about) = &entry.about {
            self.by_subject.remove(about);
        }
        self.awaited -= usize::from(entry.is_awaited);
        Some(entry)
    }
}

/// How often a message is sent in a pool of `nodes`.
pub(crate) fn transmit_limit(multiplier: u32, nodes: usize) -> u32 {
    multiplier * ((nodes + 1) as f64).log10().ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(queue: &mut BroadcastQueue, room: usize, limit: u32) -> Vec<Bytes> {
        let (mut room, mut parts, mut out) = (room, 255, Vec::new());
        queue.take(2, &mut room, limit, &mut parts, &mut out);
        out
    }

    #[test]
    fn fewest_transmits_then_longest_then_newest() {
        let mut queue = BroadcastQueue::default();
        for message in ["old", "long one", "new"] {
            queue.push(Bytes::from(message), None, false);
        }
        assert_eq!(take(&mut queue, 15, 3), ["long one", "new"]);
        assert_eq!(take(&mut queue, 15, 3), ["old", "long one"]);
        assert_eq!(take(&mut queue, 100, 3), ["new", "old", "long one"]);
        assert_eq!(take(&mut queue, 100, 3), ["new", "old"]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_newer_message_about_the_same_replaces() {
        let mut queue = BroadcastQueue::default();
        queue.push(Bytes::from("suspect a"), Some("a"), false);
        queue.push(Bytes::from("alive a"), Some("a"), false);
        queue.push(Bytes::from("b"), Some("b"), false);
        assert_eq!(take(&mut queue, 100, 9), ["alive a", "b"]);
        queue.push(Bytes::from("dead a"), Some("a"), false);
        assert_eq!(take(&mut queue, 100, 9), ["dead a", "b"]);
    }

    #[test]
    fn the_end_of_an_awaited_message_shows() {
        let mut queue = BroadcastQueue::default();
        queue.push(Bytes::from("bye"), None, true);
        for is_sent in [false, true] {
            take(&mut queue, 100, 2);
            assert_eq!(queue.is_awaited_sent(), is_sent);
        }
        queue.push(Bytes::from("bye"), Some("a"), true);
        queue.push(Bytes::from("hello"), Some("a"), false);
        assert!(queue.is_awaited_sent());
    }

    #[test]
    fn a_full_queue_drops_what_was_sent_most() {
        let mut queue = BroadcastQueue::default();
        queue.push(Bytes::from("old"), None, false);
        take(&mut queue, 100, 9);
        queue.push(Bytes::from("new"), None, false);
        queue.prune(1);
        assert_eq!(take(&mut queue, 100, 9), ["new"]);
    }

    #[test]
    fn transmits_grow_with_the_pool() {
        for (nodes, want) in [(0, 0), (1, 4), (9, 4), (10, 8), (99, 8), (1000, 16)] {
            assert_eq!(transmit_limit(4, nodes), want, "{nodes}");
        }
    }
}
