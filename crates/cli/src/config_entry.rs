//! `config`: configuration entries.

use api::QueryParams;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client_flags::{HttpFlags, NamespaceFlag, block_on};
use crate::data;
use crate::output::{self, CommandResult, Failure};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Delete an entry.
    Delete(SelectArgs),
    /// List the names of the entries of a kind.
    List(ListArgs),
    /// Show an entry as JSON.
    Read(SelectArgs),
    /// Create or replace an entry.
    Write(WriteArgs),
}

#[derive(Args)]
pub(crate) struct SelectArgs {
    /// Kind of the entry, such as service-defaults.
    #[arg(long, default_value = "", value_name = "KIND")]
    kind: String,
    /// Name of the entry.
    #[arg(long, default_value = "", value_name = "NAME")]
    name: String,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Kind of the entries, such as service-defaults.
    #[arg(long, default_value = "", value_name = "KIND")]
    kind: String,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct WriteArgs {
    /// Write only if the stored entry has the index given by -modify-index.
    #[arg(long)]
    cas: bool,
    /// Index for -cas; 0 writes only if there is no such entry.
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    modify_index: u64,
    /// File with the entry in HCL or JSON; - is standard input.
    #[arg(value_name = "FILE")]
    arguments: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Delete(args) => delete(&args),
        Command::List(args) => list(&args),
        Command::Read(args) => read(&args),
        Command::Write(args) => write(&args),
    }
}

fn require(value: &str, flag: &str) -> Result<(), Failure> {
    if value.is_empty() {
        return Err(Failure::new(format!("Must specify the -{flag} parameter")));
    }
    Ok(())
}

fn delete(args: &SelectArgs) -> CommandResult {
    require(&args.kind, "kind")?;
    require(&args.name, "name")?;
    let client = args.http.client_in(&args.namespace)?;
    let entry = format!("{}/{}", args.kind, args.name);
    block_on(async {
        client
            .delete_config_entry(&args.kind, &args.name)
            .await
            .map_err(Failure::during(format!("deleting config entry {entry}")))
    })?;
    output::line(&format!("Config entry deleted: {entry}"));
    Ok(0)
}

fn list(args: &ListArgs) -> CommandResult {
    require(&args.kind, "kind")?;
    let client = args.http.client_in(&args.namespace)?;
    let entries = block_on(async {
        let answer = client.config_entries(&args.kind, &QueryParams::default()).await;
        let doing = format!("listing config entries for kind {:?}", args.kind);
        Ok(answer.map_err(Failure::during(doing))?.value)
    })?;
    for entry in &entries {
        output::line(entry.get("Name").and_then(Value::as_str).unwrap_or_default());
    }
    Ok(0)
}

fn read(args: &SelectArgs) -> CommandResult {
    require(&args.kind, "kind")?;
    require(&args.name, "name")?;
    let client = args.http.client_in(&args.namespace)?;
    let path = format!("/v1/config/{}/{}", args.kind, args.name);
    // Shown as the agent writes it, which keeps the order of the fields.
    let params = QueryParams::default().with("pretty", "");
    let text = block_on(async {
        let response = client.get(&path, &params).await.and_then(api::Response::ok);
        let doing = format!("reading config entry {}/{}", args.kind, args.name);
        Ok(response.map_err(Failure::during(doing))?.text())
    })?;
    output::line(text.trim_end());
    Ok(0)
}

fn write(args: &WriteArgs) -> CommandResult {
    let [file] = &args.arguments[..] else {
        return Err(Failure::new(
            "Must provide exactly one positional argument to specify the config entry to write",
        ));
    };
    let text = data::file_or_stdin(file)?;
    let entry = config::hcl::parse(&text)
        .map_err(|error| Failure::new(format!("Failed to decode config entry input: {error}")))?
        .to_json();
    let field = |lower: &str, upper: &str| {
        entry.get(upper).or_else(|| entry.get(lower)).and_then(Value::as_str).unwrap_or_default()
    };
    let (kind, name) = (field("kind", "Kind"), field("name", "Name"));
    if kind.is_empty() {
        return Err(Failure::new(
            "Failed to decode config entry input: Payload does not contain a kind/Kind key at the \
             top level",
        ));
    }
    let client = args.http.client_in(&args.namespace)?;
    let cas = args.cas.then_some(args.modify_index);
    let written = block_on(async {
        client
            .set_config_entry(&entry, cas)
            .await
            .map_err(Failure::during(format!("writing config entry {kind}/{name}")))
    })?;
    if !written {
        return Err(Failure::new(format!("Config entry not updated: {kind}/{name}")));
    }
    output::line(&format!("Config entry written: {kind}/{name}"));
    Ok(0)
}
