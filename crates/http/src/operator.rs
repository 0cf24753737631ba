//! `/v1/operator/*`: who takes part in consensus, autopilot's settings and judgement, gossip keys.

use std::collections::BTreeMap;

use hyper::StatusCode;
use model::command::Command;
use model::definition;
use model::duration::{self, GoDuration};
use model::keyring::{GossipKey, KeyringOperation, KeyringRequest, KeyringResponse};
use model::operator::{
    AutopilotConfiguration, AutopilotRequest, ClusterHealth, OperatorReply, OperatorRequest,
    ServerHealth,
};
use model::query::Query;
use model::time::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::agent_info::done;
use crate::ask::{Style, ask};
use crate::body::{self, Rules};
use crate::edge::Edge;
use crate::encode::encode;
use crate::failure::Failure;
use crate::health::parse_truth;
use crate::options::{Options, parse_unsigned};
use crate::request::Request;
use crate::response::{self, Response};

const AUTOPILOT: Rules = Rules {
    owner: "AutopilotConfiguration",
    type_name: "api.AutopilotConfiguration",
    refuses_unknown: true,
};
const KEYRING: Rules =
    Rules { owner: "keyringArgs", type_name: "agent.keyringArgs", refuses_unknown: true };

/// Most members that may relay a keyring answer.
const RELAY_FACTOR_MAX: u8 = 5;

async fn operate(
    edge: &Edge,
    request: &Request,
    wish: OperatorRequest,
) -> Result<OperatorReply, Failure> {
    edge.check_datacenter(request)?;
    Ok(edge.agent.cluster().operator(wish, edge.token(request)).await?)
}

// Consensus.

pub(crate) async fn raft_configuration(edge: &Edge, request: Request) -> Result<Response, Failure> {
    Options::read(edge, &request)?;
    match operate(edge, &request, OperatorRequest::RaftConfiguration).await? {
        OperatorReply::RaftConfiguration(found) => response::json(&found, request.pretty),
        other => Err(unexpected(&other)),
    }
}

pub(crate) async fn remove_peer(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let given = &request.parameters;
    let wish = match (given.get("id"), given.get("address")) {
        (Some(id), None) => OperatorRequest::RemovePeerById(id.to_owned()),
        (None, Some(address)) => OperatorRequest::RemovePeerByAddress(address.to_owned()),
        (None, None) => {
            let text = "Must specify either ?id with the server's ID or ?address with IP:port of \
                        peer to remove";
            return Err(Failure::bad_request(text));
        }
        (Some(_), Some(_)) => {
            return Err(Failure::bad_request("Must specify only one of ?id or ?address"));
        }
    };
    operate(edge, &request, wish).await?;
    done()
}

/// Newer than 1.8.7.
pub(crate) async fn transfer_leader(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let id = request.parameters.text("id").map(str::to_owned);
    operate(edge, &request, OperatorRequest::TransferLeadership(id)).await?;
    response::json(&json!({ "Success": true }), request.pretty)
}

fn unexpected(reply: &OperatorReply) -> Failure {
    Failure::server(format!("unexpected reply {reply:?}"))
}

// Autopilot.

pub(crate) async fn autopilot_configuration(
    edge: &Edge,
    request: Request,
) -> Result<Response, Failure> {
    let found = ask(edge, &request, Query::AutopilotConfiguration, Style::PLAIN).await?;
    // Nobody can wait for a change of it.
    Ok(response::encoded(encode(found.reply(), request.pretty)))
}

/// Settings as asked for: what is left out is zero, not the default.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    cleanup_dead_servers: bool,
    #[serde(deserialize_with = "strict_duration")]
    last_contact_threshold: GoDuration,
    max_trailing_logs: u64,
    min_quorum: u64,
    #[serde(deserialize_with = "strict_duration")]
    server_stabilization_time: GoDuration,
    redundancy_zone_tag: String,
    disable_upgrade_migration: bool,
    upgrade_version_tag: String,
    #[serde(rename = "CreateIndex")]
    _create_index: u64,
    #[serde(rename = "ModifyIndex")]
    _modify_index: u64,
}

/// A duration that is not the empty text, which elsewhere stands for none.
fn strict_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => text.parse().map_err(D::Error::custom),
        other => serde_json::from_value(other).map_err(D::Error::custom),
    }
}

