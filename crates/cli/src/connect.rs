//! `connect`: the service mesh.

mod definition;
mod metrics;
mod proxy;
mod register;

use clap::Subcommand;

use crate::ca;
use crate::output::CommandResult;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Work with the certificate authority.
    #[command(subcommand)]
    Ca(Box<ca::Command>),
    /// Run the built-in proxy of a service.
    Proxy(Box<proxy::Args>),
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Ca(command) => ca::run(*command),
        Command::Proxy(args) => proxy::run(&args),
    }
}
