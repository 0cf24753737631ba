//! Service instances, and the index each service name has of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use model::catalog::{NodeServiceList, NodeServices, ServiceNode};
use model::query::{NodeMetaFilter, Reply};
use model::service::NodeService;
use model::topic::Topic;

use crate::State;
use crate::applied::Change;
use crate::catalog::has_meta;
use crate::index::Table;
use crate::name::{Name, fold, name};
use crate::read::Read;
use crate::tables::{NodeRow, ServiceRow};

impl State {
    /// Writes an instance on a node that exists.
    pub(crate) fn ensure_service(
        &mut self,
        node: &Name,
        mut service: NodeService,
        change: &mut Change,
    ) {
        let id = name(&service.id);
        let existing = self.nodes[node].services.get(&id).cloned();
        service.create_index = change.index;
        if let Some(existing) = &existing {
            service.create_index = existing.create_index;
            service.modify_index = existing.modify_index;
            if service == **existing {
                return;
            }
        }
        service.modify_index = change.index;
        let service = Arc::new(service);
        let shows_in_list = existing
            .as_ref()
            .is_none_or(|existing| existing.name != service.name || existing.tags != service.tags);
        if shows_in_list {
            change.touch(Topic::Services);
        }
        self.insert_service(node, service.clone());
        self.bump(Table::Services, change);
        change.touch(Topic::Node(node.to_string()));
        if let Some(existing) = existing {
            // It may have left another name.
            self.touch_service(&existing, change);
        }
        self.touch_service(&service, change);
    }

    pub(crate) fn delete_service(&mut self, node: &str, id: &str, change: &mut Change) {
        let Some(row) = self.nodes.get(node).cloned() else { return };
        let Some(service) = row.services.get(id).cloned() else { return };
        for check in row.checks_on.get(id).map(|checks| checks.to_vec()).unwrap_or_default() {
            self.delete_check(node, &fold(&check.check_id), change);
        }
        self.remove_service(node, id);
        self.bump(Table::Services, change);
        change.touch(Topic::Services);
        change.touch(Topic::Node(node.to_owned()));
        self.touch_service(&service, change);
    }

    /// Puts the instance into its node's row and into the indexes by name.
    pub(crate) fn insert_service(&mut self, node: &Name, service: Arc<NodeService>) {
        let id = name(&service.id);
        self.remove_service(node, &id);
        let instance = (node.clone(), id.clone());
        let (service_key, mesh_key) = keys_of(&service);
        self.services.entry(service_key).or_default().instances.insert(instance.clone());
        if let Some(mesh_key) = mesh_key {
            self.mesh.entry(mesh_key).or_default().instances.insert(instance);
        }
        let shown = self.service_names.entry(Name::from(service.name.as_str())).or_default();
        let shown = Arc::make_mut(shown);
        shown.instances += 1;
        for tag in service.tags.iter().collect::<BTreeSet<_>>() {
            *shown.tags.entry(tag.clone()).or_default() += 1;
        }
        if let Some(row) = self.nodes.get_mut(node) {
            Arc::make_mut(row).services.insert(id, service);
        }
    }

    /// Takes the instance out of all tables. Rows by name stay, empty, until they are touched.
    fn remove_service(&mut self, node: &str, id: &str) {
        let Some(row) = self.nodes.get_mut(node) else { return };
        let Some((id, service)) = Arc::make_mut(row).services.remove_with_key(id) else { return };
        let instance = (row.key.clone(), id);
        let (service_key, mesh_key) = keys_of(&service);
        if let Some(row) = self.services.get_mut(&service_key) {
            row.instances.remove(&instance);
        }
        if let Some(row) = mesh_key.and_then(|key| self.mesh.get_mut(&key)) {
            row.instances.remove(&instance);
        }
        let Some(shown) = self.service_names.get_mut(service.name.as_str()) else { return };
        let shown = Arc::make_mut(shown);
        shown.instances -= 1;
        for tag in service.tags.iter().collect::<BTreeSet<_>>() {
            if let Some(count) = shown.tags.get_mut(tag) {
                *count -= 1;
                if *count == 0 {
                    shown.tags.remove(tag);
                }
            }
        }
        if shown.instances == 0 {
            self.service_names.remove(service.name.as_str());
        }
    }

    /// Gives the names `service` is found under a new index, or notes that their last instance
    /// has gone.
    pub(crate) fn touch_service(&mut self, service: &NodeService, change: &mut Change) {
        let (service_key, mesh_key) = keys_of(service);
        if is_extinct(&mut self.services, &service_key, change) {
            self.bump(Table::ServiceExtinction, change);
        }
        change.touch(Topic::Service(service_key.to_string()));
        let Some(mesh_key) = mesh_key else { return };
        if is_extinct(&mut self.mesh, &mesh_key, change) {
            self.bump(Table::MeshExtinction, change);
        }
        change.touch(Topic::Mesh(mesh_key.to_string()));
    }

