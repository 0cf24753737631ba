//! `operator raft`: who takes part in consensus.

use api::QueryParams;
use clap::{Args, Subcommand};

use crate::client_flags::{HttpFlags, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the servers that take part.
    ListPeers(ListArgs),
    /// Take a server out that will not come back.
    RemovePeer(RemoveArgs),
    /// Have the leader hand over to another server.
    TransferLeader(TransferArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct RemoveArgs {
    /// Address of the server, host:port of its server port.
    #[arg(long, default_value = "", value_name = "ADDRESS")]
    address: String,
    /// Id of the server.
    #[arg(long, default_value = "", value_name = "ID")]
    id: String,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct TransferArgs {
    /// Id of the server to lead; the best one unless given.
    #[arg(long, default_value = "", value_name = "ID")]
    id: String,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::ListPeers(args) => list_peers(&args),
        Command::RemovePeer(args) => remove_peer(&args),
        Command::TransferLeader(args) => transfer_leader(&args),
    }
}

fn list_peers(args: &ListArgs) -> CommandResult {
    let client = args.http.client()?;
    let found = block_on(async {
        let found = client.raft_configuration(&QueryParams::default()).await;
        found.map_err(Failure::during("getting peers: Failed to retrieve raft configuration"))
    })?;
    let header = ["Node", "ID", "Address", "State", "Voter", "RaftProtocol"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for server in found.servers {
        let protocol = match server.protocol_version.as_str() {
            "" => "<=1".to_owned(),
            version => version.to_owned(),
        };
        let state = if server.leader { "leader" } else { "follower" };
        rows.push(vec![
            server.node,
            server.id,
            server.address,
            state.to_owned(),
            server.voter.to_string(),
            protocol,
        ]);
    }
    output::line(&output::table(&rows));
    Ok(0)
}

fn remove_peer(args: &RemoveArgs) -> CommandResult {
    fn removing<E: std::fmt::Display>() -> impl FnOnce(E) -> Failure {
        Failure::during("removing peer")
    }
    match (args.address.as_str(), args.id.as_str()) {
        ("", "") => {
            return Err(removing()("an address or id is required for the peer to remove"));
        }
        (address, id) if !address.is_empty() && !id.is_empty() => {
            return Err(removing()("cannot give both an address and id"));
        }
        _ => {}
    }
    let client = args.http.client()?;
    let (what, name) = block_on(async {
        if args.id.is_empty() {
            client.remove_raft_peer_by_address(&args.address).await.map_err(removing())?;
            Ok(("address", &args.address))
        } else {
            client.remove_raft_peer_by_id(&args.id).await.map_err(removing())?;
            Ok(("id", &args.id))
        }
    })?;
    output::line(&format!("Removed peer with {what} {name:?}"));
    Ok(0)
}

fn transfer_leader(args: &TransferArgs) -> CommandResult {
    let client = args.http.client()?;
    block_on(async {
        let id = Some(args.id.as_str()).filter(|id| !id.is_empty());
        client.transfer_leader(id).await.map_err(Failure::during("transferring leadership"))
    })?;
    output::line("Success");
    Ok(0)
}
