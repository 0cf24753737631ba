//! From the configuration to the settings of each part.

use std::collections::BTreeMap;
use std::time::Duration;

use agent::AgentSettings;
use agent::settings::{
    API_LEVEL, CheckSettings, MetricsSettings, NodeSettings, Ports, SyncSettings,
};
use config::AgentConfig;
use model::query::Token;
use replica::Rules;
use replica::duty::{Member, MemberServer};
use server::{Bootstrap, CaSettings, ServerConfig, Tunables};

/// The key every agent's node metadata has, whatever the user adds.
const SEGMENT_KEY: &str = "consul-network-segment";

pub(crate) fn server(config: &AgentConfig, node_id: &str) -> ServerConfig {
    let settings = &config.settings;
    let port = server_port(config);
    let meta = [
        ("non_voter", "false"),
        ("raft_version", "3"),
        ("serf_protocol_current", "2"),
        ("serf_protocol_max", "5"),
        ("serf_protocol_min", "1"),
        ("version", API_LEVEL),
    ];
    let ca = settings.connect.enabled.then(|| CaSettings {
        provider: settings.connect.ca_provider.clone(),
        config: settings.connect.ca_config.0.clone(),
        ..CaSettings::default()
    });
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    ServerConfig {
        data_dir: config.data_dir.clone(),
        advertise: std::net::SocketAddr::new(config.advertise_addr, port).to_string(),
        member: Some(Member {
            id: node_id.to_owned(),
            name: config.node_name.clone(),
            address: config.advertise_addr.to_string(),
            server: Some(MemberServer {
                port,
                meta: meta.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
                ..MemberServer::default()
            }),
            ..Member::default()
        }),
        ca,
        rules: Rules {
            session_ttl_min: settings.session_ttl_min,
            kv_value_bytes_max: usize::try_from(settings.limits.kv_max_value_size)
                .unwrap_or(usize::MAX),
            ..Rules::default()
        },
        tunables: Tunables {
            query_wait_default: settings.default_query_time.to_std(),
            query_wait_max: settings.max_query_time.to_std(),
            leader_hold: settings.performance.rpc_hold_timeout.to_std(),
            snapshot_threshold: count(settings.raft_snapshot_threshold),
            trailing_entries: count(settings.raft_trailing_logs),
            raft_multiplier: config.consensus.multiplier,
            ..Tunables::default()
        },
        bootstrap: match config.consensus.bootstrap {
            config::Bootstrap::Alone => Bootstrap::Alone,
            config::Bootstrap::Expect(count) => Bootstrap::Expect(count),
            config::Bootstrap::Join => Bootstrap::Join,
        },
        autopilot: config.autopilot.clone(),
        ..ServerConfig::new(config.datacenter.clone())
    }
}

pub(crate) fn agent(config: &AgentConfig, node_id: &str) -> AgentSettings {
    let settings = &config.settings;
    let scripts = settings.enable_script_checks;
    let mut meta: BTreeMap<String, String> = config.node_meta.clone();
    meta.insert(SEGMENT_KEY.to_owned(), String::new());
    let port = |address: Option<std::net::SocketAddr>| address.map_or(0, |address| address.port());
    let defaults = AgentSettings::default();
    AgentSettings {
        node: NodeSettings {
            name: config.node_name.clone(),
            id: node_id.to_owned(),
            datacenter: config.datacenter.clone(),
            address: config.advertise_addr.to_string(),
            tagged_addresses: config.tagged_addresses.clone(),
            meta,
        },
        is_server: crate::gossip::is_server(config),
        is_bootstrap: settings.bootstrap || settings.bootstrap_expect == 1,
        ports: Ports {
            server: server_port(config),
            serf_lan: port(config.listen.serf_lan),
            serf_wan: port(config.listen.serf_wan),
            grpc: 0,
        },
        has_coordinates: !settings.disable_coordinates,
        data_dir: config.data_dir.clone(),
        checks: CheckSettings {
            update_interval: settings.check_update_interval.to_std(),
            output_bytes_max: usize::try_from(settings.check_output_max_size).unwrap_or(4096),
            discard_output: settings.discard_check_output,
            scripts_from_files: scripts || settings.enable_local_script_checks,
            scripts_from_api: scripts,
            deregister_after_min: settings.check_deregister_interval_min.to_std(),
            reap_interval: settings.check_reap_interval.to_std(),
        },
        sync: SyncSettings {
            interval: settings.ae_interval.to_std(),
            coordinate_interval_min: settings.sync_coordinate_interval_min.to_std(),
            coordinate_rate_target: settings.sync_coordinate_rate_target,
            ..SyncSettings::default()
        },
        sidecar_ports: config.sidecar_ports.clone().unwrap_or(no_ports()),
        central_service_config: settings.enable_central_service_config,
        default_allow: config.default_intention_allow,
        leaf_root_change_spread: settings
            .connect
            .test_ca_leaf_root_change_spread
            .map_or(defaults.leaf_root_change_spread, |spread| spread.to_std()),
        metrics: MetricsSettings {
            prefix: settings.telemetry.metrics_prefix.clone(),
            disable_hostname: settings.telemetry.disable_hostname,
            prometheus_retention: settings.telemetry.prometheus_retention_time.to_std(),
        },
        debug_config: config.debug_config(),
        service_definitions: config.services.clone(),
        check_definitions: config.checks.clone(),
        ..defaults
    }
}

