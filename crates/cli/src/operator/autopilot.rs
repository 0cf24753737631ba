//! `operator autopilot`: how servers are looked after.

use api::QueryParams;
use api::operator::{AutopilotServer, AutopilotState};
use clap::{Args, Subcommand};
use model::duration::GoDuration;

use crate::client_flags::{HttpFlags, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the settings.
    GetConfig(GetArgs),
    /// Change settings; those not given stay.
    SetConfig(SetArgs),
    /// Show how each server is doing.
    State(StateArgs),
}

#[derive(Args)]
pub(crate) struct GetArgs {
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct SetArgs {
    /// Remove dead servers when new ones come.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cleanup_dead_servers: Option<bool>,
    /// Longest a healthy server goes without contact to the leader.
    #[arg(long, value_name = "DURATION")]
    last_contact_threshold: Option<GoDuration>,
    /// How many log entries a healthy server may be behind.
    #[arg(long, value_name = "COUNT")]
    max_trailing_logs: Option<u64>,
    /// Servers below which dead ones are not removed.
    #[arg(long, value_name = "COUNT")]
    min_quorum: Option<u64>,
    /// How long a new server must be healthy before it gets a vote.
    #[arg(long, value_name = "DURATION")]
    server_stabilization_time: Option<GoDuration>,
    /// Node metadata that names a server's zone; belongs to the enterprise edition.
    #[arg(long, value_name = "KEY")]
    redundancy_zone_tag: Option<String>,
    /// Do not wait for a whole set of newer servers; belongs to the enterprise edition.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_upgrade_migration: Option<bool>,
    /// Node metadata that names a server's version; belongs to the enterprise edition.
    #[arg(long, value_name = "KEY")]
    upgrade_version_tag: Option<String>,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct StateArgs {
    /// How to show it: pretty or json.
    #[arg(long, default_value = "pretty", value_name = "FORMAT")]
    format: String,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::GetConfig(args) => get(&args),
        Command::SetConfig(args) => set(&args),
        Command::State(args) => state(&args),
    }
}

fn get(args: &GetArgs) -> CommandResult {
    let client = args.http.client()?;
    let found = block_on(async {
        let found = client.autopilot_configuration(&QueryParams::default()).await;
        found.map_err(Failure::during("querying Autopilot configuration"))
    })?;
    let lines = [
        ("CleanupDeadServers", found.cleanup_dead_servers.to_string()),
        ("LastContactThreshold", found.last_contact_threshold.to_string()),
        ("MaxTrailingLogs", found.max_trailing_logs.to_string()),
        ("MinQuorum", found.min_quorum.to_string()),
        ("ServerStabilizationTime", found.server_stabilization_time.to_string()),
        ("RedundancyZoneTag", format!("{:?}", found.redundancy_zone_tag)),
        ("DisableUpgradeMigration", found.disable_upgrade_migration.to_string()),
        ("UpgradeVersionTag", format!("{:?}", found.upgrade_version_tag)),
    ];
    for (name, value) in lines {
        output::line(&format!("{name} = {value}"));
    }
    Ok(0)
}

fn set(args: &SetArgs) -> CommandResult {
    let client = args.http.client()?;
    block_on(async {
        let found = client.autopilot_configuration(&QueryParams::default()).await;
        let mut wanted = found.map_err(Failure::during("querying Autopilot configuration"))?;
        let index = wanted.modify_index;
        change(&mut wanted.cleanup_dead_servers, args.cleanup_dead_servers);
        change(&mut wanted.last_contact_threshold, args.last_contact_threshold);
        change(&mut wanted.max_trailing_logs, args.max_trailing_logs);
        change(&mut wanted.min_quorum, args.min_quorum);
        change(&mut wanted.server_stabilization_time, args.server_stabilization_time);
        change(&mut wanted.redundancy_zone_tag, args.redundancy_zone_tag.clone());
        change(&mut wanted.disable_upgrade_migration, args.disable_upgrade_migration);
        change(&mut wanted.upgrade_version_tag, args.upgrade_version_tag.clone());
        // What somebody else changed in between is not undone.
        let set = client.set_autopilot_configuration(&wanted, Some(index)).await;
        match set.map_err(Failure::during("setting Autopilot configuration"))? {
            true => {
                output::line("Configuration updated!");
                Ok(0)
            }
            false => {
                Err(Failure::new("Configuration could not be atomically updated, please try again"))
            }
        }
    })
}

fn change<T>(setting: &mut T, wanted: Option<T>) {
    if let Some(wanted) = wanted {
        *setting = wanted;
    }
}

fn state(args: &StateArgs) -> CommandResult {
    if !matches!(args.format.as_str(), "pretty" | "json") {
        let text = format!("Invalid format: {:?}; write pretty or json", args.format);
        return Err(Failure::new(text));
    }
    let client = args.http.client()?;
    let state = block_on(async {
        client.autopilot_state().await.map_err(Failure::during("querying Autopilot state"))
    })?;
    match args.format.as_str() {
        "json" => output::line(&output::json(&state, "    ")?),
        _ => output::raw(describe(&state).as_bytes()),
    }
    Ok(0)
}

fn describe(state: &AutopilotState) -> String {
    let mut text = String::new();
    let mut add = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    add(format!("Healthy:                      {}", state.healthy));
    add(format!("Failure Tolerance:            {}", state.failure_tolerance));
    add(format!("Optimistic Failure Tolerance: {}", state.optimistic_failure_tolerance));
    add(format!("Leader:                       {}", state.leader));
    add("Voters:".to_owned());
    for voter in &state.voters {
        add(format!("   {voter}"));
    }
    add("Servers:".to_owned());
    for (id, server) in &state.servers {
        add(format!("   {id}"));
        for (name, value) in server_lines(server) {
            add(format!("      {:<17}{value}", format!("{name}:")));
        }
        add("      Meta".to_owned());
        for (name, value) in &server.meta {
            add(format!("         {name:?}: {value:?}"));
        }
    }
    text
}

fn server_lines(server: &AutopilotServer) -> [(&'static str, String); 9] {
    [
        ("Name", server.name.clone()),
        ("Address", server.address.clone()),
        ("Version", server.version.clone()),
        ("Status", server.status.clone()),
        ("Node Type", server.node_type.clone()),
        ("Node Status", server.node_status.clone()),
        ("Healthy", server.healthy.to_string()),
        ("Last Contact", server.last_contact.clone()),
        ("Last Index", server.last_index.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_described() {
        let server = AutopilotServer {
            name: "n1".into(),
            status: "leader".into(),
            node_type: "voter".into(),
            last_contact: "0s".into(),
            meta: [("dc".to_owned(), "dc1".to_owned())].into(),
            ..AutopilotServer::default()
        };
        let state = AutopilotState {
            healthy: true,
            leader: "id1".into(),
            voters: vec!["id1".into()],
            servers: [("id1".to_owned(), server)].into(),
            ..AutopilotState::default()
        };
        let text = describe(&state);
        assert!(text.starts_with("Healthy:                      true\n"), "{text}");
        assert!(text.contains("Voters:\n   id1\nServers:\n   id1\n      Name:            n1\n"));
        assert!(text.ends_with("      Meta\n         \"dc\": \"dc1\"\n"), "{text}");
    }
}
