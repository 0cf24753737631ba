//! Keys, locks and sessions against a plain map that knows nothing of indexes or topics.

use std::collections::BTreeMap;

use model::catalog::RegisterRequest;
use model::command::{Command, Outcome};
use model::kv::{DirEntry, KvOp, KvRequest};
use model::query::{Query, Reply};
use model::session::{Session, SessionBehavior, SessionRequest};
use proptest::prelude::*;
use proptest::sample::select;

use super::{KEYS, SESSIONS, config};
use crate::State;

#[derive(Clone, Debug, PartialEq)]
struct Plain {
    value: Vec<u8>,
    session: String,
    lock_index: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Write { op: KvOp, key: &'static str, value: u8, session: &'static str, stale: bool },
    Begin { session: &'static str, deletes: bool },
    End { session: &'static str },
}

fn step() -> impl Strategy<Value = Step> {
    use KvOp::*;
    let op = select(&[Set, Delete, DeleteCas, DeleteTree, Cas, Lock, Lock, Unlock][..]);
    let session = || select(SESSIONS);
    prop_oneof![
        6 => (op, select(KEYS), 0..3u8, session(), any::<bool>()).prop_map(
            |(op, key, value, session, stale)| Step::Write { op, key, value, session, stale }
        ),
        2 => (session(), any::<bool>()).prop_map(|(session, deletes)| Step::Begin { session, deletes }),
        1 => session().prop_map(|session| Step::End { session }),
    ]
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<&'static str, Plain>,
    /// Session to whether it deletes.
    sessions: BTreeMap<&'static str, bool>,
}

impl Model {
    fn write(
        &mut self,
        op: KvOp,
        key: &'static str,
        value: u8,
        session: &str,
        stale: bool,
    ) -> Outcome {
        let existing = self.keys.get(key).cloned();
        let value = vec![value];
        match op {
            KvOp::Set => {
                let session = existing.map(|e| e.session).unwrap_or_default();
                self.keys.insert(key, Plain { value, session, lock_index: 0 });
                Outcome::Done
            }
            KvOp::Cas if stale => Outcome::Applied(false),
            KvOp::Cas => {
                self.write(KvOp::Set, key, value[0], session, stale);
                Outcome::Applied(true)
            }
            KvOp::Delete => {
                self.keys.remove(key);
                Outcome::Done
            }
            KvOp::DeleteCas if stale && existing.is_some() => Outcome::Applied(false),
            KvOp::DeleteCas => {
                self.keys.remove(key);
                Outcome::Applied(true)
            }
            KvOp::DeleteTree => {
                self.keys.retain(|k, _| !k.starts_with(key));
                Outcome::Done
            }
            KvOp::Lock => {
                if !self.sessions.contains_key(session) {
                    return Outcome::Refused(format!("invalid session {session:?}"));
                }
                let (held_by, lock_index) =
                    existing.map_or((String::new(), 0), |e| (e.session, e.lock_index));
                if !held_by.is_empty() && held_by != session {
                    return Outcome::Applied(false);
                }
                let lock_index = if held_by == session { lock_index } else { lock_index + 1 };
                self.keys.insert(key, Plain { value, session: session.to_owned(), lock_index });
                Outcome::Applied(true)
            }
            KvOp::Unlock => match existing {
                Some(existing) if existing.session == session => {
                    let plain =
                        Plain { value, session: String::new(), lock_index: existing.lock_index };
                    self.keys.insert(key, plain);
                    Outcome::Applied(true)
                }
                _ => Outcome::Applied(false),
            },
        }
    }

    /// The keys it loses.
    fn end(&mut self, session: &str) -> Vec<&'static str> {
        let Some(deletes) = self.sessions.remove(session) else { return Vec::new() };
        let held: Vec<_> =
            self.keys.iter().filter(|(_, e)| e.session == session).map(|(k, _)| *k).collect();
        for key in &held {
            match deletes {
                true => drop(self.keys.remove(key)),
                false => self.keys.get_mut(key).unwrap().session.clear(),
            }
        }
        held
    }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn keys_and_sessions_follow_the_plain_map(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut state, mut model) = (State::new(), Model::default());
        let node = RegisterRequest { node: "n".into(), address: "a".into(), ..Default::default() };
        state.apply(1, Command::Register(Box::new(node)));
        for (at, step) in steps.into_iter().enumerate() {
            let index = at as u64 + 2;
            match step.clone() {
                Step::Write { op, key, value, session, stale } => {
                    let current = state.kv_entry(key).map_or(0, |entry| entry.modify_index);
                    let entry = DirEntry {
                        key: key.into(),
                        value: vec![value],
                        session: session.into(),
                        modify_index: if stale { current + 1000 } else { current },
                        ..Default::default()
                    };
                    let applied = state.apply(index, Command::Kv(KvRequest { op, entry }));
                    prop_assert_eq!(applied.outcome, model.write(op, key, value, session, stale), "{:?}", step);
                }
                Step::Begin { session, deletes } => {
                    let behavior =
                        if deletes { SessionBehavior::Delete } else { SessionBehavior::Release };
                    let created = Session {
                        id: session.into(), node: "N".into(), behavior,
                        lock_delay: model::session::LOCK_DELAY_DEFAULT, ..Default::default()
                    };
                    let applied = state.apply(index, Command::Session(SessionRequest::Create(created)));
                    let fresh = !model.sessions.contains_key(session);
                    prop_assert_eq!(applied.outcome == Outcome::Created(session.into()), fresh);
                    model.sessions.entry(session).or_insert(deletes);
                }
                Step::End { session } => {
                    let applied = state.apply(index, Command::Session(SessionRequest::Destroy(session.into())));
                    let lost: Vec<_> = applied.released_locks.iter().map(|(key, _)| key.as_str()).collect();
                    prop_assert_eq!(applied.ended_sessions.len(), usize::from(model.sessions.contains_key(session)));
                    prop_assert_eq!(lost, model.end(session));
                }
            }
            let Reply::KvEntries(entries) = state.read(&Query::KvList { prefix: String::new() }).reply else {
                unreachable!("a list of entries is asked for")
            };
            let plain: BTreeMap<_, _> = entries.iter().map(|e| (e.key.as_str(), Plain {
                value: e.value.clone(), session: e.session.clone(), lock_index: e.lock_index,
            })).collect();
            prop_assert_eq!(plain, model.keys.clone(), "after {:?}", step);
        }
    }
}
