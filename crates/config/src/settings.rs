//! Every setting of an agent, as files and flags may say it. [`crate::agent`] makes of it what an
//! agent runs with.
//!
//! Names are those Consul 1.8.7 accepts. What the product cannot do is refused or reported by
//! [`crate::unavailable`], never passed over.

pub mod access;
pub mod dns;
pub mod gossip;
pub mod http;
pub mod network;
pub mod raft;
pub mod telemetry;
pub mod tls;

use std::collections::BTreeMap;

use model::definition::{self, CheckDefinition, DefinitionError, ServiceDefinition};
use model::time::GoDuration;
use serde_json::Value;

use crate::SettingError;
use crate::decode::{Decode, Values};
use crate::setting::{Setting, at_least};
use crate::tree::Node;
use access::{Acl, AutoConfig, AutoEncrypt, Connect, Hidden, Secret};
use dns::DnsConfig;
use gossip::Gossip;
use http::{Cache, HttpConfig, Limits, UiConfig, UnixSockets};
use network::{Addresses, Ports};
use raft::{Autopilot, Performance};
use telemetry::Telemetry;
use tls::Tls;

settings! {
    /// The whole of a configuration.
    pub struct Settings {
        // Identity, role, storage.
        /// Empty: the machine's host name.
        node_name: String = String::new();
        /// UUID; empty: made once and kept in the data directory.
        node_id: String = String::new(), check(node_id);
        /// Make the id at random, not from the machine.
        disable_host_node_id: bool = true;
        node_meta: BTreeMap<String, String> = BTreeMap::new(), check(node_meta);
        datacenter: String = "dc1".to_owned(), check(datacenter);
        /// Empty: the own one.
        primary_datacenter: String = String::new();
        /// Where the agent keeps its state; needed except in development mode.
        data_dir: String = String::new();
        server: bool = false;
        /// A server that elects itself.
        bootstrap: bool = false;
        /// Servers to wait for before the first election; 0 and 1 mean none but this.
        bootstrap_expect: i64 = 0, check(at_least(0));
        non_voting_server: bool = false;
        /// The newer name of it.
        read_replica: bool = false;
        segment: String = String::new();
        segments: Vec<Value> = Vec::new();
        partition: String = String::new();
        locality: Value = Value::Null;
        license_path: String = String::new();
        pid_file: String = String::new();
        protocol: i64 = 2;

        // Addresses and ports.
        /// For traffic among agents; one address, or a template that gives one.
        bind_addr: String = "0.0.0.0".to_owned();
        /// For clients on all ports; addresses separated by spaces, templates allowed.
        client_addr: String = "127.0.0.1".to_owned();
        addresses: Addresses = Addresses::default();
        /// What other agents are told; empty: the bind address.
        advertise_addr: String = String::new();
        advertise_addr_ipv4: String = String::new();
        advertise_addr_ipv6: String = String::new();
        advertise_addr_wan: String = String::new();
        advertise_addr_wan_ipv4: String = String::new();
        advertise_addr_wan_ipv6: String = String::new();
        /// Give clients of other datacenters the WAN addresses.
        translate_wan_addrs: bool = false;
        ports: Ports = Ports::default();
        serf_lan: String = String::new();
        serf_wan: String = String::new();
        serf_lan_allowed_cidrs: Vec<String> = Vec::new(), check(network::cidrs);
        serf_wan_allowed_cidrs: Vec<String> = Vec::new(), check(network::cidrs);
        unix_sockets: UnixSockets = UnixSockets::default();

        // Joining and leaving.
        start_join: Vec<String> = Vec::new();
        start_join_wan: Vec<String> = Vec::new();
        retry_join: Vec<String> = Vec::new();
        retry_interval: GoDuration = GoDuration::from_secs(30);
        retry_max: i64 = 0;
        retry_join_wan: Vec<String> = Vec::new();
        retry_interval_wan: GoDuration = GoDuration::from_secs(30);
        retry_max_wan: i64 = 0;
        rejoin_after_leave: bool = false;
        /// Leave the cluster on SIGTERM. Whoever supervises a process restarts it by that signal, and a restart is no
        /// leave: its services would be withdrawn everywhere for as long as it takes.
        leave_on_terminate: bool = false;
        /// Do not leave the cluster on an interrupt; absent: only servers stay.
        skip_leave_on_interrupt: Option<bool> = None;
        reconnect_timeout: GoDuration = GoDuration::from_secs(72 * 3600);
        reconnect_timeout_wan: GoDuration = GoDuration::from_secs(72 * 3600);
        primary_gateways: Vec<String> = Vec::new();
        primary_gateways_interval: GoDuration = GoDuration::from_secs(30);

        // Gossip.
        encrypt: Secret = Secret::default();
        encrypt_verify_incoming: bool = true;
        encrypt_verify_outgoing: bool = true;
        disable_keyring_file: bool = false;
        gossip_lan: Gossip = Gossip::lan();
        gossip_wan: Gossip = Gossip::wan();
        disable_coordinates: bool = false;

        // Consensus.
        raft_protocol: i64 = 3;
        /// Log entries between snapshots.
        raft_snapshot_threshold: i64 = 16384, check(at_least(0));
        raft_snapshot_interval: GoDuration = GoDuration::from_secs(30);
        /// Log entries kept behind a snapshot for followers that catch up.
        raft_trailing_logs: i64 = 10000, check(at_least(0));
        performance: Performance = Performance::default();
        autopilot: Autopilot = Autopilot::default();

        // HTTP, limits, cache.
        http_config: HttpConfig = HttpConfig::default();
        limits: Limits = Limits::default();
        cache: Cache = Cache::default();
        /// How long a blocking query waits that does not say.
        default_query_time: GoDuration = GoDuration::from_secs(300);
        /// How long a blocking query may wait at most.
        max_query_time: GoDuration = GoDuration::from_secs(600);
        /// Above zero, discovery queries read stale up to this age.
        discovery_max_stale: GoDuration = GoDuration::ZERO;
        disable_http_unprintable_char_filter: bool = false;
        /// Least time to live a session may ask for.
        session_ttl_min: GoDuration = GoDuration::from_secs(10);

        // TLS.
        ca_file: String = String::new();
        ca_path: String = String::new();
        cert_file: String = String::new();
        key_file: String = String::new();
        /// `tls10`, `tls11`, `tls12` or `tls13`.
        tls_min_version: String = String::new(), check(tls::min_version);
        /// Separated by commas; only checked, the safe ones are always used.
        tls_cipher_suites: String = String::new(), check(tls::cipher_suites);
        tls_prefer_server_cipher_suites: bool = false;
        verify_incoming: bool = false;
        verify_incoming_rpc: bool = false;
        /// Ask clients of the HTTPS port for a certificate of our authority.
        verify_incoming_https: bool = false;
        verify_outgoing: bool = false;
        verify_server_hostname: bool = false;
        server_name: String = String::new();
        /// The newer form of all of these; it goes before them.
        tls: Tls = Tls::default();
        enable_agent_tls_for_checks: bool = false;
        auto_encrypt: AutoEncrypt = AutoEncrypt::default();
        auto_config: AutoConfig = AutoConfig::default();

        // Access control.
        acl: Acl = Acl::default();
        enable_acl_replication: bool = false;
        acl_datacenter: String = String::new();
        acl_default_policy: String = String::new();
        acl_down_policy: String = String::new();
        acl_ttl: GoDuration = GoDuration::from_secs(30);
        acl_disabled_ttl: GoDuration = GoDuration::from_secs(120);
        acl_token: Secret = Secret::default();
        acl_agent_token: Secret = Secret::default();
        acl_agent_master_token: Secret = Secret::default();
        acl_master_token: Secret = Secret::default();
        acl_replication_token: Secret = Secret::default();
        acl_enable_key_list_policy: bool = false;
        acl_enforce_version_8: Option<bool> = None;
        /// `allow` or `deny`: what holds for a connection without an intention. Empty: allow.
        default_intention_policy: String = String::new(), check(access::default_intention_policy);

        // Mesh.
        connect: Connect = Connect::default();
        config_entries: ConfigEntries = ConfigEntries::default();
        /// Merge proxy-defaults and service-defaults into registered proxies. On unless switched off,
        /// as in later Consul versions.
        enable_central_service_config: bool = true;

        // DNS.
        dns_config: DnsConfig = DnsConfig::default(), reload;
        domain: String = "consul.".to_owned();
        alt_domain: String = String::new();
        /// Servers asked about other domains: addresses, with port or without.
        recursors: Vec<String> = Vec::new(), reload;

        // Services and checks.
        /// One of each file; those of all files count.
        service: Vec<ValidService> = Vec::new(), reload;
        services: Vec<ValidService> = Vec::new(), reload;
        check: Vec<ValidCheck> = Vec::new(), reload;
        checks: Vec<ValidCheck> = Vec::new(), reload;
        /// How long a change of output alone may wait before the catalog is told.
        check_update_interval: GoDuration = GoDuration::from_secs(300);
        /// Bytes of output kept of a check.
        check_output_max_size: i64 = 4096, check(check_output_max_size);
        discard_check_output: bool = false, reload;
        /// Checks may run programs, whoever registers them.
        enable_script_checks: bool = false;
        /// Checks in files may run programs.
        enable_local_script_checks: bool = false;
        watches: Vec<Value> = Vec::new(), reload;
        disable_remote_exec: bool = true;

        // UI.
        ui: bool = false;
        ui_dir: String = String::new();
        ui_content_path: String = "/ui/".to_owned(), check(http::ui_content_path);
        /// The newer form of these three; it goes before them.
        ui_config: UiConfig = UiConfig::default();

        // Observing.
        telemetry: Telemetry = Telemetry::default();
        /// `trace`, `debug`, `info`, `warn` or `err`.
        log_level: String = "INFO".to_owned(), reload, check(telemetry::log_level);
        log_json: bool = false;
        /// A file, or a directory if it ends with a slash.
        log_file: String = String::new();
        log_rotate_bytes: i64 = 0;
        log_rotate_duration: GoDuration = GoDuration::ZERO;
        /// Old files kept: 0 all, -1 none.
        log_rotate_max_files: i64 = 0;
        enable_syslog: bool = false;
        syslog_facility: String = "LOCAL0".to_owned();
        audit: Value = Value::Null;
        /// Serve profiles without asking for rights.
        enable_debug: bool = false;
        disable_update_check: bool = false;
        disable_anonymous_signature: bool = false;

        // Not documented, yet accepted: timers that tests shorten.
        /// Between full comparisons of the agent's state with the catalog.
        ae_interval: GoDuration = GoDuration::from_secs(60);
        /// Least `deregister_critical_service_after`.
        check_deregister_interval_min: GoDuration = GoDuration::from_secs(60);
        /// Between looks for services critical for too long.
        check_reap_interval: GoDuration = GoDuration::from_secs(30);
        sync_coordinate_interval_min: GoDuration = GoDuration::from_secs(15);
        /// Coordinate updates per second for a whole cluster.
        sync_coordinate_rate_target: f64 = 64.0;
        consul: Value = Value::Null;
        snapshot_agent: Value = Value::Null;
        revision: String = String::new();
        version: String = String::new();
        version_prerelease: String = String::new();

        // Newer than 1.8, read so that newer files load; the table of what is not available tells
        // of them.
        advertise_reconnect_timeout: Option<GoDuration> = None;
        auto_reload_config: bool = false;
        cloud: Hidden<Value> = Hidden::default();
        disable_kv_key_validation: bool = false;
        experiments: Vec<String> = Vec::new();
        peering: Value = Value::Null;
        raft_boltdb: Value = Value::Null;
        raft_logstore: Value = Value::Null;
        raft_prevote_disabled: bool = false;
        reporting: Value = Value::Null;
        rpc: Value = Value::Null;
        server_rejoin_age_max: Option<GoDuration> = None;
        use_streaming_backend: Option<bool> = None;
        xds: Value = Value::Null;
    }
}

