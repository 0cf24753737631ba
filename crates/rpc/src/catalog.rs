//! Nodes and services as registered: `Catalog.*`.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::catalog::{
    DeregisterRequest, GatewayService, NodeServiceList, NodeServices, RegisterRequest, ServiceNode,
};
use model::command::{Command, Outcome};
use model::node::Node;
use model::query::{NodeMetaFilter, Query, Reply, Token};
use serde::{Deserialize, Serialize};

use crate::failure::Fault;
use crate::near;
use crate::remote::{Ask, Asked, Written};
use crate::service::{Call, Handled, encode, with_meta};
use crate::wire::{Empty, NodeFilters};

/// Which instances of a service are wanted.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct OfService {
    pub(crate) service_name: String,
    /// What agents before 1.3 put the one tag into.
    service_tag: String,
    service_tags: Vec<String>,
    /// Whether tags are looked at.
    tag_filter: bool,
    service_address: String,
    pub(crate) connect: bool,
    pub(crate) ingress: bool,
}

impl OfService {
    pub(crate) fn new(service_name: String, service_tags: Vec<String>, connect: bool) -> Self {
        let tag_filter = !service_tags.is_empty();
        let service_tag = service_tags.first().cloned().unwrap_or_default();
        Self { service_name, service_tag, service_tags, tag_filter, connect, ..Self::default() }
    }

