//! Whole configurations as tables: what is accepted, what it comes to, and what is said about what
//! is not.

use std::io;
use std::net::IpAddr;

use super::*;

mod cluster;
use crate::sockaddr::Interface;
use crate::source::{Format, Source};

struct FakeMachine;

impl Machine for FakeMachine {
    fn host_name(&self) -> io::Result<String> {
        Ok("fake".to_owned())
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let interface = |name: &str, address: &str, bits| Interface {
            name: name.to_owned(),
            address: address.parse().unwrap(),
            bits,
            is_up: true,
            is_default: name != "lo",
        };
        Ok(vec![
            interface("lo", "127.0.0.1", 8),
            interface("eth0", "192.0.2.2", 24),
            interface("eth0", "fd00::2", 64),
        ])
    }
}

fn load_with(mut flags: AgentFlags, fragments: &[&str]) -> Result<AgentConfig, String> {
    flags.hcl = fragments.iter().map(|text| (*text).to_owned()).collect();
    load(&flags, &FakeMachine).map_err(|error| error.to_string())
}

/// What a server needs to start.
const SERVER: &str = "server = true data_dir = \"/d\" bind_addr = \"127.0.0.1\"";

fn server(text: &str) -> Result<AgentConfig, String> {
    load_with(AgentFlags::default(), &[SERVER, text])
}

/// "valid", or what is said. Each text is one `-hcl` fragment after [`SERVER`].
fn check(text: &str, expected: &str) {
    let answer = server(text).map_or_else(|error| error, |_| "valid".to_owned());
    assert_eq!(answer, expected, "{text}");
}