pub(crate) async fn configure_autopilot(
    edge: &Edge,
    mut request: Request,
) -> Result<Response, Failure> {
    let bytes = request.bytes().await?;
    let refuse =
        |text: String| Failure::bad_request(format!("Error parsing autopilot config: {text}"));
    let wanted: Wanted = body::decode(&bytes, AUTOPILOT).map_err(refuse)?;
    let cas_index = match request.parameters.get("cas") {
        None => None,
        Some(text) => Some(parse_unsigned(text).map_err(|failure| {
            Failure::bad_request(format!("Error parsing cas value: {}", failure.text))
        })?),
    };
    let configuration = AutopilotConfiguration {
        cleanup_dead_servers: wanted.cleanup_dead_servers,
        last_contact_threshold: wanted.last_contact_threshold,
        max_trailing_logs: wanted.max_trailing_logs,
        min_quorum: wanted.min_quorum,
        server_stabilization_time: wanted.server_stabilization_time,
        redundancy_zone_tag: wanted.redundancy_zone_tag,
        disable_upgrade_migration: wanted.disable_upgrade_migration,
        upgrade_version_tag: wanted.upgrade_version_tag,
        create_index: 0,
        modify_index: 0,
    };
    edge.write(&request, Command::Autopilot(AutopilotRequest { configuration, cas_index })).await
}

async fn health_of_servers(edge: &Edge, request: &Request) -> Result<ClusterHealth, Failure> {
    Options::read(edge, request)?;
    match operate(edge, request, OperatorRequest::Health).await? {
        OperatorReply::Health(health) => Ok(health),
        other => Err(unexpected(&other)),
    }
}

/// 429 when a server is not well.
pub(crate) async fn autopilot_health(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let health = health_of_servers(edge, &request).await?;
    let status = match health.healthy {
        true => StatusCode::OK,
        false => StatusCode::TOO_MANY_REQUESTS,
    };
    response::json_with(status, &health, request.pretty)
}

/// The same judgement in the form of Consul 1.9.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AutopilotState<'a> {
    healthy: bool,
    failure_tolerance: u64,
    optimistic_failure_tolerance: u64,
    servers: BTreeMap<&'a str, ServerState<'a>>,
    leader: &'a str,
    voters: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServerState<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    address: &'a str,
    node_status: &'a str,
    version: &'a str,
    #[serde(with = "duration::text")]
    last_contact: GoDuration,
    last_term: u64,
    last_index: u64,
    healthy: bool,
    stable_since: Timestamp,
    read_replica: bool,
    /// `leader`, `voter` or `non-voter`.
    status: &'static str,
    /// Tags of the server in its pool.
    meta: BTreeMap<String, String>,
    node_type: &'static str,
}

pub(crate) async fn autopilot_state(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let health = health_of_servers(edge, &request).await?;
    let mut tags: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for member in edge.agent.membership().members(false) {
        if let Some(id) = member.tags.get("id") {
            tags.insert(id.clone(), member.tags);
        }
    }
    let ids = |keep: fn(&ServerHealth) -> bool| {
        health.servers.iter().filter(move |server| keep(server)).map(|server| server.id.as_str())
    };
    let mut servers = BTreeMap::new();
    for server in &health.servers {
        let status = match (server.leader, server.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "non-voter",
        };
        let state = ServerState {
            id: &server.id,
            name: &server.name,
            address: &server.address,
            node_status: &server.serf_status,
            version: &server.version,
            last_contact: server.last_contact,
            last_term: server.last_term,
            last_index: server.last_index,
            healthy: server.healthy,
            stable_since: server.stable_since,
            read_replica: false,
            status,
            meta: tags.remove(&server.id).unwrap_or_default(),
            node_type: if server.voter { "voter" } else { "non-voter" },
        };
        servers.insert(server.id.as_str(), state);
    }
    let state = AutopilotState {
        healthy: health.healthy,
        failure_tolerance: health.failure_tolerance,
        // Without zones or replicas nothing more can be hoped for.
        optimistic_failure_tolerance: health.failure_tolerance,
        servers,
        leader: ids(|server| server.leader).next().unwrap_or_default(),
        voters: ids(|server| server.voter).collect(),
    };
    response::json(&state, request.pretty)
}

// Gossip keys.

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct KeyBody {
    key: GossipKey,
}

pub(crate) async fn list_keys(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let rows = keyring(edge, &request, KeyringOperation::List).await?;
    response::json(&rows, request.pretty)
}

pub(crate) async fn install_key(edge: &Edge, request: Request) -> Result<Response, Failure> {
    change_key(edge, request, KeyringOperation::Install).await
}

pub(crate) async fn use_key(edge: &Edge, request: Request) -> Result<Response, Failure> {
    change_key(edge, request, KeyringOperation::Use).await
}

