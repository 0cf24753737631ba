//! `/v1/catalog/*`: nodes and services as all agents registered them.

use std::sync::atomic::Ordering;

use model::catalog::{DeregisterRequest, RegisterRequest};
use model::command::Command;
use model::query::Query;

use crate::ask::{Style, ask};
use crate::body::{self, Rules};
use crate::edge::Edge;
use crate::failure::Failure;
use crate::near;
use crate::options::Options;
use crate::request::Request;
use crate::response::{self, Response};

pub(crate) const MISSING_NODE: &str = "Missing node name";
pub(crate) const MISSING_SERVICE: &str = "Missing service name";

const REGISTER: Rules =
    Rules { owner: "RegisterRequest", type_name: "structs.RegisterRequest", refuses_unknown: true };
const DEREGISTER: Rules = Rules {
    owner: "",
    type_name: "struct { Address string; *structs.Alias }",
    refuses_unknown: true,
};

pub(crate) async fn register(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let mut wanted: RegisterRequest = decode(&mut request, REGISTER).await?;
    for check in wanted.check.iter_mut().chain(&mut wanted.checks) {
        if check.kind.is_empty() {
            check.kind = check.definition.kind().to_owned();
        }
    }
    check_datacenter(edge, &wanted.datacenter)?;
    edge.write(&request, Command::Register(Box::new(wanted))).await
}

pub(crate) async fn deregister(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let wanted: DeregisterRequest = decode(&mut request, DEREGISTER).await?;
    check_datacenter(edge, &wanted.datacenter)?;
    edge.write(&request, Command::Deregister(wanted)).await
}

async fn decode<T: serde::de::DeserializeOwned>(
    request: &mut Request,
    rules: Rules,
) -> Result<T, Failure> {
    let bytes = request.bytes().await?;
    body::decode(&bytes, rules)
        .map_err(|text| Failure::bad(format!("Request decode failed: {text}")))
}

/// The datacenter a body names goes before that of the query.
pub(crate) fn check_datacenter(edge: &Edge, named: &str) -> Result<(), Failure> {
    match named {
        "" => Ok(()),
        own if own == edge.agent.settings().node.datacenter => Ok(()),
        _ => Err(Failure::server("No path to datacenter")),
    }
}

/// Those known: one, as long as datacenters do not meet.
pub(crate) async fn datacenters(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let options = Options::read(edge, &request)?;
    let known = [edge.agent.settings().node.datacenter.clone()];
    let mut response = response::json(&known, request.pretty)?;
    if options.is_cached {
        // The first asking is what would have fetched it.
        let hit = edge.knows_datacenters.swap(true, Ordering::Relaxed);
        let cache = agent::CacheInfo { hit, age: std::time::Duration::ZERO };
        response::set_cache(&mut response, &cache);
    }
    Ok(response)
}

pub(crate) async fn nodes(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let query = Query::Nodes { node_meta: request.node_meta() };
    respond(edge, request, query, Style::DISCOVERY).await
}

pub(crate) async fn services(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let query = Query::Services { node_meta: request.node_meta() };
    respond(edge, request, query, Style::CACHED_DISCOVERY).await
}

pub(crate) async fn service(edge: &Edge, request: Request) -> Result<Response, Failure> {
    instances(edge, request, false).await
}

pub(crate) async fn connect(edge: &Edge, request: Request) -> Result<Response, Failure> {
    instances(edge, request, true).await
}

async fn instances(edge: &Edge, request: Request, mesh: bool) -> Result<Response, Failure> {
    let name = request.name(MISSING_SERVICE)?;
    // Tags are not looked at where proxies stand for the service.
    let tags = if mesh { Vec::new() } else { request.tags() };
    let node_meta = request.node_meta();
    let query = Query::ServiceNodes { name, tags, mesh, node_meta };
    respond(edge, request, query, Style::CACHED_DISCOVERY).await
}

pub(crate) async fn node(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let node = request.name(MISSING_NODE)?;
    respond(edge, request, Query::NodeServices { node }, Style::DISCOVERY).await
}

pub(crate) async fn node_services(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let node = request.name(MISSING_NODE)?;
    respond(edge, request, Query::NodeServiceList { node }, Style::DISCOVERY).await
}

pub(crate) async fn gateway_services(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let gateway = request.name("Missing gateway name")?;
    respond(edge, request, Query::GatewayServices { gateway }, Style::DISCOVERY).await
}

async fn respond(
    edge: &Edge,
    request: Request,
    query: Query,
    style: Style,
) -> Result<Response, Failure> {
    let found = ask(edge, &request, query, style).await?;
    Ok(near::sort(edge, &request, found).await?.respond(&request))
}
