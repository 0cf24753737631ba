//! `kv get`: a value, or entries and keys under a prefix.

use api::QueryParams;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::kv::DirEntry;

use super::key_argument;
use crate::client_flags::{HttpFlags, NamespaceFlag, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show values in base64.
    #[arg(long)]
    base64: bool,
    /// Show flags, indexes and the lock beside the value.
    #[arg(long)]
    detailed: bool,
    /// List keys under the prefix, without their values.
    #[arg(long)]
    keys: bool,
    /// List all entries under the prefix.
    #[arg(long)]
    recurse: bool,
    /// With -keys, show keys up to the first of these after the prefix only; empty shows all.
    #[arg(long, default_value = "/", value_name = "TEXT")]
    separator: String,
    /// The key or prefix.
    #[arg(value_name = "KEY_OR_PREFIX")]
    arguments: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(args: Args) -> CommandResult {
    let key = key_argument(&args.arguments)?;
    if key.is_none() && !args.keys && !args.recurse {
        return Err(Failure::new("Error! Missing KEY argument"));
    }
    let key = key.unwrap_or_default();
    let client = args.http.client_in(&args.namespace)?;
    let params = QueryParams::default();
    block_on(async {
        let failed = || Failure::during("querying agent");
        if args.keys {
            let keys =
                client.kv_keys(&key, &args.separator, &params).await.map_err(failed())?.value;
            keys.iter().for_each(|key| output::line(key));
            return Ok(0);
        }
        if args.recurse {
            let entries = client.kv_list(&key, &params).await.map_err(failed())?.value;
            list(&entries, &args);
            return Ok(0);
        }
        match client.kv_get(&key, &params).await.map_err(failed())?.value {
            None => Err(Failure::new(format!("Error! No key exists at: {key}"))),
            Some(entry) => {
                show(&entry, &args);
                Ok(0)
            }
        }
    })
}

fn list(entries: &[DirEntry], args: &Args) {
    for (at, entry) in entries.iter().enumerate() {
        if !args.detailed {
            let value = value(entry, args);
            output::raw(&[entry.key.as_bytes(), b":", &value, b"\n"].concat());
            continue;
        }
        if at > 0 {
            output::line("");
        }
        show(entry, args);
    }
}

fn show(entry: &DirEntry, args: &Args) {
    let value = value(entry, args);
    if !args.detailed {
        output::raw(&[&value[..], b"\n"].concat());
        return;
    }
    let session = if entry.session.is_empty() { "-" } else { &entry.session };
    let mut shown = output::pairs(&[
        ("CreateIndex", entry.create_index.to_string()),
        ("Flags", entry.flags.to_string()),
        ("Key", entry.key.clone()),
        ("LockIndex", entry.lock_index.to_string()),
        ("ModifyIndex", entry.modify_index.to_string()),
        ("Session", session.to_owned()),
        ("Value", String::new()),
    ])
    .into_bytes();
    // The value may be binary, so it is not part of the text above.
    if !value.is_empty() {
        shown.extend_from_slice(b"            ");
        shown.extend_from_slice(&value);
    }
    shown.push(b'\n');
    output::raw(&shown);
}

fn value(entry: &DirEntry, args: &Args) -> Vec<u8> {
    if args.base64 { STANDARD.encode(&entry.value).into_bytes() } else { entry.value.clone() }
}
