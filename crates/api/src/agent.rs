//! `/v1/agent`: this node's services, checks, members and life cycle.

use std::collections::BTreeMap;

use model::Meta;
use model::check::HealthCheck;
use model::service::{ConnectProxyConfig, ServiceAddress, ServiceConnect, ServiceKind, Weights};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::{Answer, ResponseStream};

/// A member of the gossip pool, row of `/v1/agent/members`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Member {
    pub name: String,
    pub addr: String,
    pub port: u16,
    pub tags: BTreeMap<String, String>,
    /// Serf's number: 0 none, 1 alive, 2 leaving, 3 left, 4 failed.
    pub status: i64,
    pub protocol_min: u8,
    pub protocol_max: u8,
    pub protocol_cur: u8,
    pub delegate_min: u8,
    pub delegate_max: u8,
    pub delegate_cur: u8,
}

impl Member {
    /// The word for the status.
    pub fn status_text(&self) -> &'static str {
        match self.status {
            0 => "none",
            1 => "alive",
            2 => "leaving",
            3 => "left",
            4 => "failed",
            _ => "unknown",
        }
    }

    /// The address with its gossip port; IPv6 in brackets.
    pub fn socket_text(&self) -> String {
        if self.addr.contains(':') {
            format!("[{}]:{}", self.addr, self.port)
        } else {
            format!("{}:{}", self.addr, self.port)
        }
    }
}

/// A service registered with this agent, as `/v1/agent/service/:id` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentService {
    #[serde(skip_serializing_if = "is_default")]
    pub kind: ServiceKind,
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Service")]
    pub name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub tags: Vec<String>,
    pub meta: Meta,
    pub port: u16,
    pub address: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    #[serde(deserialize_with = "null_as_default")]
    pub weights: Weights,
    pub enable_tag_override: bool,
    /// Fingerprint of the registration; empty in the listing of all services.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ConnectProxyConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<ServiceConnect>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// `/v1/agent/self`. Only parts callers read are named; the rest stays as it came.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentSelf {
    pub config: BTreeMap<String, Value>,
    pub member: Member,
    #[serde(deserialize_with = "null_as_default")]
    pub stats: BTreeMap<String, BTreeMap<String, String>>,
    pub meta: Meta,
}

impl AgentSelf {
    pub fn node_name(&self) -> &str {
        self.config.get("NodeName").and_then(Value::as_str).unwrap_or_default()
    }

    pub fn datacenter(&self) -> &str {
        self.config.get("Datacenter").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Which pool of members to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembersOptions {
    pub wan: bool,
    /// Enterprise segments; `_all` for every one.
    pub segment: String,
}

impl Client {
    pub async fn agent_self(&self) -> Result<AgentSelf, Error> {
        Ok(self.get_json("/v1/agent/self", &QueryParams::default()).await?.value)
    }

    /// Members this agent knows, in no particular order.
    pub async fn members(&self, options: &MembersOptions) -> Result<Vec<Member>, Error> {
        let mut params = QueryParams::default();
        if options.wan {
            params = params.with("wan", "1");
        }
        if !options.segment.is_empty() {
            params = params.with("segment", options.segment.clone());
        }
        Ok(self
            .get_json::<Option<_>>("/v1/agent/members", &params)
            .await?
            .value
            .unwrap_or_default())
    }

    /// Has the agent contact `address` (`host` or `host:port`) and become a member of its pool.
    pub async fn join(&self, address: &str, wan: bool) -> Result<(), Error> {
        let params = QueryParams::default();
        let params = if wan { params.with("wan", "1") } else { params };
        self.command(&format!("/v1/agent/join/{address}"), params).await
    }

    /// Has the agent take `node` for gone; `prune` forgets it altogether.
    pub async fn force_leave(&self, node: &str, prune: bool) -> Result<(), Error> {
        let params = QueryParams::default();
        let params = if prune { params.with("prune", "1") } else { params };
        self.command(&format!("/v1/agent/force-leave/{node}"), params).await
    }

    /// Services registered with this agent, by id.
    pub async fn agent_services(
        &self,
        params: &QueryParams,
    ) -> Result<BTreeMap<String, AgentService>, Error> {
        Ok(self.get_json("/v1/agent/services", params).await?.value)
    }

    /// One service; waits on `params.hash`. `None`: no service of this id here.
    pub async fn agent_service(
        &self,
        id: &str,
        params: &QueryParams,
    ) -> Result<Option<Answer<AgentService>>, Error> {
        let path = format!("/v1/agent/service/{id}");
        let Some(response) = self.get(&path, params).await?.found()? else { return Ok(None) };
        let mut answer = response.answer::<AgentService>()?;
        if answer.meta.hash.is_empty() {
            answer.meta.hash.clone_from(&answer.value.content_hash);
        }
        Ok(Some(answer))
    }

    /// Checks registered with this agent, by id.
    pub async fn agent_checks(
        &self,
        params: &QueryParams,
    ) -> Result<BTreeMap<String, HealthCheck>, Error> {
        Ok(self.get_json("/v1/agent/checks", params).await?.value)
    }

    /// Registers a service given as the JSON of a service definition.
    pub async fn register_service(&self, definition: &impl Serialize) -> Result<(), Error> {
        self.put_json("/v1/agent/service/register", &QueryParams::default(), definition).await?;
        Ok(())
    }

    pub async fn deregister_service(&self, id: &str) -> Result<(), Error> {
        self.command(&format!("/v1/agent/service/deregister/{id}"), QueryParams::default()).await
    }

    /// Puts the node into maintenance, or takes it out.
    pub async fn set_node_maintenance(&self, enable: bool, reason: &str) -> Result<(), Error> {
        self.command("/v1/agent/maintenance", maintenance(enable, reason)).await
    }

    /// Puts one service instance into maintenance, or takes it out.
    pub async fn set_service_maintenance(
        &self,
        id: &str,
        enable: bool,
        reason: &str,
    ) -> Result<(), Error> {
        let path = format!("/v1/agent/service/maintenance/{id}");
        self.command(&path, maintenance(enable, reason)).await
    }

    /// Reports on a TTL check.
    pub async fn update_check(&self, id: &str, status: &str, output: &str) -> Result<(), Error> {
        let body = serde_json::json!({ "Status": status, "Output": output });
        let path = format!("/v1/agent/check/update/{id}");
        self.put_json(&path, &QueryParams::default(), &body).await?;
        Ok(())
    }

    /// Has the agent read its configuration again.
    pub async fn reload(&self) -> Result<(), Error> {
        self.command("/v1/agent/reload", QueryParams::default()).await
    }

    /// Has the agent leave the pool and stop.
    pub async fn leave(&self) -> Result<(), Error> {
        self.command("/v1/agent/leave", QueryParams::default()).await
    }

    /// The agent's log from now on, in pieces of no particular size.
    pub async fn monitor(&self, log_level: &str, as_json: bool) -> Result<ResponseStream, Error> {
        let mut params = QueryParams::default();
        if !log_level.is_empty() {
            params = params.with("loglevel", log_level);
        }
        if as_json {
            params = params.with("logjson", "true");
        }
        self.stream("/v1/agent/monitor", &params).await
    }

    async fn command(&self, path: &str, params: QueryParams) -> Result<(), Error> {
        self.put(path, &params, Vec::new()).await?.ok()?;
        Ok(())
    }
}

fn maintenance(enable: bool, reason: &str) -> QueryParams {
    let params = QueryParams::default().with("enable", enable.to_string());
    if reason.is_empty() { params } else { params.with("reason", reason) }
}
