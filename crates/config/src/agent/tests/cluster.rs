//! What is said of a cluster: joining, gossip, consensus, TLS between agents.

use std::time::Duration;

use super::*;

const KEY: &str = "pUqJrVyVRj5jsiYEkM/tFQ==";

fn client(text: &str) -> Result<AgentConfig, String> {
    let client = "data_dir = \"/d\" bind_addr = \"127.0.0.1\"";
    load_with(AgentFlags::default(), &[client, text])
}

/// Keys a member of a cluster is given, by themselves.
#[test]
fn what_is_accepted() {
    for text in [
        "bootstrap_expect = 3 retry_join = [\"10.0.0.1\", \"server.example:8301\", \"[::1]:8301\"]",
        "start_join = [\"10.0.0.1\"] start_join_wan = [\"10.0.0.2:8302\"]",
        "bootstrap = true bootstrap_expect = 1",
        "retry_join_wan = [\"10.0.0.1\"] retry_interval_wan = \"5s\" retry_max_wan = 3",
        "encrypt_verify_incoming = false encrypt_verify_outgoing = false disable_keyring_file = true",
        "encrypt = \"pUqJrVyVRj5jsiYEkM/tFYfSyJv4pUqJrVyVRj5jsiY=\"",
        "reconnect_timeout = \"8h\" reconnect_timeout_wan = \"9h\" rejoin_after_leave = true",
        "raft_protocol = 0",
        "protocol = 2",
        "ports { serf_lan = -1 serf_wan = -1 }",
        "gossip_lan { gossip_nodes = 0 suspicion_mult = 0 retransmit_mult = 0 }",
        "limits { rpc_rate = -5 rpc_max_burst = -1 rpc_max_conns_per_client = -1 rpc_handshake_timeout = \"-1s\" }",
        "autopilot { redundancy_zone_tag = \"z\" upgrade_version_tag = \"v\" disable_upgrade_migration = true }",
        "verify_incoming = true ca_file = \"a\" cert_file = \"b\" key_file = \"c\"",
        "verify_outgoing = true ca_path = \"a\"",
        "verify_server_hostname = true ca_file = \"a\"",
        "tls { defaults { ca_file = \"a\" verify_outgoing = true } }",
        "tls_cipher_suites = \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA\"",
        "non_voting_server = true read_replica = true segment = \"\"",
        "primary_datacenter = \"DC1\" translate_wan_addrs = true disable_host_node_id = false",
    ] {
        check(text, "valid");
    }
    assert!(client("retry_join = [\"10.0.0.1\"] leave_on_terminate = false").is_ok());
    assert!(client("verify_outgoing = true ca_file = \"a\"").is_ok());
}

