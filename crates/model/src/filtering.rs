//! What filter expressions may reach in each record, and their use on whole replies.
//!
//! Selectors are the field names of the answers. Free-form parts (proxy settings, check
//! definitions) cannot be reached, nor can times.

use std::sync::Arc;

use filter::{Filter, FilterError, Record, record, text_field};

use crate::catalog::ServiceNode;
use crate::check::{CheckStatus, HealthCheck};
use crate::health::CheckServiceNode;
use crate::intention::{Intention, IntentionAction};
use crate::node::Node;
use crate::query::Reply;
use crate::service::{
    ConnectProxyConfig, Expose, ExposePath, MeshGateway, NodeService, ServiceAddress,
    ServiceConnect, ServiceKind, Upstream, Weights,
};

text_field!(CheckStatus => as_str, IntentionAction => as_str, ServiceKind => as_str);

record!(Node {
    "ID" => id,
    "Node" => name,
    "Address" => address,
    "Datacenter" => datacenter,
    "TaggedAddresses" => tagged_addresses,
    "Meta" => meta,
    "CreateIndex" => create_index,
    "ModifyIndex" => modify_index,
});

record!(ServiceAddress { "Address" => address, "Port" => port });
record!(Weights { "Passing" => passing, "Warning" => warning });
record!(MeshGateway { "Mode" => mode });
record!(ExposePath {
    "ListenerPort" => listener_port,
    "Path" => path,
    "LocalPathPort" => local_path_port,
    "Protocol" => protocol,
    "ParsedFromCheck" => parsed_from_check,
});
record!(Expose { "Checks" => checks, "Paths" => paths });
record!(ServiceConnect { "Native" => native });
record!(Upstream {
    "DestinationType" => destination_type,
    "DestinationNamespace" => destination_namespace,
    "DestinationName" => destination_name,
    "Datacenter" => datacenter,
    "LocalBindAddress" => local_bind_address,
    "LocalBindPort" => local_bind_port,
    "MeshGateway" => mesh_gateway,
});
record!(ConnectProxyConfig {
    "DestinationServiceName" => destination_service_name,
    "DestinationServiceID" => destination_service_id,
    "LocalServiceAddress" => local_service_address,
    "LocalServicePort" => local_service_port,
    "Upstreams" => upstreams,
    "MeshGateway" => mesh_gateway,
    "Expose" => expose,
});

record!(NodeService {
    "Kind" => kind,
    "ID" => id,
    "Service" => name,
    "Tags" => tags,
    "Address" => address,
    "TaggedAddresses" => tagged_addresses,
    "Meta" => meta,
    "Port" => port,
    "Weights" => weights,
    "EnableTagOverride" => enable_tag_override,
    "Proxy" => proxy,
    "Connect" => connect,
    "CreateIndex" => create_index,
    "ModifyIndex" => modify_index,
});

record!(ServiceNode {
    "ID" => id,
    "Node" => node,
    "Address" => address,
    "Datacenter" => datacenter,
    "TaggedAddresses" => tagged_addresses,
    "NodeMeta" => node_meta,
    "ServiceKind" => service_kind,
    "ServiceID" => service_id,
    "ServiceName" => service_name,
    "ServiceTags" => service_tags,
    "ServiceAddress" => service_address,
    "ServiceTaggedAddresses" => service_tagged_addresses,
    "ServiceWeights" => service_weights,
    "ServiceMeta" => service_meta,
    "ServicePort" => service_port,
    "ServiceEnableTagOverride" => service_enable_tag_override,
    "ServiceProxy" => service_proxy,
    "ServiceConnect" => service_connect,
    "CreateIndex" => create_index,
    "ModifyIndex" => modify_index,
});

record!(HealthCheck {
    "Node" => node,
    "CheckID" => check_id,
    "Name" => name,
    "Status" => status,
    "Notes" => notes,
    "Output" => output,
    "ServiceID" => service_id,
    "ServiceName" => service_name,
    "ServiceTags" => service_tags,
    "Type" => kind,
    "CreateIndex" => create_index,
    "ModifyIndex" => modify_index,
});

record!(CheckServiceNode { "Node" => node, "Service" => service, "Checks" => checks });

record!(Intention {
    "ID" => id,
    "Description" => description,
    "SourceNS" => source_namespace,
    "SourceName" => source_name,
    "DestinationNS" => destination_namespace,
    "DestinationName" => destination_name,
    "SourceType" => source_type,
    "Action" => action,
    "Meta" => meta,
    "Precedence" => precedence,
    "CreateIndex" => create_index,
    "ModifyIndex" => modify_index,
});

impl Reply {
    /// Keeps the rows for which `expression` holds; the empty expression keeps all. Replies whose
    /// rows no expression is defined on are kept whole.
    ///
    /// Errors: an expression that does not parse or does not fit the rows.
    pub fn filtered(self, expression: &str) -> Result<Self, FilterError> {
        if expression.is_empty() {
            return Ok(self);
        }
        Ok(match self {
            Self::Nodes(rows) => Self::Nodes(shared(rows, expression)?),
            Self::ServiceNodes(mut rows) => {
                let filter = Filter::new(expression)?;
                rows.retain(|row| filter.matches(row));
                Self::ServiceNodes(rows)
            }
            Self::Health(mut rows) => {
                let filter = Filter::new(expression)?;
                rows.retain(|row| filter.matches(row));
                Self::Health(rows)
            }
            Self::Checks(rows) => Self::Checks(shared(rows, expression)?),
            Self::Intentions(rows) => Self::Intentions(shared(rows, expression)?),
            Self::NodeServices(found) => {
                let filter = Filter::<NodeService>::new(expression)?;
                Self::NodeServices(found.map(|mut found| {
                    found.services.retain(|_, service| filter.matches(service));
                    found
                }))
            }
            Self::NodeServiceList(found) => {
                let filter = Filter::<NodeService>::new(expression)?;
                Self::NodeServiceList(found.map(|mut found| {
                    found.services.retain(|service| filter.matches(service));
                    found
                }))
            }
            other => other,
        })
    }
}

fn shared<T: Record>(mut rows: Vec<Arc<T>>, expression: &str) -> Result<Vec<Arc<T>>, FilterError> {
    let filter = Filter::<T>::new(expression)?;
    rows.retain(|row| filter.matches(row));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_by_expression() {
        let row = |name: &str, status| {
            Arc::new(HealthCheck { name: name.into(), status, ..Default::default() })
        };
        let reply = Reply::Checks(vec![
            row("a", CheckStatus::Passing),
            row("b", CheckStatus::Critical),
            row("c", CheckStatus::Critical),
        ]);
        let check = |expression: &str, want: Result<&[&str], &str>| {
            let kept = reply.clone().filtered(expression).map(|reply| {
                let Reply::Checks(rows) = reply else { unreachable!("checks went in") };
                rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>()
            });
            assert_eq!(
                kept.map_err(|error| error.to_string()),
                want.map(|names| names.iter().map(|n| (*n).to_owned()).collect())
                    .map_err(str::to_owned),
                "{expression}"
            );
        };
        check("", Ok(&["a", "b", "c"]));
        check("Status == critical", Ok(&["b", "c"]));
        check("Status != critical or Name == b", Ok(&["a", "b"]));
        check("Bad == 1", Err("Selector \"Bad\" is not valid"));
    }
}
