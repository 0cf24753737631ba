//! From a request to its answer: paths as Go's router takes them, then what is checked for every
//! endpoint, then its handler.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use agent::Agent;
use agent::monitor::LogHub;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, TRANSFER_ENCODING,
    VARY,
};
use hyper::{Method, StatusCode, Version};
use model::command::{Command, Outcome};
use model::query::QueryMeta;

use crate::failure::Failure;
use crate::gzip;
use crate::parameters::{Parameters, unescape};
use crate::request::{NAMESPACE, Request};
use crate::response::{self, Body, Response};
use crate::routes::{Endpoint, Router};
use crate::serve::Reload;
use crate::settings::Settings;

const TRANSLATE: HeaderName = HeaderName::from_static("x-consul-translate-addresses");

/// What all handlers share.
pub(crate) struct Edge {
    pub(crate) agent: Arc<Agent>,
    pub(crate) settings: Settings,
    pub(crate) logs: Option<LogHub>,
    pub(crate) reload: Option<Reload>,
    /// The list of datacenters was asked for from memory before.
    pub(crate) knows_datacenters: AtomicBool,
    router: Router,
    /// Sent with the answers of endpoints.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Edge {
    pub(crate) fn new(
        agent: Arc<Agent>,
        settings: Settings,
        logs: Option<LogHub>,
        reload: Option<Reload>,
    ) -> Self {
        let router = Router::new(agent.metrics());
        // Names and values no header can have are passed over; the configuration names them.
        let headers = settings.response_headers.iter().filter_map(|(name, value)| {
            Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?))
        });
        let headers = headers.collect();
        let knows_datacenters = AtomicBool::new(false);
        Self { agent, settings, logs, reload, knows_datacenters, router, headers }
    }

    pub(crate) async fn handle(
        &self,
        request: hyper::Request<Incoming>,
        remote: SocketAddr,
    ) -> Response {
        let (head, body) = request.into_parts();
        if head.version == Version::HTTP_11 && !head.headers.contains_key(HOST) {
            return refuse("400 Bad Request: missing required Host header");
        }
        if let Some(reason) = ambiguity(&head.headers) {
            return refuse(reason);
        }
        if head.method == Method::OPTIONS && head.uri.path() == "*" {
            return response::empty(StatusCode::OK);
        }
        let Some(path) = unescape(head.uri.path(), false) else {
            return refuse("400 Bad Request");
        };
        if !self.settings.allow_unprintable_paths && !path.chars().all(is_printable) {
            return response::empty(StatusCode::BAD_REQUEST);
        }
        let query = head.uri.query().unwrap_or_default();
        if head.method != Method::CONNECT
            && let Some(clean) = clean(&path)
        {
            return redirect(&head.method, &clean, query);
        }
        let Some((endpoint, rest_at)) = self.router.find(&path) else {
            if self.router.has_subtree(&path) {
                return redirect(&head.method, &format!("{path}/"), query);
            }
            return self.index(&head.method, &path);
        };
        let start = Instant::now();
        let is_gzip_accepted = gzip::is_accepted(&head.headers);
        let parameters = Parameters::parse(query);
        let mut response = match parameters {
            Err(_) => response::empty(StatusCode::INTERNAL_SERVER_ERROR),
            Ok(parameters) => {
                let pretty = self.settings.always_pretty || parameters.has("pretty");
                let request = Request {
                    method: head.method,
                    path,
                    rest_at,
                    parameters,
                    headers: head.headers,
                    body,
                    remote: remote.ip(),
                    pretty,
                };
                self.respond(endpoint, request, start).await
            }
        };
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        if self.settings.translate_wan_addresses {
            headers.insert(TRANSLATE, HeaderValue::from_static("true"));
        }
        if is_gzip_accepted { gzip::compress(response).await } else { response }
    }

    /// What every endpoint has in common, around its handler.
    async fn respond(&self, endpoint: &Endpoint, request: Request, start: Instant) -> Response {
        let blocked = self.settings.block_endpoints.iter();
        if blocked.into_iter().any(|blocked| request.path.starts_with(blocked.as_str())) {
            let text = "Endpoint is blocked by agent configuration";
            return show(Failure::forbidden(text));
        }
        if request.method == Method::OPTIONS {
            let mut response = response::empty(StatusCode::OK);
            response.headers_mut().insert(ALLOW, endpoint.allow.clone());
            return response;
        }
        let Some(operation) = endpoint.operation(&request.method) else {
            let text = format!("method {} not allowed", request.method);
            let mut response = show(Failure::new(StatusCode::METHOD_NOT_ALLOWED, text));
            response.headers_mut().insert(ALLOW, endpoint.allow.clone());
            return response;
        };
        if !self.may_write(&request) {
            return show(Failure::forbidden("Access is restricted"));
        }
        if operation.refuses_namespaces
            && let Err(failure) = check_namespace(&request)
        {
            return show(failure);
        }
        let method = request.method.clone();
        let path = if tracing::enabled!(tracing::Level::DEBUG) {
            request.path.clone()
        } else {
            String::new()
        };
        let from = request.remote;
        let response = match (operation.handler)(self, request).await {
            Ok(response) => response,
            Err(failure) => {
                if failure.status.is_server_error() {
                    let error = failure.text.as_str();
                    tracing::warn!(%method, path, %from, error, "request failed");
                }
                show(failure)
            }
        };
        operation.latency.record_since(start);
        let status = response.status().as_u16();
        tracing::debug!(%method, path, %from, status, latency = ?start.elapsed(), "request finished");
        response
    }

    /// The root, and all that nothing else answers.
    fn index(&self, method: &Method, path: &str) -> Response {
        match (&self.settings.ui_path, path) {
            (Some(ui), "/") => redirect(method, ui, ""),
            (None, "/") => response::text(StatusCode::OK, "Consul Agent"),
            _ => response::empty(StatusCode::NOT_FOUND),
        }
    }

    fn may_write(&self, request: &Request) -> bool {
        let allowed = &self.settings.allow_write_from;
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&request.method);
        reads || allowed.is_empty() || self.is_allowed(request.remote)
    }

    fn is_allowed(&self, remote: IpAddr) -> bool {
        self.settings.allow_write_from.iter().any(|network| network.contains(remote))
    }

    /// Errors: the request is for a datacenter no server here knows.
    pub(crate) fn check_datacenter(&self, request: &Request) -> Result<(), Failure> {
        match request.parameters.text("dc") {
            Some(other) if other != self.agent.settings().node.datacenter => {
                Err(Failure::server("No path to datacenter"))
            }
            _ => Ok(()),
        }
    }

    /// Runs `command` for the request.
    pub(crate) async fn run(
        &self,
        request: &Request,
        command: Command,
    ) -> Result<Outcome, Failure> {
        self.check_datacenter(request)?;
        Ok(self.agent.cluster().command(command, self.token(request)).await?)
    }

    /// Runs `command` for the request and answers whether it took effect.
    pub(crate) async fn write(
        &self,
        request: &Request,
        command: Command,
    ) -> Result<Response, Failure> {
        match self.run(request, command).await? {
            Outcome::Done | Outcome::Created(_) => Ok(response::truth(true, request.pretty)),
            Outcome::Applied(applied) => Ok(response::truth(applied, request.pretty)),
            Outcome::Refused(text) => Err(Failure::server(text)),
        }
    }

    /// An outcome the command cannot have.
    pub(crate) fn unexpected(outcome: &Outcome) -> Failure {
        match outcome {
            Outcome::Refused(text) => Failure::server(text.clone()),
            other => Failure::server(format!("unexpected outcome {other:?}")),
        }
    }

    /// The token a request's command runs under.
    pub(crate) fn token(&self, request: &Request) -> model::query::Token {
        request.token(&self.agent.settings().user_token)
    }
}

