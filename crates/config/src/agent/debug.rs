//! The configuration as `/v1/agent/self` shows it under `DebugConfig`: Consul's names, secrets
//! hidden.

use serde_json::{Map, Value, json};

use super::{AgentConfig, ListenAddress};
use crate::settings::gossip::Gossip;

const HIDDEN: &str = "hidden";

impl AgentConfig {
    /// An object of about two hundred names. Durations are texts. What may hold a secret is
    /// `hidden`, set or not.
    pub fn debug_config(&self) -> Value {
        let mut all = Map::new();
        for part in [
            self.identity(),
            self.network(),
            self.joining(),
            self.tuning(),
            self.access(),
            self.mesh(),
            self.edges(),
            self.observing(),
        ] {
            if let Value::Object(part) = part {
                all.extend(part);
            }
        }
        Value::Object(all)
    }

    fn identity(&self) -> Value {
        let s = &self.settings;
        json!({
            "NodeName": self.node_name,
            "NodeID": self.node_id.clone().unwrap_or_default(),
            "NodeMeta": self.node_meta,
            "Datacenter": self.datacenter,
            "PrimaryDatacenter": self.datacenter,
            "DataDir": s.data_dir,
            "DevMode": self.is_dev,
            "ServerMode": s.server,
            "ServerName": s.server_name,
            "Bootstrap": s.bootstrap || s.bootstrap_expect == 1,
            "BootstrapExpect": if s.bootstrap_expect == 1 { 0 } else { s.bootstrap_expect },
            "NonVotingServer": s.non_voting_server,
            "DisableHostNodeID": s.disable_host_node_id,
            "PidFile": s.pid_file,
            "RPCProtocol": s.protocol,
            "RaftProtocol": s.raft_protocol,
            "LeaveOnTerm": self.leave_on_terminate,
            "SkipLeaveOnInt": self.skip_leave_on_interrupt,
            "RejoinAfterLeave": s.rejoin_after_leave,
            "DisableUpdateCheck": s.disable_update_check,
            "DisableAnonymousSignature": s.disable_anonymous_signature,
            "DisableRemoteExec": s.disable_remote_exec,
            "EnableDebug": s.enable_debug,
            "EnableUI": s.ui,
            "UIDir": s.ui_dir,
            "UIContentPath": s.ui_content_path,
            "Services": self.services.iter().map(hide_token).collect::<Vec<_>>(),
            "Checks": self.checks.iter().map(hide_token).collect::<Vec<_>>(),
            "Watches": s.watches,
        })
    }

    fn network(&self) -> Value {
        let s = &self.settings;
        let tcp = |address: &Option<std::net::SocketAddr>| {
            address.map(|a| format!("tcp://{a}")).unwrap_or_default()
        };
        let advertised = |address: std::net::IpAddr, port: Option<u16>| {
            format!("tcp://{}", std::net::SocketAddr::new(address, port.unwrap_or_default()))
        };
        let dns = ["tcp", "udp"]
            .iter()
            .flat_map(|kind| {
                self.listen.dns.iter().map(move |address| format!("{kind}://{address}"))
            })
            .collect::<Vec<_>>();
        json!({
            "BindAddr": self.bind_addr,
            "AdvertiseAddrLAN": self.advertise_addr,
            "AdvertiseAddrWAN": self.advertise_addr_wan,
            "TaggedAddresses": self.tagged_addresses,
            "TranslateWANAddrs": s.translate_wan_addrs,
            "ClientAddrs": self.client_addrs,
            "DNSAddrs": dns,
            "HTTPAddrs": self.listen.http.iter().map(show).collect::<Vec<_>>(),
            "HTTPSAddrs": self.listen.https.iter().map(show).collect::<Vec<_>>(),
            "GRPCAddrs": self.listen.grpc.iter().map(show).collect::<Vec<_>>(),
            "RPCBindAddr": tcp(&self.listen.server),
            "RPCAdvertiseAddr": advertised(self.advertise_addr, s.ports.server.0),
            "SerfBindAddrLAN": tcp(&self.listen.serf_lan),
            "SerfBindAddrWAN": tcp(&self.listen.serf_wan),
            "SerfAdvertiseAddrLAN": advertised(self.advertise_addr, s.ports.serf_lan.0),
            "SerfAdvertiseAddrWAN": advertised(self.advertise_addr_wan, s.ports.serf_wan.0),
        })
    }

