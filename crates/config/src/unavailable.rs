//! Settings that are read but ask for what this version cannot do.
//!
//! One table, so that a part of the product that arrives deletes its rows. What would change
//! security or meaning if it were passed over is refused; what only leaves something undone is
//! reported, and the agent starts.

use serde_json::Value;

use crate::settings::Settings;

/// What happens when the setting asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Refuse,
    Report,
}

pub(crate) struct Row {
    /// Path of names, for the message and to find its place.
    pub(crate) key: &'static str,
    pub(crate) verdict: Verdict,
    /// Whether these settings ask for it.
    pub(crate) is_asked: fn(&Settings) -> bool,
    /// What is missing, and the remedy.
    pub(crate) text: &'static str,
}

const fn refuse(key: &'static str, is_asked: fn(&Settings) -> bool, text: &'static str) -> Row {
    Row { key, verdict: Verdict::Refuse, is_asked, text }
}

const fn report(key: &'static str, is_asked: fn(&Settings) -> bool, text: &'static str) -> Row {
    Row { key, verdict: Verdict::Report, is_asked, text }
}

const NO_ACL: &str = "access control is not available in this version; remove the key";
const NO_WAN: &str = "joining other datacenters is not available in this version; remove the key";
const NO_AUTO_TLS: &str =
    "certificates that agents fetch are not available in this version; remove the key";
const NO_GRPC_TLS: &str = "gRPC with TLS is not available in this version; remove the key";
const NO_SINK: &str =
    "sending metrics is not available in this version, reading them at /v1/agent/metrics is";
const NO_UI: &str = "the web UI is not available in this version";
const NO_EFFECT: &str = "has no effect in this version";