fn check_namespace(request: &Request) -> Result<(), Failure> {
    const WHY: &str = "Namespaces are a Consul Enterprise feature";
    if request.headers.get(NAMESPACE).is_some_and(|value| !value.is_empty()) {
        let text = format!("Invalid header: \"X-Consul-Namespace\" - {WHY}");
        return Err(Failure::bad_request(text));
    }
    match request.parameters.text("ns") {
        Some(_) => Err(Failure::bad_request(format!("Invalid query parameter: \"ns\" - {WHY}"))),
        None => Ok(()),
    }
}

fn show(failure: Failure) -> Response {
    let Failure { status, text, shows_meta, closes } = failure;
    let mut response = match text.is_empty() {
        true => response::empty(status),
        false => response::text(status, text),
    };
    if shows_meta {
        response::set_meta(&mut response, &QueryMeta::default(), false);
    }
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Why a request may be read in two ways, which a proxy before us may read otherwise than we do.
fn ambiguity(headers: &hyper::HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(first) = codings.next()
        && (codings.next().is_some() || !first.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Some("400 Bad Request: unsupported transfer encoding");
    }
    let has_two_hosts = headers.get_all(HOST).iter().nth(1).is_some();
    has_two_hosts.then_some("400 Bad Request: too many Host headers")
}

/// Refuses what is no request for any endpoint.
fn refuse(text: &'static str) -> Response {
    show(Failure { closes: true, ..Failure::bad(text) })
}

fn redirect(method: &Method, path: &str, query: &str) -> Response {
    let mut location = escape_path(path);
    if !query.is_empty() {
        location.push('?');
        location.push_str(query);
    }
    let mut response = response::empty(StatusCode::MOVED_PERMANENTLY);
    if [Method::GET, Method::HEAD].contains(method) {
        let shown = escape_html(&location);
        let page = format!("<a href=\"{shown}\">Moved Permanently</a>.\n\n");
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        if method == Method::GET {
            *response.body_mut() = Body::Whole(page.into());
        }
    }
    // A query comes from a parsed request line, so it is sound in a header.
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The path without empty, `.` and `..` segments, if it has any.
fn clean(path: &str) -> Option<String> {
    let is_clean = path.starts_with('/')
        && !path.contains("//")
        && !path.contains("/./")
        && !path.contains("/../")
        && !path.ends_with("/.")
        && !path.ends_with("/..");
    if is_clean {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let mut cleaned = format!("/{}", kept.join("/"));
    if path.ends_with('/') && cleaned != "/" {
        cleaned.push('/');
    }
    Some(cleaned).filter(|cleaned| cleaned != path)
}

/// As Go's `unicode.IsPrint`: marks, letters, digits, punctuation, symbols and the plain space.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => false,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => false,
        '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}' => false,
        other => !other.is_control() && !other.is_whitespace(),
    }
}

fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'='
            | b'@' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        let check = |path: &str, want: Option<&str>| assert_eq!(clean(path).as_deref(), want);
        check("/v1/kv/a", None);
        check("/v1/kv/", None);
        check("/v1//kv/a", Some("/v1/kv/a"));
        check("/v1/./kv/a/", Some("/v1/kv/a/"));
        check("/v1/kv/x/../y", Some("/v1/kv/y"));
        check("/../..", Some("/"));
        check("/v1/kv/a/..", Some("/v1/kv"));
        check("", Some("/"));
    }
}
