//! One request, its head read and its body still to come.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName};
use hyper::{HeaderMap, Method, StatusCode};
use model::query::{NodeMetaFilter, Token};

use crate::failure::Failure;
use crate::parameters::Parameters;

/// Longest body of a request that is not a key's value: well above the largest registration.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(60);

const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
pub(crate) const NAMESPACE: HeaderName = HeaderName::from_static("x-consul-namespace");

pub(crate) struct Request {
    pub(crate) method: Method,
    /// Unescaped.
    pub(crate) path: String,
    /// Length of the route's pattern, at which the rest of the path begins.
    pub(crate) rest_at: usize,
    pub(crate) parameters: Parameters,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    pub(crate) remote: IpAddr,
    /// Whether the answer is to be indented.
    pub(crate) pretty: bool,
}

impl Request {
    /// What follows the route's pattern, such as a key or a name; may be empty.
    pub(crate) fn rest(&self) -> &str {
        self.path.get(self.rest_at..).unwrap_or_default()
    }

    /// What follows the pattern, or 400 with `text` when nothing does.
    pub(crate) fn name(&self, text: &str) -> Result<String, Failure> {
        match self.rest() {
            "" => Err(Failure::bad(text)),
            name => Ok(name.to_owned()),
        }
    }

    /// The token of the request, or `default` when it has none.
    pub(crate) fn token(&self, default: &Token) -> Token {
        if let Some(token) = self.parameters.text("token") {
            return Token(token.into());
        }
        let header = |name| self.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(token) = header(TOKEN).filter(|token| !token.is_empty()) {
            return Token(token.into());
        }
        match header(AUTHORIZATION).and_then(|value| value.split_once(' ')) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Token(token.trim().into())
            }
            _ => default.clone(),
        }
    }

    /// Labels nodes must carry, each given as `key:value`.
    pub(crate) fn node_meta(&self) -> NodeMetaFilter {
        let labels = self.parameters.all("node-meta");
        let mut labels: Vec<_> = labels
            .map(|label| label.split_once(':').unwrap_or((label, "")))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        labels.sort();
        labels
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        self.parameters.all("tag").map(str::to_owned).collect()
    }

    /// Whether a body was announced.
    pub(crate) fn has_body(&self) -> bool {
        use hyper::body::Body as _;
        !self.body.is_end_stream()
    }

    /// The length the request announces. Unit: bytes.
    pub(crate) fn announced_length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The whole body of a request that is not a key's value.
    pub(crate) async fn bytes(&mut self) -> Result<Bytes, Failure> {
        let too_large = |length: u64| {
            format!("Request body({length} bytes) too large, max size: {BODY_BYTES_MAX} bytes.")
        };
        self.bytes_up_to(BODY_BYTES_MAX, too_large).await
    }

    /// The whole body, or 413 with the text for its length when it has more than `max` bytes.
    pub(crate) async fn bytes_up_to(
        &mut self,
        max: usize,
        too_large: impl Fn(u64) -> String,
    ) -> Result<Bytes, Failure> {
        let refuse = |length| Failure {
            closes: true,
            ..Failure::new(StatusCode::PAYLOAD_TOO_LARGE, too_large(length))
        };
        if let Some(length) = self.announced_length().filter(|length| *length > max as u64) {
            return Err(refuse(length));
        }
        let body = Limited::new(&mut self.body, max).collect();
        match tokio::time::timeout(BODY_WAIT, body).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(refuse(max as u64 + 1))
            }
            Ok(Err(_)) => {
                Err(Failure { closes: true, ..Failure::bad_request("the body ended early") })
            }
            Err(_) => Err(Failure {
                closes: true,
                ..Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")
            }),
        }
    }
}