    fn joining(&self) -> Value {
        let s = &self.settings;
        let port = |port: crate::settings::network::Port| port.0.map_or(-1, i64::from);
        json!({
            "DNSPort": port(s.ports.dns),
            "HTTPPort": port(s.ports.http),
            "HTTPSPort": port(s.ports.https),
            "GRPCPort": port(s.ports.grpc),
            "SerfPortLAN": port(s.ports.serf_lan),
            "SerfPortWAN": port(s.ports.serf_wan),
            "ServerPort": port(s.ports.server),
            "ConnectSidecarMinPort": s.ports.sidecar_min_port,
            "ConnectSidecarMaxPort": s.ports.sidecar_max_port,
            "ExposeMinPort": s.ports.expose_min_port,
            "ExposeMaxPort": s.ports.expose_max_port,
            "UnixSocketUser": s.unix_sockets.user,
            "UnixSocketGroup": s.unix_sockets.group,
            "UnixSocketMode": s.unix_sockets.mode,
            "StartJoinAddrsLAN": s.start_join,
            "StartJoinAddrsWAN": s.start_join_wan,
            "RetryJoinLAN": s.retry_join,
            "RetryJoinWAN": s.retry_join_wan,
            "RetryJoinIntervalLAN": s.retry_interval.to_string(),
            "RetryJoinIntervalWAN": s.retry_interval_wan.to_string(),
            "RetryJoinMaxAttemptsLAN": s.retry_max,
            "RetryJoinMaxAttemptsWAN": s.retry_max_wan,
            "ReconnectTimeoutLAN": s.reconnect_timeout.to_string(),
            "ReconnectTimeoutWAN": s.reconnect_timeout_wan.to_string(),
            "PrimaryGateways": s.primary_gateways,
            "PrimaryGatewaysInterval": s.primary_gateways_interval.to_string(),
            "SerfAllowedCIDRsLAN": s.serf_lan_allowed_cidrs,
            "SerfAllowedCIDRsWAN": s.serf_wan_allowed_cidrs,
        })
    }

    fn tuning(&self) -> Value {
        let s = &self.settings;
        let mut tuning = json!({
            "ConsulRaftHeartbeatTimeout": self.raft.heartbeat_timeout.to_string(),
            "ConsulRaftElectionTimeout": self.raft.election_timeout.to_string(),
            "ConsulRaftLeaderLeaseTimeout": self.raft.leader_lease_timeout.to_string(),
            "RaftSnapshotThreshold": s.raft_snapshot_threshold,
            "RaftSnapshotInterval": s.raft_snapshot_interval.to_string(),
            "RaftTrailingLogs": s.raft_trailing_logs,
            "LeaveDrainTime": s.performance.leave_drain_time.to_string(),
            "RPCHoldTimeout": s.performance.rpc_hold_timeout.to_string(),
            "AutopilotCleanupDeadServers": s.autopilot.cleanup_dead_servers,
            "AutopilotLastContactThreshold": s.autopilot.last_contact_threshold.to_string(),
            "AutopilotMaxTrailingLogs": s.autopilot.max_trailing_logs,
            "AutopilotMinQuorum": s.autopilot.min_quorum,
            "AutopilotServerStabilizationTime": s.autopilot.server_stabilization_time.to_string(),
            "AutopilotRedundancyZoneTag": s.autopilot.redundancy_zone_tag,
            "AutopilotDisableUpgradeMigration": s.autopilot.disable_upgrade_migration,
            "AutopilotUpgradeVersionTag": s.autopilot.upgrade_version_tag,
            "AEInterval": s.ae_interval.to_string(),
            "CheckDeregisterIntervalMin": s.check_deregister_interval_min.to_string(),
            "CheckReapInterval": s.check_reap_interval.to_string(),
            "CheckUpdateInterval": s.check_update_interval.to_string(),
            "CheckOutputMaxSize": s.check_output_max_size,
            "DiscardCheckOutput": s.discard_check_output,
            "EnableLocalScriptChecks": s.enable_local_script_checks || s.enable_script_checks,
            "EnableRemoteScriptChecks": s.enable_script_checks,
            "SyncCoordinateIntervalMin": s.sync_coordinate_interval_min.to_string(),
            "SyncCoordinateRateTarget": s.sync_coordinate_rate_target,
            "DisableCoordinates": s.disable_coordinates,
            "SessionTTLMin": s.session_ttl_min.to_string(),
            "Cache": {
                "EntryFetchMaxBurst": s.cache.entry_fetch_max_burst,
                "EntryFetchRate": s.cache.entry_fetch_rate.unwrap_or(f64::MAX),
            },
        });
        if let Value::Object(tuning) = &mut tuning {
            gossip("LAN", &s.gossip_lan, tuning);
            gossip("WAN", &s.gossip_wan, tuning);
        }
        tuning
    }

