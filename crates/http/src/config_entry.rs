//! `/v1/config*`: settings written once for all instances.

use config::config_entry::entry_from_tree;
use hyper::StatusCode;
use model::command::{Command, Outcome};
use model::config_entry::{ConfigEntryRequest, PROXY_DEFAULTS, SERVICE_DEFAULTS};
use model::query::{Query, Reply};
use serde_json::json;

use crate::ask::{Style, ask};
use crate::edge::Edge;
use crate::failure::Failure;
use crate::options::parse_unsigned;
use crate::request::Request;
use crate::response::{self, Response};

/// Kinds that may be asked about; only the first two hold anything yet.
const KINDS: [&str; 7] = [
    PROXY_DEFAULTS,
    SERVICE_DEFAULTS,
    "service-router",
    "service-splitter",
    "service-resolver",
    "ingress-gateway",
    "terminating-gateway",
];

pub(crate) async fn write(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let bytes = request.bytes().await?;
    let refuse = |text: String| Failure::bad_request(format!("Request decoding failed: {text}"));
    let tree = config::json::parse_body(&bytes).map_err(|error| refuse(error.message))?;
    let entry = entry_from_tree(&tree).map_err(|error| refuse(error.to_string()))?;
    let change = match request.parameters.text("cas") {
        Some(index) => ConfigEntryRequest::UpsertCas(entry.into(), parse_unsigned(index)?),
        None => ConfigEntryRequest::Upsert(entry.into()),
    };
    run(edge, &request, change).await
}

/// Entries are kept by the primary datacenter whatever datacenter is named.
async fn run(
    edge: &Edge,
    request: &Request,
    change: ConfigEntryRequest,
) -> Result<Response, Failure> {
    let command = Command::ConfigEntry(change);
    match edge.agent.cluster().command(command, edge.token(request)).await? {
        Outcome::Done | Outcome::Created(_) => Ok(response::truth(true, request.pretty)),
        Outcome::Applied(applied) => Ok(response::truth(applied, request.pretty)),
        Outcome::Refused(text) => Err(Failure::server(text)),
    }
}

/// One entry, or all of a kind, or all.
pub(crate) async fn read(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let (kind, name) = match request.rest().split_once('/') {
        Some((kind, name)) => (kind.to_owned(), Some(name.to_owned())),
        None => (request.rest().to_owned(), None),
    };
    if !kind.is_empty() && !KINDS.contains(&kind.as_str()) {
        return Err(Failure::server(format!("invalid config entry kind: {kind}")));
    }
    let Some(name) = name else {
        let query = Query::ConfigEntries { kind };
        return Ok(ask(edge, &request, query, Style::PLAIN).await?.respond(&request));
    };
    let missing = format!("Config entry not found for {kind:?} / {name:?}");
    let found = ask(edge, &request, Query::ConfigEntry { kind, name }, Style::PLAIN).await?;
    match found.reply() {
        Reply::ConfigEntry(None) => {
            Ok(found.complete(response::text(StatusCode::NOT_FOUND, missing)))
        }
        _ => Ok(found.respond(&request)),
    }
}

pub(crate) async fn delete(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let Some((kind, name)) = request.rest().split_once('/') else {
        return Err(Failure::not_found("Must provide both a kind and name to delete"));
    };
    if !KINDS.contains(&kind) {
        return Err(Failure::bad(format!("invalid config entry kind: {kind}")));
    }
    let change = ConfigEntryRequest::Delete { kind: kind.to_owned(), name: name.to_owned() };
    run(edge, &request, change).await?;
    response::json(&json!({}), request.pretty)
}
