//! Settings written once for the whole cluster, merged into the proxies registered here.
//!
//! One subscription follows all configuration entries; whenever they change, every proxy is merged
//! anew. What is set on the proxy itself wins.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::config_entry::{ConfigEntry, ProxyDefaults, ServiceDefaults};
use model::query::{Query, QueryOptions, Reply};
use model::service::{Expose, NodeService, OpaqueConfig, ServiceKind};
use serde_json::Value;

use crate::agent::Agent;
use crate::views::follow;

/// Key of a proxy's or an upstream's protocol.
const PROTOCOL: &str = "protocol";

/// The entries that matter to proxies.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Central {
    proxy_defaults: ProxyDefaults,
    service_defaults: BTreeMap<String, ServiceDefaults>,
}

impl Central {
    fn new(entries: &[Arc<ConfigEntry>]) -> Self {
        let mut central = Self::default();
        for entry in entries {
            match &**entry {
                ConfigEntry::ProxyDefaults(entry) => central.proxy_defaults = entry.clone(),
                ConfigEntry::ServiceDefaults(entry) => {
                    central.service_defaults.insert(entry.name.clone(), entry.clone());
                }
            }
        }
        central
    }

    /// The sidecar or gateway with the defaults filled in; others as they are.
    pub(crate) fn merge(&self, service: &NodeService) -> NodeService {
        let mut merged = service.clone();
        if !takes_defaults(service) {
            return merged;
        }
        let own_name = match service.kind {
            ServiceKind::ConnectProxy => &service.proxy.destination_service_name,
            ServiceKind::MeshGateway
            | ServiceKind::TerminatingGateway
            | ServiceKind::IngressGateway => &service.name,
            ServiceKind::Typical => return merged,
        };
        let defaults = self.service_defaults.get(own_name);
        let proxy = &mut merged.proxy;

        let mut config = self.proxy_defaults.config.clone().unwrap_or_default();
        set_protocol(&mut config, defaults);
        config.append(&mut proxy.config);
        proxy.config = config;

        let mode = [
            Some(&proxy.mesh_gateway.mode),
            defaults.map(|defaults| &defaults.mesh_gateway.mode),
            Some(&self.proxy_defaults.mesh_gateway.mode),
        ];
        let mode = mode.into_iter().flatten().find(|mode| !mode.is_empty()).cloned();
        proxy.mesh_gateway.mode = mode.unwrap_or_default();

        if proxy.expose == Expose::default() {
            let own = defaults.map(|defaults| &defaults.expose);
            let found = own.filter(|expose| **expose != Expose::default());
            proxy.expose = found.unwrap_or(&self.proxy_defaults.expose).clone();
        }

        for upstream in &mut proxy.upstreams {
            if upstream.destination_type == "prepared_query" {
                continue;
            }
            let mut config = OpaqueConfig::new();
            let defaults = self.proxy_defaults.config.as_ref();
            if let Some(protocol) = defaults.and_then(|config| config.get(PROTOCOL)) {
                config.insert(PROTOCOL.to_owned(), protocol.clone());
            }
            set_protocol(&mut config, self.service_defaults.get(&upstream.destination_name));
            config.append(&mut upstream.config);
            upstream.config = config;
            if upstream.mesh_gateway.mode.is_empty() {
                upstream.mesh_gateway.mode.clone_from(&proxy.mesh_gateway.mode);
            }
        }
        merged
    }
}

/// Whether a service is one the cluster's defaults are for. A proxy that fronts no instance of this
/// node, such as one for a service elsewhere, is not.
fn takes_defaults(service: &NodeService) -> bool {
    match service.kind {
        ServiceKind::Typical => false,
        ServiceKind::ConnectProxy => !service.proxy.destination_service_id.is_empty(),
        ServiceKind::MeshGateway
        | ServiceKind::TerminatingGateway
        | ServiceKind::IngressGateway => true,
    }
}

fn set_protocol(config: &mut OpaqueConfig, defaults: Option<&ServiceDefaults>) {
    let protocol = defaults.map(|defaults| &defaults.protocol);
    if let Some(protocol) = protocol.filter(|protocol| !protocol.is_empty()) {
        config.insert(PROTOCOL.to_owned(), Value::String(protocol.clone()));
    }
}

impl Agent {
    /// `service` with what is known of the cluster's defaults; `None` when they do not apply.
    pub(crate) fn merge_central(&self, service: &NodeService) -> Option<NodeService> {
        if !self.settings().central_service_config || !takes_defaults(service) {
            return None;
        }
        self.central().load().as_ref().as_ref().map(|central: &Central| central.merge(service))
    }

    /// Follows the configuration entries and merges them into every proxy.
    pub(crate) async fn keep_central(self: Arc<Self>) {
        let (cluster, stop) = (Arc::clone(self.cluster()), self.stop().clone());
        let options =
            QueryOptions { token: self.settings().agent_token.clone(), ..QueryOptions::default() };
        follow(cluster, Query::ConfigEntries { kind: String::new() }, options, stop, |result| {
            match result {
                Ok(answer) => {
                    if let Reply::ConfigEntries(entries) = &answer.body.reply {
                        self.take_central(Central::new(entries));
                    }
                }
                Err(error) => tracing::warn!(%error, "cluster defaults are not being updated"),
            }
            async { ControlFlow::Continue(()) }
        })
        .await;
    }

    fn take_central(&self, central: Central) {
        let is_known = self.central().load().as_ref().as_ref() == Some(&central);
        if is_known {
            return;
        }
        self.central().store(Arc::new(Some(central.clone())));
        let rows: Vec<Arc<NodeService>> = {
            let state = self.local().read();
            state.services.values().map(|row| Arc::clone(&row.registered)).collect()
        };
        for registered in rows.iter().filter(|row| takes_defaults(row)) {
            let merged = central.merge(registered);
            let is_same = {
                let state = self.local().read();
                state.services.get(&merged.id).is_none_or(|row| row.service.is_same(&merged))
            };
            if !is_same {
                self.local().change(|state| state.put_merged(registered, merged));
            }
        }
    }
}

#[cfg(test)]
mod tests;
