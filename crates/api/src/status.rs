//! `/v1/status`: consensus.

use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;

impl Client {
    /// `host:port` of the leader's server port; empty while there is none.
    pub async fn leader(&self) -> Result<String, Error> {
        Ok(self.get_json("/v1/status/leader", &QueryParams::default()).await?.value)
    }

    /// `host:port` of every server that takes part in consensus.
    pub async fn peers(&self) -> Result<Vec<String>, Error> {
        Ok(self.get_json("/v1/status/peers", &QueryParams::default()).await?.value)
    }
}