/// Keys that `consul validate` 1.8.7 accepts with these values, and we as well.
#[test]
fn what_consul_accepts() {
    for text in [
        "",
        "ports { http = 8500 dns = -1 }",
        "ports = { http = 8501, dns = -1, }",
        "ports { http = 0x2134 }",
        "ports { http = 020464 }",
        "ports { http = 1e3 }",
        "ports { serf_wan = -1 http = -2 grpc = 0 proxy_min_port = 1 }",
        "ports = [ { http = 1 } ]",
        "NODE_NAME = \"x\"",
        "node_name = \"a\" server = true datacenter = \"x\"",
        "datacenter = \"DC1\"",
        "node_meta { \"my-key\" = \"v\" }",
        "retry_interval = \"30s\" retry_max = 3 retry_interval_wan = \"1m\" retry_max_wan = 1",
        "service { name = \"web\" port = 80 }",
        "services { name = \"web\" } services { name = \"web2\" }",
        "services = [ { name = \"web\" }, { name = \"web2\" } ]",
        "service { name = \"web\" connect { sidecar_service {} } }",
        "check { id = \"a\" name = \"b\" ttl = \"10s\" } checks = [{ name = \"b\" http = \"http://x\" interval = \"10s\" }]",
        "addresses { http = \"unix:///tmp/x 127.0.0.1\" dns = \"127.0.0.1\" }",
        "client_addr = \"0.0.0.0 ::1\"",
        "performance { raft_multiplier = 10 leave_drain_time = \"1s\" rpc_hold_timeout = \"7s\" }",
        "log_level = \"WARN\" log_json = true log_file = \"/x/\" log_rotate_bytes = 1 log_rotate_duration = \"24h\"",
        "log_rotate_max_files = -1 enable_syslog = true syslog_facility = \"LOCAL1\"",
        "domain = \"x.y.\" alt_domain = \"z\"",
        "bootstrap = true",
        "bootstrap_expect = 1",
        "dns_config { allow_stale = false max_stale = \"1h\" node_ttl = \"1s\" service_ttl { \"*\" = \"5s\" \"w*\" = \"1s\" } }",
        "dns_config { enable_truncate = true only_passing = true recursor_timeout = \"1s\" disable_compression = true }",
        "dns_config { udp_answer_limit = 5 a_record_limit = 1 enable_additional_node_meta_txt = false use_cache = true }",
        "dns_config { soa { refresh = 1 retry = 2 expire = 3 min_ttl = 4 } cache_max_age = \"1s\" prefer_namespace = true }",
        "http_config { allow_write_http_from = [\"127.0.0.0/8\"] response_headers = { a = \"b\" } block_endpoints = [\"/v1/x\"] }",
        "limits { rpc_rate = -1.5 http_max_conns_per_client = -1 kv_max_value_size = 1 txn_max_req_len = 2 }",
        "session_ttl_min = \"1s\" raft_protocol = 3 protocol = 3 raft_trailing_logs = 5",
        "recursors = [\"1.1.1.1:53\", \"::1\", \"[::1]:5353\"]",
        "telemetry { prometheus_retention_time = \"1h\" prefix_filter = [\"+a\", \"-b\"] statsd_address = \"x:1\" }",
        "telemetry { circonus_api_token = \"x\" circonus_check_tags = \"a\" dogstatsd_tags = [\"a\"] filter_default = false }",
        "watches = [{ type = \"key\" key = \"a\" handler = \"x\" }]",
        "connect { enabled = true ca_provider = \"consul\" ca_config { leaf_cert_ttl = \"72h\" bogus = 1 } }",
        "config_entries { bootstrap { kind = \"proxy-defaults\" name = \"global\" config { protocol = \"http\" } } }",
        "acl { tokens { agent = \"x\" default = \"y\" } policy_ttl = \"1s\" }",
        "autopilot { cleanup_dead_servers = false last_contact_threshold = \"1s\" max_trailing_logs = 1 }",
        "gossip_lan { gossip_nodes = 4 } gossip_wan { probe_interval = \"1s\" }",
        "cache { entry_fetch_rate = 1.5 entry_fetch_max_burst = 1 }",
        "ui = true ui_content_path = \"/a-b_c/\"",
        "unix_sockets { user = \"1\" group = \"2\" mode = \"0660\" }",
        "leave_on_terminate = true skip_leave_on_interrupt = false rejoin_after_leave = true",
        "translate_wan_addrs = true discovery_max_stale = \"1s\" max_query_time = \"0s\" default_query_time = \"1m\"",
        "disable_update_check = true disable_anonymous_signature = true disable_coordinates = true enable_debug = true",
        "enable_script_checks = true enable_local_script_checks = true disable_remote_exec = false",
        "check_update_interval = \"0s\" check_output_max_size = 1 discard_check_output = true",
        "tls_min_version = \"tls12\" tls_cipher_suites = \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\" ca_file = \"x\" cert_file = \"y\" key_file = \"z\"",
        "advertise_addr = \"10.0.0.1\" advertise_addr_ipv4 = \"10.0.0.1\" advertise_addr_ipv6 = \"::1\"",
        "advertise_addr_wan = \"10.0.0.2\" advertise_addr_wan_ipv4 = \"10.0.0.2\"",
        "serf_lan = \"127.0.0.1\" serf_wan = \"127.0.0.1\" serf_lan_allowed_cidrs = [\"10.0.0.0/8\"]",
        "primary_datacenter = \"dc1\" enable_central_service_config = true pid_file = \"/x\"",
        "ae_interval = \"1s\" check_reap_interval = \"1s\" check_deregister_interval_min = \"1s\" revision = \"x\"",
        "audit { enabled = false } snapshot_agent { x = 1 } consul { coordinate { update_period = \"1s\" } }",
        "auto_encrypt { dns_san = [\"a\"] ip_san = [] } auto_config { intro_token = \"x\" authorization { enabled = false } }",
        "acl_token = \"x\" acl_ttl = \"1s\" acl_down_policy = \"x\" acl_enforce_version_8 = false acl_default_policy = \"allow\"",
    ] {
        check(text, "valid");
    }
}

