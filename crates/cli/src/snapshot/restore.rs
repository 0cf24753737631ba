//! `snapshot restore`: sends a file to the servers, which verify it before they use any of it.

use std::io::Read as _;

use model::snapshot::RESTORE_BYTES_MAX;

use super::{file_argument, open};
use crate::client_flags::{HttpFlags, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file.
    #[arg(value_name = "FILE")]
    arguments: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    let client = args.http.client()?;
    let path = file_argument(&args.arguments)?;
    let mut archive = Vec::new();
    // Compressed, the largest state that can be restored is far smaller.
    open(path)?
        .take(RESTORE_BYTES_MAX)
        .read_to_end(&mut archive)
        .map_err(Failure::during("opening snapshot file"))?;
    block_on(async {
        let restored = client.snapshot_restore(archive.into()).await;
        restored.map_err(Failure::during("restoring snapshot"))
    })?;
    output::line("Restored snapshot");
    Ok(0)
}
