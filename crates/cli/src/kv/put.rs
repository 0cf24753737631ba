//! `kv put`: a value, unconditionally, by compare-and-set, or with a lock.

use api::kv::{KvCondition, KvPut};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::client_flags::{HttpFlags, NamespaceFlag, block_on};
use crate::data;
use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Take the lock on the key for the session given by -session.
    #[arg(long)]
    acquire: bool,
    /// Give up the lock that the session given by -session holds.
    #[arg(long)]
    release: bool,
    /// The session that takes or gives up the lock.
    #[arg(long, default_value = "", value_name = "ID")]
    session: String,
    /// The data is base64 of what to store.
    #[arg(long)]
    base64: bool,
    /// Store only if the entry still has the index given by -modify-index.
    #[arg(long)]
    cas: bool,
    /// Index for -cas; 0 stores only if there is no such key.
    #[arg(long, value_name = "INDEX")]
    modify_index: Option<u64>,
    /// A number to keep with the value, for your own use.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    flags: u64,
    /// The key, and the data: text, @file, or - for standard input.
    #[arg(value_name = "KEY [DATA]")]
    arguments: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(args: Args) -> CommandResult {
    let (key, argument) = match &args.arguments[..] {
        [] => return Err(Failure::new("Error! Missing KEY argument")),
        [key] => (key.clone(), ""),
        [key, data] => (key.clone(), data.as_str()),
        more => {
            let count = more.len();
            let message = format!("Error! Too many arguments (expected 1 or 2, got {count})");
            return Err(Failure::new(message));
        }
    };
    if key.starts_with('/') {
        return Err(Failure::new(format!(
            "Error! Failed writing data: Invalid key. Key must not begin with a '/': {key}"
        )));
    }
    let condition = condition(&args)?;
    let mut value = data::load(argument)?;
    if args.base64 {
        value = STANDARD
            .decode(value.trim_ascii())
            .map_err(|error| Failure::new(format!("Error! Cannot base 64 decode data: {error}")))?;
    }
    let client = args.http.client_in(&args.namespace)?;
    let put = KvPut {
        key: key.clone(),
        value: value.into(),
        flags: args.flags,
        condition: condition.clone(),
    };
    let stored = block_on(async {
        client
            .kv_put(put)
            .await
            .map_err(|error| Failure::new(format!("Error! Failed writing data: {error}")))
    })?;
    let (done, refused) = match condition {
        KvCondition::Always | KvCondition::Cas(_) => (
            format!("Success! Data written to: {key}"),
            format!("Error! Did not write to {key}: CAS failed"),
        ),
        KvCondition::Acquire(_) => {
            (format!("Success! Lock acquired on: {key}"), "Error! Did not acquire lock".to_owned())
        }
        KvCondition::Release(_) => {
            (format!("Success! Lock released on: {key}"), "Error! Did not release lock".to_owned())
        }
    };
    if !stored {
        return Err(Failure::new(refused));
    }
    output::line(&done);
    Ok(0)
}

fn condition(args: &Args) -> Result<KvCondition, Failure> {
    if (args.acquire || args.release) && args.session.is_empty() {
        return Err(Failure::new("Error! Missing -session (required with -acquire and -release)"));
    }
    match (args.cas, args.acquire, args.release, args.modify_index) {
        (true, _, _, None) => Err(Failure::new("Must specify -modify-index with -cas!")),
        (true, _, _, Some(index)) => Ok(KvCondition::Cas(index)),
        (false, true, _, _) => Ok(KvCondition::Acquire(args.session.clone())),
        (false, false, true, _) => Ok(KvCondition::Release(args.session.clone())),
        (false, false, false, _) => Ok(KvCondition::Always),
    }
}