/// What `consul validate` 1.8.7 refuses, in our words.
#[test]
fn what_consul_refuses() {
    check("bogus = 1", "-hcl:1:9: invalid config key bogus; there is no such setting, remove it");
    check(
        "ports { htpp = 1 }",
        "-hcl:1:16: invalid config key ports.htpp; did you mean http? Correct or remove it",
    );
    check(
        "NodeName = \"x\"",
        "-hcl:1:12: invalid config key NodeName; did you mean node_name? Correct or remove it",
    );
    check(
        "ports { http = \"8500\" }",
        "-hcl:1:16: ports.http: expected a whole number, found text; write it without quotes, such as http = 1",
    );
    check(
        "server = \"true\"",
        "-hcl:1:10: server: expected true or false, found text; write server = true or server = false, without quotes",
    );
    check(
        "retry_interval = 30",
        "-hcl:1:18: retry_interval: expected a duration, found a number; write it in double quotes with its unit, such \
         as retry_interval = \"10s\"",
    );
    check(
        "retry_interval = \"30\"",
        "-hcl:1:18: retry_interval: time: missing unit in duration \"30\"; write a duration with its unit, such as \
         retry_interval = \"10s\"",
    );
    check(
        "node_meta { k = 5 }",
        "-hcl:1:17: node_meta[k]: expected text, found a number; write it in double quotes, such as node_meta[k] = \"x\"",
    );
    check(
        "node_meta { \"consul-x\" = \"y\" }",
        "-hcl:1:11: node_meta: Couldn't load metadata pair ('consul-x', 'y'): Key prefix 'consul-' is reserved for \
         internal use",
    );
    check(
        "datacenter = \"dc.1\"",
        "-hcl:1:14: datacenter: cannot be \"dc.1\"; use only [a-z0-9-_]",
    );
    check("datacenter = \"\"", "-hcl:1:14: datacenter: cannot be empty; leave it out for dc1");
    check(
        "client_addr = \"foo\"",
        "-hcl:1:15: client_addr: invalid ip address: foo; separate several by spaces",
    );
    check(
        "client_addr = \"unix:///tmp/x\"",
        "-hcl:1:15: client_addr: cannot be a unix socket, found unix:///tmp/x; write an address",
    );
    check(
        "addresses { dns = \"unix:///tmp/x\" }",
        "-hcl:1:19: addresses.dns: DNS address cannot be a unix socket; write an address",
    );
    check(
        "advertise_addr = \"0.0.0.0\"",
        "-hcl:1:18: advertise_addr: cannot be 0.0.0.0; write an address that others can reach",
    );
    check(
        "bind_addr = \"127.0.0.1 127.0.0.2\"",
        "-hcl:1:13: bind_addr: cannot contain multiple addresses; write one",
    );
    check(
        "ports { http = 70000 }",
        "-hcl:1:16: ports.http: invalid port 70000; write 1 to 65535, or -1 to switch it off",
    );
    check(
        "ports { http = 8500 dns = 8500 }",
        "-hcl:1:16: ports.http: address 127.0.0.1:8500 already configured for dns; choose another port",
    );
    check(
        "ports { sidecar_min_port = 5 sidecar_max_port = 4 }",
        "-hcl:1:28: ports.sidecar_min_port: sidecar_min_port must be less than sidecar_max_port. To disable, set both \
         to zero",
    );
    check(
        "performance { raft_multiplier = 11 }",
        "-hcl:1:33: performance.raft_multiplier: cannot be 11; must be between 1 and 10",
    );
    check(
        "server = false bootstrap = true",
        "-hcl:1:28: bootstrap: 'bootstrap = true' requires 'server = true'",
    );
    check(
        "bootstrap = true bootstrap_expect = 3",
        "-hcl:1:37: bootstrap_expect: 'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive; remove one",
    );
    check("bootstrap_expect = -1", "-hcl:1:20: bootstrap_expect: cannot be -1; write 0 or more");
    check(
        "ui = true ui_dir = \"/x\"",
        "-hcl:1:20: ui_dir: cannot be given together with ui; remove one",
    );
    check(
        "ui_content_path = \"/a?b/\"",
        "-hcl:1:19: ui_content_path: can only contain alphanumeric, -, _, or /; cannot be \"/a?b/\"",
    );
    check(
        "dns_config { udp_answer_limit = -1 }",
        "-hcl:1:33: dns_config.udp_answer_limit: cannot be -1; write 0 or more",
    );
    check(
        "http_config { allow_write_http_from = [\"foo\"] }",
        "-hcl:1:40: http_config.allow_write_http_from[0]: invalid cidr: foo; write an address and its bits, such as \
         10.0.0.0/8",
    );
    check(
        "limits { kv_max_value_size = -1 }",
        "-hcl:1:30: limits.kv_max_value_size: -1 is out of range; write a number from 0 to 18446744073709551615",
    );
    check(
        "connect { ca_provider = \"foo\" }",
        "-hcl:1:25: connect.ca_provider: \"foo\" is no CA provider; write \"consul\" or leave it out",
    );
    check(
        "check_output_max_size = 0",
        "-hcl:1:25: check_output_max_size: must be positive; to discard the output set discard_check_output = true",
    );
    check(
        "cache { entry_fetch_max_burst = 0 }",
        "-hcl:1:33: cache.entry_fetch_max_burst: must be strictly positive, was 0; write 1 or more, or leave it out",
    );
    check(
        "service { name = \"a\" kind = \"connect-proxy\" }",
        "-hcl:1:9: service[0]: Proxy.DestinationServiceName must be non-empty for Connect proxy services; Port must be set \
         for a Connect proxy",
    );
    check(
        "service { name = \"a\" weights { passing = 0 } }",
        "-hcl:1:9: service[0]: Invalid Weights: Passing must be greater than 0",
    );
    check(
        "ports { http = 1 } ports { dns = 2 }",
        "-hcl:1:7: ports: written 2 times in one file; write one block with all of it",
    );
    check(
        "retry_join = [\"x\" \"y\"]",
        "-hcl:1:19: expected a comma or ] in the list retry_join, found a text",
    );
}

