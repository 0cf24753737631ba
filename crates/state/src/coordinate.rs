//! Network coordinates, by node and segment.

use std::sync::Arc;

use model::command::Outcome;
use model::coordinate::NodeCoordinate;
use model::query::Reply;
use model::topic::Topic;

use crate::State;
use crate::applied::Change;
use crate::index::Table;
use crate::name::{Name, fold, name};
use crate::read::Read;

impl State {
    pub(crate) fn apply_coordinates(
        &mut self,
        updates: Vec<NodeCoordinate>,
        change: &mut Change,
    ) -> Outcome {
        let mut has_changed = false;
        for update in updates {
            // Gossip may know a node before the catalog does, and still after.
            if self.node(&update.node).is_some() {
                self.insert_coordinate(update);
                has_changed = true;
            }
        }
        if has_changed {
            self.bump(Table::Coordinates, change);
            change.touch(Topic::Coordinates);
        }
        Outcome::Done
    }

    pub(crate) fn insert_coordinate(&mut self, coordinate: NodeCoordinate) {
        let key = (name(&coordinate.node), name(&coordinate.segment));
        self.coordinates.insert(key, Arc::new(coordinate));
    }

    /// Forgets where a node stood that is being removed.
    pub(crate) fn delete_coordinates(&mut self, node: &str, change: &mut Change) {
        let keys: Vec<_> = self.coordinate_keys(node).collect();
        if keys.is_empty() {
            return;
        }
        for key in keys {
            self.coordinates.remove(&key);
        }
        self.bump(Table::Coordinates, change);
        change.touch(Topic::Coordinates);
    }

    fn coordinate_keys(&self, node: &str) -> impl Iterator<Item = (Name, Name)> {
        let node = name(node);
        let rows = self.coordinates.range((node.clone(), Name::from(""))..);
        rows.take_while(move |((of, _), _)| *of == node).map(|(key, _)| key.clone())
    }

    pub(crate) fn read_coordinates(&self) -> Read {
        self.coordinate_read(self.coordinates.values().cloned().collect())
    }

    pub(crate) fn read_node_coordinates(&self, node: &str) -> Read {
        let node = fold(node);
        let rows = self.coordinates.range((Name::from(&*node), Name::from(""))..);
        let rows = rows.take_while(|((of, _), _)| **of == *node);
        self.coordinate_read(rows.map(|(_, row)| row.clone()).collect())
    }

    fn coordinate_read(&self, rows: Vec<Arc<NodeCoordinate>>) -> Read {
        Read {
            index: self.indexes.get(Table::Coordinates),
            topics: vec![Topic::Coordinates],
            reply: Reply::Coordinates(rows),
        }
    }
}
