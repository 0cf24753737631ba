//! Replies as JSON: most are lists of records, which are shown as they are.

use std::borrow::Cow;

use model::ca::CaRoots;
use model::catalog::NodeServiceList;
use model::query::Reply;
use model::time::Timestamp;
use serde::Serialize;

use crate::ca::ConfigurationView;
use crate::go_json;

/// The JSON of a whole reply.
pub(crate) fn encode(reply: &Reply, pretty: bool) -> Vec<u8> {
    let encoded = match reply {
        Reply::Nodes(rows) => go_json::encode(rows, pretty),
        Reply::Services(rows) => go_json::encode(rows, pretty),
        Reply::ServiceNodes(rows) => go_json::encode(rows, pretty),
        Reply::NodeServices(found) => go_json::encode(found, pretty),
        Reply::NodeServiceList(found) => go_json::encode(&ListView::new(found), pretty),
        // Never made, which Go shows as null.
        Reply::GatewayServices(rows) if rows.is_empty() => go_json::encode(&(), pretty),
        Reply::GatewayServices(rows) => go_json::encode(rows, pretty),
        Reply::Checks(rows) => go_json::encode(rows, pretty),
        Reply::Health(rows) => go_json::encode(rows, pretty),
        Reply::KvEntries(rows) => go_json::encode(rows, pretty),
        Reply::KvKeys(rows) => go_json::encode(rows, pretty),
        Reply::Sessions(rows) => go_json::encode(rows, pretty),
        Reply::Intentions(rows) => go_json::encode(rows, pretty),
        Reply::IntentionMatches(lists) => go_json::encode(lists, pretty),
        Reply::CaRoots(roots) => go_json::encode(&shown_roots(roots), pretty),
        Reply::CaConfiguration(config) => {
            go_json::encode(&config.as_deref().map(ConfigurationView::new), pretty)
        }
        Reply::ConfigEntry(entry) => go_json::encode(entry, pretty),
        Reply::ConfigEntries(rows) => go_json::encode(rows, pretty),
        Reply::Coordinates(rows) => go_json::encode(rows, pretty),
        Reply::AutopilotConfiguration(found) => go_json::encode(found, pretty),
    };
    encoded.expect("records have text keys and finite numbers")
}

/// The roots without the dates at which they went out of use, which only the servers need.
fn shown_roots(roots: &CaRoots) -> Cow<'_, CaRoots> {
    if roots.roots.iter().all(|root| root.rotated_out_at.is_zero()) {
        return Cow::Borrowed(roots);
    }
    let mut shown = roots.clone();
    for root in &mut shown.roots {
        root.rotated_out_at = Timestamp::default();
    }
    Cow::Owned(shown)
}

/// A node's services as a list, `null` when there are none.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListView<'a> {
    node: Option<&'a model::node::Node>,
    services: Option<&'a [std::sync::Arc<model::service::NodeService>]>,
}

impl<'a> ListView<'a> {
    fn new(found: &'a Option<NodeServiceList>) -> Self {
        let Some(NodeServiceList { node, services }) = found else {
            return Self { node: None, services: None };
        };
        Self {
            node: node.as_deref(),
            services: Some(services.as_slice()).filter(|services| !services.is_empty()),
        }
    }
}