#[test]
fn what_is_refused() {
    let outgoing = "VerifyOutgoing set, and no CA certificate provided! Write ca_file";
    let incoming = "VerifyIncoming set but no CA certificates were provided; write ca_file";
    let pair = "VerifyIncoming requires a Cert and Key pair in the configuration file; write \
                cert_file and key_file";
    for (text, at, key, reason) in [
        ("bootstrap_expect = -1", "1:20", "bootstrap_expect", "cannot be -1; write 0 or more"),
        (
            "bootstrap_expect = 3 bootstrap = true",
            "1:20",
            "bootstrap_expect",
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive; remove one",
        ),
        (
            "encrypt = \"x\"",
            "1:11",
            "encrypt",
            "has invalid key: illegal base64 data at input byte 0; the keygen command makes one",
        ),
        (
            "encrypt = \"aGVsbG8=\"",
            "1:11",
            "encrypt",
            "has invalid key: key size must be 16, 24 or 32 bytes; the keygen command makes one",
        ),
        (
            "retry_join = [\"provider=aws tag_key=a\"]",
            "1:14",
            "retry_join",
            "\"provider=aws tag_key=a\" asks a cloud for addresses, which is not available in this \
             version; write addresses or DNS names",
        ),
        (
            "retry_join = [\"{{ GetNothing }}\"]",
            "1:14",
            "retry_join",
            "in the template \"{{ GetNothing }}\": GetNothing is not available here",
        ),
        (
            "ports { serf_lan = -1 } retry_join = [\"a\"]",
            "1:38",
            "retry_join",
            "cannot be used while ports.serf_lan is off; write a port",
        ),
        (
            "ports { serf_wan = -1 } start_join_wan = [\"a\"]",
            "1:42",
            "start_join_wan",
            "cannot be used while ports.serf_wan is off; write a port",
        ),
        (
            "bootstrap_expect = 3 ports { server = -1 }",
            "1:39",
            "ports.server",
            "cannot be off for a server that expects others; write a port",
        ),
        (
            "protocol = 1",
            "1:12",
            "protocol",
            "Protocol version '1' too low. Must be in range: [2, 3]",
        ),
        (
            "protocol = 9",
            "1:12",
            "protocol",
            "Protocol version '9' too high. Must be in range: [2, 3]",
        ),
        (
            "raft_protocol = 2",
            "1:17",
            "raft_protocol",
            "only version 3 is spoken; servers of Consul below 1.0 cannot take part",
        ),
        ("raft_protocol = 4", "1:17", "raft_protocol", "Protocol version 4 must be >= 1 and <= 3"),
        (
            "gossip_lan { gossip_nodes = -1 }",
            "1:29",
            "gossip_lan.gossip_nodes",
            "cannot be -1; write 0 or more",
        ),
        (
            "gossip_wan { probe_interval = \"0s\" }",
            "1:31",
            "gossip_wan.probe_interval",
            "cannot be 0s; write more than 0s",
        ),
        ("verify_incoming = true", "1:19", "verify_incoming", incoming),
        ("verify_incoming_rpc = true", "1:23", "verify_incoming_rpc", incoming),
        (
            "verify_incoming = true ca_file = \"a\" cert_file = \"b\"",
            "1:19",
            "verify_incoming",
            pair,
        ),
        ("verify_outgoing = true", "1:19", "verify_outgoing", outgoing),
        ("verify_server_hostname = true", "1:26", "verify_server_hostname", outgoing),
        (
            "tls { internal_rpc { verify_incoming = true } }",
            "1:40",
            "tls.internal_rpc.verify_incoming",
            incoming,
        ),
        (
            "tls_cipher_suites = \"TLS_RSA_WITH_AES_128_CBC_SHA\"",
            "1:21",
            "tls_cipher_suites",
            "invalid tls cipher suites: unsupported cipher \"TLS_RSA_WITH_AES_128_CBC_SHA\"; remove it",
        ),
        (
            "serf_lan = \"1.2.3.4 5.6.7.8\"",
            "1:12",
            "serf_lan",
            "cannot contain multiple addresses; write one",
        ),
    ] {
        let said = server(text).unwrap_err();
        assert!(said.starts_with(&format!("-hcl:{at}: {key}: {reason}")), "{text}: {said}");
    }
    for (text, want) in [
        ("bootstrap = true", "-hcl:1:13: bootstrap: 'bootstrap = true' requires 'server = true'"),
        (
            "bootstrap_expect = 3",
            "-hcl:1:20: bootstrap_expect: 'bootstrap_expect > 0' requires 'server = true'",
        ),
        (
            "start_join_wan = [\"a\"]",
            "-hcl:1:18: start_join_wan: Must be a server to join WAN cluster",
        ),
    ] {
        assert_eq!(client(text).unwrap_err(), want);
    }
}

#[test]
fn numbers_of_servers_are_commented_on() {
    let check = |text: &str, want: &[&str]| assert_eq!(server(text).unwrap().warnings, want);
    check("", &[]);
    check("bootstrap = true", &["bootstrap = true: do not enable unless necessary"]);
    check(
        "bootstrap_expect = 1",
        &[
            "BootstrapExpect is set to 1; this is the same as Bootstrap mode.",
            "bootstrap = true: do not enable unless necessary",
        ],
    );
    check(
        "bootstrap_expect = 2",
        &[
            "bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance",
            "bootstrap_expect > 0: expecting 2 servers",
        ],
    );
    check("bootstrap_expect = 3", &["bootstrap_expect > 0: expecting 3 servers"]);
    check(
        "bootstrap_expect = 4",
        &[
            "bootstrap_expect is even number: A cluster with an even number of servers does not \
             achieve optimum fault tolerance",
            "bootstrap_expect > 0: expecting 4 servers",
        ],
    );
}

