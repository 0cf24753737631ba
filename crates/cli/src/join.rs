//! `join` and `force-leave`: who becomes a member of the gossip pool, and who is none any more.

use clap::Args;

use crate::client_flags::{ClientFlags, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(Args)]
pub(crate) struct JoinArgs {
    /// Join a server of another datacenter.
    #[arg(long)]
    wan: bool,
    /// Members of the pool, each host or host:port.
    #[arg(value_name = "ADDRESS")]
    addresses: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

#[derive(Args)]
pub(crate) struct ForceLeaveArgs {
    /// Remove the node from the list of members altogether.
    #[arg(long)]
    prune: bool,
    /// Name of the node.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

/// One member reached is success: it tells of all others.
pub(crate) fn join(args: &JoinArgs) -> CommandResult {
    if args.addresses.is_empty() {
        return Err(Failure::new("At least one address to join must be specified."));
    }
    let client = args.http.client()?;
    block_on(async {
        let mut joined = 0;
        for address in &args.addresses {
            match client.join(address, args.wan).await {
                Ok(()) => joined += 1,
                Err(error) => output::note(&format!("Error joining address '{address}': {error}")),
            }
        }
        if joined == 0 {
            return Err(Failure::new("Failed to join any nodes."));
        }
        output::line(&format!("Successfully joined cluster by contacting {joined} nodes."));
        Ok(0)
    })
}

pub(crate) fn force_leave(args: &ForceLeaveArgs) -> CommandResult {
    let [name] = &args.names[..] else {
        return Err(Failure::new("A single node name must be specified to force leave."));
    };
    let client = args.http.client()?;
    block_on(async {
        let left = client.force_leave(name, args.prune).await;
        left.map_err(Failure::during("force leaving"))
    })?;
    Ok(0)
}