/// A range without ports: sidecars must name theirs.
#[expect(clippy::reversed_empty_ranges, reason = "the empty range is the point")]
fn no_ports() -> std::ops::RangeInclusive<u16> {
    1..=0
}

fn server_port(config: &AgentConfig) -> u16 {
    config.listen.server.map_or(0, |address| address.port())
}

pub(crate) fn dns(config: &AgentConfig) -> dns::Settings {
    let settings = &config.settings.dns_config;
    let seconds =
        |span: model::time::GoDuration| u32::try_from(span.to_std().as_secs()).unwrap_or(u32::MAX);
    let count = |number: i64| usize::try_from(number).unwrap_or_default();
    let service_ttl = settings.service_ttl.iter().map(|(name, ttl)| (name.clone(), seconds(*ttl)));
    dns::Settings {
        domain: config.domain.clone(),
        alt_domain: config.alt_domain.clone(),
        datacenter: config.datacenter.clone(),
        node_ttl: seconds(settings.node_ttl),
        service_ttl: dns::ServiceTtl::new(service_ttl),
        only_passing: settings.only_passing,
        udp_answer_limit: count(settings.udp_answer_limit),
        a_record_limit: count(settings.a_record_limit),
        enable_truncate: settings.enable_truncate,
        disable_compression: settings.disable_compression,
        node_meta_txt: settings.enable_additional_node_meta_txt,
        soa: dns::Soa {
            refresh: settings.soa.refresh,
            retry: settings.soa.retry,
            expire: settings.soa.expire,
            min_ttl: settings.soa.min_ttl,
        },
        recursors: config.recursors.clone(),
        recursor_timeout: settings.recursor_timeout.to_std().max(Duration::from_millis(1)),
        token: Token::default(),
    }
}

pub(crate) fn http(config: &AgentConfig) -> http::Settings {
    let settings = &config.settings;
    let networks = settings.http_config.allow_write_http_from.iter();
    http::Settings {
        always_pretty: config.is_dev,
        ui_path: None,
        block_endpoints: settings.http_config.block_endpoints.clone(),
        response_headers: settings.http_config.response_headers.clone(),
        allow_write_from: networks
            .map(|cidr| http::Network { address: cidr.address, bits: cidr.bits })
            .collect(),
        use_cache: settings.http_config.use_cache,
        discovery_max_stale: settings.discovery_max_stale.to_std(),
        allow_unprintable_paths: settings.disable_http_unprintable_char_filter,
        kv_value_bytes_max: usize::try_from(settings.limits.kv_max_value_size)
            .unwrap_or(usize::MAX),
        connections_per_client_max: usize::try_from(settings.limits.http_max_conns_per_client)
            .unwrap_or_default(),
        header_bytes_max: usize::try_from(settings.http_config.max_header_bytes)
            .unwrap_or(usize::MAX),
        translate_wan_addresses: settings.translate_wan_addrs,
    }
}
