//! The HTTP edge, limits on what callers may ask, and the agent's cache.

use std::collections::BTreeMap;

use model::time::GoDuration;
use serde_json::Value;

use crate::settings::network::Cidr;

settings! {
    /// The HTTP API.
    pub struct HttpConfig {
        /// Paths that are answered with 403; each stands for all that begin with it.
        block_endpoints: Vec<String> = Vec::new();
        /// Headers added to every answer.
        response_headers: BTreeMap<String, String> = BTreeMap::new();
        /// Networks requests that change something may come from; empty: all.
        allow_write_http_from: Vec<Cidr> = Vec::new();
        /// Whether `?cached` may be answered from the agent's cache.
        use_cache: bool = true;
        /// Bytes; newer than 1.8.
        max_header_bytes: u64 = 1 << 20;
    }
}

settings! {
    /// Bounds on callers.
    pub struct Limits {
        http_max_conns_per_client: i64 = 200;
        https_handshake_timeout: GoDuration = GoDuration::from_secs(5);
        rpc_handshake_timeout: GoDuration = GoDuration::from_secs(5);
        rpc_max_conns_per_client: i64 = 100;
        /// Requests a second to servers; -1 means no limit.
        rpc_rate: f64 = -1.0, reload;
        rpc_max_burst: i64 = 1000, reload;
        /// Bytes.
        kv_max_value_size: u64 = 512 * 1024;
        /// Bytes.
        txn_max_req_len: u64 = 512 * 1024, reload;
        /// Newer than 1.8, like the next.
        rpc_client_timeout: GoDuration = GoDuration::from_secs(60);
        request_limits: RequestLimits = RequestLimits::default();
    }
}

settings! {
    /// Requests a second, of all callers together.
    pub struct RequestLimits {
        /// `disabled`, `permissive` (count only) or `enforcing`.
        mode: String = "disabled".to_owned();
        read_rate: f64 = -1.0;
        write_rate: f64 = -1.0;
    }
}

settings! {
    /// The web UI.
    pub struct UiConfig {
        enabled: Option<bool> = None;
        dir: Option<String> = None;
        content_path: Option<String> = None, check(ui_config_content_path);
        metrics_provider: String = String::new();
        metrics_provider_files: Vec<String> = Vec::new();
        metrics_provider_options_json: String = String::new();
        metrics_proxy: Value = Value::Null;
        dashboard_url_templates: BTreeMap<String, String> = BTreeMap::new();
    }
}

settings! {
    /// The agent's cache of answers.
    pub struct Cache {
        entry_fetch_max_burst: i64 = 2, check(entry_fetch_max_burst);
        /// Fetches a second of one entry; absent means no limit.
        entry_fetch_rate: Option<f64> = None;
    }
}

settings! {
    /// Owner and mode of Unix sockets made.
    pub struct UnixSockets {
        /// Name or number.
        user: String = String::new();
        group: String = String::new();
        /// Octal.
        mode: String = String::new(), check(unix_mode);
    }
}

fn entry_fetch_max_burst(burst: &i64) -> Result<(), String> {
    if *burst < 1 {
        return Err(format!(
            "must be strictly positive, was {burst}; write 1 or more, or leave it out"
        ));
    }
    Ok(())
}

fn unix_mode(mode: &str) -> Result<(), String> {
    if mode.is_empty() || u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o777) {
        return Ok(());
    }
    Err(format!("{mode:?} is no mode; write octal digits, such as \"0660\""))
}

fn ui_config_content_path(path: &Option<String>) -> Result<(), String> {
    path.as_deref().map_or(Ok(()), ui_content_path)
}

pub(super) fn ui_content_path(path: &str) -> Result<(), String> {
    if path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'/')) {
        return Ok(());
    }
    Err(format!("can only contain alphanumeric, -, _, or /; cannot be {path:?}"))
}
