//! What an agent runs with: settings judged as a whole, with names and addresses found out.
//!
//! [`load`] does everything: reads the sources, merges and decodes them, judges what concerns more
//! than one setting.

mod address;
mod cluster;
mod debug;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use model::definition::{CheckDefinition, ServiceDefinition};
use model::operator::AutopilotConfiguration;
use model::time::GoDuration;

use crate::decode::{Decode, Rules, Values};
use crate::error::{Error, Problem, SettingError};
use crate::flags::AgentFlags;
use crate::machine::Machine;
use crate::setting::{Change, Setting};
use crate::settings::Settings;
use crate::settings::tls::TlsGroup;
use crate::source::Sources;
use crate::tree::{Node, Object, Position};
use crate::unavailable::{ROWS, Verdict};
pub use address::{Listen, ListenAddress};
pub use cluster::{
    Bootstrap, CallLimits, Consensus, GossipEncryption, GossipSettings, GossipTiming, JoinPool,
    Joining, RpcTls,
};

/// The configuration of one agent, valid as a whole.
///
/// What needed work to find out stands here; everything else is under [`AgentConfig::settings`], as
/// written or by default.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentConfig {
    pub is_dev: bool,
    pub node_name: String,
    /// As configured; `None`: to be made once and kept.
    pub node_id: Option<String>,
    /// Lower case.
    pub datacenter: String,
    /// Where state is kept; `None` in development mode, which keeps it in memory.
    pub data_dir: Option<PathBuf>,
    pub node_meta: BTreeMap<String, String>,
    /// Where traffic among agents is taken.
    pub bind_addr: IpAddr,
    /// Where others reach this agent.
    pub advertise_addr: IpAddr,
    /// Where agents of other datacenters reach this agent.
    pub advertise_addr_wan: IpAddr,
    /// `lan`, `wan`, and both with `_ipv4` and `_ipv6`.
    pub tagged_addresses: BTreeMap<String, String>,
    pub client_addrs: Vec<IpAddr>,
    pub listen: Listen,
    /// Ports for sidecars that name none; `None` if switched off.
    pub sidecar_ports: Option<RangeInclusive<u16>>,
    pub expose_ports: Option<RangeInclusive<u16>>,
    /// Lower case, without dots at the ends, such as `consul`.
    pub domain: String,
    pub alt_domain: Option<String>,
    pub recursors: Vec<SocketAddr>,
    pub leave_on_terminate: bool,
    pub skip_leave_on_interrupt: bool,
    pub joining: Joining,
    /// Gossip within the datacenter; `None` where its port is off, for a server that stays alone.
    pub gossip_lan: Option<GossipSettings>,
    /// Gossip among servers of all datacenters; `None` for clients and where its port is off.
    pub gossip_wan: Option<GossipSettings>,
    pub encryption: GossipEncryption,
    pub consensus: Consensus,
    pub raft: RaftTiming,
    /// What servers begin with; what operators set later goes before it.
    pub autopilot: AutopilotConfiguration,
    /// Between agents.
    pub rpc_tls: RpcTls,
    pub calls: CallLimits,
    /// For the HTTPS port and for checks.
    pub tls: TlsFiles,
    /// Whether a connection without matching intention is allowed.
    pub default_intention_allow: bool,
    pub services: Vec<ServiceDefinition>,
    pub checks: Vec<CheckDefinition>,
    /// Config entries to make when absent, as written.
    pub config_entries: Vec<Node>,
    pub settings: Settings,
    /// A line for each setting that is accepted and has no effect. The agent logs each as a
    /// warning.
    pub unsupported: Vec<String>,
    /// Lines about settings that work but perhaps not as meant. The agent logs each as a warning.
    pub warnings: Vec<String>,
}

/// What Consul takes for `performance.raft_multiplier` when nothing is written; only shown.
const RAFT_MULTIPLIER_SHOWN: i64 = 5;

