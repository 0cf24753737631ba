//! `/v1/agent/connect/*`: decisions, roots and leaf certificates from the agent's memory.

use agent::WaitOptions;
use model::query::{Consistency, QueryMeta};
use serde::Deserialize;

use crate::body::{self, Rules};
use crate::edge::Edge;
use crate::encode::encode;
use crate::failure::Failure;
use crate::options::Options;
use crate::request::Request;
use crate::response::{self, Response};

const AUTHORIZE: Rules = Rules {
    owner: "ConnectAuthorizeRequest",
    type_name: "structs.ConnectAuthorizeRequest",
    refuses_unknown: true,
};

/// Who wants to connect to what.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Question {
    target: String,
    #[serde(rename = "ClientCertURI")]
    client_cert_uri: String,
    client_cert_serial: String,
}

pub(crate) async fn authorize(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let bytes = request.bytes().await?;
    let Question { target, client_cert_uri, client_cert_serial } = read_question(&bytes)?;
    let agent = &edge.agent;
    let decided = match agent.authorize_now(&target, &client_cert_uri) {
        Some(decided) => decided,
        None => agent.authorize(&target, &client_cert_uri, &client_cert_serial).await,
    };
    let decided = decided.map_err(|error| match error {
        agent::Error::Invalid(text) => Failure::bad_request(text),
        other => other.into(),
    })?;
    let mut response = response::json(&decided, request.pretty)?;
    response::set_cache(&mut response, &decided.cache);
    Ok(response)
}

/// Asked for each connection, so the usual spelling is read in one pass; the rest with all care.
fn read_question(bytes: &[u8]) -> Result<Question, Failure> {
    // A list would be taken for the fields in their order.
    if bytes.first() == Some(&b'{')
        && let Ok(question) = serde_json::from_slice(bytes)
    {
        return Ok(question);
    }
    let refuse = |text| Failure::bad_request(format!("Request decode failed: {text}"));
    body::decode(bytes, AUTHORIZE).map_err(refuse)
}

pub(crate) async fn roots(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let wait = wait_options(edge, &request)?;
    let cached = edge.agent.roots(&wait).await?;
    let mut response = match request.pretty {
        true => response::encoded(encode(&cached.value.reply, true)),
        false => response::encoded(cached.value.encoded(|reply| encode(reply, false))),
    };
    // Read from the state as it is here: nobody asked who leads.
    let meta = QueryMeta {
        index: cached.index,
        consistency: Consistency::Default,
        ..QueryMeta::default()
    };
    response::set_meta(&mut response, &meta, false);
    response::set_cache(&mut response, &cached.cache);
    Ok(response)
}

pub(crate) async fn leaf(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let wait = wait_options(edge, &request)?;
    let cached = edge.agent.leaf(request.rest(), &wait, edge.token(&request)).await?;
    let mut response = response::json(&cached.value, request.pretty)?;
    response::set_index(&mut response, cached.index);
    response::set_cache(&mut response, &cached.cache);
    Ok(response)
}

fn wait_options(edge: &Edge, request: &Request) -> Result<WaitOptions, Failure> {
    let options = Options::read(edge, request)?.query;
    edge.check_datacenter(request)?;
    Ok(WaitOptions { min_index: options.min_index, wait: options.max_wait })
}
