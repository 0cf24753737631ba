//! `/v1/health`: instances with their node and checks.

use model::check::HealthCheck;
use model::health::CheckServiceNode;

use crate::catalog::rows;
use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::Answer;

impl Client {
    /// Instances of a service.
    pub async fn health_service(
        &self,
        name: &str,
        passing_only: bool,
        params: &QueryParams,
    ) -> Result<Answer<Vec<CheckServiceNode>>, Error> {
        rows(self, &format!("/v1/health/service/{name}"), &passing(passing_only, params)).await
    }

    /// Instances that lead to a service through the mesh: its proxies and native ones.
    pub async fn health_connect(
        &self,
        name: &str,
        passing_only: bool,
        params: &QueryParams,
    ) -> Result<Answer<Vec<CheckServiceNode>>, Error> {
        rows(self, &format!("/v1/health/connect/{name}"), &passing(passing_only, params)).await
    }

    /// Checks of one node.
    pub async fn health_node(
        &self,
        node: &str,
        params: &QueryParams,
    ) -> Result<Answer<Vec<HealthCheck>>, Error> {
        rows(self, &format!("/v1/health/node/{node}"), params).await
    }

    /// Checks of all instances of a service.
    pub async fn health_checks(
        &self,
        service: &str,
        params: &QueryParams,
    ) -> Result<Answer<Vec<HealthCheck>>, Error> {
        rows(self, &format!("/v1/health/checks/{service}"), params).await
    }

    /// Checks in a state: `any`, `passing`, `warning` or `critical`.
    pub async fn health_state(
        &self,
        state: &str,
        params: &QueryParams,
    ) -> Result<Answer<Vec<HealthCheck>>, Error> {
        rows(self, &format!("/v1/health/state/{state}"), params).await
    }
}

fn passing(only: bool, params: &QueryParams) -> QueryParams {
    if only { params.clone().with("passing", "1") } else { params.clone() }
}
