//! `kv export` and `kv import`: trees of entries as JSON, in the format Consul's commands share.

use api::QueryParams;
use api::kv::{KvCondition, KvPut};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::key_argument;
use crate::client_flags::{HttpFlags, NamespaceFlag, block_on};
use crate::data;
use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// The prefix; everything when left out.
    #[arg(value_name = "KEY_OR_PREFIX")]
    arguments: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// The JSON of an export: text, @file, or - for standard input.
    #[arg(value_name = "DATA")]
    arguments: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    http: HttpFlags,
}

/// One entry of an export. The value is base64.
#[derive(Deserialize, Serialize)]
struct Exported {
    #[serde(alias = "Key")]
    key: String,
    #[serde(alias = "Flags", default)]
    flags: u64,
    #[serde(alias = "Value", default)]
    value: String,
}

pub(crate) fn export(args: &ExportArgs) -> CommandResult {
    let prefix = key_argument(&args.arguments)?.unwrap_or_default();
    let client = args.http.client_in(&args.namespace)?;
    let entries = block_on(async {
        let list = client.kv_list(&prefix, &QueryParams::default()).await;
        Ok(list.map_err(Failure::during("querying agent"))?.value)
    })?;
    let exported: Vec<Exported> = entries
        .into_iter()
        .map(|entry| Exported {
            key: entry.key,
            flags: entry.flags,
            value: STANDARD.encode(entry.value),
        })
        .collect();
    output::line(&output::json(&exported, "\t")?);
    Ok(0)
}

pub(crate) fn import(args: &ImportArgs) -> CommandResult {
    let argument = match &args.arguments[..] {
        [] => return Err(Failure::new("Error! Missing DATA argument")),
        [argument] => argument,
        more => {
            let count = more.len();
            let message = format!("Error! Too many arguments (expected 1, got {count})");
            return Err(Failure::new(message));
        }
    };
    let data = data::load(argument)?;
    let exported: Vec<Exported> = serde_json::from_slice(&data)
        .map_err(|error| Failure::new(format!("Cannot unmarshal data: {error}")))?;
    // Every value is read before the first is stored, so that bad data changes nothing.
    let mut puts = Vec::with_capacity(exported.len());
    for Exported { key, flags, value } in exported {
        let value = STANDARD.decode(value).map_err(|error| {
            Failure::new(format!("Error! Cannot base 64 decode the value of {key}: {error}"))
        })?;
        puts.push(KvPut { key, value: value.into(), flags, condition: KvCondition::Always });
    }
    let client = args.http.client_in(&args.namespace)?;
    block_on(async {
        for put in puts {
            let key = put.key.clone();
            client.kv_put(put).await.map_err(|error| {
                Failure::new(format!("Error! Failed writing data for key {key}: {error}"))
            })?;
            output::line(&format!("Imported: {key}"));
        }
        Ok(0)
    })
}