/// Timers of the consensus, already scaled by `performance.raft_multiplier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTiming {
    pub heartbeat_timeout: GoDuration,
    pub election_timeout: GoDuration,
    pub leader_lease_timeout: GoDuration,
}

/// Certificates of the agent, from the `tls` block or the flat keys. Empty texts: not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca_file: String,
    pub ca_path: String,
    pub cert_file: String,
    pub key_file: String,
    /// TLS 1.3 at least; otherwise 1.2.
    pub requires_tls13: bool,
    /// Ask clients of the HTTPS port for a certificate that the CA signed.
    pub verify_incoming_https: bool,
}

/// Reads everything the flags name and builds the configuration.
pub fn load(flags: &AgentFlags, machine: &dyn Machine) -> Result<AgentConfig, Error> {
    let sources = Sources::read(flags)?;
    AgentConfig::build(&sources, flags.dev == Some(true), machine)
}

impl AgentConfig {
    /// What `agent -dev` runs with: in memory, on loopback, with the mesh on.
    pub fn dev(machine: &dyn Machine) -> Result<AgentConfig, Error> {
        load(&AgentFlags { dev: Some(true), ..AgentFlags::default() }, machine)
    }

    /// Decodes and judges what the sources say.
    ///
    /// Errors: the first thing found wrong, with its place and the remedy.
    pub fn build(
        sources: &Sources,
        is_dev: bool,
        machine: &dyn Machine,
    ) -> Result<AgentConfig, Error> {
        let empty = Node::from(Object::default());
        let values = sources.values().or_else(|| Values::root([("", &empty)], Rules::File));
        let settings = match &values {
            Some(values) => Settings::decode(values)?,
            None => Settings::default(),
        };
        let builder = Builder { sources, settings: &settings, machine, is_dev };
        builder.judge()?;
        Ok(builder.build()?)
    }

    /// What differs in `new`, and whether a reload takes it over.
    ///
    /// Shape: settings in the order of [`Settings`]; then addresses and names that came out
    /// differently although nothing was written differently.
    pub fn changes(&self, new: &AgentConfig) -> Vec<Change> {
        let mut changes = Vec::new();
        self.settings.changes(&new.settings, "", false, &mut changes);
        if changes.is_empty() {
            let found_out = [
                ("node_name", self.node_name != new.node_name),
                ("advertise_addr", self.advertise_addr != new.advertise_addr),
                ("client_addr", self.listen != new.listen),
            ];
            for (key, _) in found_out.into_iter().filter(|(_, differs)| *differs) {
                changes.push(Change { key: key.to_owned(), is_reloadable: false });
            }
        }
        changes
    }
}

struct Builder<'a> {
    sources: &'a Sources,
    settings: &'a Settings,
    machine: &'a dyn Machine,
    is_dev: bool,
}

