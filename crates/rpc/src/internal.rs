//! What agents ask for themselves and for the UI: `Internal.*`.

use std::sync::Arc;

use model::Meta;
use model::check::HealthCheck;
use model::event::UserEvent;
use model::health::CheckServiceNode;
use model::keyring::{GossipKey, KeyringOperation, KeyringRequest, KeyringResponse};
use model::msgpack;
use model::node::Node;
use model::query::{Query, QueryMeta, QueryOptions, Reply, Token};
use model::service::{NodeService, ServiceKind};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::catalog::OfNode;
use crate::failure::Fault;
use crate::remote::Written;
use crate::service::{Call, Handled, with_meta};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Firing {
    name: String,
    payload: ByteBuf,
}

/// A user event as gossip carries it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct EventPayload {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "n")]
    name: String,
    #[serde(rename = "nf", skip_serializing_if = "String::is_empty")]
    node_filter: String,
    #[serde(rename = "p", skip_serializing_if = "is_empty")]
    payload: ByteBuf,
    #[serde(rename = "sf", skip_serializing_if = "String::is_empty")]
    service_filter: String,
    #[serde(rename = "tf", skip_serializing_if = "String::is_empty")]
    tag_filter: String,
    #[serde(rename = "v")]
    version: u32,
}

fn is_empty(bytes: &ByteBuf) -> bool {
    bytes.is_empty()
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Keyring {
    operation: String,
    key: GossipKey,
    relay_factor: u8,
    local_only: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct KeyringResponses {
    responses: Vec<KeyringResponse>,
}

/// A node with all it has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeInfo {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    tagged_addresses: Meta,
    meta: Meta,
    services: Vec<Arc<NodeService>>,
    checks: Vec<Arc<HealthCheck>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Dump {
    dump: Option<Vec<NodeInfo>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Instances {
    nodes: Vec<CheckServiceNode>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OfKind {
    service_kind: String,
    use_service_kind: bool,
}

pub(crate) async fn fire_event(call: Call<'_>) -> Handled {
    let Firing { name, payload } = call.read()?;
    // What agents made of the event; its name stands beside it, too.
    let inside: EventPayload = msgpack::from_slice(&payload).unwrap_or_default();
    let event = UserEvent {
        id: inside.id,
        name,
        payload: inside.payload.into_vec(),
        node_filter: inside.node_filter,
        service_filter: inside.service_filter,
        tag_filter: inside.tag_filter,
        version: inside.version,
        lamport_time: 0,
    };
    call.service.cluster.fire_event(event, call.token()?).await?;
    with_meta(&crate::wire::Empty {}, &meta_now(&call))
}

fn meta_now(call: &Call<'_>) -> QueryMeta {
    let status = call.service.cluster.status();
    QueryMeta {
        index: status.applied_index.max(1),
        known_leader: status.leader.is_some(),
        ..QueryMeta::default()
    }
}

pub(crate) async fn keyring(call: Call<'_>) -> Handled {
    let Keyring { operation, key, relay_factor, local_only } = call.read()?;
    let operation = match operation.as_str() {
        "list" => KeyringOperation::List,
        "install" => KeyringOperation::Install(key),
        "use" => KeyringOperation::Use(key),
        "remove" => KeyringOperation::Remove(key),
        other => return Err(Fault::new(format!("Invalid keyring operation {other:?}"))),
    };
    let request = KeyringRequest { operation, relay_factor, local_only };
    let responses = call.service.cluster.keyring(request, call.token()?).await?;
    with_meta(&KeyringResponses { responses }, &meta_now(&call))
}

/// The node with its services and checks; nothing for a node nobody knows.
async fn node_info_of(
    call: &Call<'_>,
    node: String,
    options: QueryOptions,
) -> Result<(QueryMeta, Option<NodeInfo>), Fault> {
    let at_once = QueryOptions { min_index: 0, ..options.clone() };
    let found = call.ask_with(Query::NodeServiceList { node: node.clone() }, options).await?;
    let checks = call.ask_with(Query::NodeChecks { node }, at_once).await?;
    let mut meta = found.meta;
    meta.index = meta.index.max(checks.meta.index);
    let (Reply::NodeServiceList(found), Reply::Checks(checks)) =
        (&found.body.reply, &checks.body.reply)
    else {
        return Err(Fault::new("a node was answered with something else"));
    };
    let Some((node, services)) =
        found.as_ref().and_then(|found| Some((found.node.as_deref()?, found.services.clone())))
    else {
        return Ok((meta, None));
    };
    let Node { id, name, address, tagged_addresses, meta: labels, .. } = node.clone();
    let info = NodeInfo {
        id,
        node: name,
        address,
        tagged_addresses,
        meta: labels,
        services,
        checks: checks.clone(),
    };
    Ok((meta, Some(info)))
}

pub(crate) async fn node_info(call: Call<'_>) -> Handled {
    let OfNode { node } = call.read()?;
    let (meta, info) = node_info_of(&call, node, call.options()?).await?;
    with_meta(&Dump { dump: info.map(|info| vec![info]) }, &meta)
}

/// Waits until nodes, services or checks have changed; what is said of the newest of them.
async fn catalog_changed(call: &Call<'_>) -> Result<(QueryMeta, QueryOptions), Fault> {
    let options = QueryOptions { filter: String::new(), ..call.options()? };
    let at_once = QueryOptions { min_index: 0, ..options.clone() };
    let queries = [
        Query::Nodes { node_meta: Vec::new() },
        Query::Services { node_meta: Vec::new() },
        Query::ChecksInState { status: None, node_meta: Vec::new() },
    ];
    let newest = async || -> Result<QueryMeta, Fault> {
        let mut newest = QueryMeta::default();
        for query in &queries {
            let meta = call.ask_with(query.clone(), at_once.clone()).await?.meta;
            if meta.index >= newest.index {
                newest = meta;
            }
        }
        Ok(newest)
    };
    let now = newest().await?;
    if options.min_index == 0 || now.index > options.min_index {
        return Ok((now, at_once));
    }
    let [nodes, services, checks] = queries.clone();
    // Whichever comes first; dropped, the others merely stop waiting.
    tokio::select! {
        answer = call.ask_with(nodes, options.clone()) => answer?,
        answer = call.ask_with(services, options.clone()) => answer?,
        answer = call.ask_with(checks, options.clone()) => answer?,
    };
    Ok((newest().await?, at_once))
}

pub(crate) async fn node_dump(call: Call<'_>) -> Handled {
    let (meta, options) = catalog_changed(&call).await?;
    let nodes = call.ask_with(Query::Nodes { node_meta: Vec::new() }, options.clone()).await?;
    let Reply::Nodes(nodes) = &nodes.body.reply else {
        return Err(Fault::new("nodes were answered with something else"));
    };
    let mut dump = Vec::with_capacity(nodes.len());
    for node in nodes {
        let (_, info) = node_info_of(&call, node.name.clone(), options.clone()).await?;
        dump.extend(info);
    }
    with_meta(&Dump { dump: Some(dump) }, &meta)
}

pub(crate) async fn service_dump(call: Call<'_>) -> Handled {
    let OfKind { service_kind, use_service_kind } = call.read()?;
    let wanted = match use_service_kind {
        false => None,
        true => Some(
            ServiceKind::parse(&service_kind)
                .ok_or_else(|| Fault::new(format!("unknown service kind {service_kind:?}")))?,
        ),
    };
    let filter = call.options()?.filter;
    let (meta, options) = catalog_changed(&call).await?;
    let names = call.ask_with(Query::Services { node_meta: Vec::new() }, options.clone()).await?;
    let Reply::Services(names) = &names.body.reply else {
        return Err(Fault::new("services were answered with something else"));
    };
    let mut nodes = Vec::new();
    for name in names.keys() {
        let query = Query::Health {
            name: name.clone(),
            tags: Vec::new(),
            mesh: false,
            passing_only: false,
            node_meta: Vec::new(),
        };
        let options = QueryOptions { filter: filter.clone(), ..options.clone() };
        let answer = call.ask_with(query, options).await?;
        let Reply::Health(rows) = &answer.body.reply else {
            return Err(Fault::new("instances were answered with something else"));
        };
        let is_wanted =
            |row: &&CheckServiceNode| wanted.is_none_or(|kind| kind == row.service.kind);
        nodes.extend(rows.iter().filter(is_wanted).cloned());
    }
    with_meta(&Instances { nodes }, &meta)
}

pub(crate) async fn send_event(
    remote: &crate::Remote,
    event: UserEvent,
    token: &Token,
) -> Written<()> {
    let inside = EventPayload {
        id: event.id,
        name: event.name.clone(),
        node_filter: event.node_filter,
        payload: ByteBuf::from(event.payload),
        service_filter: event.service_filter,
        tag_filter: event.tag_filter,
        version: event.version,
    };
    let payload = ByteBuf::from(msgpack::to_vec(&inside).map_err(crate::remote::unencodable)?);
    let firing = Firing { name: event.name, payload };
    let _: serde::de::IgnoredAny = remote.write("Internal.EventFire", &firing, token).await?;
    Ok(())
}

pub(crate) async fn send_keyring(
    remote: &crate::Remote,
    request: KeyringRequest,
    token: &Token,
) -> Written<Vec<KeyringResponse>> {
    let KeyringRequest { operation, relay_factor, local_only } = request;
    let (operation, key) = match operation {
        KeyringOperation::List => ("list", GossipKey::default()),
        KeyringOperation::Install(key) => ("install", key),
        KeyringOperation::Use(key) => ("use", key),
        KeyringOperation::Remove(key) => ("remove", key),
    };
    let operation = operation.to_owned();
    let asked = Keyring { operation, key, relay_factor, local_only };
    let found: KeyringResponses = remote.write("Internal.KeyringOperation", &asked, token).await?;
    Ok(found.responses)
}
