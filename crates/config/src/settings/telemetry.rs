//! Metrics and log levels.

use model::time::GoDuration;

use crate::settings::access::Secret;

settings! {
    /// Where metrics go and what they are called.
    pub struct Telemetry {
        /// How long the Prometheus endpoint remembers a value; zero switches the endpoint off.
        prometheus_retention_time: GoDuration = GoDuration::ZERO;
        /// Leave the host name out of the names of gauges.
        disable_hostname: bool = false;
        metrics_prefix: String = "consul".to_owned();
        /// `+prefix` lets through, `-prefix` holds back.
        prefix_filter: Vec<String> = Vec::new(), reload;
        /// Whether what no prefix names is let through.
        filter_default: bool = true;
        /// Newer than 1.8, like the next two.
        enable_host_metrics: bool = false;
        disable_per_tenancy_usage_metrics: bool = false;
        retry_failed_connection: bool = true;
        statsd_address: String = String::new();
        statsite_address: String = String::new();
        dogstatsd_addr: String = String::new();
        dogstatsd_tags: Vec<String> = Vec::new();
        circonus_api_app: String = String::new();
        circonus_api_token: Secret = Secret::default();
        circonus_api_url: String = String::new();
        circonus_broker_id: String = String::new();
        circonus_broker_select_tag: String = String::new();
        circonus_check_display_name: String = String::new();
        circonus_check_force_metric_activation: String = String::new();
        circonus_check_id: String = String::new();
        circonus_check_instance_id: String = String::new();
        circonus_check_search_tag: String = String::new();
        circonus_check_tags: String = String::new();
        circonus_submission_interval: String = String::new();
        circonus_submission_url: String = String::new();
    }
}

impl Telemetry {
    /// Whether metrics are to be sent to a Circonus broker.
    pub fn wants_circonus(&self) -> bool {
        !self.circonus_api_token.0.is_empty() || !self.circonus_submission_url.is_empty()
    }
}

pub(super) fn log_level(level: &str) -> Result<(), String> {
    match level.to_ascii_lowercase().as_str() {
        "trace" | "debug" | "info" | "warn" | "err" | "error" => Ok(()),
        _ => Err(format!("{level:?} is no log level; write trace, debug, info, warn or err")),
    }
}
