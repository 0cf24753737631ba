//! `reload`, `leave` and `monitor`: an agent's life, from outside.

use clap::Args;

use crate::client_flags::{ClientFlags, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(Args)]
pub(crate) struct ReloadArgs {
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

#[derive(Args)]
pub(crate) struct LeaveArgs {
    #[arg(hide = true)]
    rest: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

#[derive(Args)]
pub(crate) struct MonitorArgs {
    /// Least severe level to show: trace, debug, info, warn or err.
    #[arg(long, default_value = "INFO", value_name = "LEVEL")]
    log_level: String,
    /// Show each line as a JSON object.
    #[arg(long)]
    log_json: bool,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

pub(crate) fn reload(args: &ReloadArgs) -> CommandResult {
    let client = args.http.client()?;
    block_on(async { client.reload().await.map_err(Failure::during("reloading")) })?;
    output::line("Configuration reload triggered");
    Ok(0)
}

pub(crate) fn leave(args: &LeaveArgs) -> CommandResult {
    if !args.rest.is_empty() {
        let count = args.rest.len();
        return Err(Failure::new(format!("Error: Too many arguments (expected 0, got {count})")));
    }
    let client = args.http.client()?;
    block_on(async { client.leave().await.map_err(Failure::during("leaving")) })?;
    output::line("Graceful leave complete");
    Ok(0)
}

/// Shows the log until interrupted, which is success, or until the agent goes, which is not.
pub(crate) fn monitor(args: &MonitorArgs) -> CommandResult {
    let client = args.http.client()?;
    block_on(async {
        let failed = || Failure::during("starting monitor");
        // Installed before the request, so that no interrupt falls between.
        let mut stop = crate::signal::Stop::new()?;
        let mut log = tokio::select! {
            log = client.monitor(&args.log_level, args.log_json) => log.map_err(failed())?,
            _ = stop.requested() => return Ok(0),
        };
        loop {
            let chunk = tokio::select! {
                chunk = log.chunk() => chunk,
                _ = stop.requested() => return Ok(0),
            };
            match chunk {
                Ok(Some(bytes)) => output::raw(&bytes),
                Ok(None) | Err(_) => {
                    return Err(Failure::new(
                        "The agent ended the log stream; it has stopped or is out of reach.",
                    ));
                }
            }
        }
    })
}
