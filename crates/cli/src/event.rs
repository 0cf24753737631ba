//! `event`: sends a user event to agents.

use model::event::UserEvent;

use crate::client_flags::{ClientFlags, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the event.
    #[arg(long, default_value = "", value_name = "NAME")]
    name: String,
    /// Only for nodes whose name matches this regular expression.
    #[arg(long, default_value = "", value_name = "REGEX")]
    node: String,
    /// Only for nodes with a service whose name matches this regular expression.
    #[arg(long, default_value = "", value_name = "REGEX")]
    service: String,
    /// Only where such a service has a tag that matches this regular expression.
    #[arg(long, default_value = "", value_name = "REGEX")]
    tag: String,
    /// What the event carries.
    #[arg(value_name = "PAYLOAD")]
    payload: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    if args.name.is_empty() {
        return Err(Failure::new("Event name must be specified"));
    }
    for (what, filter) in [("node", &args.node), ("service", &args.service), ("tag", &args.tag)] {
        regex::Regex::new(filter).map_err(|error| {
            Failure::new(format!("Failed to compile {what} filter regexp: {error}"))
        })?;
    }
    if !args.tag.is_empty() && args.service.is_empty() {
        return Err(Failure::new("Cannot provide tag filter without service filter."));
    }
    let payload = match &args.payload[..] {
        [] => Vec::new(),
        [payload] => payload.clone().into_bytes(),
        _ => return Err(Failure::new("Too many command line arguments.")),
    };
    let event = UserEvent {
        name: args.name.clone(),
        payload,
        node_filter: args.node.clone(),
        service_filter: args.service.clone(),
        tag_filter: args.tag.clone(),
        ..UserEvent::default()
    };
    let client = args.http.client()?;
    let fired = block_on(async {
        let fired = client.fire_event(&event, &api::QueryParams::default()).await;
        fired.map_err(Failure::during("firing event"))
    })?;
    output::line(&format!("Event ID: {}", fired.id));
    Ok(0)
}
