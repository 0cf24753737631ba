//! From definitions as users write them to what the agent registers and runs.

use std::net::IpAddr;
use std::time::Duration;

use model::check::{CheckStatus, HealthCheck};
use model::definition::{CheckDefinition, CheckKind};
use model::duration::GoDuration;
use model::query::Token;
use model::service::{NodeService, ServiceAddress};

use crate::checks::grpc::GrpcProbe;
use crate::checks::http::HttpProbe;
use crate::checks::{INTERVAL_MIN, Probe};
use crate::error::Error;
use crate::local::Source;
use crate::settings::CheckSettings;

/// A check ready to be registered and run.
#[derive(Clone, Debug)]
pub(crate) struct PlannedCheck {
    pub(crate) check: HealthCheck,
    /// As written, for keeping on disk.
    pub(crate) definition: CheckDefinition,
    pub(crate) work: Work,
    pub(crate) reap_after: Option<Duration>,
    pub(crate) output_bytes_max: usize,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Waits to be told.
    Ttl(Duration),
    Probe {
        probe: Probe,
        interval: Duration,
        timeout: Duration,
    },
    /// Takes over the worst status of the node (own when empty) and, when given, the service.
    Alias {
        node: String,
        service: String,
    },
}

/// The token of the definition, else of the request.
pub(crate) fn token_or(own: &Token, other: Token) -> Token {
    if own.0.is_empty() { other } else { own.clone() }
}

/// Fills in what follows from the rest of a service.
pub(crate) fn complete(service: &mut NodeService) {
    for upstream in &mut service.proxy.upstreams {
        if upstream.destination_type.is_empty() {
            upstream.destination_type = "service".to_owned();
        }
    }
    let names = match service.address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => ["lan_ipv4", "wan_ipv4"],
        Ok(IpAddr::V6(_)) => ["lan_ipv6", "wan_ipv6"],
        Err(_) => return,
    };
    for name in names {
        let address = ServiceAddress { address: service.address.clone(), port: service.port };
        service.tagged_addresses.entry(name.to_owned()).or_insert(address);
    }
}

/// The checks of a service definition, with ids and names where it gives none.
///
/// Errors: `Invalid` with Consul's text.
pub(crate) fn plan_checks(
    definitions: &[CheckDefinition],
    service: &NodeService,
    settings: &CheckSettings,
    source: Source,
) -> Result<Vec<PlannedCheck>, Error> {
    let count = definitions.len();
    let plan = |(at, definition): (usize, &CheckDefinition)| {
        let check_id = match (definition.id.as_str(), count) {
            ("", 1) => format!("service:{}", service.id),
            ("", _) => format!("service:{}:{}", service.id, at + 1),
            (own, _) => own.to_owned(),
        };
        let name = match definition.name.as_str() {
            "" => format!("Service '{}' check", service.name),
            own => own.to_owned(),
        };
        let mut planned = plan_check(definition, check_id, name, settings, source)?;
        planned.check.service_id.clone_from(&service.id);
        planned.check.service_name.clone_from(&service.name);
        planned.check.service_tags.clone_from(&service.tags);
        Ok(planned)
    };
    definitions.iter().enumerate().map(plan).collect()
}

/// One check that is valid in itself.
///
/// Errors: `Invalid` when it runs a program and that is not allowed here.
pub(crate) fn plan_check(
    definition: &CheckDefinition,
    check_id: String,
    name: String,
    settings: &CheckSettings,
    source: Source,
) -> Result<PlannedCheck, Error> {
    let kind = definition
        .kind()
        .ok_or_else(|| Error::invalid("Invalid check: TTL must be > 0 for TTL checks"))?;
    if matches!(kind, CheckKind::Script | CheckKind::Docker) {
        require_scripts(settings, source)?;
    }
    let output_bytes_max = match usize::try_from(definition.output_max_size) {
        Ok(0) | Err(_) => settings.output_bytes_max,
        Ok(own) => own.min(settings.output_bytes_max),
    };
    let reap_after = (definition.deregister_critical_service_after > GoDuration::ZERO).then(|| {
        definition.deregister_critical_service_after.to_std().max(settings.deregister_after_min)
    });
    let check = HealthCheck {
        check_id,
        name,
        status: definition.initial_status().unwrap_or(CheckStatus::Critical),
        notes: definition.notes.clone(),
        kind: kind.as_str().to_owned(),
        ..HealthCheck::default()
    };
    let work = work_of(definition, kind);
    Ok(PlannedCheck { check, definition: definition.clone(), work, reap_after, output_bytes_max })
}

fn require_scripts(settings: &CheckSettings, source: Source) -> Result<(), Error> {
    let is_allowed = match source {
        Source::File => settings.scripts_from_files,
        Source::Api => settings.scripts_from_api,
    };
    if is_allowed {
        return Ok(());
    }
    Err(Error::Refused(match source {
        Source::File => "Scripts are disabled on this agent; to enable, configure \
                         'enable_script_checks' or 'enable_local_script_checks' to true"
            .to_owned(),
        Source::Api => "Scripts are disabled on this agent from remote calls; to enable, \
                        configure 'enable_script_checks' to true"
            .to_owned(),
    }))
}

fn work_of(definition: &CheckDefinition, kind: CheckKind) -> Work {
    let probe = match kind {
        CheckKind::Ttl => return Work::Ttl(definition.ttl.to_std()),
        CheckKind::Alias => {
            return Work::Alias {
                node: definition.alias_node.clone(),
                service: definition.alias_service.clone(),
            };
        }
        CheckKind::Http => Probe::Http(HttpProbe {
            url: definition.http.clone(),
            method: definition.method.clone(),
            header: definition.header.clone(),
            body: definition.body.clone(),
            tls_skip_verify: definition.tls_skip_verify,
            tls_server_name: definition.tls_server_name.clone(),
            follows_redirects: !definition.disable_redirects,
        }),
        CheckKind::Tcp => Probe::Tcp(definition.tcp.clone()),
        CheckKind::Grpc => Probe::Grpc(GrpcProbe {
            target: definition.grpc.clone(),
            use_tls: definition.grpc_use_tls,
            tls_skip_verify: definition.tls_skip_verify,
            tls_server_name: definition.tls_server_name.clone(),
        }),
        CheckKind::Docker => Probe::Docker { container: definition.docker_container_id.clone() },
        CheckKind::Script => Probe::Script(definition.script_args.clone()),
    };
    let interval = definition.interval.to_std().max(INTERVAL_MIN);
    let timeout = match definition.timeout.to_std() {
        Duration::ZERO => probe.timeout_default(interval),
        own => own,
    };
    Work::Probe { probe, interval, timeout }
}

#[cfg(test)]
mod tests;
