enable_central_service_config = false
connect { enabled = false }
server = true
bootstrap_expect = 3
retry_join = ["127.0.0.1:1"]
retry_join_wan = ["127.0.0.1:2"]
retry_interval = "5s"
retry_max = 9
retry_interval_wan = "6s"
retry_max_wan = 8
rejoin_after_leave = true
leave_on_terminate = true
skip_leave_on_interrupt = false
encrypt = "pUqJrVyVRj5jsiYEkM/tFQ=="
encrypt_verify_incoming = false
encrypt_verify_outgoing = false
disable_keyring_file = true
reconnect_timeout = "8h"
reconnect_timeout_wan = "9h"
log_level = "warn"
data_dir = "/tmp/agent"
bind_addr = "127.0.0.1"
advertise_addr_wan = "127.0.0.9"
serf_lan = "127.0.0.2"
serf_wan = "127.0.0.3"
translate_wan_addrs = true
primary_datacenter = "dc1"
node_name = "n3"
node_id = "d172ac3f-f2e1-70e2-789a-e4b89e2fe3ac"
disable_host_node_id = false
disable_coordinates = true
raft_protocol = 3
performance { raft_multiplier = 2 leave_drain_time = "1s" rpc_hold_timeout = "3s" }
gossip_lan { gossip_interval = "300ms" gossip_nodes = 4 probe_interval = "2s" probe_timeout = "400ms" suspicion_mult = 5 retransmit_mult = 6 }
gossip_wan { gossip_nodes = 2 }
autopilot { cleanup_dead_servers = false last_contact_threshold = "1s" max_trailing_logs = 99 min_quorum = 3 server_stabilization_time = "20s" }
limits { rpc_handshake_timeout = "4s" rpc_max_conns_per_client = 50 rpc_rate = 12.5 rpc_max_burst = 77 https_handshake_timeout = "3s" }
verify_server_hostname = true
ca_file = "/tmp/tls/consul-agent-ca.pem"
cert_file = "/tmp/tls/dc1-server-consul-0.pem"
key_file = "/tmp/tls/dc1-server-consul-0-key.pem"
tls_min_version = "tls12"
serf_lan_allowed_cidrs = ["127.0.0.0/8"]
ports { http = 28600 dns = 28653 serf_lan = 28401 serf_wan = 28402 server = 28400 }