    pub(crate) fn tags(&mut self) -> Vec<String> {
        match (self.tag_filter, self.service_tags.is_empty(), self.service_tag.is_empty()) {
            (false, _, _) | (true, true, true) => Vec::new(),
            (true, true, false) => vec![self.service_tag.clone()],
            (true, false, _) => std::mem::take(&mut self.service_tags),
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct OfNode {
    pub(crate) node: String,
}

impl OfNode {
    fn named(self) -> Result<String, Fault> {
        match self.node.is_empty() {
            true => Err(Fault::new("Must provide node")),
            false => Ok(self.node),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Nodes {
    nodes: Vec<Arc<Node>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Services {
    services: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ServiceNodes {
    service_nodes: Vec<ServiceNode>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OneNode<T> {
    node_services: Option<T>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct GatewayServices {
    services: Vec<GatewayService>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceList<'a> {
    services: Vec<ServiceName<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceName<'a> {
    name: &'a str,
}

pub(crate) async fn register(call: Call<'_>) -> Handled {
    let mut wanted: RegisterRequest = call.read()?;
    for check in wanted.check.iter_mut().chain(&mut wanted.checks) {
        if check.kind.is_empty() {
            check.kind = check.definition.kind().to_owned();
        }
    }
    call.write(Command::Register(Box::new(wanted))).await
}

pub(crate) async fn deregister(call: Call<'_>) -> Handled {
    call.write(Command::Deregister(call.read()?)).await
}

/// Those known: one, as long as datacenters do not meet.
pub(crate) async fn datacenters(call: Call<'_>) -> Handled {
    encode(&[&call.service.datacenter])
}

pub(crate) async fn nodes(call: Call<'_>) -> Handled {
    let node_meta = call.read::<NodeFilters>()?.filter();
    near::answer(&call, Query::Nodes { node_meta }).await
}

pub(crate) async fn services(call: Call<'_>) -> Handled {
    let node_meta = call.read::<NodeFilters>()?.filter();
    call.answer(Query::Services { node_meta }).await
}

pub(crate) async fn service_list(call: Call<'_>) -> Handled {
    let answer = call.ask(Query::Services { node_meta: Vec::new() }).await?;
    let Reply::Services(services) = &answer.body.reply else {
        return Err(Fault::new("services were answered with something else"));
    };
    let services = services.keys().map(|name| ServiceName { name }).collect();
    with_meta(&ServiceList { services }, &answer.meta)
}

pub(crate) async fn service_nodes(call: Call<'_>) -> Handled {
    let mut asked: OfService = call.read()?;
    if asked.service_name.is_empty() && asked.service_address.is_empty() {
        return Err(Fault::new("Must provide service name"));
    }
    let tags = asked.tags();
    let node_meta = call.read::<NodeFilters>()?.filter();
    let OfService { service_name: name, connect: mesh, .. } = asked;
    near::answer(&call, Query::ServiceNodes { name, tags, mesh, node_meta }).await
}

pub(crate) async fn node_services(call: Call<'_>) -> Handled {
    let node = call.read::<OfNode>()?.named()?;
    call.answer(Query::NodeServices { node }).await
}

pub(crate) async fn node_service_list(call: Call<'_>) -> Handled {
    let node = call.read::<OfNode>()?.named()?;
    call.answer(Query::NodeServiceList { node }).await
}

pub(crate) async fn gateway_services(call: Call<'_>) -> Handled {
    let OfService { service_name: gateway, .. } = call.read()?;
    if gateway.is_empty() {
        return Err(Fault::new("Must provide gateway name"));
    }
    call.answer(Query::GatewayServices { gateway }).await
}

pub(crate) async fn ask_nodes(ask: &Ask<'_>, node_meta: &NodeMetaFilter) -> Asked {
    let asked = NodeFilters::of(node_meta);
    let (meta, Nodes { nodes }) = ask.rows("Catalog.ListNodes", &asked).await?;
    Ok((meta, Reply::Nodes(nodes)))
}

pub(crate) async fn ask_services(ask: &Ask<'_>, node_meta: &NodeMetaFilter) -> Asked {
    let asked = NodeFilters::of(node_meta);
    let (meta, Services { mut services }) = ask.rows("Catalog.ListServices", &asked).await?;
    services.values_mut().for_each(|tags| tags.sort());
    Ok((meta, Reply::Services(services)))
}

pub(crate) async fn ask_service_nodes(
    ask: &Ask<'_>,
    asked: &OfService,
    node_meta: &NodeMetaFilter,
) -> Asked {
    let (meta, ServiceNodes { service_nodes }) =
        ask.rows_of("Catalog.ServiceNodes", asked, &NodeFilters::of(node_meta)).await?;
    Ok((meta, Reply::ServiceNodes(service_nodes)))
}

pub(crate) async fn ask_node_services(ask: &Ask<'_>, node: String) -> Asked {
    let asked = OfNode { node };
    let (meta, found): (_, OneNode<NodeServices>) =
        ask.rows("Catalog.NodeServices", &asked).await?;
    let found = found.node_services.filter(|found| found.node.is_some());
    Ok((meta, Reply::NodeServices(found)))
}

pub(crate) async fn ask_node_service_list(ask: &Ask<'_>, node: String) -> Asked {
    let asked = OfNode { node };
    let (meta, found): (_, OneNode<NodeServiceList>) =
        ask.rows("Catalog.NodeServiceList", &asked).await?;
    let found = found.node_services.filter(|found| found.node.is_some());
    Ok((meta, Reply::NodeServiceList(found)))
}

pub(crate) async fn ask_gateway_services(ask: &Ask<'_>, gateway: String) -> Asked {
    let asked = OfService::new(gateway, Vec::new(), false);
    let (meta, GatewayServices { services }) = ask.rows("Catalog.GatewayServices", &asked).await?;
    Ok((meta, Reply::GatewayServices(services)))
}

pub(crate) async fn send_register(
    remote: &crate::Remote,
    mut request: RegisterRequest,
    token: &Token,
) -> Written<Outcome> {
    // The map has one place for it.
    let place = remote.datacenter_of(&std::mem::take(&mut request.datacenter));
    request.datacenter = place;
    let _: Empty = remote.write_placed("Catalog.Register", &request, token).await?;
    Ok(Outcome::Done)
}

pub(crate) async fn send_deregister(
    remote: &crate::Remote,
    mut request: DeregisterRequest,
    token: &Token,
) -> Written<Outcome> {
    request.datacenter = remote.datacenter_of(&request.datacenter);
    let _: Empty = remote.write_placed("Catalog.Deregister", &request, token).await?;
    Ok(Outcome::Done)
}
