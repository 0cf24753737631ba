//! `/v1/session/*`: sessions and their renewal.

use model::check::SERF_HEALTH;
use model::command::{Command, Outcome};
use model::duration::GoDuration;
use model::id::uuid_key;
use model::query::Query;
use model::session::{LOCK_DELAY_DEFAULT, ServiceCheck, Session, SessionBehavior, SessionRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ask::{Style, ask};
use crate::body::{self, Rules};
use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::Request;
use crate::response::{self, Response};

const MISSING: &str = "Missing session";

/// A session as asked for. What is not named takes defaults that an empty value would not.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    name: String,
    node: Option<String>,
    lock_delay: Option<Value>,
    behavior: Option<Behavior>,
    #[serde(rename = "TTL")]
    ttl: String,
    /// An older list beside `NodeChecks`: given empty it takes away the default of that.
    checks: Option<Vec<String>>,
    node_checks: Option<Vec<String>>,
    service_checks: Option<Vec<ServiceCheck>>,
}

/// Any word; what it means is looked at later.
#[derive(Deserialize)]
#[serde(rename = "SessionBehavior")]
struct Behavior(String);

const RULES: Rules = Rules {
    owner: "",
    type_name: "struct { LockDelay interface {}; *structs.Alias }",
    refuses_unknown: false,
};

#[derive(Serialize)]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

pub(crate) async fn create(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let mut wanted = Wanted::default();
    let mut is_checks_null = false;
    if request.has_body() {
        let bytes = request.bytes().await?;
        let refuse = |text| Failure::bad(format!("Request decode failed: {text}"));
        wanted = body::decode(&bytes, RULES).map_err(refuse)?;
        is_checks_null = body::has_null(&bytes, "Checks");
    }
    edge.check_datacenter(&request)?;
    let Wanted { name, node, lock_delay, behavior, ttl, checks, node_checks, service_checks } =
        wanted;
    let has_checks = checks.is_some();
    let mut checks = checks.unwrap_or_default();
    let gives_up_defaults = is_checks_null || (has_checks && checks.is_empty());
    // The default of old, which goes without saying.
    if checks == [SERF_HEALTH] {
        checks.clear();
    }
    let mut node_checks = match node_checks {
        Some(node_checks) => node_checks,
        None if gives_up_defaults => Vec::new(),
        None => vec![SERF_HEALTH.to_owned()],
    };
    let mut seen = std::collections::BTreeSet::new();
    node_checks.retain(|check| seen.insert(check.clone()));
    let session = Session {
        name,
        node: node.unwrap_or_else(|| edge.agent.settings().node.name.clone()),
        lock_delay: read_lock_delay(lock_delay)?,
        behavior: read_behavior(behavior)?,
        ttl,
        node_checks,
        service_checks,
        checks,
        ..Default::default()
    };
    let command = Command::Session(SessionRequest::Create(session));
    match edge.run(&request, command).await? {
        Outcome::Created(id) => response::json(&Created { id }, request.pretty),
        other => Err(Edge::unexpected(&other)),
    }
}

/// Texts are spans, small numbers seconds, large ones nanoseconds, and anything else none.
fn read_lock_delay(given: Option<Value>) -> Result<GoDuration, Failure> {
    /// Whatever is below is taken for seconds, spans below zero too.
    const SECONDS_MAX: f64 = 1000.0;
    let number = match given {
        None | Some(Value::Null) => return Ok(LOCK_DELAY_DEFAULT),
        Some(Value::String(text)) => {
            let span: GoDuration = text
                .parse()
                .map_err(|error| Failure::bad(format!("Request decode failed: {error}")))?;
            span.0 as f64
        }
        Some(Value::Number(number)) => number.as_f64().unwrap_or_default(),
        Some(_) => 0.0,
    };
    let nanos = if number < SECONDS_MAX { number * 1e9 } else { number };
    Ok(GoDuration(nanos as i64))
}

fn read_behavior(given: Option<Behavior>) -> Result<SessionBehavior, Failure> {
    match given.as_ref().map_or("", |Behavior(word)| word) {
        "" | "release" => Ok(SessionBehavior::Release),
        "delete" => Ok(SessionBehavior::Delete),
        other => Err(Failure::server(format!("Invalid Behavior setting '{other}'"))),
    }
}

pub(crate) async fn destroy(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let id = session_id(&request)?;
    edge.write(&request, Command::Session(SessionRequest::Destroy(id))).await
}

pub(crate) async fn renew(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let id = session_id(&request)?;
    edge.check_datacenter(&request)?;
    match edge.agent.cluster().renew_session(id.clone(), edge.token(&request)).await? {
        Some(session) => response::json(&[session], request.pretty),
        None => Err(Failure::not_found(format!("Session id '{id}' not found"))),
    }
}

/// The id in the path. Errors: 400 for none, 500 for what is no UUID.
fn session_id(request: &Request) -> Result<String, Failure> {
    let id = request.name(MISSING)?;
    match uuid_key(&id) {
        Ok(_) => Ok(id),
        Err(error) => Err(Failure::server(format!("failed session lookup: index error: {error}"))),
    }
}

pub(crate) async fn read(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let id = session_id(&request).map_err(|failure| match failure.status.is_server_error() {
        true => failure.showing_meta(),
        false => failure,
    })?;
    list_by(edge, request, Query::Session { id }).await
}

pub(crate) async fn of_node(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let node = request.name("Missing node name")?;
    list_by(edge, request, Query::NodeSessions { node }).await
}

pub(crate) async fn list(edge: &Edge, request: Request) -> Result<Response, Failure> {
    list_by(edge, request, Query::Sessions).await
}

async fn list_by(edge: &Edge, request: Request, query: Query) -> Result<Response, Failure> {
    Ok(ask(edge, &request, query, Style::SESSION).await?.respond(&request))
}

#[cfg(test)]
mod unit_tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lock_delays() {
        let check = |given: Value, want: Option<i64>| {
            assert_eq!(read_lock_delay(Some(given)).ok().map(|delay| delay.0), want);
        };
        check(json!(20), Some(20_000_000_000));
        check(json!(1500), Some(1500));
        check(json!(20_000_000_000_i64), Some(20_000_000_000));
        check(json!("1m0.5s"), Some(60_500_000_000));
        check(json!("20"), None);
        check(json!("-5s"), Some(-5_000_000_000_000_000_000));
        check(json!(null), Some(15_000_000_000));
        check(json!(true), Some(0));
    }
}
