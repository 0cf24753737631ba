//! What an agent needs to be part of a cluster: whom it joins, how it gossips and with which key,
//! its part in consensus, TLS between agents, and what calls it takes.

use std::net::SocketAddr;
use std::time::Duration;

use model::keyring::GossipKey;
use model::operator::AutopilotConfiguration;
use model::time::GoDuration;

use super::Builder;
use crate::SettingError;
use crate::error::Problem;
use crate::settings::gossip::Gossip;
use crate::settings::network::Cidr;
use crate::settings::tls::TlsGroup;
use crate::sockaddr;

/// Whom to join. Addresses are `host` or `host:port`, templates resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Joining {
    pub lan: JoinPool,
    pub wan: JoinPool,
    /// Join those known from the last life although this agent left then.
    pub rejoin_after_leave: bool,
}

/// Joining of one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinPool {
    /// Tried once, before the agent is up; failing that ends it.
    pub start: Vec<String>,
    /// Tried until one works.
    pub retry: Vec<String>,
    /// Pause between tries.
    pub interval: Duration,
    /// Tries before the agent gives up and ends; `None` without end.
    pub attempts_max: Option<u32>,
}

/// One gossip pool.
#[derive(Clone, Debug, PartialEq)]
pub struct GossipSettings {
    pub bind: SocketAddr,
    /// Where others reach it.
    pub advertise: SocketAddr,
    pub timing: GossipTiming,
    /// How long a failed member is tried to be reached before it is forgotten.
    pub reconnect_timeout: Duration,
    /// Networks whose members may join; `None`: all.
    pub allowed: Option<Vec<Cidr>>,
}

/// Timing of a gossip pool, as written or by the defaults of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GossipTiming {
    pub gossip_interval: Duration,
    /// Members told in each round; 0 tells nobody.
    pub gossip_nodes: u32,
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    pub suspicion_mult: u32,
    pub retransmit_mult: u32,
}

/// Encryption of gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipEncryption {
    /// The key to begin with, already known to be one. Keys kept in files go before it.
    pub key: Option<GossipKey>,
    /// Refuse what is not encrypted.
    pub verify_incoming: bool,
    /// Encrypt all that is sent.
    pub verify_outgoing: bool,
    /// Keep keys in files of the data directory.
    pub has_files: bool,
}

/// The part of a server in consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consensus {
    pub bootstrap: Bootstrap,
    /// 3 is what is spoken.
    pub protocol: u8,
    /// Scales all timers, 1 to 10; those in [`AgentConfig::raft`](super::AgentConfig::raft) are.
    pub multiplier: u32,
    pub snapshot_interval: Duration,
}

/// How a server that has no state comes to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// It makes one of itself.
    Alone,
    /// It waits until so many servers know each other, and they make one. At least 2.
    Expect(u32),
    /// It waits to be taken in by one.
    Join,
}

/// TLS between agents. Empty texts: not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpcTls {
    pub ca_file: String,
    pub ca_path: String,
    pub cert_file: String,
    pub key_file: String,
    /// TLS 1.3 at least; otherwise 1.2.
    pub requires_tls13: bool,
    /// Take calls over TLS only, of those who show a certificate of the authority.
    pub verify_incoming: bool,
    /// Make calls over TLS only.
    pub verify_outgoing: bool,
    /// Call only who proves to be a server (`server.<datacenter>.<domain>`).
    pub verify_server_hostname: bool,
    /// The name expected instead of the node's; empty: none.
    pub server_name: String,
}

/// What calls of other agents are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallLimits {
    /// Of one address; `None`: no limit.
    pub connections_per_client_max: Option<usize>,
    /// For the first bytes of a connection; zero: no limit.
    pub handshake_timeout: Duration,
    /// Calls this agent makes to servers a second; `None`: no limit.
    pub rate: Option<f64>,
    /// Calls it may make at once beyond that.
    pub burst_max: usize,
}