pub(crate) async fn remove_key(edge: &Edge, request: Request) -> Result<Response, Failure> {
    change_key(edge, request, KeyringOperation::Remove).await
}

async fn change_key(
    edge: &Edge,
    mut request: Request,
    operation: fn(GossipKey) -> KeyringOperation,
) -> Result<Response, Failure> {
    let bytes = request.bytes().await?;
    let refuse = |text| Failure::bad_request(format!("Request decode failed: {text}"));
    let KeyBody { key } = body::decode(&bytes, KEYRING).map_err(refuse)?;
    keyring(edge, &request, operation(key)).await?;
    done()
}

async fn keyring(
    edge: &Edge,
    request: &Request,
    operation: KeyringOperation,
) -> Result<Vec<KeyringResponse>, Failure> {
    let relay_factor = relay_factor(request.parameters.text("relay-factor"))?;
    let local_only = local_only(request.parameters.text("local-only"))?;
    if local_only && operation != KeyringOperation::List {
        let text = "Invalid use of local-only: local-only can only be set for list requests";
        return Err(Failure::bad_request(text));
    }
    if !edge.agent.settings().is_server {
        return Err(Failure::server("keyring operations must run against a server node"));
    }
    let wish = KeyringRequest { operation, relay_factor, local_only };
    let rows = edge.agent.cluster().keyring(wish, edge.token(request)).await?;
    match failures(&rows) {
        failures if failures.is_empty() => Ok(rows),
        failures => Err(Failure::server(definition::several(&failures))),
    }
}

fn relay_factor(text: Option<&str>) -> Result<u8, Failure> {
    let Some(text) = text else { return Ok(0) };
    let number: i64 = text.parse().map_err(|_| {
        let reason = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
        Failure::bad_request(format!("Error parsing relay factor: {reason}"))
    })?;
    match u8::try_from(number) {
        Ok(number) if number <= RELAY_FACTOR_MAX => Ok(number),
        _ => {
            Err(Failure::bad_request("Invalid relay-factor: Relay factor must be in range: [0, 5]"))
        }
    }
}

fn local_only(text: Option<&str>) -> Result<bool, Failure> {
    let Some(text) = text else { return Ok(false) };
    parse_truth(text).ok_or_else(|| {
        let reason = format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
        Failure::bad_request(format!("Error parsing local-only: {reason}"))
    })
}

/// What went wrong in each pool and at each of its members.
fn failures(rows: &[KeyringResponse]) -> Vec<String> {
    let mut failures = Vec::new();
    for row in rows.iter().filter(|row| !row.error.is_empty()) {
        let pool = match row.wan {
            true => "WAN".to_owned(),
            false if row.segment.is_empty() => format!("{} (LAN)", row.datacenter),
            false => format!("{} [{}]", row.datacenter, row.segment),
        };
        failures.push(format!("{pool} error: {}", row.error));
        failures.extend(row.messages.iter().map(|(member, text)| format!("{member}: {text}")));
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_factors() {
        let check = |text: Option<&str>, want: Result<u8, &str>| {
            let got = relay_factor(text).map_err(|failure| failure.text);
            assert_eq!(got, want.map_err(|text| format!("Bad request: {text}")), "{text:?}");
        };
        let range = "Invalid relay-factor: Relay factor must be in range: [0, 5]";
        check(None, Ok(0));
        check(Some("5"), Ok(5));
        check(Some("6"), Err(range));
        check(Some("-1"), Err(range));
        check(
            Some("x"),
            Err("Error parsing relay factor: strconv.Atoi: parsing \"x\": invalid syntax"),
        );
    }

    #[test]
    fn what_failed_is_told_by_pool_and_member() {
        let row = |wan, datacenter: &str, member: &str, error: &str| KeyringResponse {
            wan,
            datacenter: datacenter.to_owned(),
            error: error.to_owned(),
            messages: [(member.to_owned(), "no key".to_owned())].into(),
            ..KeyringResponse::default()
        };
        let rows = [
            row(true, "dc1", "n1.dc1", "1/1 nodes reported failure"),
            row(false, "dc1", "n1", "1/1 nodes reported failure"),
            row(false, "dc2", "n2", ""),
        ];
        assert_eq!(
            failures(&rows),
            [
                "WAN error: 1/1 nodes reported failure",
                "n1.dc1: no key",
                "dc1 (LAN) error: 1/1 nodes reported failure",
                "n1: no key",
            ]
        );
    }
}
