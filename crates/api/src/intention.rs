//! `/v1/connect/intentions`: who may connect to whom.

use std::collections::BTreeMap;

use model::intention::{Intention, MatchSide};
use serde::Deserialize;

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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Checked {
    allowed: bool,
}

impl Client {
    pub async fn intentions(&self, params: &QueryParams) -> Result<Answer<Vec<Intention>>, Error> {
        rows(self, "/v1/connect/intentions", params).await
    }

    /// `None`: no intention of this id.
    pub async fn intention(
        &self,
        id: &str,
        params: &QueryParams,
    ) -> Result<Option<Intention>, Error> {
        let path = format!("/v1/connect/intentions/{id}");
        match self.get(&path, params).await?.found()? {
            Some(response) => response.json(),
            None => Ok(None),
        }
    }

    /// Intentions that bear on `name`, most specific first; waits on `params.index`.
    pub async fn intention_match(
        &self,
        side: MatchSide,
        name: &str,
        params: &QueryParams,
    ) -> Result<Answer<Vec<Intention>>, Error> {
        let by = match side {
            MatchSide::Source => "source",
            MatchSide::Destination => "destination",
        };
        let params = params.clone().with("by", by).with("name", name);
        let Answer { mut value, meta } = self
            .get_json::<BTreeMap<String, Option<Vec<Intention>>>>(
                "/v1/connect/intentions/match",
                &params,
            )
            .await?;
        Ok(Answer { value: value.remove(name).flatten().unwrap_or_default(), meta })
    }

    /// Whether the intentions and the default let `source` connect to `destination`.
    pub async fn intention_check(
        &self,
        source: &str,
        destination: &str,
        params: &QueryParams,
    ) -> Result<bool, Error> {
        let params = params.clone().with("source", source).with("destination", destination);
        let answer = self.get_json::<Checked>("/v1/connect/intentions/check", &params).await?;
        Ok(answer.value.allowed)
    }

    /// Stores a new intention and returns its id.
    pub async fn create_intention(&self, intention: &Intention) -> Result<String, Error> {
        let body = writable(intention);
        let created: Created = self
            .post_json("/v1/connect/intentions", &QueryParams::default(), &body)
            .await?
            .json()?;
        Ok(created.id)
    }

    /// Replaces the intention of the same id.
    pub async fn update_intention(&self, intention: &Intention) -> Result<(), Error> {
        let path = format!("/v1/connect/intentions/{}", intention.id);
        self.put_json(&path, &QueryParams::default(), &writable(intention)).await?;
        Ok(())
    }

    pub async fn delete_intention(&self, id: &str) -> Result<(), Error> {
        let path = format!("/v1/connect/intentions/{id}");
        self.delete(&path, &QueryParams::default()).await?.ok()?;
        Ok(())
    }
}

/// What a caller may set of an intention; agents refuse or ignore the rest.
fn writable(intention: &Intention) -> serde_json::Value {
    let mut body = serde_json::json!({
        "SourceName": intention.source_name,
        "DestinationName": intention.destination_name,
        "SourceType": intention.source_type,
        "Action": intention.action,
    });
    for (key, value) in [
        ("SourceNS", &intention.source_namespace),
        ("DestinationNS", &intention.destination_namespace),
        ("Description", &intention.description),
    ] {
        if !value.is_empty() {
            body[key] = value.as_str().into();
        }
    }
    if !intention.meta.is_empty() {
        body["Meta"] = serde_json::json!(intention.meta);
    }
    body
}