    /// The instances of `service`, by node and id; with `mesh` those that lead to it.
    pub(crate) fn instances(
        &self,
        service: &str,
        mesh: bool,
    ) -> impl Iterator<Item = (&NodeRow, &Name, &Arc<NodeService>)> {
        let table = if mesh { &self.mesh } else { &self.services };
        let row = table.get(&*fold(service));
        row.into_iter().flat_map(|row| row.instances.iter()).filter_map(|(node, id)| {
            let row = &**self.nodes.get(node)?;
            Some((row, id, row.services.get(id)?))
        })
    }

    /// The index of answers about `service`: its own, else when a service last went extinct, else
    /// what that of the instances of the name alone is, else that of the tables `otherwise`.
    pub(crate) fn service_index(&self, service: &str, mesh: bool, otherwise: &[Table]) -> u64 {
        let key = fold(service);
        let named = self.services.get(&*key).map(|row| row.index);
        // What nothing ever led to through the mesh may still be a service of that name.
        let (own, extinction, fallback) = match mesh {
            true => (self.mesh.get(&*key).map(|row| row.index), Table::MeshExtinction, named),
            false => (named, Table::ServiceExtinction, None),
        };
        match (own, self.indexes.get(extinction)) {
            (Some(own), _) => own,
            (None, 0) => fallback.unwrap_or_else(|| self.indexes.max(otherwise)),
            (None, extinction) => extinction,
        }
    }

    pub(crate) fn read_services(&self, node_meta: &NodeMetaFilter) -> Read {
        if node_meta.is_empty() {
            let tags = |shown: &crate::tables::ServiceNameRow| shown.tags.keys().cloned().collect();
            let names = self.service_names.iter();
            return Read {
                index: self.indexes.get(Table::Services),
                topics: vec![Topic::Services],
                reply: Reply::Services(names.map(|(n, row)| (n.to_string(), tags(row))).collect()),
            };
        }
        let mut names: BTreeMap<String, BTreeSet<&String>> = BTreeMap::new();
        for row in self.nodes.values().filter(|row| has_meta(&row.node, node_meta)) {
            for service in row.services.values() {
                names.entry(service.name.clone()).or_default().extend(&service.tags);
            }
        }
        let names = names.into_iter();
        Read {
            index: self.indexes.max(&[Table::Services, Table::Nodes]),
            topics: vec![Topic::Services, Topic::Nodes],
            reply: Reply::Services(
                names.map(|(n, tags)| (n, tags.into_iter().cloned().collect())).collect(),
            ),
        }
    }

    pub(crate) fn read_service_nodes(
        &self,
        service: &str,
        tags: &[String],
        mesh: bool,
        node_meta: &NodeMetaFilter,
    ) -> Read {
        let rows = self
            .instances(service, mesh)
            .filter(|(row, _, instance)| has_tags(instance, tags) && has_meta(&row.node, node_meta))
            .map(|(row, _, instance)| ServiceNode::new(&row.node, instance));
        Read {
            index: self.service_index(service, mesh, &[Table::Nodes, Table::Services]),
            topics: vec![topic(service, mesh)],
            reply: Reply::ServiceNodes(rows.collect()),
        }
    }

    pub(crate) fn read_node_services(&self, node: &str) -> Read {
        let answer = self.find_node(node).map(|row| NodeServices {
            node: Some(row.node.clone()),
            services: row.services.values().map(|s| (s.id.clone(), s.clone())).collect(),
        });
        self.node_read(node, Reply::NodeServices(answer))
    }

    pub(crate) fn read_node_service_list(&self, node: &str) -> Read {
        let answer = self.find_node(node).map(|row| NodeServiceList {
            node: Some(row.node.clone()),
            services: row.services.values().cloned().collect(),
        });
        self.node_read(node, Reply::NodeServiceList(answer))
    }

    fn node_read(&self, node: &str, reply: Reply) -> Read {
        let asked = fold(node).into_owned();
        let topics = match self.find_node(node) {
            Some(row) if *row.key == *asked => vec![Topic::Node(asked)],
            // Found by the beginning of its id, which another node may come to share.
            Some(row) => vec![Topic::Node(row.key.to_string()), Topic::Nodes],
            None => vec![Topic::Nodes],
        };
        Read { index: self.indexes.max(&[Table::Nodes, Table::Services]), topics, reply }
    }
}

pub(crate) fn topic(service: &str, mesh: bool) -> Topic {
    let key = fold(service).into_owned();
    if mesh { Topic::Mesh(key) } else { Topic::Service(key) }
}

/// Whether an instance carries all of `tags`, whatever their letter case.
pub(crate) fn has_tags(service: &NodeService, tags: &[String]) -> bool {
    tags.iter().all(|wanted| service.tags.iter().any(|tag| fold(tag) == fold(wanted)))
}

/// The names an instance is found under: its own, and the one it leads to through the mesh.
fn keys_of(service: &NodeService) -> (Name, Option<Name>) {
    (name(&service.name), service.mesh_name().map(name))
}

fn is_extinct(table: &mut OrdMap<Name, ServiceRow>, key: &Name, change: &Change) -> bool {
    let Some(row) = table.get_mut(key) else { return false };
    if row.instances.is_empty() {
        table.remove(key);
        return true;
    }
    row.index = change.index;
    false
}
