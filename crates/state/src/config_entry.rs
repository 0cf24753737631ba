//! Configuration entries, by kind and name.

use std::sync::Arc;

use model::command::Outcome;
use model::config_entry::{ConfigEntry, ConfigEntryRequest, PROXY_DEFAULTS, PROXY_DEFAULTS_NAME};
use model::query::Reply;
use model::topic::Topic;

use crate::State;
use crate::applied::Change;
use crate::index::Table;
use crate::name::{Name, fold, name};
use crate::read::Read;

impl State {
    pub(crate) fn apply_config_entry(
        &mut self,
        request: ConfigEntryRequest,
        change: &mut Change,
    ) -> Outcome {
        match request {
            ConfigEntryRequest::Upsert(entry) => {
                self.upsert_config_entry(entry.into(), change);
                Outcome::Done
            }
            ConfigEntryRequest::UpsertCas(entry, expected_index) => {
                let entry = ConfigEntry::from(entry);
                let stored = self.config_entries.get(&entry_key(entry.kind(), entry.name()));
                if stored.map_or(0, |stored| stored.modify_index()) != expected_index {
                    return Outcome::Applied(false);
                }
                self.upsert_config_entry(entry, change);
                Outcome::Applied(true)
            }
            ConfigEntryRequest::Delete { kind, name } => {
                if self.config_entries.remove(&entry_key(&kind, &name)).is_some() {
                    self.bump(Table::ConfigEntries, change);
                    change.touch(Topic::ConfigEntries);
                }
                Outcome::Done
            }
        }
    }

    fn upsert_config_entry(&mut self, mut entry: ConfigEntry, change: &mut Change) {
        if let ConfigEntry::ProxyDefaults(defaults) = &mut entry {
            defaults.name = PROXY_DEFAULTS_NAME.to_owned();
        }
        let stored = self.config_entries.get(&entry_key(entry.kind(), entry.name()));
        let create_index = stored.map_or(change.index, |stored| stored.create_index());
        entry.set_indexes(create_index, change.index);
        self.insert_config_entry(entry);
        self.bump(Table::ConfigEntries, change);
        change.touch(Topic::ConfigEntries);
    }

    pub(crate) fn insert_config_entry(&mut self, entry: ConfigEntry) {
        self.config_entries.insert(entry_key(entry.kind(), entry.name()), Arc::new(entry));
    }

    pub(crate) fn read_config_entry(&self, kind: &str, name: &str) -> Read {
        self.config_read(Reply::ConfigEntry(self.config_entry(kind, name).cloned()))
    }

    pub(crate) fn read_config_entries(&self, kind: &str) -> Read {
        let kind = fold(kind);
        let entries = self.config_entries.iter();
        let entries = entries.filter(|((of, _), _)| kind.is_empty() || **of == *kind);
        self.config_read(Reply::ConfigEntries(entries.map(|(_, entry)| entry.clone()).collect()))
    }

    fn config_read(&self, reply: Reply) -> Read {
        Read {
            index: self.indexes.get(Table::ConfigEntries),
            topics: vec![Topic::ConfigEntries],
            reply,
        }
    }
}

/// Writes know only one proxy-defaults entry, whatever it is called.
fn entry_key(kind: &str, entry: &str) -> (Name, Name) {
    match kind {
        PROXY_DEFAULTS => (name(kind), name(PROXY_DEFAULTS_NAME)),
        _ => (name(kind), name(entry)),
    }
}
