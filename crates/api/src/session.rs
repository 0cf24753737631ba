//! `/v1/session`: the liveness contracts that hold locks.

use model::session::Session;
use serde::Deserialize;
use serde_json::Value;

use crate::catalog::rows;
use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::Answer;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

impl Client {
    /// Creates a session from its JSON (`Name`, `TTL`, `Behavior`, `LockDelay`, checks); the agent
    /// fills in what is missing. Returns its id.
    pub async fn create_session(&self, session: &Value) -> Result<String, Error> {
        let created: Created =
            self.put_json("/v1/session/create", &QueryParams::default(), session).await?.json()?;
        Ok(created.id)
    }

    pub async fn destroy_session(&self, id: &str) -> Result<(), Error> {
        let path = format!("/v1/session/destroy/{id}");
        self.put(&path, &QueryParams::default(), Vec::new()).await?.ok()?;
        Ok(())
    }

    /// Starts the time to live again. `None`: the session is gone.
    pub async fn renew_session(&self, id: &str) -> Result<Option<Session>, Error> {
        let path = format!("/v1/session/renew/{id}");
        match self.put(&path, &QueryParams::default(), Vec::new()).await?.found()? {
            Some(response) => {
                let renewed: Option<Vec<Session>> = response.json()?;
                Ok(renewed.unwrap_or_default().into_iter().next())
            }
            None => Ok(None),
        }
    }

    /// `None`: no such session.
    pub async fn session(
        &self,
        id: &str,
        params: &QueryParams,
    ) -> Result<Answer<Option<Session>>, Error> {
        let Answer { value, meta } = rows(self, &format!("/v1/session/info/{id}"), params).await?;
        Ok(Answer { value: value.into_iter().next(), meta })
    }

    pub async fn sessions(&self, params: &QueryParams) -> Result<Answer<Vec<Session>>, Error> {
        rows(self, "/v1/session/list", params).await
    }
}
