//! `info`: the runtime figures of one agent.

use crate::client_flags::{ClientFlags, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    let client = args.http.client()?;
    let agent =
        block_on(async { client.agent_self().await.map_err(Failure::during("querying agent")) })?;
    for (section, figures) in &agent.stats {
        output::line(&format!("{section}:"));
        for (name, value) in figures {
            output::line(&format!("\t{name} = {value}"));
        }
    }
    Ok(0)
}
