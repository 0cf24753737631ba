//! Keys and values: `KVS.*`.

use model::command::{Command, Outcome};
use model::kv::{DirEntry, KvOp, KvRequest};
use model::query::{Query, Reply, Token};
use serde::{Deserialize, Serialize};

use crate::failure::Fault;
use crate::remote::{Ask, Asked, Written};
use crate::service::{Call, Handled, encode};

/// A change, its operation still a word.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Change {
    op: String,
    #[serde(rename = "DirEnt")]
    entry: DirEntry,
}

/// One key; for `KVS.List` the beginning of keys.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Key {
    key: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Prefix {
    prefix: String,
    /// Spelled as it travels.
    seperator: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entries {
    entries: Vec<std::sync::Arc<DirEntry>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Keys {
    keys: Vec<String>,
}

const OPERATIONS: [(&str, KvOp); 7] = [
    ("set", KvOp::Set),
    ("delete", KvOp::Delete),
    ("delete-cas", KvOp::DeleteCas),
    ("delete-tree", KvOp::DeleteTree),
    ("cas", KvOp::Cas),
    ("lock", KvOp::Lock),
    ("unlock", KvOp::Unlock),
];

pub(crate) async fn apply(call: Call<'_>) -> Handled {
    let Change { op, entry } = call.read()?;
    if entry.key.is_empty() && op != "delete-tree" {
        return Err(Fault::new("Must provide key"));
    }
    let Some((_, op)) = OPERATIONS.into_iter().find(|(word, _)| *word == op) else {
        return Err(Fault::new(format!("Invalid KVS operation '{op}'")));
    };
    match call.run(Command::Kv(KvRequest { op, entry })).await? {
        // Only conditional operations tell how they went; of the others true would be news.
        Outcome::Applied(applied) if is_conditional(op) => encode(&applied),
        _ => encode(&false),
    }
}

fn is_conditional(op: KvOp) -> bool {
    match op {
        KvOp::DeleteCas | KvOp::Cas | KvOp::Lock | KvOp::Unlock => true,
        KvOp::Set | KvOp::Delete | KvOp::DeleteTree => false,
    }
}

pub(crate) async fn get(call: Call<'_>) -> Handled {
    let Key { key } = call.read()?;
    call.answer(Query::KvGet { key }).await
}

pub(crate) async fn list(call: Call<'_>) -> Handled {
    let Key { key: prefix } = call.read()?;
    call.answer(Query::KvList { prefix }).await
}

pub(crate) async fn list_keys(call: Call<'_>) -> Handled {
    let Prefix { prefix, seperator } = call.read()?;
    call.answer(Query::KvKeys { prefix, separator: seperator }).await
}

pub(crate) async fn ask_get(ask: &Ask<'_>, key: String) -> Asked {
    let (meta, Entries { entries }) = ask.rows("KVS.Get", &Key { key }).await?;
    Ok((meta, Reply::KvEntries(entries)))
}

pub(crate) async fn ask_list(ask: &Ask<'_>, prefix: String) -> Asked {
    let (meta, Entries { entries }) = ask.rows("KVS.List", &Key { key: prefix }).await?;
    Ok((meta, Reply::KvEntries(entries)))
}

pub(crate) async fn ask_keys(ask: &Ask<'_>, prefix: String, seperator: String) -> Asked {
    let asked = Prefix { prefix, seperator };
    let (meta, Keys { keys }) = ask.rows("KVS.ListKeys", &asked).await?;
    Ok((meta, Reply::KvKeys(keys)))
}

pub(crate) async fn send(
    remote: &crate::Remote,
    request: KvRequest,
    token: &Token,
) -> Written<Outcome> {
    let KvRequest { op, entry } = request;
    let (word, _) =
        OPERATIONS.into_iter().find(|(_, known)| *known == op).expect("all operations are listed");
    let change = Change { op: word.to_owned(), entry };
    let applied: bool = remote.write("KVS.Apply", &change, token).await?;
    match is_conditional(op) {
        true => Ok(Outcome::Applied(applied)),
        false => Ok(Outcome::Done),
    }
}