/// What Consul finds out only when it starts, or not at all.
#[test]
fn what_is_refused_earlier() {
    check("service { tags = [\"a\"] }", "-hcl:1:9: service[0]: Missing service name");
    check(
        "service { name = \"a\" check { http = \"x\" } }",
        "-hcl:1:9: service[0]: Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
    );
    check(
        "check { id = \"a\" name = \"b\" }",
        "-hcl:1:7: check[0]: TTL must be > 0 for TTL checks",
    );
    check(
        "check { name = \"b\" ttl = \"1s\" status = \"bogus\" }",
        "-hcl:1:7: check[0]: \"bogus\" is no status; write passing, warning or critical",
    );
    check(
        "log_level = \"bogus\"",
        "-hcl:1:13: log_level: \"bogus\" is no log level; write trace, debug, info, warn or err",
    );
    check(
        "recursors = [\"foo\"]",
        "-hcl:1:13: recursors: \"foo\" is no address; write one such as \"192.0.2.1\" or \"192.0.2.1:53\"",
    );
    check(
        "domain = \"a..b\"",
        "-hcl:1:10: domain: \"a..b\" is no domain; write a name such as \"consul\"",
    );
    check(
        "node_id = \"x\"",
        "-hcl:1:11: node_id: UUID must be 36 characters; write a UUID, or leave it out to have one made",
    );
    check(
        "ports { http = 85.5 }",
        "-hcl:1:16: ports.http: expected a whole number, found a number; write it without quotes, such as http = 1",
    );
    check(
        "ports { https = 8501 }",
        "-hcl:1:17: ports.https: needs cert_file and key_file; write both, or remove the port",
    );
    check(
        "unix_sockets { mode = \"999\" }",
        "-hcl:1:23: unix_sockets.mode: \"999\" is no mode; write octal digits, such as \"0660\"",
    );
}

