//! `intention`: who may connect to whom.

use api::{Client, QueryParams};
use clap::{Args, Subcommand};
use model::intention::{DEFAULT_NAMESPACE, Intention, IntentionAction, MatchSide};
use model::time::Timestamp;

use crate::client_flags::{HttpFlags, block_on, key_value};
use crate::data;
use crate::output::{self, CommandResult, Failure};

/// Exit code of `intention check` when the answer is not known.
const CHECK_FAILED: u8 = 2;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Tell whether a connection would be let through: exit code 0 if so, 1 if not.
    Check(CheckArgs),
    /// Create an intention from a source and a destination, or several from files.
    Create(CreateArgs),
    /// Delete an intention.
    Delete(SelectArgs),
    /// Show an intention.
    Get(SelectArgs),
    /// List the intentions that bear on a service, in the order they are tried.
    Match(MatchArgs),
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// Source and destination service.
    #[arg(value_name = "SRC DST")]
    arguments: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Let connections through; the default.
    #[arg(long)]
    allow: bool,
    /// Refuse connections.
    #[arg(long)]
    deny: bool,
    /// The arguments are JSON files with an intention each; - is standard input.
    #[arg(long)]
    file: bool,
    /// Metadata; repeat for more.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// Replace an intention that has the same source and destination.
    #[arg(long)]
    replace: bool,
    /// Source and destination service, * for any; or files.
    #[arg(value_name = "SRC DST")]
    arguments: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct SelectArgs {
    /// Source and destination service, or the intention's id.
    #[arg(value_name = "SRC DST | ID")]
    arguments: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct MatchArgs {
    /// The service is the source of connections.
    #[arg(long)]
    source: bool,
    /// The service is the destination of connections; the default.
    #[arg(long)]
    destination: bool,
    /// The service.
    #[arg(value_name = "SERVICE")]
    arguments: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Check(args) => {
            check(&args).map_err(|failure| Failure { code: CHECK_FAILED, ..failure })
        }
        Command::Create(args) => create(&args),
        Command::Delete(args) => delete(&args),
        Command::Get(args) => get(&args),
        Command::Match(args) => list_matching(&args),
    }
}

fn check(args: &CheckArgs) -> CommandResult {
    let [source, destination] = &args.arguments[..] else {
        return Err(Failure::new("Error: command requires exactly two arguments: src and dst"));
    };
    let client = args.http.client()?;
    let allowed = block_on(async {
        client
            .intention_check(source, destination, &QueryParams::default())
            .await
            .map_err(Failure::during("checking the connection"))
    })?;
    output::line(if allowed { "Allowed" } else { "Denied" });
    Ok(u8::from(!allowed))
}

fn create(args: &CreateArgs) -> CommandResult {
    if args.allow && args.deny {
        return Err(Failure::new("Only one of -allow or -deny may be specified."));
    }
    let intentions = if args.file {
        args.arguments.iter().map(|file| read_file(file)).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![from_arguments(args)?]
    };
    let client = args.http.client()?;
    block_on(async {
        for mut intention in intentions {
            let failed = Failure::during(format!("creating intention \"{}\"", shown(&intention)));
            if args.replace
                && let Some(existing) =
                    find(&client, &intention.source_name, &intention.destination_name).await?
            {
                intention.id = existing.id;
                client.update_intention(&intention).await.map_err(failed)?;
                continue;
            }
            client.create_intention(&intention).await.map_err(failed)?;
            output::line(&format!("Created: {}", shown(&intention)));
        }
        Ok(0)
    })
}

fn from_arguments(args: &CreateArgs) -> Result<Intention, Failure> {
    let [source, destination] = &args.arguments[..] else {
        return Err(Failure::new("Error: Must specify two arguments: source and destination"));
    };
    let (source_namespace, source_name) = target(source)?;
    let (destination_namespace, destination_name) = target(destination)?;
    Ok(Intention {
        source_namespace,
        source_name,
        destination_namespace,
        destination_name,
        source_type: "consul".to_owned(),
        action: if args.deny { IntentionAction::Deny } else { IntentionAction::Allow },
        meta: args.meta.iter().cloned().collect(),
        ..Intention::default()
    })
}

fn read_file(file: &str) -> Result<Intention, Failure> {
    let text = data::file_or_stdin(file)?;
    serde_json::from_slice(&text).map_err(|error| Failure::new(format!("Error: {file}: {error}")))
}

/// Reads `service` or `namespace/service`; `default` is the only namespace there is.
fn target(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('/') {
        None => Ok((DEFAULT_NAMESPACE.to_owned(), text.to_owned())),
        Some((namespace, name)) if !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        Some(_) => Err(Failure::new(format!(
            "Error: {text:?} is not a service name; at most one '/' may separate its namespace"
        ))),
    }
}

