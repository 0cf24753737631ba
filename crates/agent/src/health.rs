//! How healthy a service of this agent is, all its checks taken together.

use model::check::{
    CheckStatus, HealthCheck, NODE_MAINTENANCE, SERVICE_MAINTENANCE_PREFIX, worst_status,
};
use serde::Serialize;

use crate::agent::Agent;
use crate::local::LocalState;
use crate::service::AgentService;

/// The verdict, best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AggregatedStatus {
    Passing,
    Warning,
    Critical,
    Maintenance,
}

impl AggregatedStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Maintenance => "maintenance",
        }
    }

    /// The status load balancers look at.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Passing => 200,
            Self::Warning => 429,
            Self::Critical | Self::Maintenance => 503,
        }
    }

    fn of(checks: &[&HealthCheck]) -> Self {
        let is_maintenance = |check: &HealthCheck| {
            check.check_id == NODE_MAINTENANCE
                || check.check_id.starts_with(SERVICE_MAINTENANCE_PREFIX)
        };
        if checks.iter().any(|check| is_maintenance(check)) {
            return Self::Maintenance;
        }
        match worst_status(checks.iter().copied()) {
            CheckStatus::Passing => Self::Passing,
            CheckStatus::Warning => Self::Warning,
            CheckStatus::Critical => Self::Critical,
        }
    }
}

/// A service with the verdict and what it rests on, as the agent's health endpoints show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceHealth {
    pub aggregated_status: AggregatedStatus,
    pub service: AgentService,
    pub checks: Vec<ServiceHealthCheck>,
}

/// A check as the agent's health endpoints show it, which differs from the agent's list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceHealthCheck {
    pub node: String,
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub name: String,
    pub status: CheckStatus,
    pub notes: String,
    pub output: String,
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    pub service_name: String,
    /// `null` when there are none.
    pub service_tags: Option<Vec<String>>,
    /// Always empty here.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    pub definition: EmptyDefinition,
    pub create_index: u64,
    pub modify_index: u64,
}

/// These endpoints write out every field of a definition and fill in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EmptyDefinition {
    interval: &'static str,
    timeout: &'static str,
    deregister_critical_service_after: &'static str,
    #[serde(rename = "HTTP")]
    http: &'static str,
    header: Option<()>,
    method: &'static str,
    body: &'static str,
    #[serde(rename = "TLSSkipVerify")]
    tls_skip_verify: bool,
    #[serde(rename = "TCP")]
    tcp: &'static str,
}

const EMPTY_DEFINITION: EmptyDefinition = EmptyDefinition {
    interval: "0s",
    timeout: "0s",
    deregister_critical_service_after: "0s",
    http: "",
    header: None,
    method: "",
    body: "",
    tls_skip_verify: false,
    tcp: "",
};

impl ServiceHealthCheck {
    fn new(check: &HealthCheck) -> Self {
        let check = check.clone();
        Self {
            node: check.node,
            check_id: check.check_id,
            name: check.name,
            status: check.status,
            notes: check.notes,
            output: check.output,
            service_tags: Some(check.service_tags).filter(|tags| !tags.is_empty()),
            service_id: check.service_id,
            service_name: check.service_name,
            kind: "",
            definition: EMPTY_DEFINITION,
            create_index: 0,
            modify_index: 0,
        }
    }
}

impl Agent {
    /// The instances of the service `name` here and the worst verdict among them.
    ///
    /// Shape: no rows and `Critical` when there is none.
    pub fn health_by_name(&self, name: &str) -> (AggregatedStatus, Vec<ServiceHealth>) {
        let state = self.local().read();
        let rows: Vec<ServiceHealth> = state
            .services
            .iter()
            .filter(|(_, row)| row.service.name == name)
            .filter_map(|(id, _)| health_of(&state, id))
            .collect();
        let worst = rows.iter().map(|row| row.aggregated_status).max();
        (worst.unwrap_or(AggregatedStatus::Critical), rows)
    }

    /// The instance `id` with its verdict; `None` when it is not registered here.
    pub fn health_by_id(&self, id: &str) -> Option<ServiceHealth> {
        health_of(&self.local().read(), id)
    }
}

fn health_of(state: &LocalState, id: &str) -> Option<ServiceHealth> {
    let service = AgentService::new(&state.services.get(id)?.service);
    let checks: Vec<&HealthCheck> = state.checks_of(id).iter().map(|row| &*row.check).collect();
    Some(ServiceHealth {
        aggregated_status: AggregatedStatus::of(&checks),
        service,
        checks: checks.into_iter().map(ServiceHealthCheck::new).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        use CheckStatus::{Critical, Passing, Warning};
        let check = |rows: &[(&str, CheckStatus)], want: &str| {
            let checks: Vec<HealthCheck> = rows
                .iter()
                .map(|(id, status)| HealthCheck {
                    check_id: (*id).to_owned(),
                    status: *status,
                    ..HealthCheck::default()
                })
                .collect();
            assert_eq!(
                AggregatedStatus::of(&checks.iter().collect::<Vec<_>>()).as_str(),
                want,
                "{rows:?}"
            );
        };
        check(&[], "passing");
        check(&[("a", Passing), ("b", Warning)], "warning");
        check(&[("a", Critical), ("b", Warning)], "critical");
        check(&[("a", Passing), ("_node_maintenance", Critical)], "maintenance");
        check(&[("_service_maintenance:web", Critical)], "maintenance");
    }
}
