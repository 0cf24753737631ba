//! `-register`: the proxy's own entry with the local agent, kept passing by heartbeats.

use std::time::Duration;

use api::Client;
use mesh::Definition;
use proxy::{Listening, Purpose};
use serde_json::{Value, json};
use tokio::sync::watch;

/// How long the registration stays passing without a heartbeat.
const TTL: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Pause after a registration that failed.
const RETRY: Duration = Duration::from_secs(10);

pub(super) struct Registration {
    id: String,
    body: Value,
}

impl Registration {
    /// `None` for a proxy without a public listener: nobody could reach it.
    pub(super) fn new(definition: &Definition, suffix: &str) -> Option<Self> {
        let public = definition.public.as_ref()?;
        let name = format!("{}-proxy", definition.service);
        let id = if suffix.is_empty() { name.clone() } else { format!("{name}-{suffix}") };
        let check_id = check_id(&id);
        // An address of all interfaces is no address to connect to: the node's is meant.
        let address = match public.bind_address.as_str() {
            "0.0.0.0" | "::" => "",
            address => address,
        };
        let body = json!({
            "Kind": "connect-proxy",
            "ID": id,
            "Name": name,
            "Address": address,
            "Port": public.bind_port,
            "Proxy": { "DestinationServiceName": definition.service },
            "Check": {
                "CheckID": check_id,
                "Name": "proxy heartbeat",
                "Notes": "The built-in proxy reports here while it runs.",
                "TTL": format!("{}s", TTL.as_secs()),
                "Status": "passing",
            },
        });
        Some(Self { id, body })
    }

    /// Registers once the public listener is open, and again whenever the agent has forgotten.
    /// Never ends by itself. Dropping it leaves the registration to its time to live.
    pub(super) async fn keep(&self, client: &Client, mut listening: watch::Receiver<Listening>) {
        let is_open =
            |open: &Listening| open.keys().any(|purpose| matches!(purpose, Purpose::Public));
        if listening.wait_for(is_open).await.is_err() {
            return std::future::pending().await;
        }
        loop {
            match client.register_service(&self.body).await {
                Ok(()) => tracing::info!(service = %self.id, "registered with the agent"),
                Err(error) => {
                    tracing::warn!(service = %self.id, %error, "not registered with the agent");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            let check = check_id(&self.id);
            while client.update_check(&check, "passing", "").await.is_ok() {
                tokio::time::sleep(HEARTBEAT).await;
            }
        }
    }

    /// Best effort: an agent out of reach sees the check fail instead.
    pub(super) async fn remove(&self, client: &Client) {
        if let Err(error) = client.deregister_service(&self.id).await {
            tracing::warn!(service = %self.id, %error, "not deregistered from the agent");
        }
    }
}

fn check_id(service_id: &str) -> String {
    format!("{service_id}-ttl")
}
