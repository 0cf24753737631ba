//! `watch`: shows a view of the agent's data once, or hands it to a handler at every change.

use std::process::Stdio;
use std::time::Duration;

use api::{Client, QueryParams, Watch};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::client_flags::{HttpFlags, block_on};
use crate::lock::process;
use crate::output::{self, CommandResult, Failure};
use crate::signal::Stop;

/// Pause after the first failure; each further one adds as much again.
const RETRY: Duration = Duration::from_secs(5);
/// Longest pause between failures.
const RETRY_MAX: Duration = Duration::from_secs(180);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to watch: key, keyprefix, services, nodes, service, checks, event, connect_roots,
    /// connect_leaf or agent_service.
    #[arg(long, default_value = "", value_name = "TYPE")]
    r#type: String,
    /// The key, for key.
    #[arg(long, default_value = "", value_name = "KEY")]
    key: String,
    /// The prefix, for keyprefix.
    #[arg(long, default_value = "", value_name = "PREFIX")]
    prefix: String,
    /// The service: for service, connect_leaf and agent_service (its id); optional for checks.
    #[arg(long, default_value = "", value_name = "NAME")]
    service: String,
    /// Only instances with this tag, for service; repeat to demand more.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only instances whose checks all pass, for service.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    passingonly: Option<bool>,
    /// Only checks in this state, for checks.
    #[arg(long, default_value = "", value_name = "STATE")]
    state: String,
    /// Only events of this name, for event.
    #[arg(long, default_value = "", value_name = "NAME")]
    name: String,
    /// Run the handler by the shell named by SHELL, else /bin/sh; on unless set to false.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    shell: Option<bool>,
    /// The handler, which gets the data as JSON on standard input. Without one the data is shown
    /// once.
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    handler: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

/// One view: which path to ask, and how its answer is shown.
struct View {
    path: String,
    params: QueryParams,
    /// The one entry of a list, `null` when there is none.
    is_single: bool,
    /// Rows that come one after another: a handler gets those that are new to it.
    is_stream: bool,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    let view = view(args)?;
    let client = args.http.client()?;
    block_on(async {
        let mut stop = Stop::new()?;
        tokio::select! {
            result = follow(args, &view, &client) => result,
            () = stop.requested() => Ok(0),
        }
    })
}

fn view(args: &Args) -> Result<View, Failure> {
    let need = |value: &str, flag: &str| match value {
        "" => Err(Failure::new(format!(
            "A {flag} is required to watch {}: give -{flag}",
            args.r#type
        ))),
        value => Ok(value.to_owned()),
    };
    let mut params = QueryParams::default();
    let mut is_single = false;
    let mut is_stream = false;
    let path = match args.r#type.as_str() {
        "" => return Err(Failure::new("Watch type must be specified")),
        "key" => {
            is_single = true;
            format!("/v1/kv/{}", need(&args.key, "key")?)
        }
        "keyprefix" => {
            params = params.with("recurse", "");
            format!("/v1/kv/{}", need(&args.prefix, "prefix")?)
        }
        "services" => "/v1/catalog/services".to_owned(),
        "nodes" => "/v1/catalog/nodes".to_owned(),
        "service" => {
            for tag in &args.tag {
                params = params.with("tag", tag.clone());
            }
            if args.passingonly == Some(true) {
                params = params.with("passing", "1");
            }
            format!("/v1/health/service/{}", need(&args.service, "service")?)
        }
        "checks" => match (args.service.as_str(), args.state.as_str()) {
            ("", "") => "/v1/health/state/any".to_owned(),
            ("", state) => format!("/v1/health/state/{state}"),
            (service, "") => format!("/v1/health/checks/{service}"),
            _ => return Err(Failure::new("Cannot specify service and state")),
        },
        "connect_roots" => "/v1/agent/connect/ca/roots".to_owned(),
        "connect_leaf" => {
            format!("/v1/agent/connect/ca/leaf/{}", need(&args.service, "service")?)
        }
        "agent_service" => format!("/v1/agent/service/{}", need(&args.service, "service")?),
        "event" => {
            is_stream = true;
            if !args.name.is_empty() {
                params = params.with("name", args.name.clone());
            }
            "/v1/event/list".to_owned()
        }
        other => return Err(Failure::new(format!("Unsupported watch type: {other}"))),
    };
    Ok(View { path, params, is_single, is_stream })
}

async fn follow(args: &Args, view: &View, client: &Client) -> CommandResult {
    let mut watch = Watch::default();
    let mut failures: u32 = 0;
    let mut shown = None;
    loop {
        let response = match client.get(&view.path, &watch.next_params(&view.params)).await {
            Ok(response) if response.status == 404 => Ok((response.meta.clone(), Value::Null)),
            Ok(response) => response.ok().and_then(|r| Ok((r.meta.clone(), r.json::<Value>()?))),
            Err(error) => Err(error),
        };
        let (meta, value) = match response {
            Ok(answer) => answer,
            Err(error) => {
                failures = failures.saturating_add(1);
                let pause = RETRY.saturating_mul(failures).min(RETRY_MAX);
                output::note(&format!(
                    "Watch (type: {}) errored: {error}, retry in {pause:?}",
                    args.r#type
                ));
                // The view may have changed unseen while the agent could not be reached.
                watch.reset();
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        failures = 0;
        let value = match value {
            Value::Array(rows) if view.is_single => rows.into_iter().next().unwrap_or(Value::Null),
            value => value,
        };
        // A wake-up is not always a change of what is shown.
        let is_news = watch.observe(&meta) && shown.as_ref() != Some(&value);
        if !is_news {
            continue;
        }
        if args.handler.is_empty() {
            output::line(&output::json(&value, "    ")?);
            return Ok(0);
        }
        let index = if meta.hash.is_empty() { meta.index.to_string() } else { meta.hash };
        let news = match (view.is_stream, &shown) {
            (true, Some(shown)) => rows_after(&value, shown),
            _ => value.clone(),
        };
        if let Err(message) = handle(args, &news, &index).await {
            output::note(&format!("Error executing handler: {message}"));
        }
        shown = Some(value);
    }
}

/// The rows of `now` behind the last one of `before`; all of them when that is gone.
fn rows_after(now: &Value, before: &Value) -> Value {
    let (Some(rows), Some(last)) = (now.as_array(), before.as_array().and_then(|rows| rows.last()))
    else {
        return now.clone();
    };
    let known = rows.iter().rposition(|row| row == last).map_or(0, |at| at + 1);
    Value::Array(rows[known..].to_vec())
}

async fn handle(args: &Args, value: &Value, index: &str) -> Result<(), String> {
    let mut process = process(&args.handler, args.shell.unwrap_or(true));
    process.env("CONSUL_INDEX", index).env("LICTOR_INDEX", index);
    process.stdin(Stdio::piped()).kill_on_drop(true);
    let mut child = process.spawn().map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A handler need not read what it is given.
        let _ = input.write_all(format!("{value}\n").as_bytes()).await;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn handlers_get_the_rows_that_are_new() {
        let check = |before: Value, now: Value, want: Value| {
            assert_eq!(rows_after(&now, &before), want);
        };
        check(json!([1, 2]), json!([1, 2, 3, 4]), json!([3, 4]));
        check(json!([1, 2]), json!([2, 3]), json!([3]));
        check(json!([1]), json!([5, 6]), json!([5, 6]));
        check(json!([]), json!([1]), json!([1]));
    }
}
