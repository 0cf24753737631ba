//! `rtt`: the estimated round trip between two nodes.

use api::{Client, QueryParams};
use model::coordinate::Coordinate;

use crate::client_flags::{ClientFlags, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Between servers of any datacenters, named node.datacenter, by the pool they meet in.
    #[arg(long)]
    wan: bool,
    /// One or two nodes; the second is the agent's own unless named.
    #[arg(value_name = "NODE1 [NODE2]")]
    nodes: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    let (first, second) = match &args.nodes[..] {
        [first] => (first, None),
        [first, second] => (first, Some(second)),
        _ => return Err(Failure::new("One or two node names must be specified")),
    };
    if args.wan && args.nodes.iter().any(|node| !node.contains('.')) {
        let text = "Node names must be specified as <node name>.<datacenter> with -wan";
        return Err(Failure::new(text));
    }
    let client = args.http.client()?;
    block_on(async {
        let second = match second {
            Some(second) => second.clone(),
            None => own_name(&client, args.wan).await?,
        };
        let places = places(&client, args.wan).await?;
        let find = |node: &str| {
            let found = places.iter().find(|(name, _)| name == node);
            let missing = || format!("Could not find a coordinate for node {node:?}");
            found.map(|(_, coordinate)| coordinate).ok_or_else(|| Failure::new(missing()))
        };
        let seconds = find(first)?.distance(find(&second)?).ok_or_else(|| {
            Failure::new(format!("The coordinates of {first} and {second} do not fit together"))
        })?;
        let (millis, pool) = (seconds * 1000.0, if args.wan { "WAN" } else { "LAN" });
        output::line(&format!(
            "Estimated {first} <-> {second} rtt: {millis:.3} ms (using {pool} coordinates)"
        ));
        Ok(0)
    })
}

async fn own_name(client: &Client, wan: bool) -> Result<String, Failure> {
    let agent = client.agent_self().await;
    let agent = agent.map_err(Failure::during("looking up the agent's own node"))?;
    Ok(match wan {
        true => format!("{}.{}", agent.node_name(), agent.datacenter()),
        false => agent.node_name().to_owned(),
    })
}

async fn places(client: &Client, wan: bool) -> Result<Vec<(String, Coordinate)>, Failure> {
    let getting = || Failure::during("getting coordinates");
    if !wan {
        let nodes = client.coordinate_nodes(&QueryParams::default()).await.map_err(getting())?;
        return Ok(nodes.value.into_iter().map(|row| (row.node, row.coord)).collect());
    }
    let maps = client.coordinate_datacenters().await.map_err(getting())?;
    let mut places = Vec::new();
    for map in maps {
        for row in map.coordinates {
            places.push((format!("{}.{}", row.node, map.datacenter), row.coord.clone()));
        }
    }
    Ok(places)
}