pub(crate) const ROWS: &[Row] = &[
    refuse("acl.enabled", |s| s.acl.enabled, NO_ACL),
    refuse("acl_datacenter", |s| !s.acl_datacenter.is_empty(), NO_ACL),
    refuse("enable_acl_replication", |s| s.enable_acl_replication, NO_ACL),
    refuse("acl_default_policy", |s| s.acl_default_policy == "deny", NO_ACL),
    refuse("acl.default_policy", |s| s.acl.default_policy == "deny", NO_ACL),
    report("acl.tokens", |s| s.acl.tokens != Default::default(), NO_EFFECT),
    refuse("primary_gateways", |s| !s.primary_gateways.is_empty(), NO_WAN),
    refuse(
        "primary_datacenter",
        |s| {
            !s.primary_datacenter.is_empty()
                && !s.primary_datacenter.eq_ignore_ascii_case(&s.datacenter)
        },
        NO_WAN,
    ),
    refuse(
        "connect.enable_mesh_gateway_wan_federation",
        |s| s.connect.enable_mesh_gateway_wan_federation,
        NO_WAN,
    ),
    refuse(
        "connect.ca_provider",
        |s| matches!(s.connect.ca_provider.as_str(), "vault" | "aws-pca"),
        "only the built-in CA provider is available in this version; write \"consul\" or remove the key",
    ),
    refuse("auto_encrypt.tls", |s| s.auto_encrypt.tls, NO_AUTO_TLS),
    refuse("auto_encrypt.allow_tls", |s| s.auto_encrypt.allow_tls, NO_AUTO_TLS),
    refuse(
        "auto_config.enabled",
        |s| s.auto_config.enabled,
        "automatic configuration is not available in this version; remove the key",
    ),
    refuse(
        "segment",
        |s| !s.segment.is_empty(),
        "Network segments are not supported in this version; remove the key",
    ),
    refuse(
        "segments",
        |s| !s.segments.is_empty(),
        "Network segments are not supported in this version; remove the key",
    ),
    refuse(
        "audit",
        |s| asks_to_enable(&s.audit),
        "the audit log is not available in this version; remove the key",
    ),
    refuse("tls.grpc.verify_incoming", |s| s.tls.grpc.verify_incoming == Some(true), NO_GRPC_TLS),
    refuse("ports.grpc_tls", |s| s.ports.grpc_tls.0.is_some(), NO_GRPC_TLS),
    refuse(
        "partition",
        |s| !matches!(s.partition.as_str(), "" | "default"),
        "admin partitions are not available; remove the key",
    ),
    refuse(
        "cloud",
        |s| s.cloud.0 != Value::Null,
        "linking to a cloud is not available; remove the key",
    ),
    refuse(
        "limits.request_limits.mode",
        |s| s.limits.request_limits.mode == "enforcing",
        "request limits are not available in this version; remove the key",
    ),
    report("non_voting_server", |s| s.non_voting_server, NO_EFFECT),
    report("read_replica", |s| s.read_replica, NO_EFFECT),
    report("license_path", |s| !s.license_path.is_empty(), "no licence is needed"),
    report("locality", |s| !s.locality.is_null(), NO_EFFECT),
    report(
        "auto_reload_config",
        |s| s.auto_reload_config,
        "files are read again on SIGHUP and by the reload command",
    ),
    report(
        "peering",
        |s| asks_to_enable(&s.peering),
        "cluster peering is not available in this version",
    ),
    report("raft_boltdb", |s| !s.raft_boltdb.is_null(), NO_EFFECT),
    report("raft_logstore", |s| !s.raft_logstore.is_null(), NO_EFFECT),
    report("raft_prevote_disabled", |s| s.raft_prevote_disabled, NO_EFFECT),
    report("reporting", |s| !s.reporting.is_null(), "nothing is reported to anybody"),
    report("xds", |s| !s.xds.is_null(), NO_EFFECT),
    report("experiments", |s| !s.experiments.is_empty(), NO_EFFECT),
    report("server_rejoin_age_max", |s| s.server_rejoin_age_max.is_some(), NO_EFFECT),
    report(
        "tls_cipher_suites",
        |s| !s.tls_cipher_suites.is_empty(),
        "the safe suites are always used",
    ),
    report("disable_host_node_id", |s| !s.disable_host_node_id, "the id is always made at random"),
    report(
        "dns_config.recursor_strategy",
        |s| s.dns_config.recursor_strategy == "random",
        NO_EFFECT,
    ),
    report("serf_lan_allowed_cidrs", |s| !s.serf_lan_allowed_cidrs.is_empty(), NO_EFFECT),
    report("serf_wan_allowed_cidrs", |s| !s.serf_wan_allowed_cidrs.is_empty(), NO_EFFECT),
    report("snapshot_agent", |s| !s.snapshot_agent.is_null(), NO_EFFECT),
    report(
        "disable_remote_exec",
        |s| !s.disable_remote_exec,
        "remote execution is not available in this version, and stays off",
    ),
    report(
        "watches",
        |s| !s.watches.is_empty(),
        "watch handlers are not run by the agent in this version",
    ),
    report("ui", |s| s.ui, NO_UI),
    report("ui_config.enabled", |s| s.ui_config.enabled == Some(true), NO_UI),
    report("ui_dir", |s| !s.ui_dir.is_empty(), NO_UI),
    report(
        "enable_syslog",
        |s| s.enable_syslog,
        "syslog is not available in this version; logs go to standard output",
    ),
    report("telemetry.statsd_address", |s| !s.telemetry.statsd_address.is_empty(), NO_SINK),
    report("telemetry.statsite_address", |s| !s.telemetry.statsite_address.is_empty(), NO_SINK),
    report("telemetry.dogstatsd_addr", |s| !s.telemetry.dogstatsd_addr.is_empty(), NO_SINK),
    report("telemetry.circonus_api_token", |s| s.telemetry.wants_circonus(), NO_SINK),
];

fn asks_to_enable(block: &Value) -> bool {
    block.get("enabled").is_some_and(|enabled| *enabled == Value::Bool(true))
}