settings! {
    /// Config entries made when a server becomes leader and they are absent.
    pub struct ConfigEntries {
        /// Each as written; the noun decodes it.
        bootstrap: Vec<Tree> = Vec::new();
    }
}

/// A part of a file as it is, to be decoded by who knows what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree(pub Node);

impl Decode for Tree {
    fn decode(values: &Values<'_>) -> Result<Tree, SettingError> {
        Node::decode(values).map(Tree)
    }
}

impl Setting for Tree {}

/// A service definition of a file, judged where its place is still known.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidService(pub ServiceDefinition);

impl Decode for ValidService {
    fn decode(values: &Values<'_>) -> Result<ValidService, SettingError> {
        let service = ServiceDefinition::decode(values)?;
        service.validate().map_err(|error| match error {
            DefinitionError::Registration(reasons) => values.invalid(reasons.join("; ")),
            error => values.invalid(error.to_string()),
        })?;
        Ok(ValidService(service))
    }
}

impl Setting for ValidService {}

/// A check definition of a file; see [`ValidService`].
#[derive(Clone, Debug, PartialEq)]
pub struct ValidCheck(pub CheckDefinition);

impl Decode for ValidCheck {
    fn decode(values: &Values<'_>) -> Result<ValidCheck, SettingError> {
        let check = CheckDefinition::decode(values)?;
        if check.id.is_empty() && check.name.is_empty() {
            return Err(values.invalid("the check has no name; write name = \"...\""));
        }
        check.validate().map_err(|reason| values.invalid(reason))?;
        if check.initial_status().is_none() {
            let status = &check.status;
            return Err(values
                .invalid(format!("{status:?} is no status; write passing, warning or critical")));
        }
        Ok(ValidCheck(check))
    }
}

impl Setting for ValidCheck {}

fn node_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Ok(());
    }
    match model::id::uuid_key(id) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error}; write a UUID, or leave it out to have one made")),
    }
}

fn node_meta(meta: &BTreeMap<String, String>) -> Result<(), String> {
    definition::validate_metadata(meta, false)
}

fn datacenter(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("cannot be empty; leave it out for dc1".to_owned());
    }
    let is_fitting = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.bytes().all(is_fitting) {
        return Err(format!("cannot be {name:?}; use only [a-z0-9-_]"));
    }
    Ok(())
}

fn check_output_max_size(bytes: &i64) -> Result<(), String> {
    if *bytes < 1 {
        return Err(
            "must be positive; to discard the output set discard_check_output = true".to_owned()
        );
    }
    Ok(())
}
