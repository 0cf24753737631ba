//! A service instance together with its node and all checks that bear on it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::check::{CheckStatus, HealthCheck};
use crate::node::Node;
use crate::service::NodeService;

/// Row of `/v1/health/service/:name`. Parts are shared with the state tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckServiceNode {
    pub node: Arc<Node>,
    pub service: Arc<NodeService>,
    pub checks: Vec<Arc<HealthCheck>>,
}

impl CheckServiceNode {
    /// The worst status of node and service checks.
    pub fn status(&self) -> CheckStatus {
        crate::check::worst_status(self.checks.iter().map(|check| &**check))
    }

    /// Where to reach the instance: its own address, else its node's.
    pub fn address(&self) -> &str {
        match self.service.address.as_str() {
            "" => &self.node.address,
            own => own,
        }
    }
}
