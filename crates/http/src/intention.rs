//! `/v1/connect/intentions*`: who may connect to whom, by id as up to 1.8 and by name as since.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::command::{Command, Outcome};
use model::error::ErrorKind;
use model::id::uuid_key;
use model::intention::{
    DEFAULT_NAMESPACE, Intention, IntentionAction, IntentionRequest, MatchSide, WILDCARD,
};
use model::query::{Query, Reply};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ask::{Style, ask};
use crate::body::{self, Rules};
use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::Request;
use crate::response::{self, Response};

const RULES: Rules = Rules {
    owner: "",
    type_name: "struct { Hash string; CreatedAt string; UpdatedAt string; *structs.Alias }",
    refuses_unknown: true,
};

/// How often a write by name is tried again after somebody else wrote the same pair meanwhile.
const RACES_MAX: usize = 3;

/// An intention as asked for. What a read shows beside it may be sent back and counts for nothing.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    #[serde(rename = "ID")]
    id: String,
    description: String,
    #[serde(rename = "SourceNS")]
    source_namespace: String,
    source_name: String,
    #[serde(rename = "DestinationNS")]
    destination_namespace: String,
    destination_name: String,
    source_type: String,
    action: String,
    default_addr: String,
    default_port: u16,
    meta: BTreeMap<String, String>,
    #[serde(rename = "Precedence")]
    _precedence: Value,
    #[serde(rename = "CreatedAt")]
    _created_at: Value,
    #[serde(rename = "UpdatedAt")]
    _updated_at: Value,
    #[serde(rename = "Hash")]
    _hash: Value,
    #[serde(rename = "CreateIndex")]
    _create_index: Value,
    #[serde(rename = "ModifyIndex")]
    _modify_index: Value,
}

impl Wanted {
    /// Errors: 500 with all that is missing, when the action is not one of the two.
    fn intention(self) -> Result<Intention, Failure> {
        let action = match self.action.as_str() {
            "allow" => IntentionAction::Allow,
            "deny" => IntentionAction::Deny,
            _ => return Err(self.without_action()),
        };
        Ok(Intention {
            id: self.id,
            description: self.description,
            source_namespace: self.source_namespace,
            source_name: self.source_name,
            destination_namespace: self.destination_namespace,
            destination_name: self.destination_name,
            source_type: self.source_type,
            action,
            default_addr: self.default_addr,
            default_port: self.default_port,
            meta: self.meta,
            ..Default::default()
        })
    }

    fn without_action(&self) -> Failure {
        let mut wrong = Vec::new();
        if self.source_name.is_empty() {
            wrong.push("SourceName must be set");
        }
        if self.destination_name.is_empty() {
            wrong.push("DestinationName must be set");
        }
        wrong.push("Action must be set to 'allow' or 'deny'");
        let head = match wrong.len() {
            1 => "1 error occurred:".to_owned(),
            count => format!("{count} errors occurred:"),
        };
        let lines: String = wrong.iter().map(|text| format!("\n\t* {text}")).collect();
        Failure::server(format!("{head}{lines}\n\n"))
    }
}

