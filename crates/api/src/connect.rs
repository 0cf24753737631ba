//! `/v1/agent/connect`: what a data plane asks its agent: roots, leaf, may this client in.

use model::ca::{CaRoots, IssuedCert};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::Answer;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthorizeRequest {
    /// Name of the service that is being connected to.
    pub target: String,
    /// SPIFFE URI of the client's certificate.
    #[serde(rename = "ClientCertURI")]
    pub client_cert_uri: String,
    /// Hex with colons.
    pub client_cert_serial: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthorizeReply {
    pub authorized: bool,
    pub reason: String,
}

impl Client {
    /// Whether the client may connect. A refusal is an answer; a malformed URI is an error (400).
    pub async fn authorize(&self, request: &AuthorizeRequest) -> Result<AuthorizeReply, Error> {
        self.post_json("/v1/agent/connect/authorize", &QueryParams::default(), request)
            .await?
            .json()
    }

    /// Roots from the agent's cache; waits on `params.index`.
    pub async fn agent_roots(&self, params: &QueryParams) -> Result<Answer<CaRoots>, Error> {
        self.get_json("/v1/agent/connect/ca/roots", params).await
    }

    /// Leaf certificate and key of `service`, issued at the first call; waits on `params.index`.
    pub async fn leaf(
        &self,
        service: &str,
        params: &QueryParams,
    ) -> Result<Answer<IssuedCert>, Error> {
        self.get_json(&format!("/v1/agent/connect/ca/leaf/{service}"), params).await
    }
}
