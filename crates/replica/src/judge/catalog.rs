//! Registration: names, ids and defaults of nodes, services and checks.

use std::collections::{BTreeMap, BTreeSet};

use model::catalog::{DeregisterRequest, RegisterRequest};
use model::check::HealthCheck;
use model::command::Command;
use model::definition::validate_metadata;
use model::error::Error;
use model::service::{NodeService, ServiceKind, Upstream};

use crate::judge::{Context, Judged, all_faults, uuid_fault};

pub(super) fn register(
    mut request: RegisterRequest,
    context: &Context<'_>,
) -> Result<Judged, Error> {
    route(&mut request.datacenter, context.datacenter)?;
    if request.node.is_empty() {
        return Err(Error::invalid("Must provide node"));
    }
    if request.address.is_empty() && !request.skip_node_update {
        return Err(Error::invalid("Must provide address if SkipNodeUpdate is not set"));
    }
    if let Some(fault) = Some(&request.id).filter(|id| !id.is_empty()).and_then(|id| uuid_fault(id))
    {
        return Err(Error::invalid(format!("Bad node ID: {fault}")));
    }
    if let Some(service) = &mut request.service {
        judge_service(service, &request.node)?;
    }
    request.checks.extend(request.check.take());
    for check in &mut request.checks {
        fill_check(check, &request.node)?;
    }
    Ok(Judged::Propose(Command::Register(Box::new(request))))
}

pub(super) fn deregister(
    mut request: DeregisterRequest,
    context: &Context<'_>,
) -> Result<Judged, Error> {
    route(&mut request.datacenter, context.datacenter)?;
    if request.node.is_empty() {
        return Err(Error::invalid("Must provide node"));
    }
    Ok(Judged::Propose(Command::Deregister(request)))
}

/// Names the own datacenter where none is named; there is no path to others yet.
fn route(datacenter: &mut String, own: &str) -> Result<(), Error> {
    if datacenter.is_empty() {
        own.clone_into(datacenter);
    }
    if datacenter != own {
        return Err(Error::new(model::error::ErrorKind::Internal, "No path to datacenter"));
    }
    Ok(())
}

fn judge_service(service: &mut NodeService, node: &str) -> Result<(), Error> {
    all_faults(service_faults(service))?;
    if service.id.is_empty() {
        service.id.clone_from(&service.name);
    }
    if !service.id.is_empty() && service.name.is_empty() {
        return Err(Error::invalid("Must provide service name with ID"));
    }
    if service.id.is_empty() {
        return Err(Error::invalid(
            "failed inserting service: failed inserting service: object missing primary index",
        ));
    }
    if ["0.0.0.0", "::", "[::]"].contains(&service.address.as_str()) {
        return Err(Error::invalid("Invalid service address"));
    }
    validate_metadata(service.meta.as_ref().unwrap_or(&BTreeMap::new()), false).map_err(|fault| {
        let id = &service.id;
        let place = format!("Invalid Service Meta for node {node} and serviceID {id}");
        Error::invalid(format!("failed inserting service: {place}: {fault}"))
    })
}

fn service_faults(service: &NodeService) -> Vec<String> {
    let mut faults: Vec<String> = Vec::new();
    let proxy = &service.proxy;
    match service.kind {
        ServiceKind::Typical => {}
        ServiceKind::ConnectProxy => {
            if proxy.destination_service_name.trim().is_empty() {
                let field = "Proxy.DestinationServiceName";
                faults.push(format!("{field} must be non-empty for Connect proxy services"));
            }
            if service.port == 0 {
                faults.push("Port must be set for a Connect proxy".into());
            }
            if service.connect.native {
                faults.push("A Proxy cannot also be Connect Native, only typical services".into());
            }
            faults.extend(upstream_faults(&proxy.upstreams));
        }
        ServiceKind::MeshGateway
        | ServiceKind::TerminatingGateway
        | ServiceKind::IngressGateway => faults.extend(gateway_faults(service)),
    }
    faults
}

fn upstream_faults(upstreams: &[Upstream]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for upstream in upstreams {
        if upstream.destination_name.is_empty() {
            faults.push("upstream destination name cannot be empty".into());
            continue;
        }
        if upstream.local_bind_port == 0 {
            faults.push("upstream local bind port cannot be zero".into());
            continue;
        }
        let Upstream {
            destination_type, destination_name, destination_namespace, datacenter, ..
        } = upstream;
        if !seen.insert((destination_type, destination_name, destination_namespace, datacenter)) {
            faults.push(format!(
                "upstreams cannot contain duplicates of [type={destination_type:?}, \
                 name={destination_name:?}, namespace={destination_namespace:?}, \
                 datacenter={datacenter:?}]"
            ));
        }
    }
    faults
}

fn gateway_faults(service: &NodeService) -> Vec<String> {
    let kind = service.kind.as_str();
    let proxy = &service.proxy;
    let mut faults = Vec::new();
    if service.port == 0 {
        faults.push(format!("Port must be non-zero for a {kind}"));
    }
    if service.connect.native {
        faults.push(format!("A {kind} cannot be Connect Native"));
    }
    for (field, is_set) in [
        ("DestinationServiceName", !proxy.destination_service_name.is_empty()),
        ("DestinationServiceID", !proxy.destination_service_id.is_empty()),
        ("LocalServiceAddress", !proxy.local_service_address.is_empty()),
        ("LocalServicePort", proxy.local_service_port != 0),
        ("Upstreams", !proxy.upstreams.is_empty()),
    ] {
        if is_set {
            faults.push(format!("The Proxy.{field} configuration is invalid for a {kind}"));
        }
    }
    faults
}

fn fill_check(check: &mut HealthCheck, node: &str) -> Result<(), Error> {
    if check.check_id.is_empty() {
        check.check_id.clone_from(&check.name);
    }
    if check.node.is_empty() {
        node.clone_into(&mut check.node);
    }
    if check.check_id.is_empty() {
        return Err(Error::invalid(format!(
            "failed inserting check: failed inserting check: object missing primary index on node \
             {node:?}"
        )));
    }
    Ok(())
}
