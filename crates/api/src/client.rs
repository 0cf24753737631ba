//! The client: one agent, keep-alive connections, requests of any path. Clones share connections.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request};
use model::query::Consistency;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::Address;
use crate::client_config::ClientConfig;
use crate::error::Error;
use crate::params::{QueryParams, target};
use crate::response::{Answer, Response, ResponseMeta, ResponseStream, status_error};
use crate::transport::{SharedTransport, Transport};

/// Longest failure body read from a stream that was refused. Unit: bytes.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: SharedTransport,
    config: ClientConfig,
    host: HeaderValue,
    token: Option<HeaderValue>,
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for Client {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", self.address()).finish_non_exhaustive()
    }
}

impl Client {
    /// Does not connect yet.
    ///
    /// Errors: unreadable certificate files, a token that cannot be a header.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        let secret = |text: &str, what: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| {
                Error::Request(format!("the {what} has characters a header cannot carry"))
            })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        let token = match &*config.token.0 {
            "" => None,
            token => Some(secret(token, "token")?),
        };
        let authorization = match &config.http_auth {
            None => None,
            Some(auth) => {
                let pair = format!("{}:{}", auth.username, auth.password);
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
                Some(secret(&format!("Basic {encoded}"), "user name and password")?)
            }
        };
        let host =
            HeaderValue::from_str(&config.address.authority()).map_err(|_| Error::Address {
                address: config.address.to_string(),
                reason: "the host has characters a header cannot carry".to_owned(),
            })?;
        let transport = Arc::new(Transport::new(config.address.clone(), &config.tls)?);
        Ok(Self { inner: Arc::new(Inner { transport, config, host, token, authorization }) })
    }

    pub fn address(&self) -> &Address {
        self.inner.transport.address()
    }

    /// Reads `path`, whatever its status. The path is escaped here: give it as it is meant.
    ///
    /// Waits as `params` say. Cancel safe: dropping the future drops the connection.
    pub async fn get(&self, path: &str, params: &QueryParams) -> Result<Response, Error> {
        self.call(Method::GET, path, params, Bytes::new()).await
    }

    pub async fn put(
        &self,
        path: &str,
        params: &QueryParams,
        body: impl Into<Bytes>,
    ) -> Result<Response, Error> {
        self.call(Method::PUT, path, params, body.into()).await
    }

    pub async fn post(
        &self,
        path: &str,
        params: &QueryParams,
        body: impl Into<Bytes>,
    ) -> Result<Response, Error> {
        self.call(Method::POST, path, params, body.into()).await
    }

    pub async fn delete(&self, path: &str, params: &QueryParams) -> Result<Response, Error> {
        self.call(Method::DELETE, path, params, Bytes::new()).await
    }

    /// Reads JSON with its freshness; any failure status is an error.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        path: &str,
        params: &QueryParams,
    ) -> Result<Answer<T>, Error> {
        self.get(path, params).await?.ok()?.answer()
    }

    /// Sends JSON by PUT; any failure status is an error.
    pub async fn put_json(
        &self,
        path: &str,
        params: &QueryParams,
        body: &impl Serialize,
    ) -> Result<Response, Error> {
        self.put(path, params, encode(body)?).await?.ok()
    }

    /// Sends JSON by POST; any failure status is an error.
    pub async fn post_json(
        &self,
        path: &str,
        params: &QueryParams,
        body: &impl Serialize,
    ) -> Result<Response, Error> {
        self.post(path, params, encode(body)?).await?.ok()
    }

    /// Sends JSON by DELETE; any failure status is an error.
    pub async fn delete_json(
        &self,
        path: &str,
        params: &QueryParams,
        body: &impl Serialize,
    ) -> Result<Response, Error> {
        self.call(Method::DELETE, path, params, encode(body)?.into()).await?.ok()
    }

    /// Opens an answer that is read piece by piece and may never end. Any failure status is an
    /// error. Only its head is waited for with a limit.
    pub async fn stream(&self, path: &str, params: &QueryParams) -> Result<ResponseStream, Error> {
        let request = self.request(Method::GET, path, params, Bytes::new())?;
        let limit = self.inner.config.answer_timeout;
        let (response, _connection) =
            self.within(limit, self.inner.transport.send(request)).await?;
        let status = response.status().as_u16();
        let meta = ResponseMeta::from_headers(response.headers());
        if status >= 300 {
            let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect();
            let body = tokio::time::timeout(limit, body).await;
            let text = body.ok().and_then(Result::ok).map(|body| body.to_bytes());
            return Err(status_error(status, &text.unwrap_or_default()));
        }
        Ok(ResponseStream { meta, body: response.into_body(), address: self.address().to_string() })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        params: &QueryParams,
        body: Bytes,
    ) -> Result<Response, Error> {
        self.call_within(params.wait_granted(), method, path, params, body).await
    }

    /// As any call, for an answer that may take this much longer.
    pub(crate) async fn call_within(
        &self,
        longer: Duration,
        method: Method,
        path: &str,
        params: &QueryParams,
        body: Bytes,
    ) -> Result<Response, Error> {
        let request = self.request(method, path, params, body)?;
        let limit = self.inner.config.answer_timeout + longer;
        self.within(limit, self.exchange(path, request)).await
    }

    async fn exchange(&self, path: &str, request: Request<Full<Bytes>>) -> Result<Response, Error> {
        let transport = &self.inner.transport;
        let (response, connection) = transport.send(request).await?;
        let (head, body) = response.into_parts();
        let limit = self.inner.config.answer_bytes_max;
        let body = match Limited::new(body, limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(Error::TooLarge { path: path.to_owned(), limit });
            }
            Err(error) => {
                return Err(Error::Transport {
                    address: self.address().to_string(),
                    reason: error.to_string(),
                });
            }
        };
        transport.recycle(connection);
        Ok(Response {
            status: head.status.as_u16(),
            meta: ResponseMeta::from_headers(&head.headers),
            headers: head.headers,
            body,
            path: path.to_owned(),
        })
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout {
                address: self.address().to_string(),
                waited: started.elapsed(),
            }),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        params: &QueryParams,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let config = &self.inner.config;
        let mut params = params.clone();
        if params.datacenter.is_empty() {
            params.datacenter.clone_from(&config.datacenter);
        }
        // Writes know no consistency; agents refuse none there, so it is simply not sent.
        if params.consistency.is_none() && method == Method::GET {
            params.consistency =
                Some(config.consistency).filter(|consistency| *consistency != Consistency::Default);
        }
        let mut pairs = params.pairs();
        if !config.namespace.is_empty() {
            pairs.push(("ns".to_owned(), config.namespace.clone()));
        }
        let has_body = !body.is_empty();
        let mut request = Request::builder()
            .method(method)
            .uri(target(path, &pairs))
            .header(HOST, self.inner.host.clone())
            .body(Full::new(body))
            .map_err(|error| Error::Request(error.to_string()))?;
        let headers = request.headers_mut();
        if has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(token) = &self.inner.token {
            headers.insert(HeaderName::from_static("x-consul-token"), token.clone());
        }
        if let Some(authorization) = &self.inner.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|error| Error::Request(error.to_string()))
}
