//! `/v1/agent/check*`: the checks of this agent and what their owners tell of them.

use agent::Source;
use config::definition::check_from_body;
use model::check::CheckStatus;
use model::query::Token;
use serde::Deserialize;

use crate::agent_info::done;
use crate::body::{self, Rules};
use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::Request;
use crate::response::{self, Response};

const UPDATE: Rules =
    Rules { owner: "checkUpdate", type_name: "agent.checkUpdate", refuses_unknown: true };

/// What the owner of a check tells.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Update {
    status: String,
    output: String,
}

pub(crate) async fn list(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let filter = request.parameters.get("filter").unwrap_or_default();
    response::json(&edge.agent.checks(filter)?, request.pretty)
}

pub(crate) async fn register(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let bytes = request.bytes().await?;
    let body = config::json::parse_body(&bytes).map_err(|error| refuse(error.message))?;
    let definition = check_from_body(&body).map_err(|error| refuse(error.body_text()))?;
    let token = request.token(&Token::default());
    edge.agent.register_check(definition, Source::Api, token).await?;
    done()
}

pub(crate) async fn deregister(edge: &Edge, request: Request) -> Result<Response, Failure> {
    edge.agent.deregister_check(request.rest()).await?;
    done()
}

pub(crate) async fn pass(edge: &Edge, request: Request) -> Result<Response, Failure> {
    note(edge, request, CheckStatus::Passing).await
}

pub(crate) async fn warn(edge: &Edge, request: Request) -> Result<Response, Failure> {
    note(edge, request, CheckStatus::Warning).await
}

pub(crate) async fn fail(edge: &Edge, request: Request) -> Result<Response, Failure> {
    note(edge, request, CheckStatus::Critical).await
}

async fn note(edge: &Edge, request: Request, status: CheckStatus) -> Result<Response, Failure> {
    let output = request.parameters.get("note").unwrap_or_default();
    edge.agent.update_ttl_check(request.rest(), status, output).await?;
    done()
}

pub(crate) async fn update(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let bytes = request.bytes().await?;
    let Update { status, output } = body::decode(&bytes, UPDATE).map_err(refuse)?;
    let Some(status) = CheckStatus::parse(&status) else {
        return Err(Failure::bad(format!("Invalid check status: '{status}'")));
    };
    edge.agent.update_ttl_check(request.rest(), status, &output).await?;
    done()
}

fn refuse(text: String) -> Failure {
    Failure::bad(format!("Request decode failed: {text}"))
}
