//! `/v1/health/*`: checks, and instances with all that bears on them.

use model::check::CheckStatus;
use model::query::Query;

use crate::ask::{Style, ask};
use crate::catalog::{MISSING_NODE, MISSING_SERVICE};
use crate::edge::Edge;
use crate::encode::encode;
use crate::failure::Failure;
use crate::near;
use crate::request::Request;
use crate::response::{self, Response};

pub(crate) async fn node(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let node = request.name(MISSING_NODE)?;
    respond(edge, request, Query::NodeChecks { node }, Style::DISCOVERY).await
}

pub(crate) async fn checks(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let name = request.name(MISSING_SERVICE)?;
    let query = Query::ServiceChecks { name, node_meta: request.node_meta() };
    respond(edge, request, query, Style::DISCOVERY).await
}

pub(crate) async fn service(edge: &Edge, request: Request) -> Result<Response, Failure> {
    instances(edge, request, false).await
}

pub(crate) async fn connect(edge: &Edge, request: Request) -> Result<Response, Failure> {
    instances(edge, request, true).await
}

async fn instances(edge: &Edge, request: Request, mesh: bool) -> Result<Response, Failure> {
    let name = request.name(MISSING_SERVICE)?;
    let query = Query::Health {
        name,
        // Tags are not looked at where proxies stand for the service.
        tags: if mesh { Vec::new() } else { request.tags() },
        mesh,
        passing_only: passing_only(&request)?,
        node_meta: request.node_meta(),
    };
    respond(edge, request, query, Style::CACHED_DISCOVERY).await
}

/// `?passing` alone or true. Errors: 400 for what is no truth value.
fn passing_only(request: &Request) -> Result<bool, Failure> {
    match request.parameters.get("passing") {
        None => Ok(false),
        Some("") => Ok(true),
        Some(text) => parse_truth(text).ok_or_else(|| Failure::bad("Invalid value for ?passing")),
    }
}

/// The words Go's `strconv.ParseBool` knows.
pub(crate) fn parse_truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Gateways that lead to a service: none while gateways are not kept.
pub(crate) async fn ingress(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let gateway = request.name(MISSING_SERVICE)?;
    passing_only(&request)?;
    let query = Query::GatewayServices { gateway };
    let found = ask(edge, &request, query, Style::CACHED_DISCOVERY).await?;
    let none = model::query::Reply::Health(Vec::new());
    Ok(found.complete(response::encoded(encode(&none, request.pretty))))
}

pub(crate) async fn state(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let state = request.name("Missing check state")?;
    let node_meta = request.node_meta();
    let status = match state.as_str() {
        "any" => None,
        word => match CheckStatus::parse(word) {
            Some(status) => Some(status),
            None => return no_checks(edge, request).await,
        },
    };
    respond(edge, request, Query::ChecksInState { status, node_meta }, Style::DISCOVERY).await
}

/// No check is in a state that does not exist.
async fn no_checks(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let query = Query::ChecksInState { status: None, node_meta: Vec::new() };
    let found = ask(edge, &request, query, Style::DISCOVERY).await?;
    let none = model::query::Reply::Checks(Vec::new());
    Ok(found.complete(response::encoded(encode(&none, request.pretty))))
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
