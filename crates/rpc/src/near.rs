//! Rows sorted by the round trip from a node, as agents want them for `?near=`.

use std::collections::HashMap;
use std::sync::Arc;

use model::coordinate::{Coordinate, NodeCoordinate};
use model::query::{Consistency, Query, QueryOptions, Reply};

use crate::failure::Fault;
use crate::service::{Call, Handled, respond};
use crate::wire::Origin;
use crate::{Answer, Body};

/// Asks, and sorts what comes when the request names a node it asks from.
pub(crate) async fn answer(call: &Call<'_>, query: Query) -> Handled {
    let answer = call.ask(query).await?;
    let Origin { source } = call.read()?;
    if source.node.is_empty() {
        return respond(&answer);
    }
    let options = QueryOptions {
        token: call.token()?,
        consistency: Consistency::Stale,
        ..QueryOptions::default()
    };
    let coordinates = call.ask_with(Query::Coordinates, options).await?;
    let Reply::Coordinates(rows) = &coordinates.body.reply else {
        return Err(Fault::new("coordinates were answered with something else"));
    };
    let Some(distances) = distances(rows, &source.node, &source.segment) else {
        return respond(&answer);
    };
    let body = Body::new(sorted(&answer.body.reply, &distances));
    respond(&Answer { meta: answer.meta, body })
}

/// Seconds from `node` to each other; `None` when it has no coordinate itself.
fn distances<'a>(
    rows: &'a [Arc<NodeCoordinate>],
    node: &str,
    segment: &str,
) -> Option<HashMap<&'a str, f64>> {
    let own: &Coordinate =
        &rows.iter().find(|row| row.node == node && row.segment == segment)?.coord;
    let mut distances: HashMap<&str, f64> = HashMap::new();
    for row in rows {
        if let Some(distance) = own.distance(&row.coord) {
            let nearest = distances.entry(&row.node).or_insert(f64::INFINITY);
            *nearest = nearest.min(distance);
        }
    }
    Some(distances)
}

/// Nearest first, then those without a coordinate in their order.
fn sorted(reply: &Reply, distances: &HashMap<&str, f64>) -> Reply {
    fn by<T: Clone>(rows: &[T], distance: impl Fn(&T) -> f64) -> Vec<T> {
        let mut rows = rows.to_vec();
        rows.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        rows
    }
    let of = |node: &str| distances.get(node).copied().unwrap_or(f64::INFINITY);
    match reply {
        Reply::Nodes(rows) => Reply::Nodes(by(rows, |row| of(&row.name))),
        Reply::ServiceNodes(rows) => Reply::ServiceNodes(by(rows, |row| of(&row.node))),
        Reply::Checks(rows) => Reply::Checks(by(rows, |row| of(&row.node))),
        Reply::Health(rows) => Reply::Health(by(rows, |row| of(&row.node.name))),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use model::coordinate::DIMENSIONS;
    use model::node::Node;

    use super::*;

    #[test]
    fn nearest_first_unknown_last() {
        let at = |name: &str, x: f64| {
            let mut vec = vec![0.0; DIMENSIONS];
            vec[0] = x;
            let coord = Coordinate { vec, ..Coordinate::default() };
            Arc::new(NodeCoordinate { node: name.into(), segment: String::new(), coord })
        };
        let rows = [at("a", 0.3), at("b", 0.1), at("me", 0.0)];
        let node = |name: &str| Arc::new(Node { name: name.into(), ..Node::default() });
        let reply = Reply::Nodes(["x", "a", "me", "b"].map(node).to_vec());
        let distances = distances(&rows, "me", "").unwrap();
        let Reply::Nodes(nodes) = sorted(&reply, &distances) else { panic!("nodes stay nodes") };
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["me", "b", "a", "x"]);
        assert!(super::distances(&rows, "elsewhere", "").is_none());
    }
}
