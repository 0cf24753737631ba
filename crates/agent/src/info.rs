//! What the agent says about itself.

use model::coordinate::Coordinate;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::agent::Agent;
use crate::error::Error;
use crate::host;
use crate::member::{self, Member};
use crate::pool::PoolFigures;
use crate::service::parse_filter;
use crate::settings::{API_LEVEL, AgentSettings};

/// Our own name, beside the level of Consul's API that is shown as the version.
pub const PRODUCT: &str = "lictor";
/// Our own version.
pub const PRODUCT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answer of `/v1/agent/self`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SelfInfo {
    pub config: ShownConfig,
    pub debug_config: Value,
    /// Where it stands; absent when coordinates are switched off.
    pub coord: Option<Coordinate>,
    pub member: Member,
    pub stats: Value,
    pub meta: std::collections::BTreeMap<String, String>,
    #[serde(rename = "xDS")]
    pub xds: Value,
}

/// The few settings shown to everybody.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownConfig {
    datacenter: String,
    node_name: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    revision: &'static str,
    server: bool,
    version: &'static str,
    product: &'static str,
    product_version: &'static str,
}

impl Agent {
    /// Everything about this agent.
    pub fn self_info(&self) -> SelfInfo {
        let settings = self.settings();
        let config = ShownConfig {
            datacenter: settings.node.datacenter.clone(),
            node_name: settings.node.name.clone(),
            node_id: settings.node.id.clone(),
            revision: "",
            server: settings.is_server,
            version: API_LEVEL,
            product: PRODUCT,
            product_version: PRODUCT_VERSION,
        };
        SelfInfo {
            config,
            debug_config: settings.debug_config.clone(),
            coord: self.membership().coordinate(false).pop().map(|row| row.coord),
            member: self.own_member(&settings),
            stats: self.stats(),
            meta: settings.node.meta.clone(),
            xds: json!({"SupportedProxies": {"envoy": ["1.14.5", "1.13.6", "1.12.7", "1.11.2"]}}),
        }
    }

    /// The members of the pool of this datacenter, or of all datacenters.
    ///
    /// Errors: `Refused` for a bad filter expression.
    pub fn members(&self, wan: bool, filter: &str) -> Result<Vec<Member>, Error> {
        let filter = parse_filter::<Member>(filter)?;
        let mut members = self.membership().members(wan);
        members.retain(|member| filter.as_ref().is_none_or(|filter| filter.matches(member)));
        Ok(members)
    }

    /// This agent as its pool shows it.
    fn own_member(&self, settings: &AgentSettings) -> Member {
        let members = self.membership().members(false);
        let own = members.into_iter().find(|member| member.name == settings.node.name);
        own.unwrap_or_else(|| Member::own(settings, false))
    }

    /// Facts about the machine. Reads files: call it where blocking is allowed.
    pub fn host(&self) -> host::Host {
        let settings = self.settings();
        host::collect(settings.data_dir.as_deref().unwrap_or(std::path::Path::new("/")))
    }