    fn access(&self) -> Value {
        let s = &self.settings;
        json!({
            "ACLsEnabled": s.acl.enabled,
            "ACLDatacenter": self.datacenter,
            "ACLDefaultPolicy": s.acl.default_policy,
            "ACLDownPolicy": s.acl.down_policy,
            "ACLPolicyTTL": s.acl.policy_ttl.to_string(),
            "ACLRoleTTL": s.acl.role_ttl.to_string(),
            "ACLTokenTTL": s.acl.token_ttl.to_string(),
            "ACLDisabledTTL": s.acl_disabled_ttl.to_string(),
            "ACLEnableKeyListPolicy": s.acl.enable_key_list_policy,
            "ACLEnableTokenPersistence": s.acl.enable_token_persistence,
            "ACLTokenReplication": s.acl.enable_token_replication,
            "ACLAgentMasterToken": HIDDEN,
            "ACLAgentToken": HIDDEN,
            "ACLMasterToken": HIDDEN,
            "ACLReplicationToken": HIDDEN,
            "ACLToken": HIDDEN,
            "EncryptKey": HIDDEN,
            "EncryptVerifyIncoming": s.encrypt_verify_incoming,
            "EncryptVerifyOutgoing": s.encrypt_verify_outgoing,
            "DisableKeyringFile": s.disable_keyring_file,
            "CAFile": s.ca_file,
            "CAPath": s.ca_path,
            "CertFile": s.cert_file,
            "KeyFile": HIDDEN,
            "TLSMinVersion": if s.tls_min_version.is_empty() { "tls12" } else { &s.tls_min_version },
            "TLSPreferServerCipherSuites": s.tls_prefer_server_cipher_suites,
            "VerifyIncoming": s.verify_incoming,
            "VerifyIncomingHTTPS": s.verify_incoming_https,
            "VerifyIncomingRPC": s.verify_incoming_rpc,
            "VerifyOutgoing": self.rpc_tls.verify_outgoing,
            "VerifyServerHostname": s.verify_server_hostname,
            "EnableAgentTLSForChecks": s.enable_agent_tls_for_checks,
            "AutoEncryptAllowTLS": s.auto_encrypt.allow_tls,
            "AutoEncryptTLS": s.auto_encrypt.tls,
            "AutoEncryptDNSSAN": s.auto_encrypt.dns_san,
            "AutoEncryptIPSAN": s.auto_encrypt.ip_san,
        })
    }

    fn mesh(&self) -> Value {
        let s = &self.settings;
        json!({
            "ConnectEnabled": s.connect.enabled,
            "ConnectCAProvider": s.connect.ca_provider,
            "ConnectCAConfig": hide_values(&s.connect.ca_config.0),
            "ConnectMeshGatewayWANFederationEnabled": s.connect.enable_mesh_gateway_wan_federation,
            "ConnectTestCALeafRootChangeSpread":
                s.connect.test_ca_leaf_root_change_spread.unwrap_or_default().to_string(),
            "EnableCentralServiceConfig": s.enable_central_service_config,
            "ConfigEntryBootstrap": self.config_entries.iter().map(|entry| entry.to_json()).collect::<Vec<_>>(),
        })
    }

