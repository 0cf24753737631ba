//! `/v1/status/*`: who leads and who takes part.

use crate::edge::Edge;
use crate::failure::Failure;
use crate::options::Options;
use crate::request::Request;
use crate::response::{self, Response};

pub(crate) async fn leader(edge: &Edge, request: Request) -> Result<Response, Failure> {
    prepare(edge, &request)?;
    let leader = status(edge)?.leader.unwrap_or_default();
    response::json(&leader, request.pretty)
}

pub(crate) async fn peers(edge: &Edge, request: Request) -> Result<Response, Failure> {
    prepare(edge, &request)?;
    response::json(&status(edge)?.peers, request.pretty)
}

/// Errors: this is a client that found no server yet.
fn status(edge: &Edge) -> Result<rpc::Status, Failure> {
    let status = edge.agent.cluster().status();
    if status.peers.is_empty() && !edge.agent.settings().is_server {
        return Err(Failure::server("No known Consul servers"));
    }
    Ok(status)
}

fn prepare(edge: &Edge, request: &Request) -> Result<(), Failure> {
    Options::read(edge, request)?;
    edge.check_datacenter(request)
}
