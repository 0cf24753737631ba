//! `kv`: the key-value store.

mod delete;
mod get;
mod put;
mod transfer;

use clap::Subcommand;

use crate::output::{CommandResult, Failure};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Delete a key, or all keys under a prefix.
    Delete(delete::Args),
    /// Write the entries under a prefix to standard output as JSON.
    Export(transfer::ExportArgs),
    /// Show a value, or list entries or keys under a prefix.
    Get(get::Args),
    /// Store entries written by export.
    Import(transfer::ImportArgs),
    /// Store a value.
    Put(put::Args),
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Delete(args) => delete::run(args),
        Command::Export(args) => transfer::export(&args),
        Command::Get(args) => get::run(args),
        Command::Import(args) => transfer::import(&args),
        Command::Put(args) => put::run(args),
    }
}

/// The one argument, without the slash that keys never begin with but users often write. `None`
/// when it is absent or empty.
fn key_argument(arguments: &[String]) -> Result<Option<String>, Failure> {
    match arguments {
        [] => Ok(None),
        [key] => {
            Ok(Some(key.strip_prefix('/').unwrap_or(key).to_owned()).filter(|k| !k.is_empty()))
        }
        more => Err(Failure::new(format!("Too many arguments (expected 1, got {})", more.len()))),
    }
}