#[test]
fn what_is_not_available_is_never_passed_over() {
    let refused = |key: &str| {
        let row = ROWS.iter().find(|row| row.key == key && row.verdict == Verdict::Refuse).unwrap();
        row.text
    };
    for (text, column, key) in [
        ("acl { enabled = true }", 17, "acl.enabled"),
        ("acl_datacenter = \"dc1\"", 18, "acl_datacenter"),
        ("acl { default_policy = \"deny\" }", 24, "acl.default_policy"),
        ("primary_datacenter = \"dc2\"", 22, "primary_datacenter"),
        ("connect { ca_provider = \"vault\" }", 25, "connect.ca_provider"),
        ("auto_encrypt { allow_tls = true }", 28, "auto_encrypt.allow_tls"),
        ("segment = \"a\"", 11, "segment"),
        ("audit { enabled = true }", 7, "audit"),
    ] {
        check(text, &format!("-hcl:1:{column}: {key}: {}", refused(key)));
    }
    let missing = load_with(AgentFlags::default(), &["server = true"]).unwrap_err();
    assert_eq!(
        missing,
        "data_dir: cannot be empty; write data_dir = \"/path\", or start with -dev"
    );
}

/// Files of later versions load; what would be lost is refused or reported.
#[test]
fn what_newer_versions_write() {
    for text in [
        "ui_config { enabled = true content_path = \"/x/\" metrics_proxy { base_url = \"http://x\" } }",
        "acl { tokens { initial_management = \"x\" agent_recovery = \"y\" dns = \"z\" } } license_path = \"/x\"",
        "use_streaming_backend = true rpc { enable_streaming = true } peering { enabled = true } raft_logstore { backend = \"wal\" }",
        "limits { request_limits { mode = \"permissive\" read_rate = 5 } rpc_client_timeout = \"1s\" } partition = \"default\"",
        "performance { grpc_keepalive_interval = \"1s\" } dns_config { recursor_strategy = \"random\" } auto_reload_config = true",
        "telemetry { enable_host_metrics = true retry_failed_connection = false } http_config { max_header_bytes = 5 }",
    ] {
        check(text, "valid");
    }
    check(
        "ports { grpc_tls = 8503 }",
        "-hcl:1:20: ports.grpc_tls: gRPC with TLS is not available in this version; remove the key",
    );
    check(
        "tls { internal_rpc { verify_server_hostname = true } }",
        "-hcl:1:47: tls.internal_rpc.verify_server_hostname: VerifyOutgoing set, and no CA certificate provided! Write ca_file",
    );
    check(
        "default_intention_policy = \"no\"",
        "-hcl:1:28: default_intention_policy: \"no\" is no policy; write \"allow\" or \"deny\"",
    );
    assert!(!server("default_intention_policy = \"deny\"").unwrap().default_intention_allow);
    let config = server(
        "ports { https = 8501 } cert_file = \"flat\" key_file = \"flat\" tls { defaults { cert_file = \"c\" ca_file = \"a\" }
         https { ca_file = \"b\" verify_incoming = true tls_min_version = \"TLSv1_3\" } }",
    );
    let expected = TlsFiles {
        ca_file: "b".to_owned(),
        ca_path: String::new(),
        cert_file: "c".to_owned(),
        key_file: "flat".to_owned(),
        requires_tls13: true,
        verify_incoming_https: true,
    };
    assert_eq!(config.unwrap().tls, expected);
}

#[test]
fn what_has_no_effect_is_reported() {
    let config = server(
        "telemetry { statsd_address = \"x:1\" } ui = true\nnon_voting_server = true node_name = \"a_b\" \
         enable_script_checks = true",
    );
    let config = config.unwrap();
    assert_eq!(
        config.unsupported,
        [
            "-hcl:2:21: non_voting_server: has no effect in this version",
            "-hcl:1:43: ui: the web UI is not available in this version",
            "-hcl:1:30: telemetry.statsd_address: sending metrics is not available in this version, reading them at \
             /v1/agent/metrics is",
        ]
    );
    assert_eq!(config.warnings.len(), 2);
    let dev = AgentConfig::dev(&FakeMachine).unwrap();
    assert_eq!((dev.unsupported, dev.warnings), (vec![], vec![]));
}

/// Where the settings come out as others write them down, in lists of names and values: both what
/// an agent shows.
fn differences(config: &AgentConfig, consul: &str) -> Vec<String> {
    let consul: serde_json::Value = serde_json::from_str(consul).unwrap();
    let shown = config.debug_config();
    let mut differences = Vec::new();
    for (name, value) in shown.as_object().unwrap() {
        let theirs = consul.get(name).unwrap_or_else(|| panic!("{name} is not Consul's"));
        let is_equal = match (value, theirs) {
            // Of an object we may show less.
            (serde_json::Value::Object(ours), serde_json::Value::Object(theirs)) => {
                ours.iter().all(|(name, value)| theirs.get(name) == Some(value))
            }
            (ours, theirs) => {
                ours == theirs || (ours.as_f64().is_some() && ours.as_f64() == theirs.as_f64())
            }
        };
        if !is_equal {
            differences.push(format!("{name}: {value}, Consul {theirs}"));
        }
    }
    differences
}

/// The files hold what a Consul 1.8.7 showed as its `DebugConfig`.
#[test]
fn defaults_are_those_of_consul() {
    // The mesh is on by default, as in later versions; switched off here to compare the rest.
    let dev = "enable_central_service_config = false node_name = \"n1\" log_level = \"warn\" node_id = \"5a990fb6-0dff-4043-5e51-e541ded72b57\"
        node_meta { rack = \"r1\" }
        ports { http = 18500 dns = 18600 grpc = 18502 serf_lan = 18301 serf_wan = 18302 server = 18300 }";
    let dev = load_with(AgentFlags { dev: Some(true), ..AgentFlags::default() }, &[dev]).unwrap();
    // Zero stands for the same value further down.
    let zero_stands_for = [
        "RaftProtocol: 3, Consul 0",
        "RaftSnapshotInterval: \"30s\", Consul \"0s\"",
        "RaftSnapshotThreshold: 16384, Consul 0",
        "RaftTrailingLogs: 10000, Consul 0",
        "ReconnectTimeoutLAN: \"72h0m0s\", Consul \"0s\"",
        "ReconnectTimeoutWAN: \"72h0m0s\", Consul \"0s\"",
        "SessionTTLMin: \"10s\", Consul \"0s\"",
    ];
    assert_eq!(differences(&dev, include_str!("testdata/dev.json")), zero_stands_for);

    let server =
        "enable_central_service_config = false connect { enabled = false } bootstrap = true
        log_level = \"warn\" data_dir = \"/tmp/agent\" node_name = \"n2\"
        node_id = \"d172ac3f-f2e1-70e2-789a-e4b89e2fe3ab\"
        ports { http = 19500 dns = 19600 serf_lan = 19301 serf_wan = 19302 server = 19300 }";
    let server = load_with(AgentFlags::default(), &[SERVER, server]).unwrap();
    assert_eq!(differences(&server, include_str!("testdata/server.json")), zero_stands_for);

    let member = load_with(AgentFlags::default(), &[include_str!("testdata/cluster.hcl")]).unwrap();
    assert_eq!(differences(&member, include_str!("testdata/cluster.json")), {
        [zero_stands_for[1], zero_stands_for[2], zero_stands_for[3], zero_stands_for[6]]
    });
}

#[test]
fn sources_merge_as_in_consul() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(
        "b.hcl",
        r#"recursors = ["1.1.1.1"] recursors = ["2.2.2.2"] node_meta { a = "1" } domain = "b" services { name = "sb" }
           http_config { response_headers { X = "1" Y = "2" } } dns_config { node_ttl = "1s" } service { name = "sbb" }"#,
    );
    write(
        "a.json",
        r#"{"recursors": ["3.3.3.3"], "node_meta": {"b": "2"}, "http_config": {"response_headers": {"Y": "3"}},
            "dns_config": {"node_ttl": "5s", "service_ttl": {"*": "3s"}}, "domain": "a", "alt_domain": "q",
            "services": [{"name": "sa"}], "service": {"name": "saa"}, "node_name": null}"#,
    );
    write("c.txt", "garbage");
    write("empty.hcl", "");
    std::fs::create_dir(directory.path().join("sub.hcl")).unwrap();
    let flags = AgentFlags {
        config_files: vec![directory.path().to_owned()],
        recursor: vec!["9.9.9.9".to_owned(), "8.8.8.8".to_owned()],
        domain: Some("f".to_owned()),
        node_meta: vec!["d:4:5".to_owned()],
        dns_port: Some(5353),
        server: Some(true),
        data_dir: Some("/d".to_owned()),
        ..AgentFlags::default()
    };
    let config =
        load_with(flags, &["recursors = [\"7.7.7.7\"] domain = \"H\" node_meta { c = \"3\" }"])
            .unwrap();
    let recursors: Vec<String> = config.recursors.iter().map(|r| r.ip().to_string()).collect();
    assert_eq!(recursors, ["9.9.9.9", "8.8.8.8", "3.3.3.3", "1.1.1.1", "2.2.2.2", "7.7.7.7"]);
    assert_eq!(format!("{:?}", config.node_meta), r#"{"a": "1", "b": "2", "c": "3", "d": "4:5"}"#);
    assert_eq!(
        format!("{:?}", config.settings.http_config.response_headers),
        r#"{"X": "1", "Y": "2"}"#
    );
    assert_eq!(config.settings.dns_config.node_ttl, GoDuration::from_secs(1));
    assert_eq!(config.settings.dns_config.service_ttl.len(), 1);
    assert_eq!((config.domain.as_str(), config.alt_domain.as_deref()), ("h", Some("q")));
    let services: Vec<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(services, ["sa", "sb", "saa", "sbb"]);
    assert_eq!(config.listen.dns, ["127.0.0.1:5353".parse().unwrap()]);
    assert_eq!(config.node_name, "fake");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("a.txt"), "").unwrap();
    std::fs::write(path("b.hcl"), "a = [").unwrap();
    std::fs::write(path("c.json"), "{\n  \"ports\": {\"http\": true}}").unwrap();
    let said = |name: &str, config_format| {
        let flags =
            AgentFlags { config_files: vec![path(name)], config_format, ..AgentFlags::default() };
        let error = load(&flags, &FakeMachine).unwrap_err();
        let cause =
            std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}").replace(&format!("{}/", directory.path().display()), "")
    };
    assert_eq!(said("none", None), "cannot read none: No such file or directory (os error 2)");
    assert_eq!(
        said("a.txt", None),
        "cannot read a.txt: its name ends neither in .hcl nor in .json; rename it, or give -config-format"
    );
    assert_eq!(said("b.hcl", None), "b.hcl:1:6: the list a is not closed by ]");
    assert_eq!(
        said("b.hcl", Some(Format::Json)),
        "b.hcl:1:1: invalid character 'a' looking for beginning of value"
    );
    assert_eq!(
        said("c.json", None),
        "c.json:2:21: ports.http: expected a whole number, found true or false; write it without quotes, such as http = 1"
    );
    let flags = AgentFlags { node_meta: vec!["x".to_owned()], ..AgentFlags::default() };
    assert_eq!(
        load(&flags, &FakeMachine).unwrap_err().to_string(),
        "command line: node_meta: \"x\" is no pair; write -node-meta key:value"
    );
}

