//! An agent's answer: status, what the headers say of its freshness, and the body.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// Longest failure text kept; the rest of a body that is an error is not for reading.
const ERROR_TEXT_BYTES_MAX: usize = 4096;

/// What the headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseMeta {
    /// Value to wait on next; 0 when the answer carried none.
    pub index: u64,
    /// Content hash of agent-local answers, empty when absent.
    pub hash: String,
    pub last_contact: Duration,
    pub known_leader: bool,
    pub translate_addresses: bool,
    /// `allow` or `deny` of agents that tell it, 1.11 and later.
    pub default_acl_policy: Option<String>,
    /// Whether the agent's cache answered; `None` where it does not say.
    pub cache_hit: Option<bool>,
    /// Age of a cached answer.
    pub cache_age: Duration,
}

impl ResponseMeta {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let number =
            |name: &str| text(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        Self {
            index: number("x-consul-index"),
            hash: text("x-consul-contenthash").unwrap_or_default().to_owned(),
            last_contact: Duration::from_millis(number("x-consul-lastcontact")),
            known_leader: text("x-consul-knownleader") == Some("true"),
            translate_addresses: text("x-consul-translate-addresses") == Some("true"),
            default_acl_policy: text("x-consul-default-acl-policy").map(str::to_owned),
            cache_hit: text("x-cache").map(|value| value == "HIT"),
            cache_age: Duration::from_secs(number("age")),
        }
    }
}

/// A decoded answer and its freshness.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    pub value: T,
    pub meta: ResponseMeta,
}

/// A whole answer, of whatever status.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub meta: ResponseMeta,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub(crate) path: String,
}

impl Response {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// This answer, unless its status is a failure.
    pub fn ok(self) -> Result<Self, Error> {
        if self.is_success() { Ok(self) } else { Err(self.into_error()) }
    }

    /// `None` for 404, this answer for success.
    pub fn found(self) -> Result<Option<Self>, Error> {
        if self.status == 404 { Ok(None) } else { self.ok().map(Some) }
    }

    pub(crate) fn into_error(self) -> Error {
        status_error(self.status, &self.body)
    }

    /// The body as JSON; an empty body counts as `null`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let body: &[u8] = if self.body.is_empty() { b"null" } else { &self.body };
        serde_json::from_slice(body)
            .map_err(|source| Error::Decode { path: self.path.clone(), source })
    }

    pub fn answer<T: DeserializeOwned>(self) -> Result<Answer<T>, Error> {
        Ok(Answer { value: self.json()?, meta: self.meta })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) fn status_error(code: u16, body: &[u8]) -> Error {
    let shown = &body[..body.len().min(ERROR_TEXT_BYTES_MAX)];
    Error::Status { code, body: String::from_utf8_lossy(shown).trim_end().to_owned() }
}

/// An answer whose body arrives piece by piece, such as a log stream.
#[derive(Debug)]
pub struct ResponseStream {
    pub meta: ResponseMeta,
    pub(crate) body: Incoming,
    pub(crate) address: String,
}

impl ResponseStream {
    /// The next piece, `None` at the end. Cancel safe: a dropped wait loses nothing.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| Error::Transport {
                address: self.address.clone(),
                reason: error.to_string(),
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}
