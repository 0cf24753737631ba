//! Intentions: one per pair of source and destination, listed most specific first.

use std::sync::Arc;

use model::command::Outcome;
use model::intention::{Intention, IntentionRequest, MatchSide, WILDCARD};
use model::query::Reply;
use model::topic::Topic;

use crate::State;
use crate::applied::Change;
use crate::index::Table;
use crate::name::{Name, fold, fold_id, name};
use crate::read::Read;

impl State {
    pub(crate) fn apply_intention(
        &mut self,
        request: IntentionRequest,
        change: &mut Change,
    ) -> Outcome {
        match request {
            IntentionRequest::Upsert(intention) => self.upsert_intention(*intention, change),
            IntentionRequest::Delete(id) => {
                if let Some(intention) = self.remove_intention(&fold_id(&id)) {
                    self.bump(Table::Intentions, change);
                    touch_intention(&intention, change);
                }
                Outcome::Done
            }
        }
    }

    fn upsert_intention(&mut self, mut intention: Intention, change: &mut Change) -> Outcome {
        if intention.id.is_empty() {
            return Outcome::Refused("Missing intention ID".into());
        }
        let key = fold_id(&intention.id);
        let twin = self.intention_exact(&intention.source_name, &intention.destination_name);
        if let Some(twin) = twin.filter(|twin| fold_id(&twin.id) != key) {
            return Outcome::Refused(format!(
                "duplicate intention found: {} {}/{} => {}/{} (ID: {}, Precedence: {})",
                twin.action.as_str().to_uppercase(),
                twin.source_namespace,
                twin.source_name,
                twin.destination_namespace,
                twin.destination_name,
                twin.id,
                twin.precedence,
            ));
        }
        let Intention { source_name, destination_name, .. } = &intention;
        intention.precedence = Intention::precedence_of(source_name, destination_name);
        intention.create_index = change.index;
        intention.modify_index = change.index;
        if let Some(existing) = self.remove_intention(&key) {
            intention.create_index = existing.create_index;
            intention.created_at = existing.created_at;
            touch_intention(&existing, change);
        }
        touch_intention(&intention, change);
        let id = intention.id.clone();
        self.insert_intention(Arc::new(intention));
        self.bump(Table::Intentions, change);
        Outcome::Created(id)
    }

    pub(crate) fn insert_intention(&mut self, intention: Arc<Intention>) {
        let key = Name::from(fold_id(&intention.id));
        let (source, destination) =
            (name(&intention.source_name), name(&intention.destination_name));
        self.intentions_to.insert((destination.clone(), source.clone()), key.clone());
        self.intentions_from.insert((source, destination), key.clone());
        self.intentions.insert(key, intention);
    }

    fn remove_intention(&mut self, key: &str) -> Option<Arc<Intention>> {
        let intention = self.intentions.remove(key)?;
        let (source, destination) =
            (name(&intention.source_name), name(&intention.destination_name));
        self.intentions_to.remove(&(destination.clone(), source.clone()));
        self.intentions_from.remove(&(source, destination));
        Some(intention)
    }

    /// Intentions that have `name` itself on one side, whatever the other.
    fn intentions_on(&self, side: MatchSide, of: &str) -> impl Iterator<Item = &Arc<Intention>> {
        let table = match side {
            MatchSide::Source => &self.intentions_from,
            MatchSide::Destination => &self.intentions_to,
        };
        let of = name(of);
        let pairs = table.range((of.clone(), Name::from(""))..);
        pairs
            .take_while(move |((found, _), _)| *found == of)
            .filter_map(|(_, id)| self.intentions.get(id))
    }

    pub(crate) fn read_intentions(&self) -> Read {
        let mut all: Vec<_> = self.intentions.values().cloned().collect();
        sort_by_precedence(&mut all);
        self.intention_read(vec![Topic::Intentions], Reply::Intentions(all))
    }

    pub(crate) fn read_intention(&self, id: &str) -> Read {
        let found = self.intention(id).cloned().into_iter().collect();
        self.intention_read(vec![Topic::Intentions], Reply::Intentions(found))
    }

    pub(crate) fn read_intention_exact(&self, source: &str, destination: &str) -> Read {
        let found = self.intention_exact(source, destination).cloned().into_iter().collect();
        let topics = vec![Topic::IntentionDestination(fold(destination).into_owned())];
        self.intention_read(topics, Reply::Intentions(found))
    }

    pub(crate) fn read_intention_match(&self, side: MatchSide, names: &[String]) -> Read {
        let mut matches = Vec::with_capacity(names.len());
        for asked in names {
            let mut found: Vec<_> = self.intentions_on(side, asked).cloned().collect();
            if asked != WILDCARD {
                found.extend(self.intentions_on(side, WILDCARD).cloned());
            }
            sort_by_precedence(&mut found);
            matches.push(found);
        }
        let topics = match side {
            MatchSide::Source => vec![Topic::Intentions],
            MatchSide::Destination => {
                let destinations = names.iter().map(String::as_str).chain([WILDCARD]);
                destinations
                    .map(|name| Topic::IntentionDestination(fold(name).into_owned()))
                    .collect()
            }
        };
        self.intention_read(topics, Reply::IntentionMatches(matches))
    }

    fn intention_read(&self, topics: Vec<Topic>, reply: Reply) -> Read {
        Read { index: self.indexes.get(Table::Intentions), topics, reply }
    }
}

fn touch_intention(intention: &Intention, change: &mut Change) {
    change.touch(Topic::Intentions);
    let destination = fold(&intention.destination_name).into_owned();
    change.touch(Topic::IntentionDestination(destination));
}

/// Most specific first, ties by name.
fn sort_by_precedence(intentions: &mut [Arc<Intention>]) {
    intentions.sort_by(|a, b| {
        let names = |i: &Intention| {
            let Intention { source_namespace, source_name, .. } = i;
            let Intention { destination_namespace, destination_name, .. } = i;
            [source_namespace, source_name, destination_namespace, destination_name]
                .map(Clone::clone)
        };
        b.precedence.cmp(&a.precedence).then_with(|| names(a).cmp(&names(b)))
    });
}
