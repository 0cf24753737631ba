//! `/v1/coordinate`: where nodes stand in the latency space.

use model::coordinate::{DatacenterMap, NodeCoordinate};

use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::Answer;

impl Client {
    /// The servers of every datacenter.
    pub async fn coordinate_datacenters(&self) -> Result<Vec<DatacenterMap>, Error> {
        Ok(self.get_json("/v1/coordinate/datacenters", &QueryParams::default()).await?.value)
    }

    /// The nodes of one datacenter.
    pub async fn coordinate_nodes(
        &self,
        params: &QueryParams,
    ) -> Result<Answer<Vec<NodeCoordinate>>, Error> {
        self.get_json("/v1/coordinate/nodes", params).await
    }
}
