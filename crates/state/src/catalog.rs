//! Registration and deregistration: nodes, services and checks in one step.
//!
//! A registration is judged whole before its first write, so that a refusal leaves nothing behind.

use model::catalog::{DeregisterRequest, RegisterRequest};
use model::check::HealthCheck;
use model::command::Outcome;
use model::node::Node;
use model::query::NodeMetaFilter;

use crate::State;
use crate::applied::Change;
use crate::name::{Name, fold};

impl State {
    pub(crate) fn register(&mut self, request: RegisterRequest, change: &mut Change) -> Outcome {
        if let Err(refusal) = self.judge_registration(&request) {
            return Outcome::Refused(refusal);
        }
        let changes_node = self.changes_node(&request);
        let RegisterRequest {
            datacenter,
            id,
            node: node_name,
            address,
            tagged_addresses,
            node_meta,
            service,
            check,
            checks,
            skip_node_update: _,
        } = request;
        let key = Name::from(fold(&node_name));
        if changes_node {
            let node = Node {
                id,
                name: node_name,
                address,
                datacenter,
                tagged_addresses,
                meta: node_meta,
                create_index: 0,
                modify_index: 0,
            };
            self.ensure_node(node, change);
        }
        if let Some(service) = service {
            self.ensure_service(&key, service, change);
        }
        for check in check.into_iter().chain(checks) {
            self.ensure_check(&key, check, change);
        }
        Outcome::Done
    }

    fn judge_registration(&self, request: &RegisterRequest) -> Result<(), String> {
        let replaces_services = if self.changes_node(request) {
            self.judge_node(request)
                .map_err(|refusal| format!("failed inserting node: {refusal}"))?
        } else {
            false
        };
        for check in request.check.iter().chain(&request.checks) {
            self.judge_check(request, check, replaces_services)?;
        }
        Ok(())
    }

    fn changes_node(&self, request: &RegisterRequest) -> bool {
        let RegisterRequest { datacenter, id, node, address, tagged_addresses, node_meta, .. } =
            request;
        match self.node(node) {
            None => true,
            Some(_) if request.skip_node_update => false,
            Some(existing) => {
                *id != existing.id
                    || *node != existing.name
                    || *address != existing.address
                    || *datacenter != existing.datacenter
                    || *tagged_addresses != existing.tagged_addresses
                    || *node_meta != existing.meta
            }
        }
    }

    fn judge_check(
        &self,
        request: &RegisterRequest,
        check: &HealthCheck,
        replaces_services: bool,
    ) -> Result<(), String> {
        let RegisterRequest { node, service, .. } = request;
        if check.node != *node {
            return Err(format!("check node {:?} does not match node {node:?}", check.node));
        }
        if check.service_id.is_empty() {
            return Ok(());
        }
        let comes_along = service.as_ref().is_some_and(|s| fold(&s.id) == fold(&check.service_id));
        let stays = !replaces_services && self.service(node, &check.service_id).is_some();
        if comes_along || stays {
            return Ok(());
        }
        Err(format!("failed inserting check: Missing service registration on node {node:?}"))
    }

    /// Removes the service named, else the check, else the node; nothing when it is not there.
    pub(crate) fn deregister(
        &mut self,
        request: &DeregisterRequest,
        change: &mut Change,
    ) -> Outcome {
        let node = fold(&request.node);
        if !request.service_id.is_empty() {
            self.delete_service(&node, &fold(&request.service_id), change);
        } else if !request.check_id.is_empty() {
            self.delete_check(&node, &fold(&request.check_id), change);
        } else {
            self.delete_node(&node, change);
        }
        Outcome::Done
    }
}

/// Whether a node carries all of `wanted`.
pub(crate) fn has_meta(node: &Node, wanted: &NodeMetaFilter) -> bool {
    wanted.iter().all(|(key, value)| {
        node.meta.as_ref().and_then(|meta| meta.get(key)).is_some_and(|found| found == value)
    })
}
