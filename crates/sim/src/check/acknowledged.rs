//! A write answered with success survives, and nothing that was never written is ever seen.
//!
//! Every written value is unique. For each key the value seen must be the one last acknowledged or
//! one whose fate nobody knows yet. Deletions at the end of a session are changes nobody asked
//! for by key; such a key may be empty from then on.

use std::collections::{BTreeMap, BTreeSet};

use model::session::SessionBehavior;
use state::State;

use crate::client;

type Value = Option<Vec<u8>>;

#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    last: BTreeMap<&'static str, Value>,
    /// Fate unknown: asked and not answered, by request.
    open: BTreeMap<(&'static str, u64), Value>,
    /// Keys that a session which ends may take with it: locked or about to be.
    may_be_gone: BTreeSet<&'static str>,
}

impl Acknowledged {
    pub(crate) fn asked(&mut self, request: u64, writes: &[(&'static str, Value)]) {
        for (key, value) in writes {
            self.open.insert((key, request), value.clone());
        }
    }

    /// The request took effect.
    pub(crate) fn took_effect(&mut self, request: u64, writes: &[(&'static str, Value)]) {
        for (key, value) in writes {
            self.open.remove(&(*key, request));
            self.last.insert(key, value.clone());
        }
    }

    /// The request changed nothing, for certain.
    pub(crate) fn had_no_effect(&mut self, request: u64) {
        self.open.retain(|(_, open), _| *open != request);
    }

    /// Between this look at the state and the next, these may vanish: keys held by a session that
    /// deletes what it holds, and keys some open request may lock for one.
    pub(crate) fn may_vanish(&mut self, state: &State) {
        for (key, seen) in client::contents(state) {
            if seen.is_none() && self.may_be_gone.contains(key) {
                self.last.insert(key, None);
            }
            let holder = state.lock_holder(key).and_then(|id| state.session(id));
            let is_held = holder.is_some_and(|s| s.behavior == SessionBehavior::Delete);
            if is_held {
                self.may_be_gone.insert(key);
            } else if !self.open.keys().any(|(open, _)| *open == key) {
                self.may_be_gone.remove(key);
            }
        }
    }

    /// A request to lock `key` is under way.
    pub(crate) fn may_lock(&mut self, key: &'static str) {
        self.may_be_gone.insert(key);
    }

    /// A leader serves that has decided everything asked before: what it shows is the truth.
    pub(crate) fn decided(&mut self, state: &State) -> Result<(), String> {
        self.check(state)?;
        self.open.clear();
        self.last = client::contents(state);
        Ok(())
    }

    pub(crate) fn check(&self, state: &State) -> Result<(), String> {
        for (key, seen) in client::contents(state) {
            let last = self.last.get(key).cloned().unwrap_or_default();
            let is_open = self.open.iter().any(|((open, _), value)| *open == key && *value == seen);
            let is_gone = seen.is_none() && self.may_be_gone.contains(key);
            if seen != last && !is_open && !is_gone {
                return Err(format!(
                    "key {key:?} holds {:?}, but {:?} was acknowledged last",
                    text(&seen),
                    text(&last)
                ));
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}