/// The name of the first that is on, else the last.
fn first_set<const N: usize>(settings: [(&'static str, Option<bool>); N]) -> &'static str {
    let set = settings.iter().find(|(_, on)| *on == Some(true));
    set.or(settings.last()).map_or("", |(key, _)| key)
}

/// What begins a value that asks a cloud for addresses.
const PROVIDER: &str = "provider=";

impl Builder<'_> {
    /// Rules between settings of a cluster.
    pub(super) fn judge_cluster(&self) -> Result<(), SettingError> {
        let settings = self.settings;
        if settings.bootstrap && !settings.server {
            return Err(self.invalid("bootstrap", "'bootstrap = true' requires 'server = true'"));
        }
        if settings.bootstrap_expect > 0 && !settings.server {
            return Err(
                self.invalid("bootstrap_expect", "'bootstrap_expect > 0' requires 'server = true'")
            );
        }
        if settings.bootstrap_expect > 1 && settings.bootstrap {
            let reason =
                "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive; remove one";
            return Err(self.invalid("bootstrap_expect", reason));
        }
        if self.is_dev && (settings.bootstrap || settings.bootstrap_expect > 0) {
            let key = if settings.bootstrap { "bootstrap" } else { "bootstrap_expect" };
            return Err(self.invalid(key, "has no place in development mode; remove it or -dev"));
        }
        if !settings.start_join_wan.is_empty() && !settings.server {
            return Err(self.invalid("start_join_wan", "Must be a server to join WAN cluster"));
        }
        if !settings.retry_join_wan.is_empty() && !settings.server {
            return Err(self.invalid("retry_join_wan", "Must be a server to join WAN cluster"));
        }
        self.refuse_joining_of_no_pool()?;
        self.judge_protocols()?;
        self.judge_rpc_tls()
    }

    fn refuse_joining_of_no_pool(&self) -> Result<(), SettingError> {
        let settings = self.settings;
        let lists = [
            ("start_join", &settings.start_join, settings.ports.serf_lan, "ports.serf_lan"),
            ("retry_join", &settings.retry_join, settings.ports.serf_lan, "ports.serf_lan"),
            ("start_join_wan", &settings.start_join_wan, settings.ports.serf_wan, "ports.serf_wan"),
            ("retry_join_wan", &settings.retry_join_wan, settings.ports.serf_wan, "ports.serf_wan"),
        ];
        for (key, list, port, port_key) in lists {
            if !list.is_empty() && port.0.is_none() {
                let reason = format!("cannot be used while {port_key} is off; write a port");
                return Err(self.invalid(key, reason));
            }
        }
        let ports =
            [("ports.serf_lan", settings.ports.serf_lan), ("ports.server", settings.ports.server)];
        for (key, port) in ports {
            if settings.bootstrap_expect > 1 && port.0.is_none() {
                let reason = "cannot be off for a server that expects others; write a port";
                return Err(self.invalid(key, reason));
            }
        }
        Ok(())
    }

    fn judge_protocols(&self) -> Result<(), SettingError> {
        let settings = self.settings;
        match settings.protocol {
            2 | 3 => {}
            low if low < 2 => {
                let reason = format!("Protocol version '{low}' too low. Must be in range: [2, 3]");
                return Err(self.invalid("protocol", reason));
            }
            high => {
                let reason =
                    format!("Protocol version '{high}' too high. Must be in range: [2, 3]");
                return Err(self.invalid("protocol", reason));
            }
        }
        match settings.raft_protocol {
            // 0 takes the default.
            0 | 3 => Ok(()),
            1 | 2 => {
                let reason =
                    "only version 3 is spoken; servers of Consul below 1.0 cannot take part";
                Err(self.error("raft_protocol", Problem::Unavailable(reason.to_owned())))
            }
            other => {
                let reason = format!("Protocol version {other} must be >= 1 and <= 3");
                Err(self.invalid("raft_protocol", reason))
            }
        }
    }

    fn judge_rpc_tls(&self) -> Result<(), SettingError> {
        let settings = self.settings;
        let tls = self.rpc_tls();
        let has_ca = !tls.ca_file.is_empty() || !tls.ca_path.is_empty();
        let has_pair = !tls.cert_file.is_empty() && !tls.key_file.is_empty();
        if tls.verify_incoming {
            let key = first_set([
                ("tls.internal_rpc.verify_incoming", settings.tls.internal_rpc.verify_incoming),
                ("tls.defaults.verify_incoming", settings.tls.defaults.verify_incoming),
                ("verify_incoming_rpc", Some(settings.verify_incoming_rpc)),
                ("verify_incoming", None),
            ]);
            if !has_ca {
                let reason =
                    "VerifyIncoming set but no CA certificates were provided; write ca_file";
                return Err(self.invalid(key, reason));
            }
            if !has_pair {
                let reason = "VerifyIncoming requires a Cert and Key pair in the configuration \
                              file; write cert_file and key_file";
                return Err(self.invalid(key, reason));
            }
        }
        if tls.verify_outgoing && !has_ca {
            let (rpc, defaults) = (&settings.tls.internal_rpc, &settings.tls.defaults);
            let key = first_set([
                ("tls.internal_rpc.verify_outgoing", rpc.verify_outgoing),
                ("tls.internal_rpc.verify_server_hostname", rpc.verify_server_hostname),
                ("tls.defaults.verify_outgoing", defaults.verify_outgoing),
                ("verify_outgoing", Some(settings.verify_outgoing)),
                ("verify_server_hostname", None),
            ]);
            let reason = "VerifyOutgoing set, and no CA certificate provided! Write ca_file";
            return Err(self.invalid(key, reason));
        }
        Ok(())
    }

    pub(super) fn rpc_tls(&self) -> RpcTls {
        let settings = self.settings;
        let groups = [&settings.tls.internal_rpc, &settings.tls.defaults];
        let text = |get: fn(&TlsGroup) -> &Option<String>, flat: &String| {
            groups.iter().find_map(|group| get(group).clone()).unwrap_or_else(|| flat.clone())
        };
        let truth = |get: fn(&TlsGroup) -> Option<bool>, flat: bool| {
            groups.iter().find_map(|group| get(group)).unwrap_or(flat)
        };
        let verify_server_hostname =
            truth(|group| group.verify_server_hostname, settings.verify_server_hostname);
        let min_version = text(|group| &group.tls_min_version, &settings.tls_min_version);
        RpcTls {
            ca_file: text(|group| &group.ca_file, &settings.ca_file),
            ca_path: text(|group| &group.ca_path, &settings.ca_path),
            cert_file: text(|group| &group.cert_file, &settings.cert_file),
            key_file: text(|group| &group.key_file, &settings.key_file),
            requires_tls13: matches!(min_version.as_str(), "tls13" | "TLSv1_3"),
            verify_incoming: truth(
                |group| group.verify_incoming,
                settings.verify_incoming || settings.verify_incoming_rpc,
            ),
            // Nobody can be known by name who is not asked for a certificate.
            verify_outgoing: truth(|group| group.verify_outgoing, settings.verify_outgoing)
                || verify_server_hostname,
            verify_server_hostname,
            server_name: settings.server_name.clone(),
        }
    }

    pub(super) fn joining(&self) -> Result<Joining, SettingError> {
        let settings = self.settings;
        let pool =
            |start: (&str, &[String]), retry: (&str, &[String]), interval: GoDuration, max| {
                Ok(JoinPool {
                    start: self.join_addresses(start.0, start.1)?,
                    retry: self.join_addresses(retry.0, retry.1)?,
                    interval: interval.to_std(),
                    attempts_max: u32::try_from(max).ok().filter(|max| *max > 0),
                })
            };
        Ok(Joining {
            lan: pool(
                ("start_join", &settings.start_join),
                ("retry_join", &settings.retry_join),
                settings.retry_interval,
                settings.retry_max,
            )?,
            wan: pool(
                ("start_join_wan", &settings.start_join_wan),
                ("retry_join_wan", &settings.retry_join_wan),
                settings.retry_interval_wan,
                settings.retry_max_wan,
            )?,
            rejoin_after_leave: settings.rejoin_after_leave,
        })
    }

    fn join_addresses(&self, key: &str, texts: &[String]) -> Result<Vec<String>, SettingError> {
        let mut addresses = Vec::new();
        for text in texts {
            if text.split_whitespace().any(|word| word.starts_with(PROVIDER)) {
                let reason = format!(
                    "{text:?} asks a cloud for addresses, which is not available in this version; \
                     write addresses or DNS names"
                );
                return Err(self.error(key, Problem::Unavailable(reason)));
            }
            let expanded = sockaddr::expand(text, || self.interfaces())
                .map_err(|reason| self.invalid(key, reason))?;
            addresses.extend(expanded.split_whitespace().map(str::to_owned));
        }
        Ok(addresses)
    }

    /// `None` where the pool's port is off.
    pub(super) fn gossip(
        &self,
        key: &str,
        timing: &Gossip,
        bind: Option<SocketAddr>,
        advertise: std::net::IpAddr,
        reconnect_timeout: GoDuration,
        allowed: (&str, &[String]),
    ) -> Result<Option<GossipSettings>, SettingError> {
        let Some(bind) = bind else { return Ok(None) };
        let timing = self.gossip_timing(key, timing)?;
        let cidrs = allowed.1.iter().map(|text| text.parse());
        let cidrs = cidrs.collect::<Result<Vec<Cidr>, String>>();
        let cidrs = cidrs.map_err(|reason| self.invalid(allowed.0, reason))?;
        Ok(Some(GossipSettings {
            bind,
            advertise: SocketAddr::new(advertise, bind.port()),
            timing,
            reconnect_timeout: reconnect_timeout.to_std(),
            allowed: Some(cidrs).filter(|cidrs| !cidrs.is_empty()),
        }))
    }

    fn gossip_timing(&self, block: &str, gossip: &Gossip) -> Result<GossipTiming, SettingError> {
        let count = |name: &str, number: i64| {
            u32::try_from(number).map_err(|_| {
                let reason = format!("cannot be {number}; write 0 or more");
                self.invalid(&format!("{block}.{name}"), reason)
            })
        };
        let span = |name: &str, span: GoDuration| match span.0 {
            // A pool that never tells or never asks cannot tell who is alive.
            ..=0 => {
                let reason = format!("cannot be {span}; write more than 0s");
                Err(self.invalid(&format!("{block}.{name}"), reason))
            }
            _ => Ok(span.to_std()),
        };
        Ok(GossipTiming {
            gossip_interval: span("gossip_interval", gossip.gossip_interval)?,
            gossip_nodes: count("gossip_nodes", gossip.gossip_nodes)?,
            probe_interval: span("probe_interval", gossip.probe_interval)?,
            probe_timeout: span("probe_timeout", gossip.probe_timeout)?,
            suspicion_mult: count("suspicion_mult", gossip.suspicion_mult)?,
            retransmit_mult: count("retransmit_mult", gossip.retransmit_mult)?,
        })
    }

    pub(super) fn encryption(&self) -> Result<GossipEncryption, SettingError> {
        let settings = self.settings;
        let key = GossipKey(settings.encrypt.0.clone());
        if !key.0.is_empty() {
            key.bytes().map_err(|error| {
                let reason = format!("has invalid key: {error}; the keygen command makes one");
                self.invalid("encrypt", reason)
            })?;
        }
        Ok(GossipEncryption {
            key: Some(key).filter(|key| !key.0.is_empty()),
            verify_incoming: settings.encrypt_verify_incoming,
            verify_outgoing: settings.encrypt_verify_outgoing,
            has_files: !settings.disable_keyring_file && !self.is_dev,
        })
    }

    pub(super) fn consensus(&self) -> Consensus {
        let settings = self.settings;
        let bootstrap = match u32::try_from(settings.bootstrap_expect) {
            Ok(expected) if expected > 1 => Bootstrap::Expect(expected),
            _ if settings.bootstrap || settings.bootstrap_expect == 1 || self.is_dev => {
                Bootstrap::Alone
            }
            _ => Bootstrap::Join,
        };
        Consensus {
            bootstrap,
            protocol: 3,
            multiplier: settings
                .performance
                .raft_multiplier
                .and_then(|factor| u32::try_from(factor).ok())
                .unwrap_or(1),
            snapshot_interval: settings.raft_snapshot_interval.to_std(),
        }
    }

    pub(super) fn autopilot(&self) -> AutopilotConfiguration {
        let crate::settings::raft::Autopilot {
            cleanup_dead_servers,
            last_contact_threshold,
            max_trailing_logs,
            min_quorum,
            server_stabilization_time,
            redundancy_zone_tag,
            disable_upgrade_migration,
            upgrade_version_tag,
        } = self.settings.autopilot.clone();
        AutopilotConfiguration {
            cleanup_dead_servers,
            last_contact_threshold,
            max_trailing_logs,
            min_quorum,
            server_stabilization_time,
            redundancy_zone_tag,
            disable_upgrade_migration,
            upgrade_version_tag,
            create_index: 0,
            modify_index: 0,
        }
    }

    pub(super) fn call_limits(&self) -> CallLimits {
        let limits = &self.settings.limits;
        CallLimits {
            connections_per_client_max: usize::try_from(limits.rpc_max_conns_per_client)
                .ok()
                .filter(|max| *max > 0),
            handshake_timeout: limits.rpc_handshake_timeout.to_std(),
            rate: Some(limits.rpc_rate).filter(|rate| *rate >= 0.0),
            burst_max: usize::try_from(limits.rpc_max_burst).unwrap_or_default(),
        }
    }

    /// Lines about numbers of servers that do not serve their end, and how this one comes to a
    /// cluster.
    pub(super) fn bootstrap_warnings(&self, warnings: &mut Vec<String>) {
        let settings = self.settings;
        let expected = settings.bootstrap_expect;
        if expected == 1 {
            warnings.push(
                "BootstrapExpect is set to 1; this is the same as Bootstrap mode.".to_owned(),
            );
        }
        if expected == 2 {
            warnings.push(
                "bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance"
                    .to_owned(),
            );
        } else if expected > 2 && expected % 2 == 0 {
            warnings.push(
                "bootstrap_expect is even number: A cluster with an even number of servers does \
                 not achieve optimum fault tolerance"
                    .to_owned(),
            );
        }
        if expected > 1 {
            warnings.push(format!("bootstrap_expect > 0: expecting {expected} servers"));
        } else if settings.bootstrap || expected == 1 {
            warnings.push("bootstrap = true: do not enable unless necessary".to_owned());
        }
    }
}
