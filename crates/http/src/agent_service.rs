//! `/v1/agent/service*`: the services of this agent and how healthy they are.

use std::time::Duration;

use agent::{AgentService, AggregatedStatus, ServiceHealth, Source};
use config::definition::service_from_body;
use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderName, HeaderValue};
use model::query::Token;
use serde::Serialize;

use crate::agent_info::{done, is_enabled};
use crate::edge::Edge;
use crate::failure::Failure;
use crate::options::wait;
use crate::request::Request;
use crate::response::{self, Response};

const CONTENT_HASH: HeaderName = HeaderName::from_static("x-consul-contenthash");
const REASON: HeaderName = HeaderName::from_static("x-consul-reason");

/// How long a change is waited for by who does not say, and at most.
const WAIT_DEFAULT: Duration = Duration::from_secs(300);
const WAIT_MAX: Duration = Duration::from_secs(600);

pub(crate) async fn list(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let filter = request.parameters.get("filter").unwrap_or_default();
    response::json(&edge.agent.services(filter)?, request.pretty)
}

/// One service; with `?hash` of a known content, once it has another.
pub(crate) async fn read(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let id = request.rest();
    let wait = wait(&request)?.unwrap_or(WAIT_DEFAULT).min(WAIT_MAX);
    edge.check_datacenter(&request)?;
    let service = match request.parameters.text("hash") {
        None => edge.agent.service(id)?,
        Some(hash) => edge.agent.wait_service(id, hash, wait).await?,
    };
    respond(&service, request.pretty)
}

fn respond(service: &AgentService, pretty: bool) -> Result<Response, Failure> {
    let mut response = response::json(service, pretty)?;
    if let Ok(hash) = HeaderValue::from_str(&service.content_hash) {
        response.headers_mut().insert(CONTENT_HASH, hash);
    }
    Ok(response)
}

pub(crate) async fn register(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let bytes = request.bytes().await?;
    let refuse = |text: String| Failure::bad(format!("Request decode failed: {text}"));
    let body = config::json::parse_body(&bytes).map_err(|error| refuse(error.message))?;
    let definition = service_from_body(&body).map_err(|error| refuse(error.body_text()))?;
    let replaces = request.parameters.has("replace-existing-checks");
    let token = request.token(&Token::default());
    edge.agent.register_service(definition, Source::Api, token, replaces).await?;
    done()
}

pub(crate) async fn deregister(edge: &Edge, request: Request) -> Result<Response, Failure> {
    edge.agent.deregister_service(request.rest()).await?;
    done()
}

pub(crate) async fn maintenance(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let id = request.name("Missing service ID")?;
    let enable = is_enabled(&request)?;
    let reason = request.parameters.get("reason").unwrap_or_default();
    edge.agent.service_maintenance(&id, enable, reason, edge.token(&request)).await?;
    done()
}

pub(crate) async fn health_by_name(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let name = request.rest();
    if name.is_empty() {
        return Err(Failure::server("Bad request: Missing service Name"));
    }
    let (status, rows) = edge.agent.health_by_name(name);
    if rows.is_empty() {
        let reason = format!("ServiceName {name} Not Found");
        let response = match wants_text(&request) {
            true => plain(StatusCode::NOT_FOUND, &reason),
            false => response::json_with(StatusCode::NOT_FOUND, &rows, request.pretty)?,
        };
        return Ok(with_reason(response, &reason));
    }
    verdict(&request, status, &rows)
}

pub(crate) async fn health_by_id(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let id = request.rest();
    if id.is_empty() {
        return Err(Failure::server("Bad request: Missing serviceID"));
    }
    let Some(health) = edge.agent.health_by_id(id) else {
        let reason = format!("ServiceId {id} not found");
        let response = match wants_text(&request) {
            // Text was asked for, yet a JSON text is what comes.
            true => response::json_with(StatusCode::NOT_FOUND, &reason, request.pretty)?,
            false => response::json_with(StatusCode::NOT_FOUND, &Unknown::HERE, request.pretty)?,
        };
        return Ok(with_reason(response, &reason));
    };
    verdict(&request, health.aggregated_status, &health)
}

/// What is said of an instance that is not registered here.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Unknown {
    aggregated_status: AggregatedStatus,
    service: Option<AgentService>,
    checks: Option<Vec<ServiceHealth>>,
}

impl Unknown {
    const HERE: Self =
        Self { aggregated_status: AggregatedStatus::Critical, service: None, checks: None };
}

fn verdict(
    request: &Request,
    status: AggregatedStatus,
    rows: &impl Serialize,
) -> Result<Response, Failure> {
    let code =
        StatusCode::from_u16(status.http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let response = match wants_text(request) {
        true => plain(code, status.as_str()),
        false => response::json_with(code, rows, request.pretty)?,
    };
    Ok(with_reason(response, status.as_str()))
}

fn wants_text(request: &Request) -> bool {
    let accepts = |kind| request.headers.get(ACCEPT).is_some_and(|accept| accept == kind);
    match request.parameters.text("format") {
        Some(format) => format == "text",
        None => accepts("text/plain"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response {
    response::typed(status, HeaderValue::from_static("text/plain"), text.to_owned())
}

fn with_reason(mut response: Response, reason: &str) -> Response {
    // A name no header can hold is left out of it; the body has it.
    if let Ok(reason) = HeaderValue::from_str(reason) {
        response.headers_mut().insert(REASON, reason);
    }
    response
}
