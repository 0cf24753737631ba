//! Checks of this agent: registering, removing, telling, and how its endpoints show them.

use std::collections::BTreeMap;

use model::check::{CheckStatus, HealthCheck};
use model::definition::CheckDefinition;
use model::query::Token;
use serde::Serialize;
use tokio::time::Instant;

use crate::agent::Agent;
use crate::checks::runner::Job;
use crate::definition::{self, PlannedCheck};
use crate::error::Error;
use crate::local::Source;
use crate::persist;

/// A check as the agent's list shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentCheck {
    pub node: String,
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub name: String,
    pub status: &'static str,
    pub notes: String,
    pub output: String,
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    pub service_name: String,
    pub service_tags: Vec<String>,
    #[serde(rename = "Type")]
    pub kind: String,
    pub definition: NoDefinition,
    pub create_index: u64,
    pub modify_index: u64,
}

/// The agent does not show what a check does: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NoDefinition {}

filter::record!(AgentCheck {
    "Node" => node,
    "CheckID" => check_id,
    "Name" => name,
    "Status" => status,
    "Notes" => notes,
    "Output" => output,
    "ServiceID" => service_id,
    "ServiceName" => service_name,
    "ServiceTags" => service_tags,
    "Type" => kind,
});

impl AgentCheck {
    fn new(check: &HealthCheck) -> Self {
        let HealthCheck {
            node,
            check_id,
            name,
            status,
            notes,
            output,
            service_id,
            service_name,
            service_tags,
            kind,
            definition: _,
            create_index,
            modify_index,
        } = check.clone();
        Self {
            node,
            check_id,
            name,
            status: status.as_str(),
            notes,
            output,
            service_id,
            service_name,
            service_tags,
            kind,
            definition: NoDefinition {},
            create_index,
            modify_index,
        }
    }
}

impl Agent {
    /// All checks registered here, by id.
    ///
    /// Errors: `Refused` for a bad filter expression.
    pub fn checks(&self, filter: &str) -> Result<BTreeMap<String, AgentCheck>, Error> {
        let filter = match filter {
            "" => None,
            text => Some(filter::Filter::<AgentCheck>::new(text).map_err(bad_filter)?),
        };
        let state = self.local().read();
        let all = state.checks.iter().map(|(id, row)| (id.clone(), AgentCheck::new(&row.check)));
        Ok(match filter {
            Some(filter) => all.filter(|(_, row)| filter.matches(row)).collect(),
            None => all.collect(),
        })
    }

    /// Registers a check of the node or of a service registered here, or replaces it.
    ///
    /// Errors: `Invalid` with Consul's text; `Refused` for an unknown service or a forbidden script;
    /// `Storage`.
    pub async fn register_check(
        &self,
        definition: CheckDefinition,
        source: Source,
        token: Token,
    ) -> Result<(), Error> {
        let _turn = self.registering().lock().await;
        self.register_check_in_turn(definition, source, token).await
    }

    /// As [`Agent::register_check`], for callers that hold the turn.
    pub(crate) async fn register_check_in_turn(
        &self,
        definition: CheckDefinition,
        source: Source,
        token: Token,
    ) -> Result<(), Error> {
        if definition.name.is_empty() {
            return Err(Error::invalid("Missing check name"));
        }
        if definition.initial_status().is_none() {
            return Err(Error::invalid("Bad check status"));
        }
        definition.validate().map_err(|error| Error::invalid(format!("Invalid check: {error}")))?;
        let settings = self.settings();
        let token = definition::token_or(&definition.token, token);
        let id = match definition.id.as_str() {
            "" => definition.name.clone(),
            own => own.to_owned(),
        };
        let name = definition.name.clone();
        let mut planned = definition::plan_check(&definition, id, name, &settings.checks, source)?;
        if !definition.service_id.is_empty() {
            let service = self.effective_service(&definition.service_id).ok_or_else(|| {
                Error::refused(format!("ServiceID {:?} does not exist", definition.service_id))
            })?;
            planned.check.service_id.clone_from(&service.id);
            planned.check.service_name.clone_from(&service.name);
            planned.check.service_tags.clone_from(&service.tags);
        }
        planned.check.node = settings.node.name.clone();
        if source == Source::File {
            // Only services' checks from files show their type.
            planned.check.kind.clear();
            // What was registered under this id through the API is replaced for good.
            self.persist().remove_check(&planned.check.check_id).await?;
        } else {
            let kept = persist::Check::new(&planned, &token, source);
            self.persist().put_check(kept).await?;
        }
        self.put_planned_check(planned, source, token);
        Ok(())
    }

    /// Registers a check that is already on disk where it should be, and runs it.
    pub(crate) fn put_planned_check(&self, planned: PlannedCheck, source: Source, token: Token) {
        let now = Instant::now();
        self.local().change(|state| {
            state.put_check(planned.check.clone(), token, source, planned.reap_after, now);
        });
        self.run_check(planned);
    }

    /// Starts the work of a registered check, in place of what ran under its id.
    pub(crate) fn run_check(&self, planned: PlannedCheck) {
        let PlannedCheck { check, work, output_bytes_max, definition, .. } = planned;
        let settings = self.settings();
        let job = Job {
            check_id: check.check_id,
            work,
            output_bytes_max,
            success_before_passing: definition.success_before_passing,
            failures_before_critical: definition.failures_before_critical,
            update_interval: settings.checks.update_interval,
            discard_output: settings.checks.discard_output,
        };
        self.runners().start(job);
    }

    /// Removes a check. An unknown id is nothing to do, as in Consul.
    ///
    /// Errors: `Refused` for an empty id, `Storage`.
    pub async fn deregister_check(&self, id: &str) -> Result<(), Error> {
        let _turn = self.registering().lock().await;
        self.deregister_check_in_turn(id).await
    }

    /// As [`Agent::deregister_check`], for callers that hold the turn.
    pub(crate) async fn deregister_check_in_turn(&self, id: &str) -> Result<(), Error> {
        if id.is_empty() {
            return Err(Error::refused("CheckID missing"));
        }
        self.runners().stop(id);
        self.persist().remove_check(id).await?;
        self.local().change(|state| state.remove_check(id));
        Ok(())
    }

    /// Tells a check with a time to live how things are, which also renews it.
    ///
    /// Errors: `Refused` when no such check waits to be told.
    pub async fn update_ttl_check(
        &self,
        id: &str,
        status: CheckStatus,
        output: &str,
    ) -> Result<(), Error> {
        let Some(told) = self.runners().tell(id, status, output) else {
            return Err(Error::refused(format!("CheckID {id:?} does not have associated TTL")));
        };
        let expires =
            model::time::Timestamp::from(std::time::SystemTime::now()).plus(told.ttl.into());
        let state = persist::CheckState {
            check_id: id.to_owned(),
            output: told.output,
            status,
            expires: expires.unix_seconds,
        };
        self.persist().put_state(state).await
    }
}

/// This list finds unknown selectors late in Consul, which shows in the words.
fn bad_filter(error: filter::FilterError) -> Error {
    Error::refused(match error {
        filter::FilterError::Parse(error) => {
            format!("Failed to create boolean expression evaluator: {error}")
        }
        filter::FilterError::Check(error) => error.to_string(),
    })
}
