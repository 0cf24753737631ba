//! What clients do next, each on its own: a few keys fought over by all, locks, sessions, and reads
//! that wait.

use std::collections::BTreeMap;

use model::query::{Consistency, Query};
use rand::Rng;

use super::deed::Deed;
use super::{Cluster, Event, history};
use crate::bug::Bug;
use crate::check::linear::Token;

/// Keys that locks are fought over.
const LOCKS: [&str; 2] = ["lock/a", "lock/b"];

/// What one client remembers.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) session: Option<String>,
    /// The key it believes to have locked.
    pub(super) holds: Option<String>,
    /// What it last saw of a key, and when that was written.
    pub(super) known: BTreeMap<String, (Token, u64)>,
    pub(super) last_server: u64,
}

impl Cluster {
    pub(super) fn act(&mut self, client: u64) {
        let running = self.running();
        let Some(server) = self.pick(&running) else {
            return self.after_millis(50..200, Event::Act { client });
        };
        if let Some(memory) = self.clients.get_mut(&client) {
            memory.last_server = server;
        }
        match self.draw_deed(client) {
            Some(deed) => self.call(client, server, deed),
            None => {
                self.wait(server);
                self.after_millis(0..60, Event::Act { client });
            }
        }
    }

    /// `None` for a read that waits.
    fn draw_deed(&mut self, client: u64) -> Option<Deed> {
        let now = self.now;
        let number = self.rng.random();
        let key = history::key(history::generation(now), number);
        let token = self.number();
        let draw = self.rng.random_range(0..100);
        let lock = LOCKS[self.rng.random_range(0..LOCKS.len())].to_owned();
        let memory = self.clients.get_mut(&client)?;
        // Of keys that are out of use nothing needs to be known.
        memory.known.retain(|known, _| known.as_str() >= &key[..5]);
        let known = memory.known.get(&key).copied();
        let session = memory.session.clone();
        let deed = match (draw, known, session) {
            (0..18, _, _) => Deed::Set { key, token },
            (18..34, Some((expected, at)), _) => Deed::Swap { key, expected, at, token },
            (34..38, Some((expected, at)), _) => Deed::DeleteSwap { key, expected, at },
            (38..42, _, _) => Deed::Delete { key },
            (18..64, _, _) => {
                let consistency = match draw % 4 {
                    0 => Consistency::Stale,
                    1 => Consistency::Consistent,
                    _ => Consistency::Default,
                };
                Deed::Read { key, consistency }
            }
            (64..72, _, _) => Deed::Record { key: format!("w/{token}") },
            (72..96, _, None) => Deed::CreateSession,
            (72..78, _, Some(session)) => Deed::Renew { session },
            (78..79, _, Some(session)) => {
                (memory.session, memory.holds) = (None, None);
                Deed::Destroy { session }
            }
            // Left to its time to live.
            (79..80, _, Some(_)) => {
                (memory.session, memory.holds) = (None, None);
                Deed::CreateSession
            }
            (80..90, _, Some(session)) => match memory.holds.take() {
                Some(key) => Deed::Unlock { key, session },
                None => Deed::Lock { key: lock, session },
            },
            _ => return None,
        };
        Some(deed)
    }

    /// A blocking read: what it read is known at once, and a moment later it has registered.
    fn wait(&mut self, id: u64) {
        let number = self.rng.random();
        let key = history::key(history::generation(self.now), number);
        let query = match self.rng.random_range(0..6) {
            0 => Query::Sessions,
            1 => Query::KvList { prefix: key[..5].to_owned() },
            2 => Query::KvGet { key: LOCKS[0].into() },
            _ => Query::KvGet { key },
        };
        let Some(server) = self.servers.get_mut(&id) else { return };
        let waiter = server.waits.read(query, &server.published);
        let life = server.life;
        self.after_millis(0..8, Event::Register { server: id, life, waiter });
    }

    pub(super) fn register(&mut self, id: u64, waiter: u64) {
        let is_blind = self.has_bug(Bug::RegisteredAfterRead);
        let Some(server) = self.servers.get_mut(&id) else { return };
        match is_blind {
            true => server.waits.register_blindly(waiter),
            false => server.waits.register(waiter, &server.published),
        }
    }
}
