//! `/v1/coordinate/*`: where nodes stand in the latency space gossip measures.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::StatusCode;
use model::command::{Command, Outcome};
use model::coordinate::{Coordinate, DatacenterMap, NodeCoordinate};
use model::query::{Query, Reply};
use serde::Deserialize;

use crate::agent_info::done;
use crate::ask::{Found, Style, ask};
use crate::body::{self, Rules};
use crate::catalog::check_datacenter;
use crate::edge::Edge;
use crate::encode::encode;
use crate::failure::Failure;
use crate::request::Request;
use crate::response::{self, Response};

const UPDATE: Rules = Rules {
    owner: "CoordinateUpdateRequest",
    type_name: "structs.CoordinateUpdateRequest",
    refuses_unknown: true,
};

/// What an area that spans all datacenters is called.
const WAN: &str = "wan";

/// Errors: 401 where coordinates are switched off.
fn check_enabled(edge: &Edge) -> Result<(), Failure> {
    match edge.agent.settings().has_coordinates {
        true => Ok(()),
        false => Err(Failure::new(StatusCode::UNAUTHORIZED, "Coordinate support disabled")),
    }
}

/// The servers of all datacenters by the pool they meet in.
pub(crate) async fn datacenters(edge: &Edge, request: Request) -> Result<Response, Failure> {
    check_enabled(edge)?;
    let mut maps: BTreeMap<String, Vec<Arc<NodeCoordinate>>> = BTreeMap::new();
    let rows = match edge.agent.settings().is_server {
        true => edge.agent.membership().coordinate(true),
        false => servers_here(edge, &request).await?,
    };
    for mut row in rows {
        // Names in that pool end with the datacenter.
        let Some((node, datacenter)) = row.node.rsplit_once('.') else { continue };
        let (node, datacenter) = (node.to_owned(), datacenter.to_owned());
        row.node = node;
        maps.entry(datacenter).or_default().push(Arc::new(row));
    }
    let maps = maps.into_iter().map(|(datacenter, mut coordinates)| {
        coordinates.sort_by(|a, b| a.node.cmp(&b.node));
        DatacenterMap { datacenter, area_id: WAN.to_owned(), coordinates }
    });
    response::json(&maps.collect::<Vec<_>>(), request.pretty)
}

/// What a client knows, which takes no part in that pool: the servers of its own datacenter, by the
/// coordinates they have there, named as in the pool.
async fn servers_here(edge: &Edge, request: &Request) -> Result<Vec<NodeCoordinate>, Failure> {
    let found = ask(edge, request, Query::Coordinates, Style::PLAIN).await?;
    let Reply::Coordinates(rows) = found.reply() else { return Ok(Vec::new()) };
    let members = edge.agent.membership().members(false);
    let is_server = |name: &str| {
        let mut servers = members.iter().filter(|member| member.is_server());
        servers.any(|member| member.name == name)
    };
    let datacenter = edge.agent.settings().node.datacenter.clone();
    let rows = rows.iter().filter(|row| is_server(&row.node));
    let named = |row: &Arc<NodeCoordinate>| NodeCoordinate {
        node: format!("{}.{datacenter}", row.node),
        ..(**row).clone()
    };
    Ok(rows.map(named).collect())
}

pub(crate) async fn nodes(edge: &Edge, request: Request) -> Result<Response, Failure> {
    check_enabled(edge)?;
    let found = ask(edge, &request, Query::Coordinates, Style::SESSION).await?;
    let rows = Reply::Coordinates(of_segment(&found, &request));
    Ok(found.complete(response::encoded(encode(&rows, request.pretty))))
}

pub(crate) async fn node(edge: &Edge, request: Request) -> Result<Response, Failure> {
    check_enabled(edge)?;
    let node = request.rest().to_owned();
    let query = Query::NodeCoordinates { node: node.clone() };
    let found = ask(edge, &request, query, Style::SESSION).await?;
    let mut rows = of_segment(&found, &request);
    if rows.is_empty() {
        return Err(Failure::not_found(""));
    }
    // Shown as it was asked for, in whatever letter case.
    for row in rows.iter_mut().filter(|row| row.node != node) {
        Arc::make_mut(row).node = node.clone();
    }
    let rows = Reply::Coordinates(rows);
    Ok(found.complete(response::encoded(encode(&rows, request.pretty))))
}

fn of_segment(found: &Found, request: &Request) -> Vec<Arc<NodeCoordinate>> {
    let Reply::Coordinates(rows) = found.reply() else { return Vec::new() };
    let wanted = request.parameters.get("segment");
    let is_wanted = |row: &&Arc<NodeCoordinate>| wanted.is_none_or(|wanted| row.segment == wanted);
    rows.iter().filter(is_wanted).cloned().collect()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Update {
    datacenter: String,
    node: String,
    segment: String,
    coord: Coordinate,
    /// Of the token, which the request itself carries.
    #[serde(rename = "Token")]
    _token: String,
}

pub(crate) async fn update(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    check_enabled(edge)?;
    let bytes = request.bytes().await?;
    let refuse = |text| Failure::bad(format!("Request decode failed: {text}"));
    let update: Update = body::decode(&bytes, UPDATE).map_err(refuse)?;
    check_datacenter(edge, &update.datacenter)?;
    edge.check_datacenter(&request)?;
    if !update.coord.is_valid() {
        return Err(Failure::server("incompatible coordinate"));
    }
    let row = NodeCoordinate { node: update.node, segment: update.segment, coord: update.coord };
    match edge.run(&request, Command::Coordinates(vec![row])).await? {
        Outcome::Done => done(),
        other => Err(Edge::unexpected(&other)),
    }
}
