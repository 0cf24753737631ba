//! The HTTP probe: what status does a URL answer with?

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::ext::ReasonPhrase;
use hyper::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use model::check::CheckStatus;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Outcome;
use super::dial::dial;
use super::output::Tail;
use crate::checks::tls;

/// Redirects followed before giving up.
const REDIRECTS_MAX: usize = 10;
/// Bytes of a body read; what comes after cannot matter to a check.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest output of a probe that could not finish, in bytes.
const ERROR_BYTES_MAX: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    pub url: String,
    /// Empty for `GET`.
    pub method: String,
    pub header: BTreeMap<String, Vec<String>>,
    pub body: String,
    pub tls_skip_verify: bool,
    /// Name expected in the certificate; empty takes the host of the URL.
    pub tls_server_name: String,
    /// Else a redirect is an answer like any other.
    pub follows_redirects: bool,
}

struct Answer {
    status: StatusCode,
    /// The server's own words for it, when they are not the usual ones.
    reason: Option<ReasonPhrase>,
    body: Tail,
}

/// What came of one request of a chain of redirects.
enum Step {
    Done(Answer),
    Redirect { to: Uri, keeps_method: bool },
}

impl HttpProbe {
    pub(crate) async fn attempt(&self, timeout: Duration, output_bytes_max: usize) -> Outcome {
        let method = if self.method.is_empty() { "GET" } else { &self.method };
        let fetch = self.fetch(method, Instant::now() + timeout, output_bytes_max);
        let result = match tokio::time::timeout(timeout, fetch).await {
            Ok(result) => result,
            Err(_) => Err(self.failure(
                method,
                "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            )),
        };
        match result {
            Ok(Answer { status, reason, body }) => Outcome {
                status: status_of(status),
                output: format!(
                    "HTTP {method} {}: {} Output: {}",
                    self.url,
                    status_line(status, reason.as_ref()),
                    body.text()
                ),
            },
            Err(mut error) => {
                super::output::truncate(&mut error, ERROR_BYTES_MAX);
                Outcome::critical(error)
            }
        }
    }

    async fn fetch(
        &self,
        method: &str,
        deadline: Instant,
        output_bytes_max: usize,
    ) -> Result<Answer, String> {
        let mut verb = Method::from_bytes(method.as_bytes())
            .map_err(|_| format!("net/http: invalid method {method:?}"))?;
        let mut uri: Uri = self
            .url
            .parse()
            .map_err(|error| self.failure(method, &format!("invalid URL: {error}")))?;
        for _ in 0..=REDIRECTS_MAX {
            let step = self.step(&verb, &uri, deadline, output_bytes_max).await;
            match step.map_err(|error| self.failure(method, &error))? {
                Step::Done(answer) => return Ok(answer),
                Step::Redirect { to, keeps_method } => {
                    uri = to;
                    if !keeps_method && verb != Method::HEAD {
                        verb = Method::GET;
                    }
                }
            }
        }
        Err(self.failure(method, &format!("stopped after {REDIRECTS_MAX} redirects")))
    }

    /// Sends one request and reads its answer.
    async fn step(
        &self,
        verb: &Method,
        uri: &Uri,
        deadline: Instant,
        output_bytes_max: usize,
    ) -> Result<Step, String> {
        let scheme = uri.scheme_str().unwrap_or_default();
        let port_default = match scheme {
            "http" => 80,
            "https" => 443,
            other => return Err(format!("unsupported protocol scheme {other:?}")),
        };
        let host = uri.host().ok_or("no Host in request URL")?;
        let port = uri.port_u16().unwrap_or(port_default);
        let stream = dial(&format!("{host}:{port}"), deadline).await?;
        let request = self.request(verb, uri)?;
        if scheme == "https" {
            let name = if self.tls_server_name.is_empty() { host } else { &self.tls_server_name };
            let stream =
                tls::connect(stream, name, self.tls_skip_verify, tls::Protocol::Http1).await?;
            self.exchange(stream, request, uri, output_bytes_max).await
        } else {
            self.exchange(stream, request, uri, output_bytes_max).await
        }
    }

    fn request(&self, verb: &Method, uri: &Uri) -> Result<Request<Full<Bytes>>, String> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.header {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("net/http: invalid header field name {name:?}"))?;
            for value in values {
                let value = HeaderValue::from_str(value)
                    .map_err(|_| format!("net/http: invalid header field value for {name:?}"))?;
                headers.append(name.clone(), value);
            }
        }
        let mut put_default = |name: HeaderName, value: &str| {
            if !headers.contains_key(&name)
                && let Ok(value) = HeaderValue::from_str(value)
            {
                headers.insert(name, value);
            }
        };
        put_default(header::HOST, uri.authority().map_or("", |authority| authority.as_str()));
        put_default(header::USER_AGENT, "Consul Health Check");
        put_default(header::ACCEPT, "text/plain, text/*, */*");
        put_default(header::CONNECTION, "close");
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(verb)
            .uri(if path.is_empty() { "/" } else { path })
            .body(Full::new(Bytes::from(self.body.clone())))
            .map_err(|error| error.to_string())?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
        uri: &Uri,
        output_bytes_max: usize,
    ) -> Result<Step, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let follows = self.follows_redirects;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| describe(&error))?;
        // The connection is driven beside the request, in this task, so that giving up drops both.
        let answer = async move {
            let response = sender.send_request(request).await.map_err(|error| describe(&error))?;
            let status = response.status();
            if follows && let Some(to) = redirect_target(status, response.headers(), uri)? {
                let keeps_method = matches!(status.as_u16(), 307 | 308);
                return Ok(Step::Redirect { to, keeps_method });
            }
            let reason = response.extensions().get::<ReasonPhrase>().cloned();
            let mut tail = Tail::new(output_bytes_max);
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                // A body cut off is still the answer of somebody who is there.
                let Ok(frame) = frame else { break };
                if let Some(data) = frame.data_ref() {
                    tail.push(data);
                }
                if tail.total() >= BODY_BYTES_MAX {
                    break;
                }
            }
            Ok(Step::Done(Answer { status, reason, body: tail }))
        };
        tokio::pin!(answer);
        tokio::pin!(connection);
        let mut is_connected = true;
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                _ = &mut connection, if is_connected => is_connected = false,
            }
        }
    }

    /// `Get "http://...": cause`.
    fn failure(&self, method: &str, cause: &str) -> String {
        let mut letters = method.chars();
        let verb: String = match letters.next() {
            Some(first) => {
                first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect()
            }
            None => "Get".to_owned(),
        };
        format!("{verb} {:?}: {cause}", self.url)
    }
}

