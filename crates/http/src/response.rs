//! Answers: their body, and the headers that say how an answer was come by.

use std::pin::Pin;
use std::task::{Context, Poll};

use agent::CacheInfo;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::header::{AGE, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{StatusCode, body};
use model::query::QueryMeta;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::go_json;

pub(crate) type Response = hyper::Response<Body>;

const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const DEFAULT_POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");
const CACHE: HeaderName = HeaderName::from_static("x-cache");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What follows the head of an answer.
pub(crate) enum Body {
    Whole(Bytes),
    /// Parts as they come; ends when their sender goes.
    Parts(mpsc::Receiver<Bytes>),
    /// An archive as it comes. A failure cuts the answer off, so that it is not taken for whole.
    Archive(rpc::Chunks),
}

impl body::Body for Body {
    type Data = Bytes;
    type Error = model::error::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Parts(parts) => {
                parts.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part))))
            }
            Self::Archive(chunks) => {
                chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Parts(_) | Self::Archive(_) => SizeHint::new(),
        }
    }
}

pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::Whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    typed(status, TEXT, text)
}

pub(crate) fn typed(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::Whole(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Bytes that are JSON already.
pub(crate) fn encoded(json: impl Into<Bytes>) -> Response {
    typed(StatusCode::OK, JSON, json)
}

pub(crate) fn json(value: &impl Serialize, pretty: bool) -> Result<Response, Failure> {
    json_with(StatusCode::OK, value, pretty)
}

pub(crate) fn json_with(
    status: StatusCode,
    value: &impl Serialize,
    pretty: bool,
) -> Result<Response, Failure> {
    match go_json::encode(value, pretty) {
        Ok(bytes) => Ok(typed(status, JSON, bytes)),
        Err(error) => Err(Failure::server(error.to_string())),
    }
}

/// The answer to most writes.
pub(crate) fn truth(value: bool, pretty: bool) -> Response {
    encoded(match (value, pretty) {
        (true, false) => "true",
        (true, true) => "true\n",
        (false, false) => "false",
        (false, true) => "false\n",
    })
}

/// How fresh the answer is, and its index to wait on.
pub(crate) fn set_meta(response: &mut Response, meta: &QueryMeta, shows_consistency: bool) {
    let headers = response.headers_mut();
    // Clients would wait on 0 without end.
    headers.insert(INDEX, HeaderValue::from(meta.index.max(1)));
    headers.insert(KNOWN_LEADER, truth_header(meta.known_leader));
    let contact = u64::try_from(meta.last_contact.as_millis()).unwrap_or(u64::MAX);
    headers.insert(LAST_CONTACT, HeaderValue::from(contact));
    if shows_consistency {
        headers.insert(CONSISTENCY, HeaderValue::from_static(meta.consistency.as_str()));
    }
}

pub(crate) fn set_index(response: &mut Response, index: u64) {
    response.headers_mut().insert(INDEX, HeaderValue::from(index.max(1)));
}

pub(crate) fn set_cache(response: &mut Response, cache: &CacheInfo) {
    let headers = response.headers_mut();
    if cache.hit {
        headers.insert(CACHE, HeaderValue::from_static("HIT"));
        headers.insert(AGE, HeaderValue::from(cache.age.as_secs()));
    } else {
        headers.insert(CACHE, HeaderValue::from_static("MISS"));
    }
}

/// What holds for a connection that no intention speaks of.
pub(crate) fn set_default_policy(response: &mut Response, allow: bool) {
    let policy = HeaderValue::from_static(if allow { "allow" } else { "deny" });
    response.headers_mut().insert(DEFAULT_POLICY, policy);
}

fn truth_header(value: bool) -> HeaderValue {
    HeaderValue::from_static(if value { "true" } else { "false" })
}
