//! Services of this agent: registering, removing, and how its endpoints show them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::definition::ServiceDefinition;
use model::query::Token;
use model::service::NodeService;
use tokio::time::Instant;

use crate::agent::Agent;
use crate::definition::{self, PlannedCheck};
use crate::error::Error;
use crate::local::Source;
use crate::persist;
use crate::sidecar;

mod answer;
mod proxy;

pub use answer::{AgentAddress, AgentConnect, AgentService, AgentWeights};
pub use proxy::{AgentExpose, AgentExposePath, AgentMeshGateway, AgentProxy, AgentUpstream};

impl Agent {
    /// All services registered here, by id.
    ///
    /// Errors: `Refused` for a bad filter expression.
    pub fn services(&self, filter: &str) -> Result<BTreeMap<String, AgentService>, Error> {
        let filter = parse_filter::<AgentService>(filter)?;
        let state = self.local().read();
        let all =
            state.services.iter().map(|(id, row)| (id.clone(), AgentService::new(&row.service)));
        Ok(match filter {
            Some(filter) => all.filter(|(_, row)| filter.matches(row)).collect(),
            None => all.collect(),
        })
    }

    /// One service with its content hash.
    ///
    /// Errors: `NotFound`.
    pub fn service(&self, id: &str) -> Result<AgentService, Error> {
        let service = self.effective_service(id).ok_or_else(|| unknown(id))?;
        Ok(AgentService::with_hash(&service))
    }

    /// A service as it counts, with the cluster's defaults merged in.
    pub fn effective_service(&self, id: &str) -> Option<Arc<NodeService>> {
        self.local().read().services.get(id).map(|row| Arc::clone(&row.service))
    }

    /// One service, once its content hash differs from `hash` or `wait` is over.
    ///
    /// Errors: `NotFound`, also when the service goes while being waited for.
    pub async fn wait_service(
        &self,
        id: &str,
        hash: &str,
        wait: Duration,
    ) -> Result<AgentService, Error> {
        let deadline = Instant::now() + wait;
        loop {
            let changed = self.local().watch_service(id).ok_or_else(|| unknown(id))?;
            let notified = changed.notified();
            tokio::pin!(notified);
            // Armed before the look, so that no change falls between.
            notified.as_mut().enable();
            let current = self.service(id)?;
            if current.content_hash != hash {
                return Ok(current);
            }
            if tokio::time::timeout_at(deadline, notified).await.is_err() {
                return self.service(id);
            }
        }
    }

    /// Registers a service with its checks and its sidecar, or replaces them.
    ///
    /// Checks registered before stay, unless `replace_existing_checks` and the definition has them
    /// no longer. Returns once kept on disk; the catalog hears of it right after.
    ///
    /// Errors: `Invalid` with Consul's text, `Storage`.
    pub async fn register_service(
        &self,
        definition: ServiceDefinition,
        source: Source,
        token: Token,
        replace_existing_checks: bool,
    ) -> Result<(), Error> {
        let _turn = self.registering().lock().await;
        self.register_in_turn(definition, source, token, replace_existing_checks).await
    }

    /// As [`Agent::register_service`], for callers that hold the turn.
    pub(crate) async fn register_in_turn(
        &self,
        definition: ServiceDefinition,
        source: Source,
        token: Token,
        replace_existing_checks: bool,
    ) -> Result<(), Error> {
        definition.validate().map_err(|error| Error::invalid(error.to_string()))?;
        let settings = self.settings();
        let token = definition::token_or(&definition.token, token);
        let mut service = definition.node_service();
        definition::complete(&mut service);
        let checks =
            definition::plan_checks(&definition.checks, &service, &settings.checks, source)?;
        let sidecar = {
            let state = self.local().read();
            sidecar::plan(&definition, &state, &settings, source)?
        };
        let row = NewService { service, source, token: token.clone(), is_sidecar: false };
        self.put_service(row, checks, replace_existing_checks).await?;
        if let Some(sidecar) = sidecar {
            let token = definition::token_or(&sidecar.token, token);
            let row = NewService { service: sidecar.service, source, token, is_sidecar: true };
            self.put_service(row, sidecar.checks, replace_existing_checks).await?;
        }
        Ok(())
    }

