//! `/v1/connect/ca`: the certificate authority of the datacenter.

use model::ca::{CaConfiguration, CaRoots};

use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::{Answer, Response};

impl Client {
    pub async fn ca_roots(&self, params: &QueryParams) -> Result<Answer<CaRoots>, Error> {
        self.get_json("/v1/connect/ca/roots", params).await
    }

    pub async fn ca_configuration(
        &self,
        params: &QueryParams,
    ) -> Result<Answer<CaConfiguration>, Error> {
        self.get_json("/v1/connect/ca/configuration", params).await
    }

    /// Switches or reconfigures the provider. `config` is the JSON of a configuration.
    pub async fn set_ca_configuration(&self, config: Vec<u8>) -> Result<Response, Error> {
        self.put("/v1/connect/ca/configuration", &QueryParams::default(), config).await?.ok()
    }
}
