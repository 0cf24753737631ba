//! Maintenance: a critical check that takes a service, or the whole node, out of answers.

use model::check::{CheckStatus, HealthCheck, NODE_MAINTENANCE, SERVICE_MAINTENANCE_PREFIX};
use model::query::Token;
use tokio::time::Instant;

use crate::agent::Agent;
use crate::error::Error;
use crate::local::Source;
use crate::persist;

/// Type of the checks made here.
pub(crate) const MAINTENANCE: &str = "maintenance";

const SERVICE_REASON_DEFAULT: &str = "Maintenance mode is enabled for this service, but no reason \
                                      was provided. This is a default message.";
const NODE_REASON_DEFAULT: &str = "Maintenance mode is enabled for this node, but no reason was \
                                   provided. This is a default message.";

impl Agent {
    /// Turns maintenance of one service on or off. A second turning on keeps the first reason.
    ///
    /// Errors: `NotFound`, `Storage`.
    pub async fn service_maintenance(
        &self,
        id: &str,
        enable: bool,
        reason: &str,
        token: Token,
    ) -> Result<(), Error> {
        let service = self
            .effective_service(id)
            .ok_or_else(|| Error::not_found(format!("No service registered with ID {id:?}")))?;
        let check = HealthCheck {
            check_id: format!("{SERVICE_MAINTENANCE_PREFIX}{id}"),
            name: "Service Maintenance Mode".to_owned(),
            notes: if reason.is_empty() { SERVICE_REASON_DEFAULT } else { reason }.to_owned(),
            service_id: service.id.clone(),
            service_name: service.name.clone(),
            service_tags: service.tags.clone(),
            ..maintenance_check(self.settings().node.name.clone())
        };
        self.set_maintenance(check, enable, token).await
    }

    /// Turns maintenance of the node on or off. A second turning on keeps the first reason.
    ///
    /// Errors: `Storage`.
    pub async fn node_maintenance(
        &self,
        enable: bool,
        reason: &str,
        token: Token,
    ) -> Result<(), Error> {
        let check = HealthCheck {
            check_id: NODE_MAINTENANCE.to_owned(),
            name: "Node Maintenance Mode".to_owned(),
            notes: if reason.is_empty() { NODE_REASON_DEFAULT } else { reason }.to_owned(),
            ..maintenance_check(self.settings().node.name.clone())
        };
        self.set_maintenance(check, enable, token).await
    }

    async fn set_maintenance(
        &self,
        check: HealthCheck,
        enable: bool,
        token: Token,
    ) -> Result<(), Error> {
        let _turn = self.registering().lock().await;
        let is_on = self.local().read().checks.contains_key(&check.check_id);
        match (enable, is_on) {
            (true, false) => {
                let kept = persist::Check::maintenance(&check, &token);
                self.persist().put_check(kept).await?;
                let now = Instant::now();
                self.local().change(|state| state.put_check(check, token, Source::Api, None, now));
            }
            (false, true) => {
                self.persist().remove_check(&check.check_id).await?;
                self.local().change(|state| state.remove_check(&check.check_id));
            }
            (true, true) | (false, false) => {}
        }
        Ok(())
    }
}

fn maintenance_check(node: String) -> HealthCheck {
    HealthCheck {
        node,
        status: CheckStatus::Critical,
        kind: MAINTENANCE.to_owned(),
        ..HealthCheck::default()
    }
}
