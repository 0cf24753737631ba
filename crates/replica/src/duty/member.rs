//! Brings the catalog in line with who is alive: each live member has a node with a passing
//! `serfHealth` check, and servers have the `consul` service.

use std::collections::BTreeMap;
use std::time::Duration;

use model::catalog::RegisterRequest;
use model::check::{CheckStatus, HealthCheck, SERF_HEALTH};
use model::command::Command;
use model::service::NodeService;
use state::State;

use crate::Mono;
use crate::duty::Plan;

/// How often the catalog is compared without a change of members. Source: Consul's default.
const INTERVAL: Duration = Duration::from_secs(60);

/// A live member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// UUID of the agent.
    pub id: String,
    pub name: String,
    pub address: String,
    /// What it registers as a server; `None` for client agents.
    pub server: Option<MemberService>,
}

/// The `consul` service of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberService {
    /// Of the server RPC.
    pub port: u16,
    pub meta: BTreeMap<String, String>,
}

pub fn plan_reconcile(state: &State, members: &[Member], datacenter: &str, now: Mono) -> Plan {
    let registrations = members.iter().filter_map(|member| {
        let wanted = registration(member, datacenter);
        (!is_registered(state, &wanted)).then(|| Command::Register(Box::new(wanted)))
    });
    Plan { commands: registrations.collect(), next: now.plus(INTERVAL) }
}

fn registration(member: &Member, datacenter: &str) -> RegisterRequest {
    let service = member.server.as_ref().map(|server| NodeService {
        id: "consul".into(),
        name: "consul".into(),
        port: server.port,
        meta: Some(server.meta.clone()),
        ..NodeService::default()
    });
    let check = HealthCheck {
        node: member.name.clone(),
        check_id: SERF_HEALTH.into(),
        name: "Serf Health Status".into(),
        status: CheckStatus::Passing,
        output: "Agent alive and reachable".into(),
        ..HealthCheck::default()
    };
    RegisterRequest {
        datacenter: datacenter.into(),
        id: member.id.clone(),
        node: member.name.clone(),
        address: member.address.clone(),
        service,
        checks: vec![check],
        // What the agent itself said of its node stands.
        skip_node_update: true,
        ..RegisterRequest::default()
    }
}

fn is_registered(state: &State, wanted: &RegisterRequest) -> bool {
    let node = &wanted.node;
    let has_node = state.node(node).is_some_and(|found| found.address == wanted.address);
    let has_service = wanted
        .service
        .as_ref()
        .is_none_or(|service| state.service(node, &service.id).is_some_and(|s| s.is_same(service)));
    let has_check =
        state.check(node, SERF_HEALTH).is_some_and(|check| check.status == CheckStatus::Passing);
    has_node && has_service && has_check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_registered_once_and_again_when_it_changed() {
        let server = MemberService { port: 8300, ..MemberService::default() };
        let mut member = Member {
            id: "8b5cf7a4-5f86-3f4e-0b0a-6d42dbf9d3a1".into(),
            name: "one".into(),
            address: "10.0.0.1".into(),
            server: Some(server),
        };
        let mut state = State::new();
        let mut index = 0;
        let mut settle = |state: &mut State, member: &Member| {
            let members = std::slice::from_ref(member);
            let commands = plan_reconcile(state, members, "dc1", Mono(0)).commands;
            let count = commands.len();
            for command in commands {
                index += 1;
                state.apply(index, command);
            }
            count
        };
        assert_eq!(settle(&mut state, &member), 1);
        assert_eq!(settle(&mut state, &member), 0);
        assert!(state.service("one", "consul").is_some_and(|service| service.port == 8300));
        member.server = Some(MemberService { port: 9300, ..MemberService::default() });
        assert_eq!(settle(&mut state, &member), 1);
        assert_eq!(settle(&mut state, &member), 0);
    }
}
