//! Checks, and instances with theirs: `Health.*`.

use std::sync::Arc;

use model::check::{CheckStatus, HealthCheck};
use model::health::CheckServiceNode;
use model::query::{NodeMetaFilter, Query, Reply};
use serde::{Deserialize, Serialize};

use crate::catalog::{OfNode, OfService};
use crate::failure::Fault;
use crate::near;
use crate::remote::{Ask, Asked};
use crate::service::{Call, Handled, with_meta};
use crate::wire::NodeFilters;

/// Any state.
const ANY: &str = "any";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct InState {
    state: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Checks {
    health_checks: Vec<Arc<HealthCheck>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Instances {
    nodes: Vec<CheckServiceNode>,
}

pub(crate) async fn checks_in_state(call: Call<'_>) -> Handled {
    let InState { state } = call.read()?;
    let node_meta = call.read::<NodeFilters>()?.filter();
    let status = CheckStatus::parse(&state);
    let query = Query::ChecksInState { status, node_meta };
    if status.is_none() && state != ANY {
        // No check is ever in a state nobody knows.
        let answer = call.ask(query).await?;
        return with_meta(&Checks::default(), &answer.meta);
    }
    near::answer(&call, query).await
}

pub(crate) async fn node_checks(call: Call<'_>) -> Handled {
    let OfNode { node } = call.read()?;
    call.answer(Query::NodeChecks { node }).await
}

pub(crate) async fn service_checks(call: Call<'_>) -> Handled {
    let OfService { service_name: name, .. } = call.read()?;
    let node_meta = call.read::<NodeFilters>()?.filter();
    near::answer(&call, Query::ServiceChecks { name, node_meta }).await
}

pub(crate) async fn service_nodes(call: Call<'_>) -> Handled {
    let mut asked: OfService = call.read()?;
    if asked.service_name.is_empty() {
        return Err(Fault::new("Must provide service name"));
    }
    let tags = asked.tags();
    let node_meta = call.read::<NodeFilters>()?.filter();
    let OfService { service_name: name, connect, ingress, .. } = asked;
    let query = Query::Health { name, tags, mesh: connect, passing_only: false, node_meta };
    if ingress {
        // Which gateways lead where is told by entries of kinds not kept here.
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct None {
            nodes: [(); 0],
        }
        let answer = call.ask(query).await?;
        return with_meta(&None { nodes: [] }, &answer.meta);
    }
    near::answer(&call, query).await
}

pub(crate) async fn ask_in_state(
    ask: &Ask<'_>,
    status: Option<CheckStatus>,
    node_meta: &NodeMetaFilter,
) -> Asked {
    let state = status.map_or(ANY, CheckStatus::as_str).to_owned();
    let filters = NodeFilters::of(node_meta);
    let (meta, found): (_, Checks) =
        ask.rows_of("Health.ChecksInState", &InState { state }, &filters).await?;
    Ok((meta, Reply::Checks(found.health_checks)))
}

pub(crate) async fn ask_node_checks(ask: &Ask<'_>, node: String) -> Asked {
    let (meta, found): (_, Checks) = ask.rows("Health.NodeChecks", &OfNode { node }).await?;
    Ok((meta, Reply::Checks(found.health_checks)))
}

pub(crate) async fn ask_service_checks(
    ask: &Ask<'_>,
    name: String,
    node_meta: &NodeMetaFilter,
) -> Asked {
    let asked = OfService::new(name, Vec::new(), false);
    let filters = NodeFilters::of(node_meta);
    let (meta, found): (_, Checks) = ask.rows_of("Health.ServiceChecks", &asked, &filters).await?;
    Ok((meta, Reply::Checks(found.health_checks)))
}

pub(crate) async fn ask_instances(
    ask: &Ask<'_>,
    asked: &OfService,
    passing_only: bool,
    node_meta: &NodeMetaFilter,
) -> Asked {
    let filters = NodeFilters::of(node_meta);
    let (meta, Instances { mut nodes }) =
        ask.rows_of("Health.ServiceNodes", asked, &filters).await?;
    if passing_only {
        // Servers do not know this wish; agents fulfil it.
        nodes.retain(|row| row.status() == CheckStatus::Passing);
    }
    Ok((meta, Reply::Health(nodes)))
}
