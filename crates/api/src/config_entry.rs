//! `/v1/config`: configuration entries. Entries travel as JSON, so that kinds newer than this
//! client pass through it unharmed.

use serde_json::Value;

use crate::catalog::rows;
use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::Answer;

impl Client {
    pub async fn config_entry(
        &self,
        kind: &str,
        name: &str,
        params: &QueryParams,
    ) -> Result<Answer<Value>, Error> {
        self.get_json(&format!("/v1/config/{kind}/{name}"), params).await
    }

    pub async fn config_entries(
        &self,
        kind: &str,
        params: &QueryParams,
    ) -> Result<Answer<Vec<Value>>, Error> {
        rows(self, &format!("/v1/config/{kind}"), params).await
    }

    /// Stores an entry; with `cas`, only if the stored one has this modify index (0: none is
    /// stored). Returns whether it was stored.
    pub async fn set_config_entry(&self, entry: &Value, cas: Option<u64>) -> Result<bool, Error> {
        let mut params = QueryParams::default();
        if let Some(index) = cas {
            params = params.with("cas", index.to_string());
        }
        let response = self.put_json("/v1/config", &params, entry).await?;
        Ok(response.text().contains("true"))
    }

    pub async fn delete_config_entry(&self, kind: &str, name: &str) -> Result<(), Error> {
        let path = format!("/v1/config/{kind}/{name}");
        self.delete(&path, &QueryParams::default()).await?.ok()?;
        Ok(())
    }
}
