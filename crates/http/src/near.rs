//! `?near=`: rows in the order of their round trip from a node, nearest first.

use std::collections::BTreeMap;

use model::coordinate::{Coordinate, NodeCoordinate};
use model::query::{Query, QueryOptions, Reply};
use rpc::{Answer, Body};

use crate::ask::Found;
use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::Request;

/// Stands for the agent that is asked.
const AGENT: &str = "_agent";

/// `found` sorted as the request wishes. Rows of nodes nobody knows the place of come last; when
/// that is so for the node named, the order stays.
pub(crate) async fn sort(
    edge: &Edge,
    request: &Request,
    mut found: Found,
) -> Result<Found, Failure> {
    let Some(near) = request.parameters.text("near") else { return Ok(found) };
    let near = match near {
        AGENT => edge.agent.settings().node.name.clone(),
        name => name.to_owned(),
    };
    let options = QueryOptions {
        token: edge.token(request),
        consistency: found.meta.consistency,
        ..QueryOptions::default()
    };
    let cluster = edge.agent.cluster();
    let Answer { body, .. } = match cluster.query_now(&Query::Coordinates, &options) {
        Some(answer) => answer?,
        None => cluster.query(Query::Coordinates, options).await?,
    };
    let Reply::Coordinates(rows) = &body.reply else { return Ok(found) };
    if let Some(places) = Places::new(rows.iter().map(|row| &**row), &near) {
        let mut reply = found.reply().clone();
        places.sort(&mut reply);
        found.body = Body::new(reply);
    }
    Ok(found)
}

/// Where all nodes stand, seen from one.
struct Places<'a> {
    from: &'a Coordinate,
    /// By name in lower case, as the catalog compares names. Nodes of one segment only, as there is
    /// only one.
    of: BTreeMap<String, &'a Coordinate>,
}

impl<'a> Places<'a> {
    /// `None` when nobody knows where `near` stands.
    fn new(rows: impl Iterator<Item = &'a NodeCoordinate>, near: &str) -> Option<Self> {
        let rows = rows.filter(|row| row.segment.is_empty());
        let of: BTreeMap<_, _> = rows.map(|row| (row.node.to_lowercase(), &row.coord)).collect();
        let from = *of.get(&near.to_lowercase())?;
        Some(Self { from, of })
    }

    fn sort(&self, reply: &mut Reply) {
        match reply {
            Reply::Nodes(rows) => self.order(rows, |row| &row.name),
            Reply::ServiceNodes(rows) => self.order(rows, |row| &row.node),
            Reply::Checks(rows) => self.order(rows, |row| &row.node),
            Reply::Health(rows) => self.order(rows, |row| &row.node.name),
            // The rest is not about nodes in a place.
            _ => {}
        }
    }

    fn order<T>(&self, rows: &mut [T], node: impl Fn(&T) -> &str) {
        let seconds = |row: &T| {
            let place = self.of.get(&node(row).to_lowercase());
            place.and_then(|place| self.from.distance(place)).unwrap_or(f64::INFINITY)
        };
        rows.sort_by(|a, b| seconds(a).total_cmp(&seconds(b)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::coordinate::DIMENSIONS;
    use model::node::Node;

    use super::*;

    fn at(node: &str, seconds: f64) -> NodeCoordinate {
        let mut vec = vec![0.0; DIMENSIONS];
        vec[0] = seconds;
        let coord = Coordinate { vec, ..Coordinate::default() };
        NodeCoordinate { node: node.to_owned(), segment: String::new(), coord }
    }

    #[test]
    fn the_nearest_come_first_and_strangers_last() {
        let rows = [at("A", 0.3), at("c", 0.1), at("n1", 0.0)];
        let check = |near: &str, want: Option<&[&str]>| {
            let names = ["a", "b", "c", "d", "n1"];
            let node = |name: &str| Arc::new(Node { name: name.to_owned(), ..Node::default() });
            let mut reply = Reply::Nodes(names.map(node).into());
            let places = Places::new(rows.iter(), near);
            assert_eq!(places.is_some(), want.is_some(), "{near}");
            let (Some(places), Some(want)) = (places, want) else { return };
            places.sort(&mut reply);
            let Reply::Nodes(nodes) = reply else { unreachable!("they were nodes") };
            assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), want);
        };
        check("n1", Some(&["n1", "c", "a", "b", "d"]));
        check("a", Some(&["a", "c", "n1", "b", "d"]));
        check("N1", Some(&["n1", "c", "a", "b", "d"]));
        check("b", None);
        check("zz", None);
    }
}
