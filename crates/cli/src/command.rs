//! The list of commands, and how one invocation becomes an exit code.

use std::ffi::OsString;
use std::path::Path;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::argv::{self, Invocation};
use crate::client_flags::block_on;
use crate::output::{self, CommandResult, Failure};
use crate::{
    agent, catalog, completion, config_entry, connect, control, coordinate, demo, event, help,
    info, intention, join, keyring, kv, lock, maintenance, members, operator, service, snapshot,
    validate, version, watch,
};

/// Connect, secure and observe services: registry, discovery, key-value store and service mesh.
#[derive(Parser)]
#[command(
    name = "lictor",
    disable_help_flag = true,
    disable_help_subcommand = true,
    args_override_self = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an agent.
    Agent(Box<agent::Args>),
    /// Look at datacenters, nodes and services of the catalog.
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// Write a completion script for a shell.
    Completion(completion::Args),
    /// Read and write configuration entries.
    #[command(subcommand)]
    Config(config_entry::Command),
    /// Work with the service mesh.
    #[command(subcommand)]
    Connect(connect::Command),
    /// See the service mesh at work on this machine: two services, two proxies, one intention.
    Demo(DemoArgs),
    /// Send an event to agents.
    Event(event::Args),
    /// Take a member that failed for gone.
    ForceLeave(join::ForceLeaveArgs),
    /// Show runtime figures of the agent.
    Info(info::Args),
    /// Say which services may connect to which.
    #[command(subcommand)]
    Intention(intention::Command),
    /// Become a member of a gossip pool.
    Join(join::JoinArgs),
    /// Make a key that encrypts gossip.
    Keygen(keyring::KeygenArgs),
    /// See and change the keys that encrypt gossip.
    Keyring(keyring::Args),
    /// Read and write the key-value store.
    #[command(subcommand)]
    Kv(kv::Command),
    /// Have the agent leave the pool and stop.
    Leave(control::LeaveArgs),
    /// Run a command while holding a lock.
    Lock(lock::Args),
    /// Take a node or service out of discovery for maintenance, and back.
    Maint(maintenance::Args),
    /// List the members of the gossip pool.
    Members(members::Args),
    /// Show the agent's log as it is written.
    Monitor(control::MonitorArgs),
    /// Tools for those who run a cluster.
    #[command(subcommand)]
    Operator(operator::Command),
    /// Have the agent read its configuration again.
    Reload(control::ReloadArgs),
    /// Estimate the round trip between two nodes.
    Rtt(coordinate::Args),
    /// Register services with the local agent.
    #[command(subcommand)]
    Services(service::Command),
    /// Save, restore and look into snapshots of the servers' state.
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Check configuration files as the agent would.
    Validate(validate::Args),
    /// Show the version of this program.
    Version(version::Args),
    /// Show a view of the agent's data, or run a handler when it changes.
    Watch(watch::Args),
}

#[derive(clap::Args)]
struct DemoArgs {
    /// Play the story once, unattended; fails unless every step really happens.
    #[arg(long)]
    once: bool,
}

/// Runs the command named by `args`, whose first element is the program, and returns its exit
/// code: 0 done, 1 failed or misused, 127 no such command; commands may define more.
pub(crate) fn main(args: Vec<OsString>) -> u8 {
    let mut args = args.into_iter();
    let program = program_name(args.next());
    let mut words = Vec::new();
    for arg in args {
        match arg.into_string() {
            Ok(word) => words.push(word),
            Err(arg) => {
                output::note(&format!("argument {arg:?} is not valid UTF-8"));
                return 1;
            }
        }
    }
    let result = match argv::arrange(&root(&program), &words) {
        Invocation::Run(words) => parse_and_run(&program, words),
        Invocation::Version => version::print_text(),
        Invocation::Help(path) => {
            output::raw(help::render(root(&program), &path).as_bytes());
            Ok(0)
        }
        Invocation::InstallCompletion => completion::explain_install(&program),
        Invocation::Misuse { path, message, code } => {
            let help = help::render(root(&program), &path);
            let message = if message.is_empty() { help } else { format!("{message}\n\n{help}") };
            Err(Failure { message, code })
        }
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            output::note(failure.message.trim_end());
            failure.code
        }
    }
}

/// The command tree under the name it was called by.
pub(crate) fn root(program: &str) -> clap::Command {
    Cli::command().name(program.to_owned()).bin_name(program.to_owned())
}

fn program_name(arg: Option<OsString>) -> String {
    let path = arg.unwrap_or_default();
    match Path::new(&path).file_name().and_then(|name| name.to_str()) {
        Some("consul") => "consul".to_owned(),
        _ => "lictor".to_owned(),
    }
}

fn parse_and_run(program: &str, words: Vec<String>) -> CommandResult {
    let parsed = root(program)
        .try_get_matches_from(words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => run(program, cli.command),
        Err(error) => Err(Failure::new(help::single_dashes(&error.render().to_string()))),
    }
}

fn run(program: &str, command: Command) -> CommandResult {
    match command {
        Command::Agent(args) => agent::run(*args),
        Command::Catalog(command) => catalog::run(command),
        Command::Completion(args) => completion::run(program, &args),
        Command::Config(command) => config_entry::run(command),
        Command::Connect(command) => connect::run(command),
        Command::Demo(args) => run_demo(&args),
        Command::Event(args) => event::run(&args),
        Command::ForceLeave(args) => join::force_leave(&args),
        Command::Info(args) => info::run(&args),
        Command::Intention(command) => intention::run(command),
        Command::Join(args) => join::join(&args),
        Command::Keygen(args) => keyring::keygen(&args),
        Command::Keyring(args) => keyring::run(&args),
        Command::Kv(command) => kv::run(command),
        Command::Leave(args) => control::leave(&args),
        Command::Lock(args) => lock::run(&args),
        Command::Maint(args) => maintenance::run(&args),
        Command::Members(args) => members::run(&args),
        Command::Monitor(args) => control::monitor(&args),
        Command::Operator(command) => operator::run(command),
        Command::Reload(args) => control::reload(&args),
        Command::Rtt(args) => coordinate::run(&args),
        Command::Services(command) => service::run(command),
        Command::Snapshot(command) => snapshot::run(command),
        Command::Validate(args) => validate::run(&args),
        Command::Version(args) => version::run(&args),
        Command::Watch(args) => watch::run(&args),
    }
}

fn run_demo(args: &DemoArgs) -> CommandResult {
    let program = std::env::current_exe().map_err(Failure::during("finding this program"))?;
    let options = demo::DemoOptions { program, once: args.once };
    block_on(async {
        let played = demo::run(options).await;
        played.map_err(|error| Failure::new(format!("Error: {}", output::with_causes(&error))))
    })?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_tree_is_sound() {
        super::root("lictor").debug_assert();
    }
}
