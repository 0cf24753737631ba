//! The conventions all questions share: consistency, waiting, the agent's cache, filters.

use std::time::Duration;

use hyper::header::CACHE_CONTROL;
use model::duration::GoDuration;
use model::query::{Consistency, QueryOptions};

use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::Request;

/// How a request wants its question answered.
pub(crate) struct Options {
    pub(crate) query: QueryOptions,
    /// From the agent's memory, where the endpoint knows that.
    pub(crate) is_cached: bool,
}

impl Options {
    /// Reads all that a question may say of itself, in the order Consul does: of several mistakes
    /// the same one is answered.
    pub(crate) fn read(edge: &Edge, request: &Request) -> Result<Self, Failure> {
        let given = &request.parameters;
        let mut is_stale = given.has("stale");
        let is_consistent = given.has("consistent");
        let is_cached = given.has("cached") && edge.settings.use_cache;
        let mut says_nothing = !is_stale && !is_consistent && !is_cached && !given.has("leader");
        let mut max_stale = None;
        if let Some(text) = given.text("max_stale") {
            let span: GoDuration = text
                .parse()
                .map_err(|_| Failure::bad(format!("Invalid max_stale value {text:?}")))?;
            if span.0 > 0 {
                max_stale = Some(span.to_std());
                is_stale = true;
                says_nothing = false;
            }
        }
        let discovers = ["/v1/catalog", "/v1/health"].iter().any(|p| request.path.starts_with(p));
        if says_nothing && discovers && !edge.settings.discovery_max_stale.is_zero() {
            max_stale = Some(edge.settings.discovery_max_stale);
            is_stale = true;
        }
        let conflict = |with| {
            let text = format!("Cannot specify ?{with} with ?consistent, conflicting semantics.");
            Err(Failure::bad(text))
        };
        match (is_stale, is_cached, is_consistent) {
            (true, _, true) => return conflict("stale"),
            (_, true, true) => return conflict("cached"),
            _ => {}
        }
        check_cache_control(request)?;
        let max_wait = wait(request)?;
        let min_index = index(request)?;
        Ok(Self {
            query: QueryOptions {
                token: request.token(&edge.agent.settings().user_token),
                consistency: match (is_stale, is_consistent) {
                    (true, _) => Consistency::Stale,
                    (_, true) => Consistency::Consistent,
                    _ => Consistency::Default,
                },
                max_stale,
                min_index,
                max_wait,
                filter: given.get("filter").unwrap_or_default().to_owned(),
            },
            is_cached,
        })
    }
}

/// How long the request would wait; `None` takes the default.
pub(crate) fn wait(request: &Request) -> Result<Option<Duration>, Failure> {
    let Some(text) = request.parameters.text("wait") else { return Ok(None) };
    let span: GoDuration = text.parse().map_err(|_| Failure::bad("Invalid wait time"))?;
    // A span below zero ends at once, and zero means the default.
    Ok(match span.0 {
        0 => None,
        below if below < 0 => Some(Duration::from_nanos(1)),
        _ => Some(span.to_std()),
    })
}

/// The index after which the request wants its answer; 0 for at once.
pub(crate) fn index(request: &Request) -> Result<u64, Failure> {
    match request.parameters.text("index") {
        None => Ok(0),
        Some(text) => parse_index(text).ok_or_else(|| Failure::bad("Invalid index")),
    }
}

/// Decimal digits alone; a sign is no number here.
pub(crate) fn parse_index(text: &str) -> Option<u64> {
    Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// An unsigned parameter of a write. Errors: 500 with the words of Go's `strconv`.
pub(crate) fn parse_unsigned(text: &str) -> Result<u64, Failure> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let text = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        return Err(Failure::server(text));
    }
    text.parse().map_err(|_| {
        Failure::server(format!("strconv.ParseUint: parsing {text:?}: value out of range"))
    })
}

/// The agent's memory is always up to date, so ages asked for are only checked.
fn check_cache_control(request: &Request) -> Result<(), Failure> {
    let Some(header) = request.headers.get(CACHE_CONTROL) else { return Ok(()) };
    let invalid = || Failure::bad("Invalid Cache-Control header.");
    let header = header.to_str().map_err(|_| invalid())?.to_ascii_lowercase();
    for directive in header.split(',') {
        let Some((name, value)) = directive.trim().split_once('=') else { continue };
        if matches!(name, "max-age" | "stale-if-error") && parse_index(value).is_none() {
            return Err(invalid());
        }
    }
    Ok(())
}
