//! `/v1/status/*`: who leads and who takes part.

use crate::edge::Edge;
use crate::failure::Failure;
use crate::options::Options;
use crate::request::Request;
use crate::response::{self, Response};

pub(crate) async fn leader(edge: &Edge, request: Request) -> Result<Response, Failure> {
    prepare(edge, &request)?;
    let leader = edge.agent.cluster().status().leader.unwrap_or_default();
    response::json(&leader, request.pretty)
}

pub(crate) async fn peers(edge: &Edge, request: Request) -> Result<Response, Failure> {
    prepare(edge, &request)?;
    response::json(&edge.agent.cluster().status().peers, request.pretty)
}

fn prepare(edge: &Edge, request: &Request) -> Result<(), Failure> {
    Options::read(edge, request)?;
    edge.check_datacenter(request)
}
