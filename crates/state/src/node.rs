//! Nodes: who may take which name, and what hangs on a node's record.

use std::sync::Arc;

use imbl::OrdMap;
use model::catalog::RegisterRequest;
use model::check::{CheckStatus, SERF_HEALTH};
use model::node::Node;
use model::query::{NodeMetaFilter, Reply};
use model::topic::Topic;

use crate::State;
use crate::applied::Change;
use crate::catalog::has_meta;
use crate::index::Table;
use crate::name::{Name, fold, fold_id, from, name};
use crate::read::Read;
use crate::tables::NodeRow;

impl State {
    /// Whether the node of `request` may be written; if so, whether services already under its
    /// name go away with a record it renames.
    pub(crate) fn judge_node(&self, request: &RegisterRequest) -> Result<bool, String> {
        let RegisterRequest { id, node, address, .. } = request;
        if id.is_empty() {
            return Ok(false);
        }
        match self.node_by_id(id) {
            Some(row) if row.node.name == *node => Ok(false),
            Some(row) => match self.judge_node_name(id, node, false) {
                // Only the letter case changes: the very record is removed first.
                Ok(()) => Ok(row.key == name(node)),
                Err(refusal) => {
                    Err(format!("Error while renaming Node ID: {id:?} ({address}): {refusal}"))
                }
            },
            None => self
                .judge_node_name(id, node, true)
                .map(|()| false)
                .map_err(|refusal| format!("Error while renaming Node ID: {id:?}: {refusal}")),
        }
    }

    /// A name stays with its node while that node is alive by the word of gossip. Nodes unknown to
    /// gossip, and nodes without id where `may_adopt`, give theirs up.
    fn judge_node_name(&self, id: &str, node: &str, may_adopt: bool) -> Result<(), String> {
        let Some(row) = self.nodes.get(&*fold(node)) else { return Ok(()) };
        let holder = &row.node;
        let is_alive = row
            .checks
            .get(&*fold(SERF_HEALTH))
            .is_some_and(|check| check.status != CheckStatus::Critical);
        if holder.id == id || !is_alive || (holder.id.is_empty() && may_adopt) {
            return Ok(());
        }
        Err(format!(
            "Node name {node} is reserved by node {} with name {} ({})",
            holder.id, holder.name, holder.address
        ))
    }

    fn node_by_id(&self, id: &str) -> Option<&Arc<NodeRow>> {
        self.nodes.get(self.node_ids.get(fold_id(id).as_str())?)
    }

    /// Writes the node's record; what hangs on another record of the same id goes with its name.
    pub(crate) fn ensure_node(&mut self, mut node: Node, change: &mut Change) {
        let mut existing = None;
        if !node.id.is_empty()
            && let Some(row) = self.node_by_id(&node.id)
        {
            let (key, record) = (row.key.clone(), row.node.clone());
            if record.name != node.name {
                self.delete_node(&key, change);
            }
            existing = Some(record);
        }
        let existing = existing.or_else(|| self.node(&node.name).cloned());
        node.create_index = change.index;
        if let Some(existing) = existing {
            node.create_index = existing.create_index;
            if node.is_same(&existing) {
                return;
            }
        }
        node.modify_index = change.index;
        let key = name(&node.name);
        self.insert_node(Arc::new(node));
        self.bump(Table::Nodes, change);
        change.touch(Topic::Nodes);
        self.touch_node(&key, change);
        // Answers filtered by node labels depend on the node even by the names checks carry.
        let row = self.nodes[&key].clone();
        for check in row.checks.values().filter(|check| !check.is_node_level()) {
            self.touch_carried_name(check, change);
        }
    }

    /// Puts the record in its row, keeping what hangs on it.
    pub(crate) fn insert_node(&mut self, node: Arc<Node>) {
        let key = name(&node.name);
        let id = Name::from(fold_id(&node.id));
        if let Some(row) = self.nodes.get_mut(&key) {
            let row = Arc::make_mut(row);
            let previous = std::mem::replace(&mut row.node, node);
            if previous.id != row.node.id && !previous.id.is_empty() {
                self.node_ids.remove(fold_id(&previous.id).as_str());
            }
        } else {
            let row = NodeRow {
                key: key.clone(),
                node,
                services: OrdMap::new(),
                checks: OrdMap::new(),
                checks_on: OrdMap::new(),
            };
            self.nodes.insert(key.clone(), Arc::new(row));
        }
        if !id.is_empty() {
            self.node_ids.insert(id, key);
        }
    }

    /// Says that something of the node changed that shows in the health of all its services.
    pub(crate) fn touch_node(&mut self, key: &str, change: &mut Change) {
        change.touch(Topic::Node(key.to_owned()));
        let Some(row) = self.nodes.get(key).cloned() else { return };
        for service in row.services.values() {
            self.touch_service(service, change);
        }
    }

    pub(crate) fn delete_node(&mut self, key: &str, change: &mut Change) {
        let Some(row) = self.nodes.get(key).cloned() else { return };
        for id in row.services.keys() {
            self.delete_service(key, id, change);
        }
        for id in row.checks.keys() {
            self.delete_check(key, id, change);
        }
        self.end_sessions_of_node(key, change);
        self.delete_coordinates(key, change);
        self.nodes.remove(key);
        let id = fold_id(&row.node.id);
        if self.node_ids.get(id.as_str()).is_some_and(|holder| **holder == *key) {
            self.node_ids.remove(id.as_str());
        }
        self.bump(Table::Nodes, change);
        change.touch(Topic::Nodes);
        change.touch(Topic::Node(key.to_owned()));
    }

    /// The row by node name, else by an unambiguous beginning of the node's id.
    pub(crate) fn find_node(&self, name_or_id: &str) -> Option<&Arc<NodeRow>> {
        if let Some(row) = self.nodes.get(&*fold(name_or_id)) {
            return Some(row);
        }
        let mut digits = name_or_id.replace('-', "").to_ascii_lowercase();
        if digits.len() < 2 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        // Ids are compared by whole bytes.
        digits.truncate(digits.len() & !1);
        let mut matching = self
            .node_ids
            .range::<_, str>(from(&digits))
            .take_while(|(id, _)| id.starts_with(&digits));
        match (matching.next(), matching.next()) {
            (Some((_, key)), None) => self.nodes.get(key),
            _ => None,
        }
    }

    pub(crate) fn read_nodes(&self, node_meta: &NodeMetaFilter) -> Read {
        let nodes = self.nodes.values().map(|row| &row.node);
        Read {
            index: self.indexes.get(Table::Nodes),
            topics: vec![Topic::Nodes],
            reply: Reply::Nodes(nodes.filter(|n| has_meta(n, node_meta)).cloned().collect()),
        }
    }
}
