//! `/v1/kv/:key`: values, lists of them, and conditional writes.

use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use model::command::Command;
use model::kv::{DirEntry, KvOp, KvRequest};
use model::query::{Query, Reply};

use crate::ask::{Found, Style, ask};
use crate::edge::Edge;
use crate::failure::Failure;
use crate::options::parse_unsigned;
use crate::request::Request;
use crate::response::{self, Response};

const MISSING: &str = "Missing key name";

pub(crate) async fn read(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let key = request.rest().to_owned();
    if request.parameters.has("keys") {
        return read_keys(edge, &request, key).await;
    }
    let recurse = request.parameters.has("recurse");
    if !recurse && key.is_empty() {
        return Err(Failure::bad(MISSING));
    }
    let query = match recurse {
        true => Query::KvList { prefix: key },
        false => Query::KvGet { key },
    };
    let found = ask(edge, &request, query, Style::PLAIN).await?;
    match found.reply() {
        Reply::KvEntries(entries) if entries.is_empty() => Ok(not_found(&found)),
        Reply::KvEntries(entries) if request.parameters.has("raw") && !recurse => {
            Ok(found.complete(raw(&entries[0])))
        }
        _ => Ok(found.respond(&request)),
    }
}

async fn read_keys(edge: &Edge, request: &Request, prefix: String) -> Result<Response, Failure> {
    let is_root = prefix.is_empty();
    let separator = request.parameters.get("separator").unwrap_or_default().to_owned();
    let found = ask(edge, request, Query::KvKeys { prefix, separator }, Style::PLAIN).await?;
    match found.reply() {
        // The root is always there.
        Reply::KvKeys(keys) if keys.is_empty() && !is_root => Ok(not_found(&found)),
        _ => Ok(found.respond(request)),
    }
}

fn not_found(found: &Found) -> Response {
    found.complete(response::empty(StatusCode::NOT_FOUND))
}

/// The bare value, in a form no browser runs.
fn raw(entry: &DirEntry) -> Response {
    let kind = HeaderValue::from_static("text/plain");
    let mut response = response::typed(StatusCode::OK, kind, entry.value.clone());
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(crate) async fn write(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let key = request.name(MISSING)?;
    let given = &request.parameters;
    refuse_conflict(&request, &["cas", "acquire", "release"])?;
    let mut entry = DirEntry { key, ..Default::default() };
    let mut op = KvOp::Set;
    if let Some(flags) = given.get("flags") {
        entry.flags = parse_unsigned(flags)?;
    }
    if let Some(index) = given.get("cas") {
        entry.modify_index = parse_unsigned(index)?;
        op = KvOp::Cas;
    }
    if let Some(session) = given.get("acquire") {
        entry.session = session.to_owned();
        op = KvOp::Lock;
    }
    if let Some(session) = given.get("release") {
        entry.session = session.to_owned();
        op = KvOp::Unlock;
    }
    let max = edge.settings.kv_value_bytes_max;
    let too_large = |length: u64| {
        format!(
            "Request body({length} bytes) too large, max size: {max} bytes. \
             See https://www.consul.io/docs/agent/options.html#kv_max_value_size."
        )
    };
    entry.value = request.bytes_up_to(max, too_large).await?.into();
    run(edge, &request, op, entry).await
}

pub(crate) async fn delete(edge: &Edge, request: Request) -> Result<Response, Failure> {
    refuse_conflict(&request, &["recurse", "cas"])?;
    let given = &request.parameters;
    let recurse = given.has("recurse");
    if !recurse && request.rest().is_empty() {
        return Err(Failure::bad(MISSING));
    }
    let mut entry = DirEntry { key: request.rest().to_owned(), ..Default::default() };
    let mut op = if recurse { KvOp::DeleteTree } else { KvOp::Delete };
    if let Some(index) = given.get("cas") {
        entry.modify_index = parse_unsigned(index)?;
        op = KvOp::DeleteCas;
    }
    run(edge, &request, op, entry).await
}

async fn run(
    edge: &Edge,
    request: &Request,
    op: KvOp,
    entry: DirEntry,
) -> Result<Response, Failure> {
    edge.write(request, Command::Kv(KvRequest { op, entry })).await
}

fn refuse_conflict(request: &Request, names: &[&str]) -> Result<(), Failure> {
    let given = &request.parameters;
    if names.iter().filter(|name| given.has(name)).count() > 1 {
        return Err(Failure::bad(format!("Conflicting flags: {}", given.encode())));
    }
    Ok(())
}
