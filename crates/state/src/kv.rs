//! Key-value entries: the rules of each write, and the indexes of reads.

use std::sync::Arc;

use model::command::Outcome;
use model::id::uuid_key;
use model::kv::{DirEntry, KvOp, KvRequest};
use model::query::Reply;
use model::topic::Topic;

use crate::State;
use crate::applied::Change;
use crate::index::Table;
use crate::name::{Name, fold_id, from};
use crate::read::Read;

impl State {
    pub(crate) fn apply_kv(&mut self, request: KvRequest, change: &mut Change) -> Outcome {
        let KvRequest { op, entry } = request;
        match op {
            KvOp::Set => {
                self.set_keeping_session(entry, change);
                Outcome::Done
            }
            KvOp::Cas => {
                if self.modify_index(&entry.key) != entry.modify_index {
                    return Outcome::Applied(false);
                }
                self.set_keeping_session(entry, change);
                Outcome::Applied(true)
            }
            KvOp::Delete => {
                self.delete_key(&entry.key, change);
                Outcome::Done
            }
            KvOp::DeleteCas => match self.modify_index(&entry.key) {
                // Deleting what is not there succeeds whatever the index.
                0 => Outcome::Applied(true),
                index if index == entry.modify_index => {
                    self.delete_key(&entry.key, change);
                    Outcome::Applied(true)
                }
                _ => Outcome::Applied(false),
            },
            KvOp::DeleteTree => {
                self.delete_tree(&entry.key, change);
                Outcome::Done
            }
            KvOp::Lock => self.lock(entry, change),
            KvOp::Unlock => self.unlock(entry, change),
        }
    }

    /// 0 when there is no such entry.
    fn modify_index(&self, key: &str) -> u64 {
        self.kv.get(key).map_or(0, |entry| entry.modify_index)
    }

    fn set_keeping_session(&mut self, mut entry: DirEntry, change: &mut Change) {
        entry.session = match self.kv.get(entry.key.as_str()) {
            Some(existing) => existing.session.clone(),
            None => String::new(),
        };
        // A plain write sets the lock index back, even of a held lock. Surprising, yet 1.8.7's.
        entry.lock_index = 0;
        self.put_entry(entry, change);
    }

    /// Writes `entry` as it is but for its indexes, unless it says what is already there.
    fn put_entry(&mut self, mut entry: DirEntry, change: &mut Change) {
        let existing = self.kv.get_key_value(entry.key.as_str());
        if let Some((_, existing)) = existing {
            entry.create_index = existing.create_index;
            entry.modify_index = existing.modify_index;
            if entry == **existing {
                return;
            }
        } else {
            entry.create_index = change.index;
        }
        entry.modify_index = change.index;
        let key = existing.map_or_else(|| Name::from(entry.key.as_str()), |(key, _)| key.clone());
        change.touch(Topic::Key(entry.key.clone()));
        self.insert_entry(key, Arc::new(entry));
        self.bump(Table::Kv, change);
    }

    pub(crate) fn insert_entry(&mut self, key: Name, entry: Arc<DirEntry>) {
        let holder = entry.session.clone();
        let previous = self.kv.insert(key.clone(), entry);
        match previous.map(|previous| previous.session.clone()) {
            Some(before) if before == holder => return,
            Some(before) if !before.is_empty() => {
                self.locks.remove(&(fold_id(&before).into(), key.clone()));
            }
            _ => {}
        }
        if !holder.is_empty() {
            self.locks.insert((fold_id(&holder).into(), key));
        }
    }

    fn remove_entry(&mut self, key: &str) -> Option<Name> {
        let (key, entry) = self.kv.remove_with_key(key)?;
        if !entry.session.is_empty() {
            self.locks.remove(&(fold_id(&entry.session).into(), key.clone()));
        }
        Some(key)
    }

    fn delete_key(&mut self, key: &str, change: &mut Change) {
        let Some(name) = self.remove_entry(key) else { return };
        self.tombstones.insert(name, change.index);
        self.bump(Table::Tombstones, change);
        self.bump(Table::Kv, change);
        change.touch(Topic::Key(key.to_owned()));
    }