#[test]
fn a_server_of_three() {
    let config = server(&format!(
        "bootstrap_expect = 3 retry_join = [\"10.0.0.1\", \"{{{{ GetInterfaceIP \\\"eth0\\\" }}}}\"]
         start_join = [\"a\"] retry_max = 4 retry_interval = \"2s\" retry_join_wan = [\"b:1\"]
         rejoin_after_leave = true encrypt = \"{KEY}\" encrypt_verify_incoming = false
         serf_lan = \"{{{{ GetInterfaceIP \\\"eth0\\\" }}}}\" advertise_addr = \"10.0.0.9\" advertise_addr_wan = \"10.1.0.9\"
         ports {{ serf_lan = 8401 }} reconnect_timeout = \"8h\" serf_lan_allowed_cidrs = [\"10.0.0.0/8\"]
         gossip_lan {{ probe_interval = \"2s\" gossip_nodes = 4 }} performance {{ raft_multiplier = 2 }}
         autopilot {{ min_quorum = 3 cleanup_dead_servers = false }} limits {{ rpc_rate = 10.5 rpc_max_conns_per_client = 0 }}
         verify_server_hostname = true ca_file = \"ca\" cert_file = \"c\" key_file = \"k\" server_name = \"s\"
         tls {{ internal_rpc {{ cert_file = \"rpc\" tls_min_version = \"TLSv1_3\" }} }}"
    ))
    .unwrap();

    let lan = &config.joining.lan;
    assert_eq!(lan.retry, ["10.0.0.1", "fd00::2"]);
    assert_eq!((lan.start[0].as_str(), lan.attempts_max), ("a", Some(4)));
    assert_eq!(lan.interval, Duration::from_secs(2));
    let wan = &config.joining.wan;
    assert_eq!((wan.retry[0].as_str(), wan.attempts_max), ("b:1", None));
    assert!(config.joining.rejoin_after_leave);

    let lan = config.gossip_lan.unwrap();
    assert_eq!(lan.bind, "[fd00::2]:8401".parse().unwrap());
    assert_eq!(lan.advertise, "10.0.0.9:8401".parse().unwrap());
    assert_eq!(lan.timing.probe_interval, Duration::from_secs(2));
    assert_eq!((lan.timing.gossip_nodes, lan.timing.suspicion_mult), (4, 4));
    assert_eq!(lan.reconnect_timeout, Duration::from_secs(8 * 3600));
    assert_eq!(lan.allowed.unwrap().len(), 1);
    let wan = config.gossip_wan.unwrap();
    assert_eq!(wan.advertise, "10.1.0.9:8302".parse().unwrap());
    assert_eq!((wan.timing.suspicion_mult, wan.allowed), (6, None));

    assert_eq!(config.encryption.key, Some(model::keyring::GossipKey(KEY.to_owned())));
    assert!(!config.encryption.verify_incoming && config.encryption.verify_outgoing);
    assert!(config.encryption.has_files);

    assert_eq!(config.consensus.bootstrap, Bootstrap::Expect(3));
    assert_eq!(config.consensus.multiplier, 2);
    assert_eq!(config.raft.election_timeout, GoDuration::from_millis(2000));
    assert_eq!((config.autopilot.min_quorum, config.autopilot.cleanup_dead_servers), (3, false));
    assert_eq!(config.calls.rate, Some(10.5));
    assert_eq!(config.calls.connections_per_client_max, None);
    let expected = RpcTls {
        ca_file: "ca".to_owned(),
        cert_file: "rpc".to_owned(),
        key_file: "k".to_owned(),
        requires_tls13: true,
        verify_outgoing: true,
        verify_server_hostname: true,
        server_name: "s".to_owned(),
        ..RpcTls::default()
    };
    assert_eq!(config.rpc_tls, expected);
    // Told nobody but the pool.
    let shown = format!("{:?}{:?}", config.encryption, config.settings.encrypt);
    assert!(!shown.contains(KEY), "{shown}");
}

#[test]
fn a_client_leaves_when_interrupted_and_a_server_stays() {
    let check = |config: Result<AgentConfig, String>, want: (bool, bool, Bootstrap, bool)| {
        let config = config.unwrap();
        let found = (
            config.leave_on_terminate,
            config.skip_leave_on_interrupt,
            config.consensus.bootstrap,
            config.gossip_wan.is_some(),
        );
        assert_eq!(found, want);
    };
    check(client(""), (false, false, Bootstrap::Join, false));
    check(server(""), (false, true, Bootstrap::Join, true));
    check(server("bootstrap = true"), (false, true, Bootstrap::Alone, true));
    check(server("ports { serf_wan = -1 }"), (false, true, Bootstrap::Join, false));
    check(
        client("leave_on_terminate = true skip_leave_on_interrupt = true"),
        (true, true, Bootstrap::Join, false),
    );
    check(AgentConfig::dev(&FakeMachine).map_err(|e| e.to_string()), {
        (false, true, Bootstrap::Alone, true)
    });
}

/// Each flag says the same as its key.
#[test]
fn flags() {
    let list = |text: &str| vec![text.to_owned()];
    let flags = AgentFlags {
        server: Some(true),
        bootstrap_expect: Some(3),
        join: list("10.0.0.1"),
        join_wan: list("10.0.0.2"),
        retry_join: list("10.0.0.3"),
        retry_join_wan: list("10.0.0.4"),
        retry_interval: Some("1s".to_owned()),
        retry_max: Some(2),
        retry_interval_wan: Some("3s".to_owned()),
        retry_max_wan: Some(4),
        rejoin: Some(true),
        encrypt: Some(KEY.to_owned()),
        disable_keyring_file: Some(true),
        bind: Some("127.0.0.1".to_owned()),
        advertise: Some("10.0.0.5".to_owned()),
        advertise_wan: Some("10.0.0.6".to_owned()),
        serf_lan_bind: Some("127.0.0.2".to_owned()),
        serf_wan_bind: Some("127.0.0.3".to_owned()),
        serf_lan_port: Some(8401),
        serf_wan_port: Some(8402),
        server_port: Some(8400),
        node: Some("n1".to_owned()),
        data_dir: Some("/d".to_owned()),
        ..AgentFlags::default()
    };
    let config = load_with(flags, &[]).unwrap();
    let joining = Joining {
        lan: JoinPool {
            start: list("10.0.0.1"),
            retry: list("10.0.0.3"),
            interval: Duration::from_secs(1),
            attempts_max: Some(2),
        },
        wan: JoinPool {
            start: list("10.0.0.2"),
            retry: list("10.0.0.4"),
            interval: Duration::from_secs(3),
            attempts_max: Some(4),
        },
        rejoin_after_leave: true,
    };
    assert_eq!(config.joining, joining);
    assert_eq!(config.consensus.bootstrap, Bootstrap::Expect(3));
    assert_eq!(config.listen.server, Some("127.0.0.1:8400".parse().unwrap()));
    let (lan, wan) = (config.gossip_lan.unwrap(), config.gossip_wan.unwrap());
    let ends = [lan.bind, lan.advertise, wan.bind, wan.advertise].map(|end| end.to_string());
    assert_eq!(ends, ["127.0.0.2:8401", "10.0.0.5:8401", "127.0.0.3:8402", "10.0.0.6:8402"]);
    assert!(config.encryption.key.is_some() && !config.encryption.has_files);
}

/// A development agent gossips hastily, as everybody is on one machine.
#[test]
fn development() {
    let config = AgentConfig::dev(&FakeMachine).unwrap();
    let lan = config.gossip_lan.unwrap();
    assert_eq!(lan.timing.probe_interval, Duration::from_millis(100));
    assert_eq!(lan.timing.suspicion_mult, 3);
    assert!(!config.encryption.has_files);
}