#[test]
fn addresses() {
    let config = server(
        "bind_addr = \"0.0.0.0\" client_addr = \"127.0.0.1 {{ GetPrivateIP }}\" ports { grpc = 8502 }",
    );
    let config = config.unwrap();
    let any: IpAddr = "0.0.0.0".parse().unwrap();
    assert_eq!(config.bind_addr, any);
    assert_eq!(config.advertise_addr.to_string(), "192.0.2.2");
    assert_eq!(
        format!("{:?}", config.tagged_addresses),
        r#"{"lan": "192.0.2.2", "lan_ipv4": "192.0.2.2", "wan": "192.0.2.2", "wan_ipv4": "192.0.2.2"}"#
    );
    let shown: Vec<String> = config.listen.grpc.iter().map(ListenAddress::to_string).collect();
    assert_eq!(shown, ["127.0.0.1:8502", "[fd00::2]:8502"]);
    assert_eq!(config.listen.server.unwrap().to_string(), "0.0.0.0:8300");

    let config = server(
        "addresses { http = \"unix:///run/x 127.0.0.2\" dns = \"127.0.0.3\" } ports { serf_wan = -1 }",
    );
    let config = config.unwrap();
    let shown: Vec<String> = config.listen.http.iter().map(ListenAddress::to_string).collect();
    assert_eq!(shown, ["unix:///run/x", "127.0.0.2:8500"]);
    assert_eq!(config.listen.dns, ["127.0.0.3:8600".parse().unwrap()]);
    assert_eq!(config.listen.serf_wan, None);

    check(
        "bind_addr = \"::\"",
        "advertise_addr: this machine has no public IPv6 address; write bind_addr or advertise_addr",
    );
    check(
        "bind_addr = \"{{ GetInterfaceIPs \\\"eth0\\\" }}\"",
        "-hcl:1:13: bind_addr: cannot contain multiple addresses; write one",
    );
}