    fn edges(&self) -> Value {
        let s = &self.settings;
        let dns = &s.dns_config;
        let http = &s.http_config;
        let ttl = dns.service_ttl.iter().map(|(name, ttl)| (name.clone(), ttl.to_string().into()));
        let networks =
            http.allow_write_http_from.iter().map(|cidr| format!("{}/{}", cidr.address, cidr.bits));
        json!({
            "DNSDomain": format!("{}.", self.domain),
            "DNSAltDomain": self.alt_domain.clone().unwrap_or_default(),
            "DNSRecursors": s.recursors,
            "DNSAllowStale": dns.allow_stale,
            "DNSMaxStale": dns.max_stale.to_string(),
            "DNSNodeTTL": dns.node_ttl.to_string(),
            "DNSServiceTTL": ttl.collect::<Map<String, Value>>(),
            "DNSEnableTruncate": dns.enable_truncate,
            "DNSOnlyPassing": dns.only_passing,
            "DNSRecursorTimeout": dns.recursor_timeout.to_string(),
            "DNSDisableCompression": dns.disable_compression,
            "DNSUDPAnswerLimit": dns.udp_answer_limit,
            "DNSARecordLimit": dns.a_record_limit,
            "DNSNodeMetaTXT": dns.enable_additional_node_meta_txt,
            "DNSSOA": {
                "Refresh": dns.soa.refresh,
                "Retry": dns.soa.retry,
                "Expire": dns.soa.expire,
                "Minttl": dns.soa.min_ttl,
            },
            "DNSUseCache": dns.use_cache,
            "DNSCacheMaxAge": dns.cache_max_age.to_string(),
            "HTTPBlockEndpoints": http.block_endpoints,
            "HTTPResponseHeaders": http.response_headers,
            "AllowWriteHTTPFrom": networks.collect::<Vec<_>>(),
            "HTTPUseCache": http.use_cache,
            "HTTPMaxConnsPerClient": s.limits.http_max_conns_per_client,
            "HTTPSHandshakeTimeout": s.limits.https_handshake_timeout.to_string(),
            "RPCHandshakeTimeout": s.limits.rpc_handshake_timeout.to_string(),
            "RPCMaxConnsPerClient": s.limits.rpc_max_conns_per_client,
            "RPCRateLimit": whole(s.limits.rpc_rate),
            "RPCMaxBurst": s.limits.rpc_max_burst,
            "KVMaxValueSize": s.limits.kv_max_value_size,
            "TxnMaxReqLen": s.limits.txn_max_req_len,
            "DefaultQueryTime": s.default_query_time.to_string(),
            "MaxQueryTime": s.max_query_time.to_string(),
            "DiscoveryMaxStale": s.discovery_max_stale.to_string(),
            "DisableHTTPUnprintableCharFilter": s.disable_http_unprintable_char_filter,
        })
    }

    fn observing(&self) -> Value {
        let s = &self.settings;
        let t = &s.telemetry;
        let filters = |sign: char| -> Vec<&str> {
            t.prefix_filter.iter().filter_map(|rule| rule.strip_prefix(sign)).collect()
        };
        json!({
            "Logging": {
                "LogLevel": s.log_level,
                "LogJSON": s.log_json,
                "LogFilePath": s.log_file,
                "LogRotateBytes": s.log_rotate_bytes,
                "LogRotateDuration": s.log_rotate_duration.to_string(),
                "LogRotateMaxFiles": s.log_rotate_max_files,
                "EnableSyslog": s.enable_syslog,
                "SyslogFacility": s.syslog_facility,
                "Name": "",
            },
            "Telemetry": {
                "PrometheusRetentionTime": t.prometheus_retention_time.to_string(),
                "DisableHostname": t.disable_hostname,
                "MetricsPrefix": t.metrics_prefix,
                "AllowedPrefixes": filters('+'),
                "BlockedPrefixes": filters('-'),
                "FilterDefault": t.filter_default,
                "StatsdAddr": t.statsd_address,
                "StatsiteAddr": t.statsite_address,
                "DogstatsdAddr": t.dogstatsd_addr,
                "DogstatsdTags": t.dogstatsd_tags,
                "CirconusAPIToken": HIDDEN,
                "Disable": false,
            },
        })
    }
}

fn show(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => format!("tcp://{address}"),
        ListenAddress::Unix(path) => format!("unix://{}", path.display()),
    }
}

/// A whole number without its fraction, as Go prints it.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        json!(number as i64)
    } else {
        json!(number)
    }
}

fn gossip(pool: &str, gossip: &Gossip, all: &mut Map<String, Value>) {
    let mut set = |name: &str, value: Value| all.insert(format!("Gossip{pool}{name}"), value);
    set("GossipInterval", gossip.gossip_interval.to_string().into());
    set("GossipNodes", gossip.gossip_nodes.into());
    set("ProbeInterval", gossip.probe_interval.to_string().into());
    set("ProbeTimeout", gossip.probe_timeout.to_string().into());
    set("SuspicionMult", gossip.suspicion_mult.into());
    set("RetransmitMult", gossip.retransmit_mult.into());
}

/// The provider's settings by name; values may be keys.
fn hide_values(config: &std::collections::BTreeMap<String, Value>) -> Value {
    config.keys().map(|key| (key.clone(), HIDDEN.into())).collect::<Map<String, Value>>().into()
}

/// A definition with its tokens, wherever they are, hidden.
fn hide_token<T: serde::Serialize>(definition: &T) -> Value {
    fn hide(value: &mut Value) {
        match value {
            Value::Object(object) => {
                for (name, inner) in object {
                    if name == "Token" { *inner = HIDDEN.into() } else { hide(inner) }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(hide),
            _ => {}
        }
    }
    let mut shown = serde_json::to_value(definition).unwrap_or_default();
    hide(&mut shown);
    shown
}