    fn stats(&self) -> Value {
        let settings = self.settings();
        let (services, checks) = {
            let state = self.local().read();
            (state.services.len(), state.checks.len())
        };
        let (told, running) = self.runners().counts();
        let status = self.cluster().status();
        let mut stats = Map::new();
        let mut put = |name: &str, rows: Vec<(&str, String)>| {
            let rows = rows.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
            stats.insert(name.to_owned(), Value::Object(rows.collect()));
        };
        put(
            "agent",
            vec![
                ("check_monitors", running.to_string()),
                ("check_ttls", told.to_string()),
                ("checks", checks.to_string()),
                ("services", services.to_string()),
            ],
        );
        put(
            "build",
            vec![
                ("prerelease", String::new()),
                ("revision", String::new()),
                ("version", API_LEVEL.to_owned()),
                ("product", format!("{PRODUCT} {PRODUCT_VERSION}")),
            ],
        );
        let acl = if settings.acls_enabled { "enabled" } else { "disabled" };
        if settings.is_server {
            put(
                "consul",
                vec![
                    ("acl", acl.to_owned()),
                    ("bootstrap", settings.is_bootstrap.to_string()),
                    ("known_datacenters", "1".to_owned()),
                    ("leader", status.is_leader.to_string()),
                    ("leader_addr", status.leader.clone().unwrap_or_default()),
                    ("server", "true".to_owned()),
                ],
            );
            let role = if status.is_leader { "Leader" } else { "Follower" };
            put(
                "raft",
                vec![
                    ("applied_index", status.applied_index.to_string()),
                    ("commit_index", status.applied_index.to_string()),
                    ("fsm_pending", "0".to_owned()),
                    ("last_contact", "0".to_owned()),
                    ("last_log_index", status.applied_index.to_string()),
                    ("last_log_term", status.term.to_string()),
                    ("num_peers", status.peers.len().saturating_sub(1).to_string()),
                    ("protocol_version", "3".to_owned()),
                    ("state", role.to_owned()),
                    ("term", status.term.to_string()),
                ],
            );
        } else {
            put(
                "consul",
                vec![
                    ("acl", acl.to_owned()),
                    ("known_servers", status.peers.len().to_string()),
                    ("server", "false".to_owned()),
                ],
            );
        }
        let cpus = std::thread::available_parallelism().map_or(1, usize::from).to_string();
        put(
            "runtime",
            vec![
                ("arch", architecture().to_owned()),
                ("cpu_count", cpus.clone()),
                ("max_procs", cpus),
                ("os", std::env::consts::OS.to_owned()),
                ("uptime_seconds", self.started_at().elapsed().as_secs().to_string()),
                ("version", "rust".to_owned()),
            ],
        );
        put("serf_lan", self.pool_stats(false));
        if settings.is_server {
            put("serf_wan", self.pool_stats(true));
        }
        Value::Object(stats)
    }

    fn pool_stats(&self, wan: bool) -> Vec<(&'static str, String)> {
        let members = self.membership().members(wan);
        let count = |status: u8| {
            members.iter().filter(|member| member.status == status).count().to_string()
        };
        let PoolFigures {
            is_encrypted,
            health_score,
            event_time,
            member_time,
            query_time,
            event_queue,
            intent_queue,
            query_queue,
            coordinate_resets,
        } = self.membership().figures(wan);
        vec![
            ("coordinate_resets", coordinate_resets.to_string()),
            ("encrypted", is_encrypted.to_string()),
            ("event_queue", event_queue.to_string()),
            ("event_time", event_time.to_string()),
            ("failed", count(member::FAILED)),
            ("health_score", health_score.to_string()),
            ("intent_queue", intent_queue.to_string()),
            ("left", count(member::LEFT)),
            ("member_time", member_time.to_string()),
            ("members", members.len().to_string()),
            ("query_queue", query_queue.to_string()),
            ("query_time", query_time.to_string()),
        ]
    }

    /// Sets the gauges that are looked up rather than counted.
    pub(crate) fn record_gauges(&self) {
        let metrics = self.metrics();
        let status = self.cluster().status();
        metrics.gauge("raft.applied_index", status.applied_index as f64, &[]);
        metrics.gauge("server.isLeader", f64::from(u8::from(status.is_leader)), &[]);
        let state = self.local().read();
        metrics.gauge("agent.services", state.services.len() as f64, &[]);
        metrics.gauge("agent.checks", state.checks.len() as f64, &[]);
        drop(state);
        if let Some(bytes) = resident_bytes() {
            metrics.gauge("runtime.alloc_bytes", bytes, &[]);
            metrics.gauge("runtime.sys_bytes", bytes, &[]);
        }
    }
}

/// The name Go gives the processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Memory of this process that is in use.
fn resident_bytes() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages as f64 * rustix::param::page_size() as f64)
}