impl Builder<'_> {
    /// An error about a setting, at the weightiest place it is written.
    fn error(&self, key: &str, problem: Problem) -> SettingError {
        let (source, at) = self.sources.find(key).unwrap_or(("", Position::default()));
        SettingError { source: source.to_owned(), at, key: key.to_owned(), problem }
    }

    fn invalid(&self, key: &str, reason: impl Into<String>) -> SettingError {
        self.error(key, Problem::Invalid(reason.into()))
    }

    /// What concerns more than one setting.
    fn judge(&self) -> Result<(), SettingError> {
        let settings = self.settings;
        if settings.data_dir.is_empty() && !self.is_dev {
            return Err(self.invalid(
                "data_dir",
                "cannot be empty; write data_dir = \"/path\", or start with -dev",
            ));
        }
        self.judge_cluster()?;
        if settings.ui && !self.is_dev && !settings.ui_dir.is_empty() {
            return Err(self.invalid("ui_dir", "cannot be given together with ui; remove one"));
        }
        let tls = self.tls();
        if settings.ports.https.0.is_some() && (tls.cert_file.is_empty() || tls.key_file.is_empty())
        {
            return Err(self.invalid(
                "ports.https",
                "needs cert_file and key_file; write both, or remove the port",
            ));
        }
        for row in ROWS.iter().filter(|row| row.verdict == Verdict::Refuse) {
            if (row.is_asked)(settings) {
                return Err(self.error(row.key, Problem::Unavailable(row.text.to_owned())));
            }
        }
        Ok(())
    }

    fn build(&self) -> Result<AgentConfig, SettingError> {
        let settings = self.settings;
        let addresses = self.addresses()?;
        let gossip_lan = self.gossip(
            "gossip_lan",
            &settings.gossip_lan,
            addresses.listen.serf_lan,
            addresses.advertise,
            settings.reconnect_timeout,
            ("serf_lan_allowed_cidrs", &settings.serf_lan_allowed_cidrs),
        )?;
        let gossip_wan = self.gossip(
            "gossip_wan",
            &settings.gossip_wan,
            addresses.listen.serf_wan.filter(|_| settings.server),
            addresses.advertise_wan,
            settings.reconnect_timeout_wan,
            ("serf_wan_allowed_cidrs", &settings.serf_wan_allowed_cidrs),
        )?;
        let services = settings
            .services
            .iter()
            .chain(&settings.service)
            .map(|valid| valid.0.clone())
            .collect();
        let checks =
            settings.checks.iter().chain(&settings.check).map(|valid| valid.0.clone()).collect();
        let node_name = self.node_name()?;
        Ok(AgentConfig {
            is_dev: self.is_dev,
            node_id: (!settings.node_id.is_empty()).then(|| settings.node_id.to_ascii_lowercase()),
            datacenter: settings.datacenter.to_ascii_lowercase(),
            data_dir: (!self.is_dev).then(|| PathBuf::from(&settings.data_dir)),
            node_meta: settings.node_meta.clone(),
            bind_addr: addresses.bind,
            advertise_addr: addresses.advertise,
            advertise_addr_wan: addresses.advertise_wan,
            tagged_addresses: addresses.tagged,
            client_addrs: addresses.clients,
            listen: addresses.listen,
            sidecar_ports: self.port_range(
                "sidecar",
                settings.ports.sidecar_min_port,
                settings.ports.sidecar_max_port,
            )?,
            expose_ports: self.port_range(
                "expose",
                settings.ports.expose_min_port,
                settings.ports.expose_max_port,
            )?,
            domain: self.domain("domain", &settings.domain)?.unwrap_or_else(|| "consul".to_owned()),
            alt_domain: self.domain("alt_domain", &settings.alt_domain)?,
            recursors: self.recursors()?,
            leave_on_terminate: settings.leave_on_terminate,
            skip_leave_on_interrupt: settings.skip_leave_on_interrupt.unwrap_or(settings.server),
            joining: self.joining()?,
            gossip_lan,
            gossip_wan,
            encryption: self.encryption()?,
            consensus: self.consensus(),
            raft: self.raft_timing(),
            autopilot: self.autopilot(),
            rpc_tls: self.rpc_tls(),
            calls: self.call_limits(),
            tls: self.tls(),
            default_intention_allow: settings.default_intention_policy != "deny",
            services,
            checks,
            config_entries: settings
                .config_entries
                .bootstrap
                .iter()
                .map(|tree| tree.0.clone())
                .collect(),
            unsupported: self.unsupported(),
            warnings: self.warnings(&node_name),
            node_name,
            settings: settings.clone(),
        })
    }

    fn node_name(&self) -> Result<String, SettingError> {
        let is_blank = self.settings.node_name.trim().is_empty();
        if is_blank && !self.settings.node_name.is_empty() {
            return Err(self.invalid("node_name", "is blank; write a name or leave it out"));
        }
        if !is_blank {
            return Ok(self.settings.node_name.trim().to_owned());
        }
        match self.machine.host_name() {
            Ok(name) if !name.is_empty() => Ok(name),
            Ok(_) => Err(self
                .invalid("node_name", "the machine has no host name; write node_name = \"...\"")),
            Err(error) => {
                let reason = format!(
                    "cannot read the machine's host name ({error}); write node_name = \"...\""
                );
                Err(self.invalid("node_name", reason))
            }
        }
    }

    fn port_range(
        &self,
        what: &str,
        min: u16,
        max: u16,
    ) -> Result<Option<RangeInclusive<u16>>, SettingError> {
        if min > max {
            let reason = format!(
                "{what}_min_port must be less than {what}_max_port. To disable, set both to zero"
            );
            return Err(self.invalid(&format!("ports.{what}_min_port"), reason));
        }
        Ok((min > 0).then_some(min..=max))
    }

    fn domain(&self, key: &str, domain: &str) -> Result<Option<String>, SettingError> {
        let name = domain.trim_matches('.').to_ascii_lowercase();
        if name.is_empty() {
            return Ok(None);
        }
        // RFC 1035, section 2.3.4: a name has 255 bytes at most, a label 63.
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(self.invalid(
                key,
                format!("{domain:?} is no domain; write a name such as \"consul\""),
            ));
        }
        Ok(Some(name))
    }

    /// In development everything is on one machine and may be hasty.
    fn raft_timing(&self) -> RaftTiming {
        let [heartbeat, election, lease] =
            if self.is_dev { [35, 52, 20] } else { [1000, 1000, 500] };
        let factor = self.settings.performance.raft_multiplier.unwrap_or(RAFT_MULTIPLIER_SHOWN);
        let scaled = |millis: i64| GoDuration::from_millis(millis * factor);
        RaftTiming {
            heartbeat_timeout: scaled(heartbeat),
            election_timeout: scaled(election),
            leader_lease_timeout: scaled(lease),
        }
    }

    fn tls(&self) -> TlsFiles {
        let settings = self.settings;
        let groups = [&settings.tls.https, &settings.tls.defaults];
        let newest = |get: fn(&TlsGroup) -> &Option<String>, flat: &String| {
            groups.iter().find_map(|group| get(group).clone()).unwrap_or_else(|| flat.clone())
        };
        let min_version = newest(|group| &group.tls_min_version, &settings.tls_min_version);
        TlsFiles {
            ca_file: newest(|group| &group.ca_file, &settings.ca_file),
            ca_path: newest(|group| &group.ca_path, &settings.ca_path),
            cert_file: newest(|group| &group.cert_file, &settings.cert_file),
            key_file: newest(|group| &group.key_file, &settings.key_file),
            requires_tls13: matches!(min_version.as_str(), "tls13" | "TLSv1_3"),
            verify_incoming_https: groups
                .iter()
                .find_map(|group| group.verify_incoming)
                .unwrap_or(settings.verify_incoming)
                || settings.verify_incoming_https,
        }
    }

    fn unsupported(&self) -> Vec<String> {
        let reported = ROWS
            .iter()
            .filter(|row| row.verdict == Verdict::Report && (row.is_asked)(self.settings));
        reported
            // What development mode sets nobody asked for.
            .filter(|row| {
                self.sources.find(row.key).is_some_and(|(source, _)| source != "development mode")
            })
            .map(|row| self.error(row.key, Problem::Unavailable(row.text.to_owned())).to_string())
            .collect()
    }

    fn warnings(&self, node_name: &str) -> Vec<String> {
        let mut warnings = Vec::new();
        self.bootstrap_warnings(&mut warnings);
        if !node_name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            warnings.push(format!(
                "node_name: {node_name:?} cannot be looked up in DNS; use only letters, digits and dashes"
            ));
        }
        if self.settings.enable_script_checks
            && self.settings.http_config.allow_write_http_from.is_empty()
        {
            warnings.push(
                "enable_script_checks: whoever reaches the HTTP port may run programs here; use \
                 enable_local_script_checks, or limit http_config.allow_write_http_from"
                    .to_owned(),
            );
        }
        warnings
    }
}
