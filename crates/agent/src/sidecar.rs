//! The sidecar a service definition brings along: what it leaves out is filled in from its parent.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use model::definition::{CheckDefinition, ServiceDefinition};
use model::duration::GoDuration;
use model::query::Token;
use model::service::{NodeService, ServiceKind};

use crate::definition::{self, PlannedCheck};
use crate::error::Error;
use crate::local::{LocalState, Source};
use crate::settings::AgentSettings;

/// A sidecar ready to be registered.
#[derive(Clone, Debug)]
pub(crate) struct Sidecar {
    pub(crate) service: NodeService,
    pub(crate) checks: Vec<PlannedCheck>,
    /// Its own token, empty when it names none.
    pub(crate) token: Token,
}

/// The id of the sidecar of the service `parent_id`.
pub(crate) fn id_of(parent_id: &str) -> String {
    format!("{parent_id}-sidecar-proxy")
}

/// The sidecar of a valid definition, if it has one.
///
/// Errors: `Refused` when a check is bad, `Invalid` when no port is free.
pub(crate) fn plan(
    parent: &ServiceDefinition,
    state: &LocalState,
    settings: &AgentSettings,
    source: Source,
) -> Result<Option<Sidecar>, Error> {
    let Some(written) =
        parent.connect.as_ref().and_then(|connect| connect.sidecar_service.as_deref())
    else {
        return Ok(None);
    };
    let parent_id = parent.service_id();
    let mut own = written.clone();
    own.id = id_of(parent_id);
    own.kind = ServiceKind::ConnectProxy;
    if own.name.is_empty() {
        own.name = format!("{}-sidecar-proxy", parent.name);
    }
    if own.tags.is_empty() {
        own.tags.clone_from(&parent.tags);
    }
    if own.meta.as_ref().is_none_or(|meta| meta.is_empty()) {
        own.meta.clone_from(&parent.meta);
    }
    let proxy = own.proxy.get_or_insert_default();
    if proxy.destination_service_name.is_empty() {
        proxy.destination_service_name.clone_from(&parent.name);
    }
    if proxy.destination_service_id.is_empty() {
        parent_id.clone_into(&mut proxy.destination_service_id);
    }
    if proxy.local_service_address.is_empty() {
        "127.0.0.1".clone_into(&mut proxy.local_service_address);
    }
    if proxy.local_service_port == 0 {
        proxy.local_service_port = parent.port;
    }
    let local_address = proxy.local_service_address.clone();
    if own.port == 0 {
        own.port = free_port(&own.id, state, &settings.sidecar_ports)?;
    }
    if own.checks.is_empty() {
        own.checks = default_checks(parent_id, &local_address, own.port);
    }
    let mut service = own.node_service();
    definition::complete(&mut service);
    for check in &own.checks {
        check.validate().map_err(|error| {
            Error::refused(format!("Bad request: Invalid check in sidecar_service: {error}"))
        })?;
    }
    let checks = definition::plan_checks(&own.checks, &service, &settings.checks, source)?;
    Ok(Some(Sidecar { service, checks, token: own.token }))
}

/// Is the proxy there, and is what it fronts healthy?
fn default_checks(parent_id: &str, local_address: &str, port: u16) -> Vec<CheckDefinition> {
    let host = match local_address.contains(':') {
        true => format!("[{local_address}]"),
        false => local_address.to_owned(),
    };
    let listening = CheckDefinition {
        name: "Connect Sidecar Listening".to_owned(),
        tcp: format!("{host}:{port}"),
        interval: GoDuration::from_secs(10),
        ..CheckDefinition::default()
    };
    let aliasing = CheckDefinition {
        name: format!("Connect Sidecar Aliasing {parent_id}"),
        alias_service: parent_id.to_owned(),
        ..CheckDefinition::default()
    };
    vec![listening, aliasing]
}

/// The port the sidecar had before, else the lowest of the range that no service here has.
fn free_port(id: &str, state: &LocalState, range: &RangeInclusive<u16>) -> Result<u16, Error> {
    if *range.start() == 0 || range.is_empty() {
        return Err(Error::invalid(
            "Invalid SidecarService: no port provided for sidecar_service and auto-assignment \
             disabled in config",
        ));
    }
    let before = state.services.get(id).map(|row| row.service.port);
    if let Some(port) = before.filter(|port| range.contains(port)) {
        return Ok(port);
    }
    let used: BTreeSet<u16> = state.services.values().map(|row| row.service.port).collect();
    range.clone().find(|port| !used.contains(port)).ok_or_else(|| {
        Error::invalid(format!(
            "Invalid SidecarService: no port provided for sidecar_service and none left in the \
             configured range [{}, {}]",
            range.start(),
            range.end()
        ))
    })
}

#[cfg(test)]
mod tests;
