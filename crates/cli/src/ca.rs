//! `connect ca`: the configuration of the certificate authority.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::QueryParams;
use clap::{Args, Subcommand};
use model::ca::CaConfiguration;
use serde::Serialize;
use serde_json::Value;

use crate::client_flags::{HttpFlags, block_on};
use crate::data;
use crate::output::{self, CommandResult, Failure};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the authority's configuration.
    GetConfig(GetArgs),
    /// Change the authority's configuration; a new root is rotated in without interruption.
    SetConfig(SetArgs),
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
    /// JSON file with the configuration, in the form get-config shows.
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    provider: String,
    config: BTreeMap<String, Value>,
    state: Option<BTreeMap<String, String>>,
    create_index: u64,
    modify_index: u64,
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::GetConfig(args) => get(&args),
        Command::SetConfig(args) => set(&args),
    }
}

fn get(args: &GetArgs) -> CommandResult {
    let client = args.http.client()?;
    let configuration: CaConfiguration = block_on(async {
        let answer = client.ca_configuration(&QueryParams::default()).await;
        Ok(answer.map_err(Failure::during("querying CA configuration"))?.value)
    })?;
    let shown = Shown {
        provider: configuration.provider,
        config: configuration.config,
        state: Some(configuration.state).filter(|state| !state.is_empty()),
        create_index: configuration.create_index,
        modify_index: configuration.modify_index,
    };
    output::line(&output::json(&shown, "\t")?);
    Ok(0)
}

fn set(args: &SetArgs) -> CommandResult {
    let Some(file) = &args.config_file else {
        return Err(Failure::new("The -config-file flag is required"));
    };
    let text = data::file(file)?;
    let parsed: Result<serde_json::Map<String, Value>, _> = serde_json::from_slice(&text);
    parsed.map_err(|error| {
        Failure::new(format!("Error parsing config file {}: {error}", file.display()))
    })?;
    let client = args.http.client()?;
    block_on(async {
        client.set_ca_configuration(text).await.map_err(Failure::during("setting CA configuration"))
    })?;
    output::line("Configuration updated!");
    Ok(0)
}
