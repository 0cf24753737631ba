//! `kv delete`: one key, or all under a prefix.

use super::key_argument;
use crate::client_flags::{HttpFlags, NamespaceFlag, block_on};
use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Delete only if the entry still has the index given by -modify-index.
    #[arg(long)]
    cas: bool,
    /// Index for -cas.
    #[arg(long, value_name = "INDEX")]
    modify_index: Option<u64>,
    /// Delete every key that begins with the prefix.
    #[arg(long)]
    recurse: bool,
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
    if key.is_none() && !args.recurse {
        return Err(Failure::new("Error! Missing KEY argument"));
    }
    let key = key.unwrap_or_default();
    // An index of 0 stands for "no such key", which there is no sense in deleting.
    let cas = match (args.cas, args.modify_index.filter(|index| *index > 0)) {
        (true, None) => return Err(Failure::new("Must specify -modify-index with -cas!")),
        (false, Some(_)) => {
            return Err(Failure::new("Cannot specify -modify-index without -cas!"));
        }
        (true, Some(_)) if args.recurse => {
            return Err(Failure::new("Cannot specify both -cas and -recurse!"));
        }
        (_, index) => index,
    };
    let client = args.http.client_in(&args.namespace)?;
    block_on(async {
        let failed = |error| Failure::new(format!("Error! Did not delete {key}: {error}"));
        if args.recurse {
            client.kv_delete_tree(&key).await.map_err(failed)?;
            output::line(&format!("Success! Deleted keys with prefix: {key}"));
            return Ok(0);
        }
        if !client.kv_delete(&key, cas).await.map_err(failed)? {
            return Err(Failure::new(format!("Error! Did not delete key {key}: CAS failed")));
        }
        output::line(&format!("Success! Deleted key: {key}"));
        Ok(0)
    })
}