#[derive(Serialize)]
struct Written {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Checked {
    allowed: bool,
}

pub(crate) async fn list(edge: &Edge, request: Request) -> Result<Response, Failure> {
    Ok(ask(edge, &request, Query::Intentions, Style::SESSION).await?.respond(&request))
}

pub(crate) async fn create(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let bytes = request.bytes().await?;
    let refuse = |text| Failure::server(format!("Failed to decode request body: {text}"));
    let wanted: Wanted = body::decode(&bytes, RULES).map_err(refuse)?;
    if !wanted.id.is_empty() {
        return Err(Failure::server("ID must be empty when creating a new intention"));
    }
    let id = upsert(edge, &request, wanted.intention()?).await?;
    response::json(&Written { id }, request.pretty)
}

pub(crate) async fn update(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let bytes = request.bytes().await?;
    let refuse = |text| Failure::bad_request(format!("Request decode failed: {text}"));
    let wanted: Wanted = body::decode(&bytes, RULES).map_err(refuse)?;
    let id = known_id(&request)?;
    let id = upsert(edge, &request, Wanted { id, ..wanted }.intention()?).await?;
    response::json(&Written { id }, request.pretty)
}

async fn upsert(edge: &Edge, request: &Request, intention: Intention) -> Result<String, Failure> {
    let command = Command::Intention(IntentionRequest::Upsert(Box::new(intention)));
    match edge.run(request, command).await? {
        Outcome::Created(id) => Ok(id),
        other => Err(Edge::unexpected(&other)),
    }
}

/// The id a write is about. Errors: 500 for what is no UUID.
fn known_id(request: &Request) -> Result<String, Failure> {
    let id = request.rest();
    match uuid_key(id) {
        Ok(_) => Ok(id.to_owned()),
        Err(error) => Err(Failure::server(format!(
            "Intention lookup failed: failed intention lookup: index error: {error}"
        ))),
    }
}

pub(crate) async fn read(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let id = request.rest().to_owned();
    if let Err(error) = uuid_key(&id) {
        let text = format!("failed intention lookup: index error: {error}");
        return Err(Failure::bad_request(text));
    }
    read_one(edge, &request, Query::Intention { id }).await
}

async fn read_one(edge: &Edge, request: &Request, query: Query) -> Result<Response, Failure> {
    let found = ask(edge, request, query, Style::PLAIN).await?;
    match found.reply() {
        Reply::Intentions(rows) => match rows.first() {
            Some(intention) => response::json(intention, request.pretty),
            None => Err(Failure::not_found("Intention not found")),
        },
        _ => Err(Failure::server("the servers gave another answer than asked for")),
    }
}

pub(crate) async fn delete(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let id = known_id(&request)?;
    edge.write(&request, Command::Intention(IntentionRequest::Delete(id))).await
}

pub(crate) async fn matching(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let given = &request.parameters;
    let side = match given.get("by") {
        None => return Err(Failure::server("required query parameter 'by' not set")),
        Some("source") => MatchSide::Source,
        Some("destination") => MatchSide::Destination,
        Some(_) => {
            let text = "'by' parameter must be one of 'source' or 'destination'";
            return Err(Failure::server(text));
        }
    };
    let asked: Vec<&str> = given.all("name").collect();
    if asked.is_empty() {
        return Err(Failure::server("required query parameter 'name' not set"));
    }
    let mut names = Vec::with_capacity(asked.len());
    for name in &asked {
        names.push(split_name("name", name)?);
    }
    let query_names = names.iter().map(|(_, name)| (*name).to_owned()).collect();
    let query = Query::IntentionMatch { side, names: query_names };
    let found = ask(edge, &request, query, Style::PLAIN).await?;
    let Reply::IntentionMatches(lists) = found.reply() else {
        return Err(Failure::server("the servers gave another answer than asked for"));
    };
    // What matches nothing was never made a list.
    let mut shown: BTreeMap<&str, Option<&Vec<Arc<Intention>>>> = BTreeMap::new();
    for ((asked, (namespace, _)), list) in asked.iter().zip(&names).zip(lists) {
        let is_ours = *namespace == DEFAULT_NAMESPACE;
        shown.insert(asked, Some(list).filter(|list| is_ours && !list.is_empty()));
    }
    let mut response = response::json(&shown, request.pretty)?;
    // With it a proxy decides alone what no intention speaks of.
    response::set_default_policy(&mut response, edge.agent.settings().default_allow);
    Ok(response)
}

/// Whether a connection would be allowed, as the servers see it.
pub(crate) async fn check(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let (source, destination) = pair(&request)?;
    match request.parameters.get("source-type") {
        None | Some("" | "consul") => {}
        Some(other) => {
            return Err(Failure::server(format!("unsupported SourceType: {other:?}")));
        }
    }
    let query = Query::IntentionMatch { side: MatchSide::Destination, names: vec![destination] };
    let found = ask(edge, &request, query, Style::PLAIN).await?;
    let Reply::IntentionMatches(lists) = found.reply() else {
        return Err(Failure::server("the servers gave another answer than asked for"));
    };
    // Most specific first: the first that is about the source decides.
    let deciding = lists
        .iter()
        .flatten()
        .find(|intention| intention.source_name == source || intention.source_name == WILDCARD);
    let allowed = match deciding {
        Some(intention) => intention.action == IntentionAction::Allow,
        None => edge.agent.settings().default_allow,
    };
    response::json(&Checked { allowed }, request.pretty)
}

/// The names in `?source` and `?destination`. Errors: 500 for a missing or malformed one.
fn pair(request: &Request) -> Result<(String, String), Failure> {
    let name = |parameter: &str| match request.parameters.get(parameter) {
        None => Err(Failure::server(format!("required query parameter '{parameter}' not set"))),
        Some(text) => split_name(parameter, text).map(|(_, name)| name.to_owned()),
    };
    Ok((name("source")?, name("destination")?))
}

/// `name` or `namespace/name`.
fn split_name<'a>(parameter: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    match text.split_once('/') {
        None => Ok((DEFAULT_NAMESPACE, text)),
        Some((_, name)) if name.contains('/') => Err(Failure::server(format!(
            "{parameter} {text:?} is invalid: input can contain at most one '/'"
        ))),
        Some((namespace, name)) => Ok((namespace, name)),
    }
}

