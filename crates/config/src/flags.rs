//! The flags of `agent`, and the settings they stand for.

use std::path::PathBuf;

use crate::SettingError;
use crate::source::Format;
use crate::tree::{Node, Object};

/// What the command line says; a field each flag. The binary fills it. Not to be printed: it may
/// carry a gossip key.
#[derive(Clone, Default)]
pub struct AgentFlags {
    pub advertise: Option<String>,
    pub advertise_wan: Option<String>,
    pub allow_write_http_from: Vec<String>,
    pub alt_domain: Option<String>,
    pub bind: Option<String>,
    pub bootstrap: Option<bool>,
    pub bootstrap_expect: Option<i64>,
    /// Spelt with underscores on the command line, too.
    pub check_output_max_size: Option<i64>,
    pub client: Option<String>,
    /// `-config-file` and `-config-dir`, in the order given; either may name a file or a directory.
    pub config_files: Vec<PathBuf>,
    pub config_format: Option<Format>,
    pub data_dir: Option<String>,
    pub datacenter: Option<String>,
    pub default_query_time: Option<String>,
    pub dev: Option<bool>,
    pub disable_host_node_id: Option<bool>,
    pub disable_keyring_file: Option<bool>,
    pub dns_port: Option<i64>,
    pub domain: Option<String>,
    pub enable_local_script_checks: Option<bool>,
    pub enable_script_checks: Option<bool>,
    pub encrypt: Option<String>,
    pub grpc_port: Option<i64>,
    pub hcl: Vec<String>,
    pub http_port: Option<i64>,
    pub https_port: Option<i64>,
    pub join: Vec<String>,
    pub join_wan: Vec<String>,
    pub log_file: Option<String>,
    pub log_json: Option<bool>,
    pub log_level: Option<String>,
    pub log_rotate_bytes: Option<i64>,
    pub log_rotate_duration: Option<String>,
    pub log_rotate_max_files: Option<i64>,
    pub max_query_time: Option<String>,
    pub node: Option<String>,
    pub node_id: Option<String>,
    /// `key:value` each.
    pub node_meta: Vec<String>,
    pub non_voting_server: Option<bool>,
    pub pid_file: Option<String>,
    pub primary_gateway: Vec<String>,
    pub protocol: Option<i64>,
    pub raft_protocol: Option<i64>,
    pub recursor: Vec<String>,
    pub rejoin: Option<bool>,
    pub retry_interval: Option<String>,
    pub retry_interval_wan: Option<String>,
    pub retry_join: Vec<String>,
    pub retry_join_wan: Vec<String>,
    pub retry_max: Option<i64>,
    pub retry_max_wan: Option<i64>,
    pub segment: Option<String>,
    pub serf_lan_allowed_cidrs: Vec<String>,
    pub serf_lan_bind: Option<String>,
    pub serf_lan_port: Option<i64>,
    pub serf_wan_allowed_cidrs: Vec<String>,
    pub serf_wan_bind: Option<String>,
    pub serf_wan_port: Option<i64>,
    pub server: Option<bool>,
    pub server_port: Option<i64>,
    pub syslog: Option<bool>,
    pub ui: Option<bool>,
    pub ui_content_path: Option<String>,
    pub ui_dir: Option<String>,
}

impl AgentFlags {
    /// The settings given: the lists and maps, which go before the files, and the single values,
    /// which go after them.
    pub(crate) fn trees(&self) -> Result<(Node, Node), SettingError> {
        Ok((self.lists()?.into(), self.values().into()))
    }

