//! The session behind a lock, and the lock whichever form it has.

use std::time::Duration;

use api::Client;
use serde_json::json;
use tokio::time::Instant;

use super::mutex::Mutex;
use super::semaphore::Semaphore;
use crate::output::Failure;

/// Time to live of the session: how long the lock outlives a holder that died.
const SESSION_TTL: Duration = Duration::from_secs(15);
/// Between renewals: half the time to live, so that one may fail.
const RENEW_EVERY: Duration = Duration::from_millis(7500);
/// Between attempts at a renewal that failed.
const RENEW_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Session {
    client: Client,
    id: String,
}

impl Session {
    /// `deletes_keys`: what the session holds is deleted with it instead of released.
    pub(super) async fn create(
        client: &Client,
        name: &str,
        deletes_keys: bool,
    ) -> Result<Self, Failure> {
        let body = json!({
            "Name": name,
            "TTL": format!("{}s", SESSION_TTL.as_secs()),
            "Behavior": if deletes_keys { "delete" } else { "release" },
        });
        let id = client.create_session(&body).await.map_err(|error| {
            Failure::new(format!("Lock acquisition failed: failed to create session: {error}"))
        })?;
        Ok(Self { client: client.clone(), id })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Renews the session; resolves when it is gone, or may be because nobody could be reached
    /// for its time to live.
    pub(super) async fn expired(&self) {
        let mut renewed = Instant::now();
        let mut pause = RENEW_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            match self.client.renew_session(&self.id).await {
                Ok(Some(_)) => (renewed, pause) = (Instant::now(), RENEW_EVERY),
                Ok(None) => return,
                Err(_) if renewed.elapsed() >= SESSION_TTL => return,
                Err(_) => pause = RENEW_RETRY,
            }
        }
    }

    /// Best effort: a session that cannot be destroyed ends by its time to live.
    pub(super) async fn destroy(&self) {
        let _ = self.client.destroy_session(&self.id).await;
    }
}

pub(super) enum Lock {
    Mutex(Mutex),
    Semaphore(Semaphore),
}

impl Lock {
    pub(super) fn new(client: Client, prefix: &str, limit: u64, session: String) -> Self {
        if limit == 1 {
            Self::Mutex(Mutex::new(client, prefix, session))
        } else {
            Self::Semaphore(Semaphore::new(client, prefix, limit, session))
        }
    }

    /// Waits for the lock; `false` if the deadline passed first.
    pub(super) async fn acquire(&self, deadline: Option<Instant>) -> Result<bool, Failure> {
        match self {
            Self::Mutex(mutex) => mutex.acquire(deadline).await,
            Self::Semaphore(semaphore) => semaphore.acquire(deadline).await,
        }
    }

    /// Watches the held lock and resolves with the reason once it is lost. `retries`: how many
    /// failures in a row, a second apart, are put down to the servers.
    pub(super) async fn lost(&self, retries: u32) -> String {
        match self {
            Self::Mutex(mutex) => mutex.lost(retries).await,
            Self::Semaphore(semaphore) => semaphore.lost(retries).await,
        }
    }

    pub(super) async fn release(&self) -> Result<(), Failure> {
        match self {
            Self::Mutex(mutex) => mutex.release().await,
            Self::Semaphore(semaphore) => semaphore.release().await,
        }
    }

    /// Deletes the lock's key; `false` if somebody else uses it.
    pub(super) async fn cleanup(&self) -> Result<bool, Failure> {
        match self {
            Self::Mutex(mutex) => mutex.cleanup().await,
            Self::Semaphore(semaphore) => semaphore.cleanup().await,
        }
    }

    /// Takes back whatever an unfinished acquisition left. Best effort.
    pub(super) async fn abandon(&self) {
        if self.release().await.is_ok() {
            let _ = self.cleanup().await;
        }
    }
}
