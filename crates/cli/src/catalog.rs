//! `catalog`: datacenters, nodes and services as the servers know them.

use std::collections::{BTreeMap, BTreeSet};

use api::QueryParams;
use clap::{Args, Subcommand};
use model::Meta;
use model::node::Node;

use crate::client_flags::{HttpFlags, NamespaceFlag, block_on, key_value, with_node_meta};
use crate::output::{self, CommandResult, Failure};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the datacenters this one knows, nearest first.
    Datacenters(DatacentersArgs),
    /// List nodes.
    Nodes(NodesArgs),
    /// List services.
    Services(ServicesArgs),
}

#[derive(Args)]
pub(crate) struct DatacentersArgs {
    #[arg(hide = true)]
    rest: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct NodesArgs {
    /// Show whole ids, addresses and metadata.
    #[arg(long)]
    detailed: bool,
    /// Only nodes that this filter expression holds for.
    #[arg(long, default_value = "", value_name = "EXPRESSION")]
    filter: String,
    /// Sort by round trip from this node; _agent means the agent asked.
    #[arg(long, default_value = "", value_name = "NODE")]
    near: String,
    /// Only nodes with this metadata; repeat to demand more.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    node_meta: Vec<(String, String)>,
    /// Only nodes that have an instance of this service.
    #[arg(long, default_value = "", value_name = "SERVICE")]
    service: String,
    #[arg(hide = true)]
    rest: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct ServicesArgs {
    /// Only services on this node.
    #[arg(long, default_value = "", value_name = "NODE")]
    node: String,
    /// Only services on nodes with this metadata; repeat to demand more.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    node_meta: Vec<(String, String)>,
    /// Show the tags beside each service.
    #[arg(long)]
    tags: bool,
    #[arg(hide = true)]
    rest: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Datacenters(args) => datacenters(&args),
        Command::Nodes(args) => nodes(args),
        Command::Services(args) => services(&args),
    }
}

fn refuse_arguments(rest: &[String]) -> Result<(), Failure> {
    match rest.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!("Too many arguments (expected 0, got {count})"))),
    }
}

fn datacenters(args: &DatacentersArgs) -> CommandResult {
    refuse_arguments(&args.rest)?;
    let client = args.http.client()?;
    let names = block_on(async {
        client.datacenters().await.map_err(Failure::during("listing datacenters"))
    })?;
    for name in names {
        output::line(&name);
    }
    Ok(0)
}

fn nodes(args: NodesArgs) -> CommandResult {
    refuse_arguments(&args.rest)?;
    let client = args.http.client()?;
    let params = QueryParams {
        filter: args.filter,
        near: args.near,
        node_meta: args.node_meta,
        ..QueryParams::default()
    };
    let nodes = block_on(async {
        if args.service.is_empty() {
            let answer = client.nodes(&params).await.map_err(Failure::during("listing nodes"))?;
            return Ok(answer.value);
        }
        let answer = client
            .service_nodes(&args.service, &params)
            .await
            .map_err(Failure::during("listing nodes of the service"))?;
        let node = |row: model::catalog::ServiceNode| Node {
            id: row.id,
            name: row.node,
            address: row.address,
            datacenter: row.datacenter,
            tagged_addresses: row.tagged_addresses,
            meta: row.node_meta,
            create_index: row.create_index,
            modify_index: row.modify_index,
        };
        Ok(answer.value.into_iter().map(node).collect())
    })?;
    if nodes.is_empty() {
        output::note("No nodes match the given query - try expanding your search.");
        return Ok(0);
    }
    output::line(&output::table(&node_rows(&nodes, args.detailed)));
    Ok(0)
}

/// Characters of a node id that are enough to tell nodes apart on a screen.
const SHORT_ID: usize = 8;

fn node_rows(nodes: &[Node], detailed: bool) -> Vec<Vec<String>> {
    let mut header = vec!["Node", "ID", "Address", "DC"];
    if detailed {
        header.extend(["TaggedAddresses", "Meta"]);
    }
    let mut rows = vec![header.into_iter().map(str::to_owned).collect()];
    for node in nodes {
        let id: String =
            if detailed { node.id.clone() } else { node.id.chars().take(SHORT_ID).collect() };
        let mut row = vec![node.name.clone(), id, node.address.clone(), node.datacenter.clone()];
        if detailed {
            row.extend([labels(&node.tagged_addresses), labels(&node.meta)]);
        }
        rows.push(row);
    }
    rows
}

fn labels(meta: &Meta) -> String {
    let labels: Vec<String> =
        meta.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    labels.join(", ")
}

fn services(args: &ServicesArgs) -> CommandResult {
    refuse_arguments(&args.rest)?;
    let client = args.http.client_in(&args.namespace)?;
    let params = with_node_meta(&args.node_meta);
    let services: BTreeMap<String, Vec<String>> = block_on(async {
        if args.node.is_empty() {
            let answer =
                client.services(&params).await.map_err(Failure::during("listing services"))?;
            return Ok(answer.value);
        }
        let answer = client
            .node_services(&args.node, &params)
            .await
            .map_err(Failure::during("listing services of the node"))?;
        let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for service in answer.value.unwrap_or_default().services.into_values() {
            services.entry(service.name.clone()).or_default().extend(service.tags.iter().cloned());
        }
        Ok(services)
    })?;
    if services.is_empty() {
        output::note("No services match the given query - try expanding your search.");
        return Ok(0);
    }
    if !args.tags {
        for name in services.keys() {
            output::line(name);
        }
        return Ok(0);
    }
    let rows: Vec<(&str, String)> = services
        .iter()
        .map(|(name, tags)| {
            // Instances of one service repeat their tags; one of each says it all.
            let tags: BTreeSet<&str> = tags.iter().map(String::as_str).collect();
            (name.as_str(), tags.into_iter().collect::<Vec<_>>().join(","))
        })
        .collect();
    output::line(&output::pairs(&rows));
    Ok(0)
}