    async fn put_service(
        &self,
        new: NewService,
        mut checks: Vec<PlannedCheck>,
        replace_existing_checks: bool,
    ) -> Result<(), Error> {
        let NewService { service, source, token, is_sidecar } = new;
        let node = self.settings().node.name.clone();
        checks.iter_mut().for_each(|planned| planned.check.node.clone_from(&node));
        if source == Source::File {
            // What was registered under this id through the API is replaced for good.
            self.persist().remove_service(&service.id).await?;
        } else {
            let kept = persist::Service::new(&service, &token, source, is_sidecar);
            self.persist().put_service(kept).await?;
            for check in &checks {
                self.persist().put_check(persist::Check::new(check, &token, source)).await?;
            }
        }
        let merged = self.merge_central(&service);
        let id = service.id.clone();
        let stale: Vec<String> = match replace_existing_checks {
            true => {
                let existing = self.local().read().own_check_ids(&id);
                let is_kept = |id: &String| checks.iter().any(|check| check.check.check_id == *id);
                existing.into_iter().filter(|id| !is_kept(id)).collect()
            }
            false => Vec::new(),
        };
        let now = Instant::now();
        // One change, so that the catalog gets the service and its checks together.
        self.local().change(|state| {
            let registered = Arc::new(service.clone());
            let effective = merged.map_or_else(|| Arc::clone(&registered), Arc::new);
            state.put_service(registered, effective, token.clone(), source, is_sidecar);
            for planned in &checks {
                let reap_after = planned.reap_after;
                state.put_check(planned.check.clone(), token.clone(), source, reap_after, now);
            }
            for id in &stale {
                state.remove_check(id);
            }
        });
        for id in &stale {
            self.runners().stop(id);
            self.persist().remove_check(id).await?;
        }
        for planned in checks {
            self.run_check(planned);
        }
        Ok(())
    }

    /// Removes a service, its checks, and its sidecar if it brought one. An unknown id is nothing to
    /// do, as in Consul.
    ///
    /// Errors: `Refused` for an empty id, `Storage`.
    pub async fn deregister_service(&self, id: &str) -> Result<(), Error> {
        let _turn = self.registering().lock().await;
        self.deregister_in_turn(id).await
    }

    /// As [`Agent::deregister_service`], for callers that hold the turn.
    pub(crate) async fn deregister_in_turn(&self, id: &str) -> Result<(), Error> {
        if id.is_empty() {
            return Err(Error::refused("ServiceID missing"));
        }
        let sidecar_id = sidecar::id_of(id);
        let has_sidecar = {
            let state = self.local().read();
            state.services.get(&sidecar_id).is_some_and(|row| row.is_sidecar)
        };
        self.remove_service(id).await?;
        if has_sidecar {
            self.remove_service(&sidecar_id).await?;
        }
        Ok(())
    }

    async fn remove_service(&self, id: &str) -> Result<(), Error> {
        let check_ids = self.local().read().own_check_ids(id);
        self.persist().remove_service(id).await?;
        for check_id in &check_ids {
            self.runners().stop(check_id);
            self.persist().remove_check(check_id).await?;
        }
        self.local().change(|state| {
            if state.remove_service(id).is_some() {
                for check_id in &check_ids {
                    state.remove_check(check_id);
                    // The catalog drops the checks with the service.
                    state.removed_checks.remove(check_id);
                }
            }
        });
        Ok(())
    }
}

struct NewService {
    service: NodeService,
    source: Source,
    token: Token,
    is_sidecar: bool,
}

fn unknown(id: &str) -> Error {
    Error::not_found(format!("unknown service ID: {id}"))
}

/// `None` for no filter. Errors: `Refused`, for Consul answers bad filters here as server errors.
pub(crate) fn parse_filter<R: filter::Record>(
    text: &str,
) -> Result<Option<filter::Filter<R>>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    filter::Filter::new(text).map(Some).map_err(|error| {
        Error::refused(format!("Failed to create boolean expression evaluator: {error}"))
    })
}
