//! `operator`: tools for those who run a cluster.

mod autopilot;
mod raft;

use clap::Subcommand;

use crate::output::CommandResult;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// See and change how servers are looked after.
    #[command(subcommand)]
    Autopilot(autopilot::Command),
    /// See and change who takes part in consensus.
    #[command(subcommand)]
    Raft(raft::Command),
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Autopilot(command) => autopilot::run(command),
        Command::Raft(command) => raft::run(command),
    }
}
