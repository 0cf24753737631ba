//! `/v1/kv`: key-value entries.

use bytes::Bytes;
use model::kv::DirEntry;

use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::{Answer, Response};

/// A write, and the condition under which it happens.
#[derive(Clone, Debug, Default)]
pub struct KvPut {
    pub key: String,
    pub value: Bytes,
    pub flags: u64,
    pub condition: KvCondition,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KvCondition {
    #[default]
    Always,
    /// The stored entry has this modify index; 0: there is none.
    Cas(u64),
    /// The session gets the lock.
    Acquire(String),
    /// The session holds the lock, and gives it up.
    Release(String),
}

impl Client {
    /// `None`: no such key; the freshness is told either way, so that a watch may wait for it.
    pub async fn kv_get(
        &self,
        key: &str,
        params: &QueryParams,
    ) -> Result<Answer<Option<DirEntry>>, Error> {
        let Answer { value, meta } = list(self.get(&path(key), params).await?)?;
        Ok(Answer { value: value.into_iter().next(), meta })
    }

    /// All entries under a prefix, by key.
    pub async fn kv_list(
        &self,
        prefix: &str,
        params: &QueryParams,
    ) -> Result<Answer<Vec<DirEntry>>, Error> {
        list(self.get(&path(prefix), &params.clone().with("recurse", "")).await?)
    }

    /// Keys under a prefix, cut after the first `separator` beyond it unless that is empty.
    pub async fn kv_keys(
        &self,
        prefix: &str,
        separator: &str,
        params: &QueryParams,
    ) -> Result<Answer<Vec<String>>, Error> {
        let mut params = params.clone().with("keys", "");
        if !separator.is_empty() {
            params = params.with("separator", separator);
        }
        list(self.get(&path(prefix), &params).await?)
    }

    /// Returns whether the condition held and the value was stored.
    pub async fn kv_put(&self, put: KvPut) -> Result<bool, Error> {
        let mut params = QueryParams::default();
        if put.flags != 0 {
            params = params.with("flags", put.flags.to_string());
        }
        params = match put.condition {
            KvCondition::Always => params,
            KvCondition::Cas(index) => params.with("cas", index.to_string()),
            KvCondition::Acquire(session) => params.with("acquire", session),
            KvCondition::Release(session) => params.with("release", session),
        };
        succeeded(self.put(&path(&put.key), &params, put.value).await?)
    }

    /// Returns whether the entry is gone; `false` when `cas` did not hold.
    pub async fn kv_delete(&self, key: &str, cas: Option<u64>) -> Result<bool, Error> {
        let mut params = QueryParams::default();
        if let Some(index) = cas {
            params = params.with("cas", index.to_string());
        }
        succeeded(self.delete(&path(key), &params).await?)
    }

    /// Deletes every entry under a prefix.
    pub async fn kv_delete_tree(&self, prefix: &str) -> Result<bool, Error> {
        let params = QueryParams::default().with("recurse", "");
        succeeded(self.delete(&path(prefix), &params).await?)
    }
}

fn path(key: &str) -> String {
    format!("/v1/kv/{key}")
}

fn list<T: serde::de::DeserializeOwned>(response: Response) -> Result<Answer<Vec<T>>, Error> {
    if response.status == 404 {
        return Ok(Answer { value: Vec::new(), meta: response.meta });
    }
    let Answer { value, meta } = response.ok()?.answer::<Option<Vec<T>>>()?;
    Ok(Answer { value: value.unwrap_or_default(), meta })
}

fn succeeded(response: Response) -> Result<bool, Error> {
    Ok(response.ok()?.text().contains("true"))
}
