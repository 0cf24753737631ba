//! Where registrations come from besides the API: disk at the start, files at the start and at each
//! reload.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::definition::{CheckDefinition, ServiceDefinition};
use tokio::time::Instant;

use super::{Agent, default_policy};
use crate::definition;
use crate::error::Error;
use crate::local::Source;
use crate::persist::{Check, CheckState, Service};
use crate::settings::AgentSettings;

impl Agent {
    /// Takes back the services registered through the API before the restart.
    pub(super) fn restore_services(&self, services: Vec<Service>) {
        for row in services.into_iter().filter(|row| row.source == Source::Api) {
            let token = row.token();
            let service = Arc::new(row.service);
            self.local.change(|state| {
                let effective = Arc::clone(&service);
                let is_sidecar = row.locally_registered_as_sidecar;
                state.put_service(service, effective, token, Source::Api, is_sidecar);
            });
        }
    }

    /// Takes back the checks registered through the API before the restart, maintenance among them.
    /// Services of files must be there already: some belong to them. Gives the checks whose last word
    /// still holds.
    pub(super) fn restore_checks(
        &self,
        checks: Vec<Check>,
        states: &[CheckState],
    ) -> BTreeSet<String> {
        let mut told_ids = BTreeSet::new();
        let settings = self.settings();
        let now = Instant::now();
        let wall_now = model::time::Timestamp::from(std::time::SystemTime::now()).unix_seconds;
        for row in checks {
            let token = row.token();
            let mut check = row.check;
            // What a file defines is as the file says now.
            if self.local.read().checks.contains_key(&check.check_id) {
                continue;
            }
            let is_orphan = !check.service_id.is_empty()
                && !self.local.read().services.contains_key(&check.service_id);
            if is_orphan {
                tracing::warn!(check = %check.check_id, "check of an unknown service is not restored");
                continue;
            }
            settings.node.name.clone_into(&mut check.node);
            let Some(kind) = row.chk_type else {
                self.local.change(|state| state.put_check(check, token, Source::Api, None, now));
                continue;
            };
            let definition = CheckDefinition::from(kind);
            let (id, name) = (check.check_id.clone(), check.name.clone());
            let planned =
                definition::plan_check(&definition, id, name, &settings.checks, Source::Api);
            let mut planned = match planned {
                Ok(planned) => planned,
                Err(error) => {
                    tracing::warn!(check = %check.check_id, %error, "check is not restored");
                    continue;
                }
            };
            // Nothing is known of how things are now, unless it was told and still holds.
            check.status = planned.check.status;
            check.output.clear();
            let told = states.iter().find(|state| state.check_id == check.check_id);
            if let Some(told) = told.filter(|told| told.expires > wall_now) {
                check.status = told.status;
                check.output.clone_from(&told.output);
                told_ids.insert(check.check_id.clone());
            }
            planned.check = check;
            self.put_planned_check(planned, Source::Api, token);
        }
        told_ids
    }

    /// Registers what configuration files define.
    pub(super) async fn register_files(&self, settings: &AgentSettings) -> Result<(), Error> {
        for definition in settings.service_definitions.clone() {
            let token = definition.token.clone();
            self.register_in_turn(definition, Source::File, token, true).await?;
        }
        for definition in settings.check_definitions.clone() {
            let token = definition.token.clone();
            self.register_check_in_turn(definition, Source::File, token).await?;
        }
        Ok(())
    }

    /// Takes over new settings: definitions of files that are gone are removed, new and changed ones
    /// registered. What only a restart can change is left as it is.
    ///
    /// Errors: a definition that is not valid; definitions before it have taken effect.
    pub async fn reload(&self, settings: AgentSettings) -> Result<(), Error> {
        for definition in &settings.service_definitions {
            definition.validate().map_err(|error| Error::invalid(error.to_string()))?;
        }
        let _turn = self.registering.lock().await;
        let defined = defined_ids(&settings);
        let (services, checks): (Vec<String>, Vec<String>) = {
            let state = self.local.read();
            let of_file = |source: Source| source == Source::File;
            let services = state
                .services
                .iter()
                .filter(|(id, row)| of_file(row.source) && !defined.services.contains(*id))
                .map(|(id, _)| id.clone());
            let checks = state
                .checks
                .iter()
                .filter(|(id, row)| of_file(row.source) && !defined.checks.contains(*id))
                .filter(|(_, row)| row.check.is_node_level())
                .map(|(id, _)| id.clone());
            (services.collect(), checks.collect())
        };
        self.intentions.set_policy(default_policy(&settings));
        let kept = self.settings();
        self.settings.store(Arc::new(AgentSettings {
            node: kept.node.clone(),
            is_server: kept.is_server,
            ports: kept.ports,
            data_dir: kept.data_dir.clone(),
            ..settings
        }));
        for id in &services {
            self.deregister_in_turn(id).await?;
        }
        for id in &checks {
            self.deregister_check_in_turn(id).await?;
        }
        let settings = self.settings();
        self.register_files(&settings).await
    }
}

struct Defined {
    services: BTreeSet<String>,
    checks: BTreeSet<String>,
}

/// Ids of what the settings' definitions register, sidecars among them.
fn defined_ids(settings: &AgentSettings) -> Defined {
    let has_sidecar = |definition: &ServiceDefinition| {
        definition.connect.as_ref().is_some_and(|connect| connect.sidecar_service.is_some())
    };
    let mut services = BTreeSet::new();
    for definition in &settings.service_definitions {
        services.insert(definition.service_id().to_owned());
        if has_sidecar(definition) {
            services.insert(crate::sidecar::id_of(definition.service_id()));
        }
    }
    let id = |definition: &CheckDefinition| match definition.id.as_str() {
        "" => definition.name.clone(),
        own => own.to_owned(),
    };
    Defined { services, checks: settings.check_definitions.iter().map(id).collect() }
}
