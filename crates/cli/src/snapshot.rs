//! `snapshot`: the whole state of the servers, saved to a file, restored from one, looked into.

mod inspect;
mod restore;
mod save;

use std::io;
use std::path::Path;

use clap::Subcommand;

use crate::output::{CommandResult, Failure};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what is in a snapshot file, without an agent.
    Inspect(inspect::Args),
    /// Replace the state of the servers by that of a file.
    Restore(restore::Args),
    /// Save the state of the servers to a file, and verify it.
    Save(save::Args),
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Save(args) => save::run(&args),
    }
}

/// The one argument.
fn file_argument(arguments: &[String]) -> Result<&Path, Failure> {
    match arguments {
        [] => Err(Failure::new("Missing FILE argument")),
        [file] => Ok(Path::new(file)),
        more => Err(Failure::new(format!("Too many arguments (expected 1, got {})", more.len()))),
    }
}

/// What went wrong with a file, as tools that know these commands expect it.
fn open_error(path: &Path, error: &io::Error) -> String {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    };
    format!("open {}: {reason}", path.display())
}

fn open(path: &Path) -> Result<std::fs::File, Failure> {
    std::fs::File::open(path).map_err(|error| {
        Failure::new(format!("Error opening snapshot file: {}", open_error(path, &error)))
    })
}
