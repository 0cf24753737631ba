//! `maint`: takes a node or a service out of discovery and back.

use api::QueryParams;
use model::check::{NODE_MAINTENANCE, SERVICE_MAINTENANCE_PREFIX};

use crate::client_flags::{ClientFlags, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Begin maintenance.
    #[arg(long)]
    enable: bool,
    /// End maintenance.
    #[arg(long)]
    disable: bool,
    /// Why, for those who come across it; with -enable.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    /// The service instance meant, instead of the whole node.
    #[arg(long, default_value = "", value_name = "ID")]
    service: String,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    let message = match (args.enable, args.disable) {
        (true, true) => Some("Only one of -enable or -disable may be provided"),
        (false, _) if !args.reason.is_empty() => Some("Reason may only be provided with -enable"),
        (false, false) if !args.service.is_empty() => {
            Some("Service requires either -enable or -disable")
        }
        _ => None,
    };
    if let Some(message) = message {
        return Err(Failure::new(message));
    }
    if args.enable || args.disable { set(args) } else { show(args) }
}

fn set(args: &Args) -> CommandResult {
    let client = args.http.client()?;
    let (verb, done) =
        if args.enable { ("enabling", "enabled") } else { ("disabling", "disabled") };
    block_on(async {
        if args.service.is_empty() {
            client
                .set_node_maintenance(args.enable, &args.reason)
                .await
                .map_err(Failure::during(format!("{verb} node maintenance")))?;
            output::line(&format!("Node maintenance is now {done}"));
        } else {
            client
                .set_service_maintenance(&args.service, args.enable, &args.reason)
                .await
                .map_err(Failure::during(format!("{verb} service maintenance")))?;
            output::line(&format!("Service maintenance is now {done} for {:?}", args.service));
        }
        Ok(0)
    })
}

/// What is under maintenance here; nothing if nothing is.
fn show(args: &Args) -> CommandResult {
    let client = args.http.client()?;
    let checks = block_on(async {
        let checks = client.agent_checks(&QueryParams::default()).await;
        checks.map_err(Failure::during("getting checks"))
    })?;
    for check in checks.values() {
        if check.check_id == NODE_MAINTENANCE {
            output::line(&format!("Node:\n  Name:   {}\n  Reason: {}\n", check.node, check.notes));
        } else if check.check_id.starts_with(SERVICE_MAINTENANCE_PREFIX) {
            output::line(&format!(
                "Service:\n  ID:     {}\n  Reason: {}\n",
                check.service_id, check.notes
            ));
        }
    }
    Ok(0)
}
