//! A member of a gossip pool as clients see it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::settings::{API_LEVEL, AgentSettings};

/// States of a member.
pub const ALIVE: u8 = 1;
pub const LEAVING: u8 = 2;
pub const LEFT: u8 = 3;
pub const FAILED: u8 = 4;

/// Row of the members endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    pub name: String,
    pub addr: String,
    /// Gossip port.
    pub port: u16,
    pub tags: BTreeMap<String, String>,
    /// One of [`ALIVE`], [`LEAVING`], [`LEFT`], [`FAILED`].
    pub status: u8,
    pub protocol_min: u8,
    pub protocol_max: u8,
    pub protocol_cur: u8,
    pub delegate_min: u8,
    pub delegate_max: u8,
    pub delegate_cur: u8,
}

filter::record!(Member {
    "Name" => name,
    "Addr" => addr,
    "Port" => port,
    "Tags" => tags,
    "Status" => status,
    "ProtocolMin" => protocol_min,
    "ProtocolMax" => protocol_max,
    "ProtocolCur" => protocol_cur,
    "DelegateMin" => delegate_min,
    "DelegateMax" => delegate_max,
    "DelegateCur" => delegate_cur,
});

impl Member {
    pub fn is_server(&self) -> bool {
        self.tags.get("role").is_some_and(|role| role == "consul")
    }

    /// This agent, alive. `wan`: as the pool of all datacenters shows it.
    pub fn own(settings: &AgentSettings, wan: bool) -> Self {
        let AgentSettings { node, is_server, is_bootstrap, ports, acls_enabled, .. } = settings;
        let mut tags: BTreeMap<String, String> = [
            ("acls", if *acls_enabled { "1" } else { "0" }),
            ("build", &format!("{API_LEVEL}:")),
            ("dc", &node.datacenter),
            ("id", &node.id),
            ("vsn", "2"),
            ("vsn_max", "3"),
            ("vsn_min", "2"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut put = |name: &str, value: String| tags.insert(name.to_owned(), value);
        if *is_server {
            put("role", "consul".into());
            put("port", ports.server.to_string());
            put("raft_vsn", "3".into());
            put("ft_fs", "1".into());
            put("segment", String::new());
            if *is_bootstrap {
                put("bootstrap", "1".into());
            }
            if !wan {
                put("wan_join_port", ports.serf_wan.to_string());
            }
        } else {
            put("role", "node".into());
            put("segment", String::new());
        }
        let name =
            if wan { format!("{}.{}", node.name, node.datacenter) } else { node.name.clone() };
        Self {
            name,
            addr: node.address.clone(),
            port: if wan { ports.serf_wan } else { ports.serf_lan },
            tags,
            status: ALIVE,
            protocol_min: 1,
            protocol_max: 5,
            protocol_cur: 2,
            delegate_min: 2,
            delegate_max: 5,
            delegate_cur: 4,
        }
    }
}