pub(crate) async fn read_exact(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let (source, destination) = exact_pair(&request)?;
    read_one(edge, &request, Query::IntentionExact { source, destination }).await
}

pub(crate) async fn write_exact(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let (source, destination) = exact_pair(&request)?;
    let bytes = request.bytes().await?;
    let refuse = |text| Failure::bad_request(format!("Request decode failed: {text}"));
    let wanted: Wanted = body::decode(&bytes, RULES).map_err(refuse)?;
    let wanted = Wanted { source_name: source, destination_name: destination, ..wanted };
    let mut races = 0;
    loop {
        let Wanted { source_name, destination_name, .. } = &wanted;
        let id = exact_id(edge, &request, source_name, destination_name).await?;
        let intention = Wanted { id: id.unwrap_or_default(), ..wanted.clone() }.intention()?;
        let command = Command::Intention(IntentionRequest::Upsert(Box::new(intention)));
        match edge.agent.cluster().command(command, edge.token(&request)).await {
            Ok(_) => return Ok(response::truth(true, request.pretty)),
            // The pair was written, or removed, between the look and the write.
            Err(error)
                if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound)
                    && races < RACES_MAX =>
            {
                races += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) async fn delete_exact(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let (source, destination) = exact_pair(&request)?;
    if let Some(id) = exact_id(edge, &request, &source, &destination).await? {
        let command = Command::Intention(IntentionRequest::Delete(id));
        match edge.agent.cluster().command(command, edge.token(&request)).await {
            Ok(_) => {}
            // Somebody else was faster.
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(response::truth(true, request.pretty))
}

/// As [`pair`], with status 400, which the form by name answers.
fn exact_pair(request: &Request) -> Result<(String, String), Failure> {
    pair(request).map_err(|failure| Failure::bad_request(failure.text))
}

/// The id of the intention between exactly these.
async fn exact_id(
    edge: &Edge,
    request: &Request,
    source: &str,
    destination: &str,
) -> Result<Option<String>, Failure> {
    edge.check_datacenter(request)?;
    let query =
        Query::IntentionExact { source: source.to_owned(), destination: destination.to_owned() };
    let options = model::query::QueryOptions {
        token: edge.token(request),
        ..model::query::QueryOptions::default()
    };
    let answer = edge.agent.cluster().query(query, options).await?;
    Ok(match &answer.body.reply {
        Reply::Intentions(rows) => rows.first().map(|intention| intention.id.clone()),
        _ => None,
    })
}
