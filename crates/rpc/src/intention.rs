//! Who may connect to whom: `Intention.*`.

use std::sync::Arc;

use model::command::{Command, Outcome};
use model::id::uuid_key;
use model::intention::{
    DEFAULT_NAMESPACE, Intention, IntentionAction, IntentionRequest, MatchSide, WILDCARD,
};
use model::query::{Query, Reply, Token};
use serde::{Deserialize, Serialize};

use crate::failure::Fault;
use crate::remote::{Ask, Asked, Written};
use crate::service::{Call, Handled, encode, respond};

const NOT_FOUND: &str = "Intention not found";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Change {
    op: String,
    intention: Intention,
}

/// The word that must be one of two, before it became one of them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Named {
    intention: NamedAction,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NamedAction {
    action: String,
    source_name: String,
    destination_name: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Asking {
    #[serde(rename = "IntentionID")]
    intention_id: String,
    r#match: Option<Match>,
    check: Option<Check>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Match {
    r#type: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    namespace: String,
    name: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    source_name: String,
    destination_name: String,
    source_type: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Checked {
    allowed: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Intentions {
    intentions: Vec<Arc<Intention>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Matches {
    matches: Vec<Vec<Arc<Intention>>>,
}

pub(crate) async fn apply(call: Call<'_>) -> Handled {
    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Operation {
        op: String,
    }
    let Operation { op } = call.read()?;
    match op.as_str() {
        "create" | "update" => {}
        "delete" => {
            #[derive(Debug, Default, Deserialize)]
            #[serde(rename_all = "PascalCase", default)]
            struct Deleted {
                intention: Identified,
            }
            #[derive(Debug, Default, Deserialize)]
            #[serde(default)]
            struct Identified {
                #[serde(rename = "ID")]
                id: String,
            }
            let Deleted { intention: Identified { id } } = call.read()?;
            call.run(Command::Intention(IntentionRequest::Delete(id.clone()))).await?;
            return encode(&id);
        }
        other => return Err(Fault::new(format!("Invalid Intention operation: {other}"))),
    }
    check_action(&call.read::<Named>()?.intention)?;
    let Change { intention, .. } = call.read()?;
    if op == "create" && !intention.id.is_empty() {
        return Err(Fault::new("ID must be empty when creating a new intention"));
    }
    if op == "update"
        && let Err(error) = uuid_key(&intention.id)
    {
        let text = format!("failed intention lookup: index error: {error}");
        return Err(Fault::new(format!("Intention lookup failed: {text}")));
    }
    let known = intention.id.clone();
    let upsert = IntentionRequest::Upsert(Box::new(intention));
    match call.run(Command::Intention(upsert)).await? {
        Outcome::Created(id) => encode(&id),
        _ => encode(&known),
    }
}

fn check_action(named: &NamedAction) -> Result<(), Fault> {
    if ["allow", "deny"].contains(&named.action.as_str()) {
        return Ok(());
    }
    let mut wrong = Vec::new();
    if named.source_name.is_empty() {
        wrong.push("SourceName must be set");
    }
    if named.destination_name.is_empty() {
        wrong.push("DestinationName must be set");
    }
    wrong.push("Action must be set to 'allow' or 'deny'");
    let head = match wrong.len() {
        1 => "1 error occurred:".to_owned(),
        count => format!("{count} errors occurred:"),
    };
    let lines: String = wrong.iter().map(|text| format!("\n\t* {text}")).collect();
    Err(Fault::new(format!("{head}{lines}\n\n")))
}

pub(crate) async fn get(call: Call<'_>) -> Handled {
    let Asking { intention_id: id, .. } = call.read()?;
    if let Err(error) = uuid_key(&id) {
        return Err(Fault::new(format!("failed intention lookup: index error: {error}")));
    }
    let answer = call.ask(Query::Intention { id }).await?;
    match &answer.body.reply {
        Reply::Intentions(rows) if rows.is_empty() => Err(Fault::new(NOT_FOUND)),
        _ => respond(&answer),
    }
}

pub(crate) async fn list(call: Call<'_>) -> Handled {
    call.answer(Query::Intentions).await
}

pub(crate) async fn matches(call: Call<'_>) -> Handled {
    let Asking { r#match: Some(Match { r#type, entries }), .. } = call.read()? else {
        return Err(Fault::new("Match must be specified on args"));
    };
    let side = match r#type.as_str() {
        "source" => MatchSide::Source,
        "destination" => MatchSide::Destination,
        other => return Err(Fault::new(format!("invalid intention match type: {other}"))),
    };
    let names = entries.into_iter().map(|entry| entry.name).collect();
    call.answer(Query::IntentionMatch { side, names }).await
}

/// Whether a connection would be allowed. What no intention speaks of is, without access rules.
pub(crate) async fn check(call: Call<'_>) -> Handled {
    let Asking { check: Some(check), .. } = call.read()? else {
        return Err(Fault::new("Check must be specified on args"));
    };
    if !["", "consul"].contains(&check.source_type.as_str()) {
        return Err(Fault::new(format!("unsupported SourceType: {:?}", check.source_type)));
    }
    let names = vec![check.destination_name];
    let answer = call.ask(Query::IntentionMatch { side: MatchSide::Destination, names }).await?;
    let Reply::IntentionMatches(lists) = &answer.body.reply else {
        return Err(Fault::new("intentions were answered with something else"));
    };
    // Most specific first: the first that is about the source decides.
    let deciding = lists.iter().flatten().find(|intention| {
        intention.source_name == check.source_name || intention.source_name == WILDCARD
    });
    let allowed = deciding.is_none_or(|found| found.action == IntentionAction::Allow);
    encode(&Checked { allowed })
}

pub(crate) async fn ask_list(ask: &Ask<'_>) -> Asked {
    let (meta, Intentions { intentions }) =
        ask.rows("Intention.List", &crate::wire::Empty {}).await?;
    Ok((meta, Reply::Intentions(intentions)))
}

pub(crate) async fn ask_get(ask: &Ask<'_>, intention_id: String) -> Asked {
    let asked = Asking { intention_id, ..Asking::default() };
    match ask.rows::<Intentions>("Intention.Get", &asked).await {
        Ok((meta, found)) => Ok((meta, Reply::Intentions(found.intentions))),
        // An error to agents; to us an answer without rows.
        Err(error) if error.message.contains(NOT_FOUND) => {
            Ok((ask.meta_of_nothing(), Reply::Intentions(Vec::new())))
        }
        Err(error) => Err(error),
    }
}

/// Servers of 1.8 find no intention by its names, so it is looked for in all of them.
pub(crate) async fn ask_exact(ask: &Ask<'_>, source: &str, destination: &str) -> Asked {
    let (meta, Intentions { mut intentions }) =
        ask.rows("Intention.List", &crate::wire::Empty {}).await?;
    intentions.retain(|row| row.source_name == source && row.destination_name == destination);
    Ok((meta, Reply::Intentions(intentions)))
}

pub(crate) async fn ask_match(ask: &Ask<'_>, side: MatchSide, names: Vec<String>) -> Asked {
    let r#type = match side {
        MatchSide::Source => "source",
        MatchSide::Destination => "destination",
    };
    let entry = |name| Entry { namespace: DEFAULT_NAMESPACE.to_owned(), name };
    let entries = names.into_iter().map(entry).collect();
    let r#match = Some(Match { r#type: r#type.to_owned(), entries });
    let asked = Asking { r#match, ..Asking::default() };
    let (meta, Matches { matches }) = ask.rows("Intention.Match", &asked).await?;
    Ok((meta, Reply::IntentionMatches(matches)))
}

pub(crate) async fn send(
    remote: &crate::Remote,
    request: IntentionRequest,
    token: &Token,
) -> Written<Outcome> {
    let (op, intention) = match request {
        IntentionRequest::Upsert(mut intention) => {
            let default = |field: &mut String, value: &str| {
                if field.is_empty() {
                    value.clone_into(field);
                }
            };
            default(&mut intention.source_namespace, DEFAULT_NAMESPACE);
            default(&mut intention.destination_namespace, DEFAULT_NAMESPACE);
            default(&mut intention.source_type, "consul");
            (if intention.id.is_empty() { "create" } else { "update" }, *intention)
        }
        IntentionRequest::Delete(id) => ("delete", Intention { id, ..Intention::default() }),
    };
    // Go tells a map that is not there from an empty one; agents always send one.
    let change = Change { op: op.to_owned(), intention };
    let id: String = remote.write("Intention.Apply", &change, token).await?;
    match op {
        "delete" => Ok(Outcome::Done),
        _ => Ok(Outcome::Created(id)),
    }
}
