//! Instances together with their nodes and all checks that bear on them.

use model::check::CheckStatus;
use model::health::CheckServiceNode;
use model::query::{NodeMetaFilter, Reply};

use crate::State;
use crate::catalog::has_meta;
use crate::index::Table;
use crate::read::Read;
use crate::service::{has_tags, topic};

impl State {
    pub(crate) fn read_health(
        &self,
        service: &str,
        tags: &[String],
        mesh: bool,
        passing_only: bool,
        node_meta: &NodeMetaFilter,
    ) -> Read {
        let mut rows = Vec::new();
        for (row, id, instance) in self.instances(service, mesh) {
            if !has_tags(instance, tags) || !has_meta(&row.node, node_meta) {
                continue;
            }
            let on_node = row.checks_on.get("").map_or(&[][..], |checks| checks);
            let on_service = row.checks_on.get(id).map_or(&[][..], |checks| checks);
            let mut checks = on_node.iter().chain(on_service);
            if passing_only && checks.clone().any(|check| check.status != CheckStatus::Passing) {
                continue;
            }
            let mut all = Vec::with_capacity(on_node.len() + on_service.len());
            all.extend(checks.by_ref().cloned());
            rows.push(CheckServiceNode {
                node: row.node.clone(),
                service: instance.clone(),
                checks: all,
            });
        }
        Read {
            index: self.service_index(
                service,
                mesh,
                &[Table::Nodes, Table::Services, Table::Checks],
            ),
            topics: vec![topic(service, mesh)],
            reply: Reply::Health(rows),
        }
    }
}
