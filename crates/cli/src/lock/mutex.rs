//! A lock for one holder: a key that its session has acquired.
//!
//! Source: Consul's lock convention: key `<prefix>/.lock`, a magic number in its flags.

use std::time::Duration;

use api::kv::{KvCondition, KvPut};
use api::{Client, QueryParams};
use model::kv::DirEntry;
use model::query::Consistency;
use tokio::time::Instant;

use super::remaining;
use crate::output::Failure;

/// Marks a key as a lock, so that other keys are not taken for one.
const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;
/// Longest single wait for the holder to let go.
const WAIT: Duration = Duration::from_secs(15);
/// Pause while the lock delay of a lost session keeps the free lock from being taken.
const LOCK_DELAY_RETRY: Duration = Duration::from_secs(5);
/// Pause before the lock is watched again after a failure.
pub(super) const MONITOR_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Mutex {
    client: Client,
    key: String,
    session: String,
}

impl Mutex {
    pub(super) fn new(client: Client, prefix: &str, session: String) -> Self {
        Self { client, key: format!("{prefix}/.lock"), session }
    }

    pub(super) async fn acquire(&self, deadline: Option<Instant>) -> Result<bool, Failure> {
        let mut index = 0;
        // Even a deadline that has passed gets the first try.
        let mut wait = remaining(WAIT, deadline).unwrap_or(Duration::from_millis(1));
        loop {
            let params = QueryParams { index, wait: Some(wait), ..QueryParams::default() };
            let answer = self.client.kv_get(&self.key, &params).await?;
            let holder = self.checked(answer.value)?.map(|entry| entry.session).unwrap_or_default();
            if holder == self.session {
                return Ok(true);
            }
            index = answer.meta.index;
            if holder.is_empty() {
                if self.put(KvCondition::Acquire(self.session.clone())).await? {
                    return Ok(true);
                }
                // Nobody holds it and yet it is refused: the delay after a lost session, or
                // somebody was faster, which the next read tells.
                let again = self.client.kv_get(&self.key, &QueryParams::default()).await?;
                index = again.meta.index;
                if again.value.is_none_or(|entry| entry.session.is_empty()) {
                    let Some(pause) = remaining(LOCK_DELAY_RETRY, deadline) else {
                        return Ok(false);
                    };
                    tokio::time::sleep(pause).await;
                    index = 0;
                }
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
            match self.client.kv_get(&self.key, &params).await {
                Ok(answer) => {
                    if answer.value.is_none_or(|entry| entry.session != self.session) {
                        return "another may hold it now".to_owned();
                    }
                    (index, failures) = (answer.meta.index, 0);
                }
                Err(error) => {
                    failures += 1;
                    if failures > retries || !error.is_transient() {
                        return error.to_string();
                    }
                    tokio::time::sleep(MONITOR_RETRY).await;
                    // Answers at once, so that the holder is known again.
                    index = 0;
                }
            }
        }
    }

    pub(super) async fn release(&self) -> Result<(), Failure> {
        self.put(KvCondition::Release(self.session.clone())).await.map(|_| ())
    }

    pub(super) async fn cleanup(&self) -> Result<bool, Failure> {
        let answer = self.client.kv_get(&self.key, &QueryParams::default()).await?;
        match self.checked(answer.value)? {
            None => Ok(true),
            Some(entry) if !entry.session.is_empty() => Ok(false),
            Some(entry) => Ok(self.client.kv_delete(&self.key, Some(entry.modify_index)).await?),
        }
    }

    async fn put(&self, condition: KvCondition) -> Result<bool, Failure> {
        let put = KvPut { key: self.key.clone(), flags: LOCK_FLAGS, condition, ..KvPut::default() };
        Ok(self.client.kv_put(put).await?)
    }

    fn checked(&self, entry: Option<DirEntry>) -> Result<Option<DirEntry>, Failure> {
        match entry {
            Some(entry) if entry.flags != LOCK_FLAGS => {
                Err(Failure::new("Existing key does not match lock use"))
            }
            entry => Ok(entry),
        }
    }
}
