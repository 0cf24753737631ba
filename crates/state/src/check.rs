//! Health checks: whose answers they bear on and which sessions end with them.

use std::sync::Arc;

use model::check::{CheckStatus, HealthCheck};
use model::query::{NodeMetaFilter, Reply};
use model::topic::Topic;

use crate::State;
use crate::applied::Change;
use crate::catalog::has_meta;
use crate::index::Table;
use crate::name::{Name, fold, name};
use crate::read::Read;

impl State {
    /// Writes a check on a node that exists, of a service that exists there if it names one.
    pub(crate) fn ensure_check(
        &mut self,
        node: &Name,
        mut check: HealthCheck,
        change: &mut Change,
    ) {
        let id = name(&check.check_id);
        if !check.is_node_level()
            && let Some(service) = self.service(node, &check.service_id)
        {
            check.service_name = service.name.clone();
            check.service_tags = service.tags.clone();
        }
        if check.status == CheckStatus::Critical {
            self.end_sessions_of_check(node, &id, change);
        }
        let existing = self.nodes[node].checks.get(&id).cloned();
        check.create_index = change.index;
        if let Some(existing) = &existing {
            check.create_index = existing.create_index;
            check.modify_index = existing.modify_index;
            if check == **existing {
                return;
            }
        }
        check.modify_index = change.index;
        let check = Arc::new(check);
        self.insert_check(node, check.clone());
        self.bump(Table::Checks, change);
        if let Some(existing) = existing {
            // It may have moved from another service, or from the node.
            self.touch_check(node, &existing, change);
        }
        self.touch_check(node, &check, change);
    }

    pub(crate) fn delete_check(&mut self, node: &str, id: &str, change: &mut Change) {
        let Some(check) = self.remove_check(node, id) else { return };
        self.bump(Table::Checks, change);
        self.touch_check(node, &check, change);
        self.end_sessions_of_check(node, id, change);
    }

    /// Says that `check` changed to all whose answers it shows in.
    fn touch_check(&mut self, node: &str, check: &HealthCheck, change: &mut Change) {
        change.touch(Topic::Checks);
        if check.is_node_level() {
            self.touch_node(node, change);
            return;
        }
        change.touch(Topic::Node(node.to_owned()));
        // The name the check carries and the name its service has now may differ.
        self.touch_carried_name(check, change);
        if let Some(service) = self.service(node, &check.service_id).cloned() {
            self.touch_service(&service, change);
        }
    }

    /// Gives the service name `check` carries a new index, be it the name of its service or not.
    pub(crate) fn touch_carried_name(&mut self, check: &HealthCheck, change: &mut Change) {
        let carried = fold(&check.service_name);
        if let Some(row) = self.services.get_mut(&*carried) {
            row.index = change.index;
        }
        change.touch(Topic::Service(carried.into_owned()));
    }

    /// Puts the check into its node's row and into the indexes.
    pub(crate) fn insert_check(&mut self, node: &Name, check: Arc<HealthCheck>) {
        let id = name(&check.check_id);
        self.remove_check(node, &id);
        if !check.is_node_level() {
            let carriers = self.service_checks.entry(name(&check.service_name)).or_default();
            carriers.insert((node.clone(), id.clone()));
        }
        if check.status != CheckStatus::Passing {
            self.failing_checks.insert((check.status, node.clone(), id.clone()));
        }
        let Some(row) = self.nodes.get_mut(node) else { return };
        let row = Arc::make_mut(row);
        let on = Arc::make_mut(row.checks_on.entry(name(&check.service_id)).or_default());
        let at = on.partition_point(|other| *fold(&other.check_id) < *id);
        on.insert(at, check.clone());
        row.checks.insert(id, check);
    }

    fn remove_check(&mut self, node: &str, id: &str) -> Option<Arc<HealthCheck>> {
        let row = Arc::make_mut(self.nodes.get_mut(node)?);
        let (id, check) = row.checks.remove_with_key(id)?;
        let service_id = fold(&check.service_id);
        if let Some(on) = row.checks_on.get_mut(&*service_id) {
            Arc::make_mut(on).retain(|other| other.check_id != check.check_id);
            if on.is_empty() {
                row.checks_on.remove(&*service_id);
            }
        }
        let place = (row.key.clone(), id);
        let service_name = fold(&check.service_name);
        if let Some(carriers) = self.service_checks.get_mut(&*service_name) {
            carriers.remove(&place);
            if carriers.is_empty() {
                self.service_checks.remove(&*service_name);
            }
        }
        if check.status != CheckStatus::Passing {
            self.failing_checks.remove(&(check.status, place.0, place.1));
        }
        Some(check)
    }

    pub(crate) fn read_node_checks(&self, node: &str) -> Read {
        Read {
            index: self.indexes.get(Table::Checks),
            topics: vec![Topic::Node(fold(node).into_owned())],
            reply: Reply::Checks(self.node_checks(node).cloned().collect()),
        }
    }

    pub(crate) fn read_service_checks(&self, service: &str, node_meta: &NodeMetaFilter) -> Read {
        let carriers = self.service_checks.get(&*fold(service));
        let checks = carriers.into_iter().flat_map(|carriers| carriers.iter());
        let checks = checks.filter_map(|(node, id)| {
            let row = self.nodes.get(node).filter(|row| has_meta(&row.node, node_meta))?;
            row.checks.get(id).cloned()
        });
        Read {
            index: self.checks_index(node_meta),
            topics: vec![Topic::Service(fold(service).into_owned())],
            reply: Reply::Checks(checks.collect()),
        }
    }

    pub(crate) fn read_checks_in_state(
        &self,
        status: Option<CheckStatus>,
        node_meta: &NodeMetaFilter,
    ) -> Read {
        let checks = match status {
            Some(status @ (CheckStatus::Warning | CheckStatus::Critical)) => {
                let least = (status, Name::from(""), Name::from(""));
                let failing = self.failing_checks.range(least..);
                let failing = failing.take_while(|(found, _, _)| *found == status);
                let rows = failing.filter_map(|(_, node, id)| {
                    let row = self.nodes.get(node).filter(|row| has_meta(&row.node, node_meta))?;
                    row.checks.get(id).cloned()
                });
                rows.collect()
            }
            Some(CheckStatus::Passing) | None => {
                let rows = self.nodes.values().filter(|row| has_meta(&row.node, node_meta));
                let checks = rows.flat_map(|row| row.checks.values());
                checks.filter(|c| status.is_none_or(|want| c.status == want)).cloned().collect()
            }
        };
        let mut topics = vec![Topic::Checks];
        if !node_meta.is_empty() {
            topics.push(Topic::Nodes);
        }
        Read { index: self.checks_index(node_meta), topics, reply: Reply::Checks(checks) }
    }

    fn checks_index(&self, node_meta: &NodeMetaFilter) -> u64 {
        match node_meta.is_empty() {
            true => self.indexes.get(Table::Checks),
            false => self.indexes.max(&[Table::Nodes, Table::Checks]),
        }
    }
}
