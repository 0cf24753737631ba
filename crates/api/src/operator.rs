//! `/v1/operator`: consensus, autopilot, gossip keys.

use std::collections::BTreeMap;

use model::keyring::{GossipKey, KeyringResponse};
use model::operator::{AutopilotConfiguration, ClusterHealth, RaftConfiguration};
use serde::Deserialize;
use serde_json::json;

use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;

/// How to ask about gossip keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyringOptions {
    /// Members that relay each answer, 0 to 5.
    pub relay_factor: u8,
    /// Only the pools of the answering server; for lists only.
    pub local_only: bool,
}

/// Answer of `/v1/operator/autopilot/state`, of Consul 1.9 and later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AutopilotState {
    pub healthy: bool,
    pub failure_tolerance: i64,
    pub optimistic_failure_tolerance: i64,
    /// By id.
    pub servers: BTreeMap<String, AutopilotServer>,
    /// Ids.
    pub leader: String,
    pub voters: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AutopilotServer {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub address: String,
    pub node_status: String,
    pub version: String,
    pub last_contact: String,
    pub last_term: u64,
    pub last_index: u64,
    pub healthy: bool,
    pub stable_since: String,
    pub read_replica: bool,
    pub status: String,
    pub meta: BTreeMap<String, String>,
    pub node_type: String,
}

impl Client {
    /// Who takes part in consensus.
    pub async fn raft_configuration(
        &self,
        params: &QueryParams,
    ) -> Result<RaftConfiguration, Error> {
        Ok(self.get_json("/v1/operator/raft/configuration", params).await?.value)
    }

    pub async fn remove_raft_peer_by_id(&self, id: &str) -> Result<(), Error> {
        self.remove_raft_peer("id", id).await
    }

    /// `address` is `host:port` of the server port.
    pub async fn remove_raft_peer_by_address(&self, address: &str) -> Result<(), Error> {
        self.remove_raft_peer("address", address).await
    }

    async fn remove_raft_peer(&self, by: &str, what: &str) -> Result<(), Error> {
        let params = QueryParams::default().with(by, what);
        self.delete("/v1/operator/raft/peer", &params).await?.ok()?;
        Ok(())
    }

    /// Has the leader hand over, to the server with this id or the best one.
    pub async fn transfer_leader(&self, id: Option<&str>) -> Result<(), Error> {
        let mut params = QueryParams::default();
        if let Some(id) = id {
            params = params.with("id", id);
        }
        self.post("/v1/operator/raft/transfer-leader", &params, Vec::new()).await?.ok()?;
        Ok(())
    }

    pub async fn autopilot_configuration(
        &self,
        params: &QueryParams,
    ) -> Result<AutopilotConfiguration, Error> {
        Ok(self.get_json("/v1/operator/autopilot/configuration", params).await?.value)
    }

    /// Replaces autopilot's settings. With `cas` only if they were last changed at that index;
    /// whether it took effect.
    pub async fn set_autopilot_configuration(
        &self,
        configuration: &AutopilotConfiguration,
        cas: Option<u64>,
    ) -> Result<bool, Error> {
        let mut params = QueryParams::default();
        if let Some(index) = cas {
            params = params.with("cas", index.to_string());
        }
        let path = "/v1/operator/autopilot/configuration";
        self.put_json(path, &params, configuration).await?.json()
    }

    /// How autopilot judges each server. Not being healthy (429) is no error.
    pub async fn autopilot_health(&self) -> Result<ClusterHealth, Error> {
        let path = "/v1/operator/autopilot/health";
        let response = self.get(path, &QueryParams::default()).await?;
        if response.status == 429 { response.json() } else { response.ok()?.json() }
    }

    pub async fn autopilot_state(&self) -> Result<AutopilotState, Error> {
        Ok(self.get_json("/v1/operator/autopilot/state", &QueryParams::default()).await?.value)
    }

    /// Shape: one row per pool.
    pub async fn keyring_list(
        &self,
        options: KeyringOptions,
    ) -> Result<Vec<KeyringResponse>, Error> {
        Ok(self.get_json("/v1/operator/keyring", &keyring_params(options)).await?.value)
    }

    pub async fn keyring_install(
        &self,
        key: &GossipKey,
        options: KeyringOptions,
    ) -> Result<(), Error> {
        let body = json!({ "Key": key });
        self.post_json("/v1/operator/keyring", &keyring_params(options), &body).await?;
        Ok(())
    }

    /// Encrypts with a key that all members have.
    pub async fn keyring_use(&self, key: &GossipKey, options: KeyringOptions) -> Result<(), Error> {
        let body = json!({ "Key": key });
        self.put_json("/v1/operator/keyring", &keyring_params(options), &body).await?;
        Ok(())
    }

    pub async fn keyring_remove(
        &self,
        key: &GossipKey,
        options: KeyringOptions,
    ) -> Result<(), Error> {
        let body = json!({ "Key": key });
        self.delete_json("/v1/operator/keyring", &keyring_params(options), &body).await?;
        Ok(())
    }
}

fn keyring_params(options: KeyringOptions) -> QueryParams {
    let mut params = QueryParams::default();
    if options.relay_factor > 0 {
        params = params.with("relay-factor", options.relay_factor.to_string());
    }
    if options.local_only {
        params = params.with("local-only", "true");
    }
    params
}
