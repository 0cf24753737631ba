//! Sessions: what they need to begin, and what happens to their locks when they end.

use std::sync::Arc;

use model::check::CheckStatus;
use model::command::Outcome;
use model::id::uuid_key;
use model::query::Reply;
use model::session::{LOCK_DELAY_MAX, Session, SessionBehavior, SessionRequest};
use model::topic::Topic;

use crate::State;
use crate::applied::Change;
use crate::index::Table;
use crate::name::{Name, fold, fold_id, name};
use crate::read::Read;

impl State {
    pub(crate) fn apply_session(
        &mut self,
        request: SessionRequest,
        change: &mut Change,
    ) -> Outcome {
        match request {
            SessionRequest::Create(session) => match self.judge_session(&session) {
                Ok(()) => self.create_session(session, change),
                Err(refusal) => Outcome::Refused(refusal),
            },
            SessionRequest::Destroy(id) => match (self.session(&id).is_some(), uuid_key(&id)) {
                (true, _) => {
                    self.end_session(&fold_id(&id), change);
                    Outcome::Done
                }
                (false, Ok(_)) => Outcome::Done,
                (false, Err(error)) => {
                    Outcome::Refused(format!("failed session lookup: index error: {error}"))
                }
            },
        }
    }

    fn judge_session(&self, session: &Session) -> Result<(), String> {
        if session.id.is_empty() {
            return Err("Missing session ID".into());
        }
        if self.session(&session.id).is_some() {
            return Err(format!("session {:?} already exists", session.id));
        }
        if self.node(&session.node).is_none() {
            return Err("Missing node registration".into());
        }
        for id in check_ids(session) {
            match self.check(&session.node, id) {
                None => return Err(format!("Missing check '{id}' registration")),
                Some(check) if check.status == CheckStatus::Critical => {
                    return Err(format!("Check '{id}' is in {} state", check.status));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn create_session(&mut self, mut session: Session, change: &mut Change) -> Outcome {
        session.create_index = change.index;
        session.modify_index = change.index;
        let id = session.id.clone();
        self.insert_session(Arc::new(session));
        self.bump(Table::Sessions, change);
        self.touch_session(&id, change);
        Outcome::Created(id)
    }

    pub(crate) fn insert_session(&mut self, session: Arc<Session>) {
        let key = Name::from(fold_id(&session.id));
        let node = name(&session.node);
        for check in check_ids(&session) {
            self.check_sessions.insert((node.clone(), name(check), key.clone()));
        }
        self.node_sessions.insert((node, key.clone()));
        self.sessions.insert(key, session);
    }

    fn touch_session(&self, id: &str, change: &mut Change) {
        change.touch(Topic::Sessions);
        change.touch(Topic::Session(fold_id(id)));
    }

    /// Ends a session by the key of its id, and frees or deletes what it holds.
    fn end_session(&mut self, key: &str, change: &mut Change) {
        let Some((key, session)) = self.sessions.remove_with_key(key) else { return };
        let node = name(&session.node);
        for check in check_ids(&session) {
            self.check_sessions.remove(&(node.clone(), name(check), key.clone()));
        }
        self.node_sessions.remove(&(node, key.clone()));
        self.bump(Table::Sessions, change);
        self.touch_session(&session.id, change);

        let first = (key.clone(), Name::from(""));
        let held = self.locks.range(first..).take_while(|(holder, _)| *holder == key);
        let held: Vec<Name> = held.map(|(_, held)| held.clone()).collect();
        let delay = session.lock_delay.min(LOCK_DELAY_MAX);
        for held in held {
            match session.behavior {
                SessionBehavior::Release => self.release_key(&held, change),
                SessionBehavior::Delete => self.delete_held_key(&held, change),
            }
            if delay.0 > 0 {
                change.released_locks.push((held.to_string(), delay));
            }
        }
        change.ended_sessions.push(session.id.clone());
    }

    pub(crate) fn end_sessions_of_node(&mut self, node: &str, change: &mut Change) {
        for key in self.session_keys_of_node(node) {
            self.end_session(&key, change);
        }
    }

    pub(crate) fn end_sessions_of_check(&mut self, node: &str, check: &str, change: &mut Change) {
        if self.check_sessions.is_empty() {
            return;
        }
        let first = (Name::from(node), Name::from(check), Name::from(""));
        let ending = self.check_sessions.range(first..);
        let ending = ending.take_while(|(n, c, _)| **n == *node && **c == *check);
        for key in ending.map(|(_, _, key)| key.clone()).collect::<Vec<_>>() {
            self.end_session(&key, change);
        }
    }

    fn session_keys_of_node(&self, node: &str) -> Vec<Name> {
        let sessions = self.node_sessions.range((Name::from(node), Name::from(""))..);
        sessions.take_while(|(n, _)| **n == *node).map(|(_, key)| key.clone()).collect()
    }

    pub(crate) fn read_session(&self, id: &str) -> Read {
        self.session_read(Topic::Session(fold_id(id)), self.session(id).into_iter())
    }

    pub(crate) fn read_node_sessions(&self, node: &str) -> Read {
        let keys = self.session_keys_of_node(&fold(node));
        self.session_read(Topic::Sessions, keys.iter().filter_map(|key| self.sessions.get(key)))
    }

    pub(crate) fn read_sessions(&self) -> Read {
        self.session_read(Topic::Sessions, self.sessions.values())
    }

    fn session_read<'a>(
        &self,
        topic: Topic,
        sessions: impl Iterator<Item = &'a Arc<Session>>,
    ) -> Read {
        Read {
            index: self.indexes.get(Table::Sessions),
            topics: vec![topic],
            reply: Reply::Sessions(sessions.cloned().collect()),
        }
    }
}

/// The checks a session lives with, of its node and of services there.
fn check_ids(session: &Session) -> impl Iterator<Item = &str> {
    let of_services = session.service_checks.iter().flatten().map(|check| check.id.as_str());
    let of_node = session.node_checks.iter().chain(&session.checks).map(String::as_str);
    of_node.chain(of_services)
}