fn delete(args: &SelectArgs) -> CommandResult {
    let client = args.http.client()?;
    block_on(async {
        let id = match &args.arguments[..] {
            [id] => id.clone(),
            [source, destination] => required(&client, source, destination).await?.id,
            _ => return Err(wrong_selection()),
        };
        client.delete_intention(&id).await.map_err(Failure::during("deleting the intention"))?;
        output::line("Intention deleted.");
        Ok(0)
    })
}

fn get(args: &SelectArgs) -> CommandResult {
    let client = args.http.client()?;
    let intention = block_on(async {
        match &args.arguments[..] {
            [id] => client
                .intention(id, &QueryParams::default())
                .await
                .map_err(Failure::during("reading the intention"))?
                .ok_or_else(|| Failure::new(format!("Error: Intention with id {id:?} not found."))),
            [source, destination] => required(&client, source, destination).await,
            _ => Err(wrong_selection()),
        }
    })?;
    let mut rows = vec![
        row("Source:", &intention.source_name),
        row("Destination:", &intention.destination_name),
        row("Action:", intention.action.as_str()),
        row("ID:", &intention.id),
    ];
    if !intention.description.is_empty() {
        rows.push(row("Description:", &intention.description));
    }
    for (key, value) in &intention.meta {
        rows.push(row(&format!("Meta[{key}]:"), value));
    }
    rows.push(row("Created At:", &long_date(intention.created_at)));
    output::line(&output::table(&rows));
    Ok(0)
}

fn row(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

/// `Monday, 23-Nov-26 04:17:34 UTC`, the form of RFC 850.
fn long_date(time: Timestamp) -> String {
    match jiff::Timestamp::new(time.unix_seconds, 0) {
        Ok(date) => date.strftime("%A, %d-%b-%y %H:%M:%S UTC").to_string(),
        Err(_) => time.to_string(),
    }
}

fn list_matching(args: &MatchArgs) -> CommandResult {
    let [service] = &args.arguments[..] else {
        return Err(Failure::new("Error: command requires exactly one argument: src or dst"));
    };
    if args.source && args.destination {
        return Err(Failure::new("Error: only one of -source or -destination may be specified"));
    }
    let side = if args.source { MatchSide::Source } else { MatchSide::Destination };
    let client = args.http.client()?;
    let intentions = block_on(async {
        let answer = client.intention_match(side, service, &QueryParams::default()).await;
        Ok(answer.map_err(Failure::during("matching the service"))?.value)
    })?;
    for intention in &intentions {
        output::line(&shown(intention));
    }
    Ok(0)
}

fn wrong_selection() -> Failure {
    Failure::new("Error: command requires exactly 1 or 2 arguments")
}

/// The intention with exactly this source and destination, if there is one.
async fn find(
    client: &Client,
    source: &str,
    destination: &str,
) -> Result<Option<Intention>, Failure> {
    let (_, source) = target(source)?;
    let (_, destination) = target(destination)?;
    let answer = client.intentions(&QueryParams::default()).await;
    let intentions = answer.map_err(Failure::during("listing intentions"))?.value;
    let is_meant = |i: &Intention| i.source_name == source && i.destination_name == destination;
    Ok(intentions.into_iter().find(is_meant))
}

async fn required(client: &Client, source: &str, destination: &str) -> Result<Intention, Failure> {
    find(client, source, destination).await?.ok_or_else(|| {
        Failure::new(format!(
            "Error: Intention with source {source:?} and destination {destination:?} not found."
        ))
    })
}

/// `web => db (allow)`; a namespace is told only where it is not the usual one.
fn shown(intention: &Intention) -> String {
    let name = |namespace: &str, name: &str| match namespace {
        "" | DEFAULT_NAMESPACE => name.to_owned(),
        namespace => format!("{namespace}/{name}"),
    };
    let source = name(&intention.source_namespace, &intention.source_name);
    let destination = name(&intention.destination_namespace, &intention.destination_name);
    format!("{source} => {destination} ({})", intention.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_out() {
        let date = |text: &str| long_date(text.parse().unwrap());
        assert_eq!(date("2026-11-23T04:17:34.5Z"), "Monday, 23-Nov-26 04:17:34 UTC");
    }

    #[test]
    fn targets_may_name_their_namespace() {
        assert_eq!(target("web").unwrap(), ("default".into(), "web".into()));
        assert_eq!(target("default/web").unwrap(), ("default".into(), "web".into()));
        assert!(target("a/b/c").is_err());
    }
}
