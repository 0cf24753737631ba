//! From a question to its answer: the one path of everything that is read from the servers.

use std::sync::Arc;

use agent::CacheInfo;
use model::query::{Query, QueryMeta, Reply};
use rpc::{Answer, Body};

use crate::edge::Edge;
use crate::encode::encode;
use crate::failure::Failure;
use crate::options::Options;
use crate::request::Request;
use crate::response::{self, Response};

/// What differs between endpoints that ask.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    /// Say by which consistency the answer was made.
    consistency: bool,
    /// Show the query headers with failures of the servers, too.
    meta_on_failure: bool,
    /// `?cached` is known.
    cacheable: bool,
}

impl Style {
    /// Neither says its consistency nor anything beside a failure.
    pub(crate) const PLAIN: Self =
        Self { consistency: false, meta_on_failure: false, cacheable: false };
    pub(crate) const SESSION: Self = Self { meta_on_failure: true, ..Self::PLAIN };
    pub(crate) const DISCOVERY: Self = Self { consistency: true, ..Self::SESSION };
    pub(crate) const CACHED_DISCOVERY: Self = Self { cacheable: true, ..Self::DISCOVERY };
}

/// An answer of the servers and how it was come by.
pub(crate) struct Found {
    pub(crate) meta: QueryMeta,
    pub(crate) body: Arc<Body>,
    cache: Option<CacheInfo>,
    style: Style,
}

/// Asks `query` in the way the request wants it.
pub(crate) async fn ask(
    edge: &Edge,
    request: &Request,
    query: Query,
    style: Style,
) -> Result<Found, Failure> {
    let options = Options::read(edge, request)?;
    let answer = answer(edge, request, query, options, style).await;
    answer.map_err(|failure| match style.meta_on_failure {
        true => failure.showing_meta(),
        false => failure,
    })
}

async fn answer(
    edge: &Edge,
    request: &Request,
    query: Query,
    options: Options,
    style: Style,
) -> Result<Found, Failure> {
    edge.check_datacenter(request)?;
    let Options { query: options, is_cached } = options;
    if is_cached && style.cacheable {
        let cached = edge.agent.view(query, options).await?;
        let Answer { meta, body } = cached.value;
        return Ok(Found { meta, body, cache: Some(cached.cache), style });
    }
    let cluster = edge.agent.cluster();
    let Answer { meta, body } = match cluster.query_now(&query, &options) {
        Some(answer) => answer?,
        None => cluster.query(query, options).await?,
    };
    Ok(Found { meta, body, cache: None, style })
}

impl Found {
    pub(crate) fn reply(&self) -> &Reply {
        &self.body.reply
    }

    /// The whole reply as JSON; encoded once for all who receive it.
    pub(crate) fn respond(&self, request: &Request) -> Response {
        let response = match request.pretty {
            true => response::encoded(encode(&self.body.reply, true)),
            false => response::encoded(self.body.encoded(|reply| encode(reply, false))),
        };
        self.complete(response)
    }

    /// Adds the headers of this answer to one made of it.
    pub(crate) fn complete(&self, mut response: Response) -> Response {
        response::set_meta(&mut response, &self.meta, self.style.consistency);
        if let Some(cache) = &self.cache {
            response::set_cache(&mut response, cache);
        }
        response
    }
}
