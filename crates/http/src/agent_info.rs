//! `/v1/agent/*`: what the agent says of itself, and its life.

use std::time::Duration;

use agent::monitor::LogLevel;
use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderValue};
use model::definition::several;
use tokio::sync::mpsc;

use crate::edge::Edge;
use crate::failure::Failure;
use crate::health::parse_truth;
use crate::request::Request;
use crate::response::{self, Body, Response};

/// Log lines a slow reader may be behind before the log waits for him.
const MONITOR_LINES_MAX: usize = 64;
/// How often a quiet monitor looks whether its reader is still there.
const MONITOR_LOOK: Duration = Duration::from_secs(5);

pub(crate) async fn this(edge: &Edge, request: Request) -> Result<Response, Failure> {
    response::json(&edge.agent.self_info(), request.pretty)
}

pub(crate) async fn host(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let agent = edge.agent.clone();
    let host = tokio::task::spawn_blocking(move || agent.host()).await;
    let host = host.map_err(|error| Failure::server(error.to_string()))?;
    response::json(&host, request.pretty)
}

pub(crate) async fn members(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let given = &request.parameters;
    if given.text("segment").is_some_and(|segment| segment != "_all") {
        let text = "Network segments are not supported in this version of Consul";
        return Err(Failure::server(text));
    }
    let wan = given.text("wan").is_some();
    if wan && !edge.agent.settings().is_server {
        // Never made, which Go shows as null.
        return response::json(&(), request.pretty);
    }
    let members = edge.agent.members(wan, given.get("filter").unwrap_or_default())?;
    response::json(&members, request.pretty)
}

pub(crate) async fn metrics(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let metrics = edge.agent.metrics();
    let accepts_open = request
        .headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/openmetrics-text"));
    if request.parameters.get("format") != Some("prometheus") && !accepts_open {
        return response::json(&metrics.snapshot(), request.pretty);
    }
    match metrics.prometheus() {
        Some(text) => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            Ok(response::typed(StatusCode::OK, kind, text))
        }
        None => Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Prometheus is not enabled since its retention time is not positive",
        )),
    }
}

/// The log as it is written, until the reader goes.
pub(crate) async fn monitor(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let given = &request.parameters;
    let level = given.text("loglevel").unwrap_or("INFO");
    let level = LogLevel::parse(level)
        .ok_or_else(|| Failure::bad_request(format!("Unknown log level: {level}")))?;
    let Some(logs) = &edge.logs else {
        return Err(Failure::server("the log of this process cannot be followed"));
    };
    let mut stream = logs.subscribe(level, given.has("logjson"));
    let (sender, parts) = mpsc::channel(MONITOR_LINES_MAX);
    // Ends with its reader: the receiver goes with the connection.
    tokio::spawn(async move {
        loop {
            let line = tokio::select! {
                line = stream.next() => line,
                () = sender.closed() => None,
                // Holds nothing; only turns the loop.
                () = tokio::time::sleep(MONITOR_LOOK) => continue,
            };
            let Some(line) = line else { return };
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
    Ok(Response::new(Body::Parts(parts)))
}

pub(crate) async fn reload(edge: &Edge, _request: Request) -> Result<Response, Failure> {
    let Some(reload) = &edge.reload else {
        return Err(Failure::server("this agent has no configuration to read again"));
    };
    reload().await.map_err(Failure::server)?;
    done()
}

pub(crate) async fn leave(edge: &Edge, _request: Request) -> Result<Response, Failure> {
    edge.agent.leave();
    done()
}

pub(crate) async fn maintenance(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let enable = is_enabled(&request)?;
    let reason = request.parameters.get("reason").unwrap_or_default();
    edge.agent.node_maintenance(enable, reason, edge.token(&request)).await?;
    done()
}

/// What `?enable` says. Errors: 400 when it is missing or no truth value.
pub(crate) fn is_enabled(request: &Request) -> Result<bool, Failure> {
    let Some(text) = request.parameters.get("enable") else {
        return Err(Failure::bad("Missing value for enable"));
    };
    parse_truth(text).ok_or_else(|| Failure::bad(format!("Invalid value for enable: {text:?}")))
}

pub(crate) async fn join(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let wan = request.parameters.text("wan").is_some();
    if wan && !edge.agent.settings().is_server {
        return Err(Failure::server("Must be a server to join WAN cluster"));
    }
    let joined = edge.agent.membership().join(vec![request.rest().to_owned()], wan).await;
    if let Err(error) = joined {
        let reasons: Vec<_> = error.message.lines().map(str::to_owned).collect();
        return Err(Failure::server(several(&reasons)));
    }
    done()
}

pub(crate) async fn force_leave(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let prune = request.parameters.has("prune");
    edge.agent.membership().force_leave(request.rest().to_owned(), prune).await?;
    done()
}

pub(crate) async fn token(_edge: &Edge, _request: Request) -> Result<Response, Failure> {
    Err(Failure::new(StatusCode::UNAUTHORIZED, "ACL support disabled"))
}

/// Success without a body.
pub(crate) fn done() -> Result<Response, Failure> {
    Ok(response::empty(StatusCode::OK))
}