/// Where an answer sends to; `None` when it is one to take.
///
/// Errors: the place is missing, with Go's words.
fn redirect_target(
    status: StatusCode,
    headers: &HeaderMap,
    from: &Uri,
) -> Result<Option<Uri>, String> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    match headers.get(header::LOCATION).map(|location| location.to_str()) {
        Some(Ok(location)) => Ok(resolve(location, from)),
        Some(Err(_)) => Ok(None),
        // Those that ask for the very request again are an answer like any other then.
        None if matches!(status.as_u16(), 307 | 308) => Ok(None),
        None => Err(format!("{} response missing Location header", status.as_str())),
    }
}

/// What `location` means on the page `from`.
fn resolve(location: &str, from: &Uri) -> Option<Uri> {
    let to: Uri = location.parse().ok()?;
    if to.scheme().is_some() {
        return Some(to);
    }
    let path = match location.starts_with('/') {
        true => location.to_owned(),
        false => {
            let base = from.path().rsplit_once('/').map_or("", |(base, _)| base);
            format!("{base}/{location}")
        }
    };
    Uri::builder()
        .scheme(from.scheme()?.clone())
        .authority(from.authority()?.clone())
        .path_and_query(path)
        .build()
        .ok()
}

fn status_of(status: StatusCode) -> CheckStatus {
    match status.as_u16() {
        200..=299 => CheckStatus::Passing,
        429 => CheckStatus::Warning,
        _ => CheckStatus::Critical,
    }
}

/// `404 Not Found`.
fn status_line(status: StatusCode, own: Option<&ReasonPhrase>) -> String {
    let own = own.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
    match own.or_else(|| status.canonical_reason().map(str::to_owned)) {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// An error with its causes.
pub(super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
