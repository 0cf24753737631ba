//! Brings the catalog in line with who is alive: each live member has a node with a passing
//! `serfHealth` check, and servers have the `consul` service; who failed turns critical; who left
//! or was forgotten goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::catalog::{DeregisterRequest, RegisterRequest};
use model::check::{CheckStatus, HealthCheck, SERF_HEALTH};
use model::command::Command;
use model::service::NodeService;
use state::State;

use crate::Mono;
use crate::duty::Plan;

/// How often the catalog is compared without a change of members. Source: Consul's default.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long a node with `serfHealth` must be unknown to gossip before it goes: gossip of a
/// restarted leader needs a while to meet everybody again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// A member of the cluster, as gossip knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// UUID of the agent.
    pub id: String,
    pub name: String,
    pub address: String,
    pub liveness: Liveness,
    /// What it is as a server; `None` for client agents.
    pub server: Option<MemberServer>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Liveness {
    #[default]
    Alive,
    Leaving,
    Left,
    Failed,
}

impl Liveness {
    pub fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }
}

/// What gossip tells of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberServer {
    /// `None` for a server that takes no part in our consensus.
    pub consensus_id: Option<u64>,
    /// `host:port` of its server port.
    pub address: String,
    pub port: u16,
    /// Of its `consul` service.
    pub meta: BTreeMap<String, String>,
    /// Release, as autopilot shows it.
    pub version: String,
    /// A read replica: it never votes.
    pub is_nonvoter: bool,
    /// Value of the redundancy zone tag.
    pub zone: Option<String>,
    /// Servers it waits for before it founds a cluster; 0 when it does not.
    pub expect: u32,
}

impl Member {
    /// Whether it still takes part in gossip.
    pub fn is_alive(&self) -> bool {
        matches!(self.liveness, Liveness::Alive | Liveness::Leaving)
    }
}

/// Remembers since when nodes have been unknown to gossip.
#[derive(Debug, Default)]
pub struct MemberReconciler {
    unknown_since: BTreeMap<String, Mono>,
}

impl MemberReconciler {
    /// `own` is the consensus id of the leader, who is never let go.
    pub fn plan(
        &mut self,
        state: &State,
        members: &[Member],
        datacenter: &str,
        own: u64,
        now: Mono,
    ) -> Plan {
        let mut commands = Vec::new();
        let is_own = |member: &Member| {
            member.server.as_ref().is_some_and(|server| server.consensus_id == Some(own))
        };
        for member in members {
            match member.liveness {
                Liveness::Alive => {
                    let wanted = registration(member, datacenter);
                    if !is_registered(state, &wanted) {
                        commands.push(Command::Register(Box::new(wanted)));
                    }
                }
                Liveness::Leaving => {}
                Liveness::Failed if is_own(member) => {}
                Liveness::Failed => commands.extend(failure(state, member, datacenter)),
                Liveness::Left if is_own(member) => {}
                Liveness::Left => {
                    // Not when somebody else has come up under its name.
                    let is_taken = members.iter().any(|m| m.name == member.name && m.is_alive());
                    if state.node(&member.name).is_some() && !is_taken {
                        commands.push(deregistration(&member.name, datacenter));
                    }
                }
            }
        }
        commands.extend(self.forgotten(state, members, datacenter, now));
        Plan { commands, next: now.plus(INTERVAL) }
    }

    fn forgotten(
        &mut self,
        state: &State,
        members: &[Member],
        datacenter: &str,
        now: Mono,
    ) -> Vec<Command> {
        let known: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
        let unknown: BTreeSet<String> = state
            .nodes()
            .map(|node| node.name.clone())
            .filter(|name| !known.contains(name.as_str()))
            .filter(|name| state.check(name, SERF_HEALTH).is_some())
            .collect();
        self.unknown_since.retain(|name, _| unknown.contains(name));
        let mut commands = Vec::new();
        // Who knows nobody has just begun.
        for name in unknown.into_iter().filter(|_| !members.is_empty()) {
            let since = *self.unknown_since.entry(name.clone()).or_insert(now);
            if now.since(since) >= FORGOTTEN_AFTER {
                commands.push(deregistration(&name, datacenter));
            }
        }
        commands
    }
}

fn failure(state: &State, member: &Member, datacenter: &str) -> Option<Command> {
    let is_known = state.node(&member.name).is_some_and(|node| node.address == member.address);
    let check = state.check(&member.name, SERF_HEALTH);
    if is_known && check.is_some_and(|check| check.status == CheckStatus::Critical) {
        return None;
    }
    let mut wanted = registration(member, datacenter);
    wanted.service = None;
    for check in &mut wanted.checks {
        check.status = CheckStatus::Critical;
        check.output = "Agent not live or unreachable".into();
    }
    Some(Command::Register(Box::new(wanted)))
}

fn deregistration(node: &str, datacenter: &str) -> Command {
    Command::Deregister(DeregisterRequest {
        datacenter: datacenter.into(),
        node: node.into(),
        ..DeregisterRequest::default()
    })
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
        let server = MemberServer { port: 8300, ..MemberServer::default() };
        let mut member = Member {
            id: "8b5cf7a4-5f86-3f4e-0b0a-6d42dbf9d3a1".into(),
            name: "one".into(),
            address: "10.0.0.1".into(),
            server: Some(server),
            ..Member::default()
        };
        let mut state = State::new();
        let mut index = 0;
        let mut settle = |state: &mut State, member: &Member| {
            let mut reconciler = MemberReconciler::default();
            let members = std::slice::from_ref(member);
            let commands = reconciler.plan(state, members, "dc1", 1, Mono(0)).commands;
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
        member.server = Some(MemberServer { port: 9300, ..MemberServer::default() });
        assert_eq!(settle(&mut state, &member), 1);
        assert_eq!(settle(&mut state, &member), 0);
    }
}