    fn lists(&self) -> Result<Object, SettingError> {
        let mut root = Object::default();
        set_list(&mut root, "start_join", &self.join);
        set_list(&mut root, "start_join_wan", &self.join_wan);
        set_list(&mut root, "retry_join", &self.retry_join);
        set_list(&mut root, "retry_join_wan", &self.retry_join_wan);
        set_list(&mut root, "primary_gateways", &self.primary_gateway);
        set_list(&mut root, "recursors", &self.recursor);
        set_list(&mut root, "serf_lan_allowed_cidrs", &self.serf_lan_allowed_cidrs);
        set_list(&mut root, "serf_wan_allowed_cidrs", &self.serf_wan_allowed_cidrs);
        let mut http_config = Object::default();
        set_list(&mut http_config, "allow_write_http_from", &self.allow_write_http_from);
        set_block(&mut root, "http_config", http_config);
        let mut node_meta = Object::default();
        for pair in &self.node_meta {
            let Some((key, value)) = pair.split_once(':') else {
                let reason = format!("{pair:?} is no pair; write -node-meta key:value");
                return Err(SettingError {
                    source: "command line".to_owned(),
                    ..SettingError::invalid("node_meta", reason)
                });
            };
            node_meta.insert(key, value);
        }
        set_block(&mut root, "node_meta", node_meta);
        Ok(root)
    }

    fn values(&self) -> Object {
        let mut root = Object::default();
        let texts = [
            ("advertise_addr", &self.advertise),
            ("advertise_addr_wan", &self.advertise_wan),
            ("alt_domain", &self.alt_domain),
            ("bind_addr", &self.bind),
            ("client_addr", &self.client),
            ("data_dir", &self.data_dir),
            ("datacenter", &self.datacenter),
            ("default_query_time", &self.default_query_time),
            ("domain", &self.domain),
            ("encrypt", &self.encrypt),
            ("log_file", &self.log_file),
            ("log_level", &self.log_level),
            ("log_rotate_duration", &self.log_rotate_duration),
            ("max_query_time", &self.max_query_time),
            ("node_name", &self.node),
            ("node_id", &self.node_id),
            ("pid_file", &self.pid_file),
            ("retry_interval", &self.retry_interval),
            ("retry_interval_wan", &self.retry_interval_wan),
            ("segment", &self.segment),
            ("serf_lan", &self.serf_lan_bind),
            ("serf_wan", &self.serf_wan_bind),
            ("ui_content_path", &self.ui_content_path),
            ("ui_dir", &self.ui_dir),
        ];
        for (name, text) in texts {
            set(&mut root, name, text.as_deref());
        }
        let switches = [
            ("bootstrap", self.bootstrap),
            ("disable_host_node_id", self.disable_host_node_id),
            ("disable_keyring_file", self.disable_keyring_file),
            ("enable_local_script_checks", self.enable_local_script_checks),
            ("enable_script_checks", self.enable_script_checks),
            ("log_json", self.log_json),
            ("non_voting_server", self.non_voting_server),
            ("rejoin_after_leave", self.rejoin),
            ("server", self.server),
            ("enable_syslog", self.syslog),
            ("ui", self.ui),
        ];
        for (name, switch) in switches {
            set(&mut root, name, switch);
        }
        let numbers = [
            ("bootstrap_expect", self.bootstrap_expect),
            ("check_output_max_size", self.check_output_max_size),
            ("log_rotate_bytes", self.log_rotate_bytes),
            ("log_rotate_max_files", self.log_rotate_max_files),
            ("protocol", self.protocol),
            ("raft_protocol", self.raft_protocol),
            ("retry_max", self.retry_max),
            ("retry_max_wan", self.retry_max_wan),
        ];
        for (name, number) in numbers {
            set(&mut root, name, number);
        }
        let mut ports = Object::default();
        for (name, port) in [
            ("dns", self.dns_port),
            ("grpc", self.grpc_port),
            ("http", self.http_port),
            ("https", self.https_port),
            ("serf_lan", self.serf_lan_port),
            ("serf_wan", self.serf_wan_port),
            ("server", self.server_port),
        ] {
            set(&mut ports, name, port);
        }
        set_block(&mut root, "ports", ports);
        root
    }
}

fn set<T: Into<Node>>(object: &mut Object, name: &str, value: Option<T>) {
    if let Some(value) = value {
        object.insert(name, value);
    }
}

fn set_list(object: &mut Object, name: &str, list: &[String]) {
    if !list.is_empty() {
        object.insert(name, list.to_vec());
    }
}

fn set_block(object: &mut Object, name: &str, block: Object) {
    if !block.is_empty() {
        object.insert(name, block);
    }
}
