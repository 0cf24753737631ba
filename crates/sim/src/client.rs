//! What clients ask: a few keys and sessions fought over by everybody.

use std::collections::BTreeMap;

use model::command::Command;
use model::kv::{DirEntry, KvOp, KvRequest};
use model::query::Query;
use model::session::{Session, SessionBehavior, SessionRequest};
use rand::Rng;
use rand::rngs::StdRng;
use replica::duty::Member;
use state::State;

/// Keys in use; few, so that operations meet.
const KEYS: [&str; 6] = ["a", "a/b", "a/b/c", "a/d", "e", "é/x"];
pub(crate) const NODE: &str = "machine";
/// Time to live of every session here, the least that is accepted.
pub(crate) const TTL_SECONDS: u64 = 10;

#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Change(Command),
    Renew(String),
    Wait(Query),
}

/// The machine that sessions live on.
pub(crate) fn member() -> Member {
    Member { name: NODE.into(), address: "10.0.0.1".into(), ..Member::default() }
}

/// Draws what to ask next, knowing `state`. `serial` makes every written value unique.
pub(crate) fn draw(rng: &mut StdRng, state: &State, serial: u64) -> Ask {
    let key = KEYS[rng.random_range(0..KEYS.len())];
    let session = pick(rng, state.sessions().map(|session| session.id.clone()).collect());
    let kv = |op, session: String, modify_index| {
        let (key, value) = (key.to_owned(), serial.to_string().into_bytes());
        let entry = DirEntry { key, value, session, modify_index, ..DirEntry::default() };
        Ask::Change(Command::Kv(KvRequest { op, entry }))
    };
    let index = state.kv_entry(key).map_or(0, |entry| entry.modify_index);
    match (rng.random_range(0..100), session) {
        (0..30, _) => kv(KvOp::Set, String::new(), 0),
        (30..40, _) => kv(KvOp::Cas, String::new(), index),
        (40..45, _) => kv(KvOp::DeleteCas, String::new(), index),
        (45..52, _) => kv(KvOp::Delete, String::new(), 0),
        (52..54, _) => kv(KvOp::DeleteTree, String::new(), 0),
        (54..64, Some(session)) => kv(KvOp::Lock, session, 0),
        (64..68, Some(session)) => kv(KvOp::Unlock, session, 0),
        (68..74, Some(session)) => Ask::Renew(session),
        (74..77, Some(session)) => Ask::Change(Command::Session(SessionRequest::Destroy(session))),
        (54..85, _) => create_session(rng),
        (85..90, _) => Ask::Wait(Query::KvList { prefix: key.to_owned() }),
        (90..92, _) => Ask::Wait(Query::Sessions),
        _ => Ask::Wait(Query::KvGet { key: key.to_owned() }),
    }
}

fn create_session(rng: &mut StdRng) -> Ask {
    let behavior = if rng.random() { SessionBehavior::Release } else { SessionBehavior::Delete };
    let session = Session {
        node: NODE.into(),
        ttl: format!("{TTL_SECONDS}s"),
        lock_delay: model::duration::GoDuration::from_secs(rng.random_range(0..5)),
        behavior,
        ..Session::default()
    };
    Ask::Change(Command::Session(SessionRequest::Create(session)))
}

fn pick(rng: &mut StdRng, mut from: Vec<String>) -> Option<String> {
    (!from.is_empty()).then(|| from.swap_remove(rng.random_range(0..from.len())))
}

/// What each key holds.
pub(crate) fn contents(state: &State) -> BTreeMap<&'static str, Option<Vec<u8>>> {
    KEYS.iter().map(|key| (*key, state.kv_entry(key).map(|entry| entry.value.clone()))).collect()
}

pub(crate) fn is_lock(command: &Command) -> bool {
    matches!(command, Command::Kv(KvRequest { op: KvOp::Lock, .. }))
}

/// The keys a change would write, with the value they would have after it.
pub(crate) fn writes(command: &Command) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let Command::Kv(KvRequest { op, entry }) = command else { return Vec::new() };
    let named = |key: &&&str| match op {
        KvOp::DeleteTree => key.starts_with(entry.key.as_str()),
        _ => **key == entry.key,
    };
    let value = match op {
        KvOp::Set | KvOp::Cas | KvOp::Lock | KvOp::Unlock => Some(entry.value.clone()),
        KvOp::Delete | KvOp::DeleteCas | KvOp::DeleteTree => None,
    };
    KEYS.iter().filter(named).map(|key| (*key, value.clone())).collect()
}
