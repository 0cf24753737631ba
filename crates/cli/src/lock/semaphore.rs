//! A lock for several holders: a key listing them, and a key per contender held by its session.
//!
//! Source: Consul's semaphore convention: `<prefix>/.lock` holds the limit and the holders' session
//! ids as JSON, `<prefix>/<session>` shows that a contender lives; a magic number in the flags.

use std::collections::BTreeMap;
use std::time::Duration;

use api::kv::{KvCondition, KvPut};
use api::{Client, QueryParams};
use model::kv::DirEntry;
use model::query::Consistency;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::mutex::MONITOR_RETRY;
use super::remaining;
use crate::output::Failure;

/// Marks keys as parts of a semaphore.
const SEMAPHORE_FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;
/// Longest single wait for a holder to let go.
const WAIT: Duration = Duration::from_secs(15);

pub(super) struct Semaphore {
    client: Client,
    prefix: String,
    limit: u64,
    session: String,
}

/// What the lock key holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Holders {
    limit: u64,
    #[serde(default)]
    holders: BTreeMap<String, bool>,
}

/// The semaphore as one read found it.
struct Seen {
    holders: Holders,
    /// Modify index of the lock key, 0 when there is none.
    modify_index: u64,
    index: u64,
}

impl Semaphore {
    pub(super) fn new(client: Client, prefix: &str, limit: u64, session: String) -> Self {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix).to_owned();
        Self { client, prefix, limit, session }
    }

    pub(super) async fn acquire(&self, deadline: Option<Instant>) -> Result<bool, Failure> {
        let contender = KvPut {
            key: self.contender_key(),
            flags: SEMAPHORE_FLAGS,
            condition: KvCondition::Acquire(self.session.clone()),
            ..KvPut::default()
        };
        if !self.client.kv_put(contender).await? {
            return Err(Failure::new("failed to make contender entry"));
        }
        let mut index = 0;
        // Even a deadline that has passed gets the first try.
        let mut wait = remaining(WAIT, deadline).unwrap_or(Duration::from_millis(1));
        loop {
            let params = QueryParams { index, wait: Some(wait), ..QueryParams::default() };
            let mut seen = self.read(&params).await?;
            if seen.holders.limit != self.limit {
                return Err(Failure::new(format!(
                    "semaphore limit conflict (lock: {}, local: {})",
                    seen.holders.limit, self.limit
                )));
            }
            index = seen.index;
            if (seen.holders.holders.len() as u64) < self.limit {
                seen.holders.holders.insert(self.session.clone(), true);
                if self.write(&seen).await? {
                    return Ok(true);
                }
                // Somebody was faster; look again at once.
                index = 0;
            }
            match remaining(WAIT, deadline) {
                Some(left) => wait = left,
                None => return Ok(false),
            }
        }
    }

    pub(super) async fn lost(&self, retries: u32) -> String {
        let mut index = 0;
        let mut failures = 0;
        loop {
            let params = QueryParams {
                index,
                consistency: Some(Consistency::Consistent),
                ..QueryParams::default()
            };
            match self.read(&params).await {
                Ok(seen) => {
                    if !seen.holders.holders.contains_key(&self.session) {
                        return "this session is no longer among the holders".to_owned();
                    }
                    (index, failures) = (seen.index, 0);
                }
                Err(failure) => {
                    failures += 1;
                    if failures > retries {
                        return failure.message;
                    }
                    tokio::time::sleep(MONITOR_RETRY).await;
                    index = 0;
                }
            }
        }
    }

    pub(super) async fn release(&self) -> Result<(), Failure> {
        loop {
            let mut seen = self.read(&QueryParams::default()).await?;
            let was_holder = seen.holders.holders.remove(&self.session).is_some();
            if !was_holder || self.write(&seen).await? {
                break;
            }
        }
        self.client.kv_delete(&self.contender_key(), None).await?;
        Ok(())
    }

    pub(super) async fn cleanup(&self) -> Result<bool, Failure> {
        let seen = self.read(&QueryParams::default()).await?;
        if seen.modify_index == 0 {
            return Ok(true);
        }
        if !seen.holders.holders.is_empty() {
            return Ok(false);
        }
        Ok(self.client.kv_delete(&self.lock_key(), Some(seen.modify_index)).await?)
    }

    /// Reads all keys of the semaphore, leaving out holders whose contender key is gone or no
    /// longer held.
    async fn read(&self, params: &QueryParams) -> Result<Seen, Failure> {
        let answer = self.client.kv_list(&format!("{}/", self.prefix), params).await?;
        let lock_key = self.lock_key();
        let lock = answer.value.iter().find(|entry| entry.key == lock_key);
        let modify_index = lock.map_or(0, |entry| entry.modify_index);
        let mut holders = match lock {
            Some(entry) => decode(entry)?,
            None => Holders { limit: self.limit, holders: BTreeMap::new() },
        };
        holders.holders.retain(|session, _| {
            answer.value.iter().any(|entry| entry.key != lock_key && entry.session == *session)
        });
        Ok(Seen { holders, modify_index, index: answer.meta.index })
    }

    /// Stores the holders if nobody has in the meantime.
    async fn write(&self, seen: &Seen) -> Result<bool, Failure> {
        let value = serde_json::to_vec(&seen.holders).map_err(Failure::during("writing JSON"))?;
        let put = KvPut {
            key: self.lock_key(),
            value: value.into(),
            flags: SEMAPHORE_FLAGS,
            condition: KvCondition::Cas(seen.modify_index),
        };
        Ok(self.client.kv_put(put).await?)
    }

    fn lock_key(&self) -> String {
        format!("{}/.lock", self.prefix)
    }

    fn contender_key(&self) -> String {
        format!("{}/{}", self.prefix, self.session)
    }
}

fn decode(entry: &DirEntry) -> Result<Holders, Failure> {
    let conflict = || Failure::new("Existing key does not match semaphore use");
    if entry.flags != SEMAPHORE_FLAGS {
        return Err(conflict());
    }
    serde_json::from_slice(&entry.value).map_err(|_| conflict())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_key_is_read_and_written_as_others_do() {
        let text = r#"{"Limit":2,"Holders":{"91bfe2e8-782a-99a1-dcc3-c921c2d31743":true}}"#;
        let entry = DirEntry {
            flags: SEMAPHORE_FLAGS,
            value: text.as_bytes().to_vec(),
            ..DirEntry::default()
        };
        let holders = decode(&entry).unwrap();
        assert_eq!((holders.limit, holders.holders.len()), (2, 1));
        assert_eq!(serde_json::to_string(&holders).unwrap(), text);
        assert!(decode(&DirEntry { flags: 1, ..entry }).is_err());
    }
}