    fn delete_tree(&mut self, prefix: &str, change: &mut Change) {
        let keys: Vec<Name> = self.entries_under(prefix).map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            return;
        }
        for key in &keys {
            self.remove_entry(key);
        }
        // One tombstone tells of the whole tree, and older ones below would hide it from lists that
        // begin below; when all is gone the table's index tells.
        let buried = self.tombstones.range::<_, str>(from(prefix));
        let buried = buried.take_while(|(key, _)| key.starts_with(prefix));
        for key in buried.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.tombstones.remove(&key);
        }
        if !prefix.is_empty() {
            self.tombstones.insert(prefix.into(), change.index);
            self.bump(Table::Tombstones, change);
        }
        self.bump(Table::Kv, change);
        change.touch(Topic::KeyPrefix(prefix.to_owned()));
    }

    fn lock(&mut self, mut entry: DirEntry, change: &mut Change) -> Outcome {
        if entry.session.is_empty() {
            return Outcome::Refused("missing session".into());
        }
        if self.session(&entry.session).is_none() {
            return Outcome::Refused(match uuid_key(&entry.session) {
                Ok(_) => format!("invalid session {:?}", entry.session),
                Err(error) => format!("failed session lookup: index error: {error}"),
            });
        }
        entry.lock_index = match self.kv.get(entry.key.as_str()) {
            None => 1,
            Some(existing) if existing.session.is_empty() => existing.lock_index + 1,
            // Locked again by its holder: only the value may change.
            Some(existing) if existing.session == entry.session => existing.lock_index,
            Some(_) => return Outcome::Applied(false),
        };
        self.put_entry(entry, change);
        Outcome::Applied(true)
    }

    fn unlock(&mut self, mut entry: DirEntry, change: &mut Change) -> Outcome {
        if entry.session.is_empty() {
            return Outcome::Refused("missing session".into());
        }
        match self.kv.get(entry.key.as_str()) {
            Some(existing) if existing.session == entry.session => {
                entry.lock_index = existing.lock_index;
                entry.session = String::new();
                self.put_entry(entry, change);
                Outcome::Applied(true)
            }
            _ => Outcome::Applied(false),
        }
    }

    /// Frees `key` from the session that ended while holding it.
    pub(crate) fn release_key(&mut self, key: &str, change: &mut Change) {
        if let Some(entry) = self.kv.get(key) {
            self.put_entry(DirEntry { session: String::new(), ..(**entry).clone() }, change);
        }
    }

    /// Deletes `key` with the session that ended while holding it.
    pub(crate) fn delete_held_key(&mut self, key: &str, change: &mut Change) {
        self.delete_key(key, change);
    }

    pub(crate) fn reap_tombstones(&mut self, up_to: u64) -> Outcome {
        let reaped = self.tombstones.values().copied().filter(|index| *index <= up_to).max();
        if let Some(highest) = reaped {
            self.tombstones = std::mem::take(&mut self.tombstones)
                .into_iter()
                .filter(|(_, index)| *index > up_to)
                .collect();
            // Lists keep an index no lower than the deletions they can no longer tell of, so that
            // nobody who read before a forgotten deletion waits past it.
            self.indexes.set(Table::Reaped, highest.max(self.indexes.get(Table::Reaped)));
        }
        Outcome::Done
    }

    pub(crate) fn entries_under(
        &self,
        prefix: &str,
    ) -> impl Iterator<Item = (&Name, &Arc<DirEntry>)> {
        self.kv.range::<_, str>(from(prefix)).take_while(move |(key, _)| key.starts_with(prefix))
    }
    pub(crate) fn kv_table_index(&self) -> u64 {
        self.indexes.max(&[Table::Kv, Table::Tombstones])
    }

    pub(crate) fn read_kv(&self, key: &str) -> Read {
        let entry = self.kv.get(key);
        Read {
            index: entry.map_or_else(|| self.kv_table_index(), |entry| entry.modify_index),
            topics: vec![Topic::Key(key.to_owned())],
            reply: Reply::KvEntries(entry.cloned().into_iter().collect()),
        }
    }

    pub(crate) fn read_kv_list(&self, prefix: &str) -> Read {
        let entries: Vec<_> = self.entries_under(prefix).map(|(_, entry)| entry.clone()).collect();
        Read {
            index: self.list_index(prefix, entries.iter().map(|entry| entry.modify_index).max()),
            topics: vec![Topic::KeyPrefix(prefix.to_owned())],
            reply: Reply::KvEntries(entries),
        }
    }

    pub(crate) fn read_kv_keys(&self, prefix: &str, separator: &str) -> Read {
        let mut keys: Vec<String> = Vec::new();
        let mut newest = None;
        for (key, entry) in self.entries_under(prefix) {
            newest = newest.max(Some(entry.modify_index));
            let cut = match separator {
                "" => None,
                _ => key[prefix.len()..].find(separator),
            };
            let shown = match cut {
                Some(at) => &key[..prefix.len() + at + separator.len()],
                None => key,
            };
            // Keys come sorted, so those cut to the same text stand together.
            if keys.last().is_none_or(|last| last != shown) {
                keys.push(shown.to_owned());
            }
        }
        Read {
            index: self.list_index(prefix, newest),
            topics: vec![Topic::KeyPrefix(prefix.to_owned())],
            reply: Reply::KvKeys(keys),
        }
    }

    /// The index of a list: the newest of its entries and of the deletions below it, or the
    /// table's when it has neither.
    fn list_index(&self, prefix: &str, newest: Option<u64>) -> u64 {
        if prefix.is_empty() {
            return self.kv_table_index();
        }
        let buried = self
            .tombstones
            .range::<_, str>(from(prefix))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, index)| *index)
            .max();
        match newest.max(buried) {
            Some(index) => index.max(self.indexes.get(Table::Reaped)),
            None => self.kv_table_index(),
        }
    }
}
