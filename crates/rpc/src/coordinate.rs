//! Network coordinates: `Coordinate.*`. Updates are gathered and proposed together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::command::{Command, Outcome};
use model::coordinate::{Coordinate, DIMENSIONS, DatacenterMap, NodeCoordinate};
use model::query::{Query, Reply, Token};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::Cluster;
use crate::catalog::OfNode;
use crate::failure::Fault;
use crate::remote::{Ask, Asked, Written};
use crate::service::{Call, Handled, encode, nothing};
use crate::wire::Empty;

/// How often what was gathered is proposed, as Consul does it.
const UPDATE_PERIOD: Duration = Duration::from_secs(5);
/// Nodes whose updates are kept until then. More than Consul's 640: a command carries them easily.
const UPDATES_MAX: usize = 4096;
/// Updates in one command, so that no entry of the log becomes large.
const BATCH_MAX: usize = 512;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Coordinates {
    coordinates: Vec<Arc<NodeCoordinate>>,
}

/// The newest coordinate of each node since the last proposal.
#[derive(Debug, Default)]
pub(crate) struct Updates(Mutex<BTreeMap<(String, String), Coordinate>>);

impl Updates {
    fn add(&self, update: NodeCoordinate) {
        let NodeCoordinate { node, segment, coord } = update;
        let mut gathered = self.0.lock();
        let key = (node, segment);
        // Whoever does not fit in comes again in some seconds.
        if gathered.len() < UPDATES_MAX || gathered.contains_key(&key) {
            gathered.insert(key, coord);
        }
    }

    fn take(&self) -> Vec<NodeCoordinate> {
        let gathered = std::mem::take(&mut *self.0.lock());
        let row = |((node, segment), coord)| NodeCoordinate { node, segment, coord };
        gathered.into_iter().map(row).collect()
    }

    /// Proposes what was gathered, once a period, until `stop`.
    pub(crate) async fn propose(&self, cluster: &dyn Cluster, stop: &CancellationToken) {
        // What is gathered when it stops is lost; it comes again.
        while stop.run_until_cancelled(tokio::time::sleep(UPDATE_PERIOD)).await.is_some() {
            self.flush(cluster).await;
        }
    }

    async fn flush(&self, cluster: &dyn Cluster) {
        for batch in self.take().chunks(BATCH_MAX) {
            let command = Command::Coordinates(batch.to_vec());
            if let Err(error) = cluster.command(command, Token::default()).await {
                tracing::debug!(%error, "coordinates were not taken");
            }
        }
    }
}

pub(crate) async fn update(call: Call<'_>) -> Handled {
    let update: NodeCoordinate = call.read()?;
    if update.coord.vec.len() != DIMENSIONS {
        return Err(Fault::new("incompatible coordinate"));
    }
    if !update.coord.is_valid() {
        return Err(Fault::new("invalid coordinate"));
    }
    call.service.updates.add(update);
    nothing()
}

pub(crate) async fn list_nodes(call: Call<'_>) -> Handled {
    call.answer(Query::Coordinates).await
}

pub(crate) async fn node(call: Call<'_>) -> Handled {
    let OfNode { node } = call.read()?;
    call.answer(Query::NodeCoordinates { node }).await
}

/// The servers of each datacenter: ours alone, as long as datacenters do not meet.
pub(crate) async fn datacenters(call: Call<'_>) -> Handled {
    let query = Query::ServiceNodes {
        name: "consul".to_owned(),
        tags: Vec::new(),
        mesh: false,
        node_meta: Vec::new(),
    };
    let servers = call.ask_with(query, Default::default()).await?;
    let answer = call.ask_with(Query::Coordinates, Default::default()).await?;
    let (Reply::ServiceNodes(servers), Reply::Coordinates(rows)) =
        (&servers.body.reply, &answer.body.reply)
    else {
        return Err(Fault::new("coordinates were answered with something else"));
    };
    let is_server = |row: &&Arc<NodeCoordinate>| servers.iter().any(|s| s.node == row.node);
    encode(&[DatacenterMap {
        datacenter: call.service.datacenter.clone(),
        area_id: "wan".to_owned(),
        coordinates: rows.iter().filter(is_server).cloned().collect(),
    }])
}

pub(crate) async fn ask_nodes(ask: &Ask<'_>) -> Asked {
    let (meta, found): (_, Coordinates) = ask.rows("Coordinate.ListNodes", &Empty {}).await?;
    Ok((meta, Reply::Coordinates(found.coordinates)))
}

pub(crate) async fn ask_node(ask: &Ask<'_>, node: String) -> Asked {
    let (meta, found): (_, Coordinates) = ask.rows("Coordinate.Node", &OfNode { node }).await?;
    Ok((meta, Reply::Coordinates(found.coordinates)))
}

pub(crate) async fn send(
    remote: &crate::Remote,
    updates: Vec<NodeCoordinate>,
    token: &Token,
) -> Written<Outcome> {
    for update in updates {
        let _: Empty = remote.write("Coordinate.Update", &update, token).await?;
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_counts_and_the_number_is_bounded() {
        let updates = Updates::default();
        let at = |node: &str, x: f64| NodeCoordinate {
            node: node.into(),
            segment: String::new(),
            coord: Coordinate { vec: vec![x; DIMENSIONS], ..Coordinate::default() },
        };
        updates.add(at("a", 1.0));
        updates.add(at("a", 2.0));
        for number in 0..UPDATES_MAX + 10 {
            updates.add(at(&format!("n{number}"), 0.0));
        }
        updates.add(at("a", 3.0));
        let taken = updates.take();
        assert_eq!(taken.len(), UPDATES_MAX);
        assert_eq!(taken[0].coord.vec[0], 3.0);
        assert!(updates.take().is_empty());
    }
}
