//! `connect`: the service mesh.

use clap::Subcommand;

use crate::ca;
use crate::output::CommandResult;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Work with the certificate authority.
    #[command(subcommand)]
    Ca(ca::Command),
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Ca(command) => ca::run(command),
    }
}
