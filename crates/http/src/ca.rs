//! `/v1/connect/ca/*`: the certificate authority as the servers have it.

use std::collections::BTreeMap;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use model::ca::CaConfiguration;
use model::query::{Query, Reply};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent_info::done;
use crate::ask::{Style, ask};
use crate::body::{self, Rules};
use crate::edge::Edge;
use crate::encode::encode;
use crate::failure::Failure;
use crate::health::parse_truth;
use crate::request::Request;
use crate::response::{self, Response};

const CONFIGURATION: Rules = Rules {
    owner: "",
    type_name: "struct { ForceWithoutCrossSigningSnake bool \
                \"json:\\\"force_without_cross_signing\\\"\"; *structs.Alias }",
    refuses_unknown: true,
};

/// The configuration as it is shown: without the cluster's id, and whole.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ConfigurationView<'a> {
    provider: &'a str,
    config: &'a BTreeMap<String, Value>,
    state: Option<&'a BTreeMap<String, String>>,
    force_without_cross_signing: bool,
    create_index: u64,
    modify_index: u64,
}

impl<'a> ConfigurationView<'a> {
    pub(crate) fn new(configuration: &'a CaConfiguration) -> Self {
        let CaConfiguration {
            cluster_id: _,
            provider,
            config,
            state,
            force_without_cross_signing,
            create_index,
            modify_index,
        } = configuration;
        Self {
            provider,
            config,
            state: Some(state).filter(|state| !state.is_empty()),
            force_without_cross_signing: *force_without_cross_signing,
            create_index: *create_index,
            modify_index: *modify_index,
        }
    }
}

/// A configuration as asked for. What a read shows beside it may be sent back.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    provider: String,
    config: BTreeMap<String, Value>,
    state: BTreeMap<String, String>,
    force_without_cross_signing: bool,
    #[serde(rename = "force_without_cross_signing")]
    force_snake: bool,
    #[serde(rename = "CreateIndex")]
    _create_index: u64,
    #[serde(rename = "ModifyIndex")]
    _modify_index: u64,
}

pub(crate) async fn roots(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let as_pem = match request.parameters.text("pem") {
        None => false,
        Some(text) => parse_truth(text)
            .ok_or_else(|| Failure::bad("The 'pem' query parameter must be a boolean value"))?,
    };
    let mut found = ask(edge, &request, Query::CaRoots, Style::SESSION).await?;
    // Read from the state as it is here: nobody asked who leads.
    found.meta.known_leader = false;
    match found.reply() {
        Reply::CaRoots(roots) if as_pem => {
            let pem: String = roots.roots.iter().map(|root| root.root_cert.as_str()).collect();
            let kind = HeaderValue::from_static("application/pem-certificate-chain");
            Ok(response::typed(StatusCode::OK, kind, pem))
        }
        _ => Ok(found.respond(&request)),
    }
}

pub(crate) async fn configuration(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let found = ask(edge, &request, Query::CaConfiguration, Style::PLAIN).await?;
    Ok(response::encoded(encode(found.reply(), request.pretty)))
}

pub(crate) async fn configure(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let bytes = request.bytes().await?;
    let refuse = |text| Failure::bad_request(format!("Request decode failed: {text}"));
    let wanted: Wanted = body::decode(&bytes, CONFIGURATION).map_err(refuse)?;
    edge.check_datacenter(&request)?;
    let configuration = CaConfiguration {
        provider: wanted.provider,
        config: wanted.config,
        state: wanted.state,
        force_without_cross_signing: wanted.force_without_cross_signing || wanted.force_snake,
        ..Default::default()
    };
    edge.agent.cluster().configure_ca(configuration, edge.token(&request)).await?;
    done()
}
