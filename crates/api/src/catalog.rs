//! `/v1/catalog`: nodes and services of the datacenter.

use std::collections::BTreeMap;

use model::catalog::{DeregisterRequest, NodeServices, RegisterRequest, ServiceNode};
use model::node::Node;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::Answer;

impl Client {
    /// Nearest first.
    pub async fn datacenters(&self) -> Result<Vec<String>, Error> {
        Ok(rows(self, "/v1/catalog/datacenters", &QueryParams::default()).await?.value)
    }

    pub async fn nodes(&self, params: &QueryParams) -> Result<Answer<Vec<Node>>, Error> {
        rows(self, "/v1/catalog/nodes", params).await
    }

    /// Service names and their tags.
    pub async fn services(
        &self,
        params: &QueryParams,
    ) -> Result<Answer<BTreeMap<String, Vec<String>>>, Error> {
        self.get_json("/v1/catalog/services", params).await
    }

    /// Instances of a service, whatever their health.
    pub async fn service_nodes(
        &self,
        name: &str,
        params: &QueryParams,
    ) -> Result<Answer<Vec<ServiceNode>>, Error> {
        rows(self, &format!("/v1/catalog/service/{name}"), params).await
    }

    /// A node and its services. `None`: no such node.
    pub async fn node_services(
        &self,
        node: &str,
        params: &QueryParams,
    ) -> Result<Answer<Option<NodeServices>>, Error> {
        self.get_json(&format!("/v1/catalog/node/{node}"), params).await
    }

    pub async fn catalog_register(&self, request: &RegisterRequest) -> Result<(), Error> {
        self.put_json("/v1/catalog/register", &QueryParams::default(), request).await?;
        Ok(())
    }

    pub async fn catalog_deregister(&self, request: &DeregisterRequest) -> Result<(), Error> {
        self.put_json("/v1/catalog/deregister", &QueryParams::default(), request).await?;
        Ok(())
    }
}

/// Reads a list, for which `null` is another way to write "empty".
pub(crate) async fn rows<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    params: &QueryParams,
) -> Result<Answer<Vec<T>>, Error> {
    let Answer { value, meta } = client.get_json::<Option<Vec<T>>>(path, params).await?;
    Ok(Answer { value: value.unwrap_or_default(), meta })
}