#[test]
fn a_reload_tells_what_it_takes_over() {
    let old = server("node_meta { a = \"1\" } dns_config { node_ttl = \"1s\" }").unwrap();
    let new = server(
        "node_meta { a = \"2\" } log_level = \"debug\" ports { http = 1 } service { name = \"x\" }",
    )
    .unwrap();
    let changes: Vec<String> = old
        .changes(&new)
        .into_iter()
        .map(|change| {
            format!("{} {}", change.key, if change.is_reloadable { "reload" } else { "restart" })
        })
        .collect();
    assert_eq!(
        changes,
        [
            "node_meta restart",
            "ports.http restart",
            "dns_config.node_ttl reload",
            "service reload",
            "log_level reload"
        ]
    );
    assert_eq!(old.changes(&old), []);
}

#[test]
fn secrets_do_not_show() {
    let text = r#"acl { tokens { agent = "s3cret" default = "s3cret" master = "s3cret" } } service { name = "a" token = "s3cret" }
        connect { ca_config { private_key = "s3cret" } } acl_token = "s3cret" auto_config { intro_token = "s3cret" }
        telemetry { circonus_api_token = "s3cret" } check { name = "b" ttl = "1s" token = "s3cret" } key_file = "s3cret""#;
    let config = server(text).unwrap();
    let shown = config.debug_config().to_string();
    assert!(!shown.contains("s3cret"), "{shown}");
    let debug = format!("{config:?}").replace("key_file: \"s3cret\"", "");
    assert!(!debug.contains("s3cret"), "{debug}");
    let error = server("encrypt = \"s3cret\"").unwrap_err();
    assert!(!error.contains("s3cret"), "{error}");
}

proptest::proptest! {
    /// Whatever is written: an answer, and no panic.
    #[test]
    fn any_settings_are_answered(words in proptest::collection::vec(proptest::sample::select(vec![
        "services", "service", "checks", "check", "dns_config", "ports", "http", "node_meta", "connect", "sidecar_service",
        "ca_config", "tags", "name", "ttl", "config_entries", "bootstrap", "client_addr", "bind_addr", "\"x\"", "\"1s\"",
        "\"{{ GetPrivateIP }}\"", "5", "true", "=", "{", "}", "[", "]", ",",
    ]), 0..40)) {
        let text = words.join(" ");
        if let Ok(source) = Source::parse("x", text.as_bytes(), Format::Hcl) {
            let _ = AgentConfig::build(&Sources { list: vec![source] }, true, &FakeMachine);
        }
    }
}
