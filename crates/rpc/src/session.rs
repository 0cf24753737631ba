//! Sessions: `Session.*`.

use std::sync::Arc;

use model::command::{Command, Outcome};
use model::id::uuid_key;
use model::query::{Query, QueryMeta, Reply, Token};
use model::session::{Session, SessionRequest};
use serde::{Deserialize, Serialize};

use crate::failure::Fault;
use crate::remote::{Ask, Asked, Written};
use crate::service::{Call, Handled, encode, with_meta};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Change {
    op: String,
    session: Session,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Named {
    #[serde(rename = "SessionID")]
    session_id: String,
    /// What agents before 1.7 put the id into.
    session: String,
}

impl Named {
    fn new(session_id: String) -> Self {
        Self { session: session_id.clone(), session_id }
    }

    fn id(self) -> Result<String, Fault> {
        let id = if self.session_id.is_empty() { self.session } else { self.session_id };
        match uuid_key(&id) {
            Ok(_) => Ok(id),
            Err(error) => Err(Fault::new(format!("failed session lookup: index error: {error}"))),
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OfNode {
    node: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Sessions {
    sessions: Vec<Arc<Session>>,
}

/// `nil` when there is none, as agents are used to.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Renewed {
    sessions: Option<[Arc<Session>; 1]>,
}

pub(crate) async fn apply(call: Call<'_>) -> Handled {
    let Change { op, session } = call.read()?;
    let request = match op.as_str() {
        "create" => SessionRequest::Create(session),
        "destroy" => SessionRequest::Destroy(session.id),
        other => return Err(Fault::new(format!("Invalid Session operation '{other}'"))),
    };
    match call.run(Command::Session(request)).await? {
        Outcome::Created(id) => encode(&id),
        _ => encode(""),
    }
}

pub(crate) async fn get(call: Call<'_>) -> Handled {
    let id = call.read::<Named>()?.id()?;
    call.answer(Query::Session { id }).await
}

pub(crate) async fn list(call: Call<'_>) -> Handled {
    call.answer(Query::Sessions).await
}

pub(crate) async fn of_node(call: Call<'_>) -> Handled {
    let OfNode { node } = call.read()?;
    call.answer(Query::NodeSessions { node }).await
}

pub(crate) async fn renew(call: Call<'_>) -> Handled {
    let id = call.read::<Named>()?.id()?;
    let token = call.token()?;
    let session = call.service.cluster.renew_session(id, token).await?;
    let status = call.service.cluster.status();
    let meta = QueryMeta { index: status.applied_index.max(1), ..QueryMeta::default() };
    with_meta(&Renewed { sessions: session.map(|session| [session]) }, &meta)
}

async fn ask(ask: &Ask<'_>, method: &'static str, args: &impl Serialize) -> Asked {
    let (meta, Sessions { sessions }) = ask.rows(method, args).await?;
    Ok((meta, Reply::Sessions(sessions)))
}

pub(crate) async fn ask_get(asking: &Ask<'_>, id: String) -> Asked {
    ask(asking, "Session.Get", &Named::new(id)).await
}

pub(crate) async fn ask_list(asking: &Ask<'_>) -> Asked {
    ask(asking, "Session.List", &crate::wire::Empty {}).await
}

pub(crate) async fn ask_node(asking: &Ask<'_>, node: String) -> Asked {
    ask(asking, "Session.NodeSessions", &OfNode { node }).await
}

pub(crate) async fn send(
    remote: &crate::Remote,
    request: SessionRequest,
    token: &Token,
) -> Written<Outcome> {
    let (op, session) = match request {
        SessionRequest::Create(session) => ("create", session),
        SessionRequest::Destroy(id) => ("destroy", Session { id, ..Session::default() }),
    };
    let change = Change { op: op.to_owned(), session };
    let id: String = remote.write("Session.Apply", &change, token).await?;
    match op {
        "create" => Ok(Outcome::Created(id)),
        _ => Ok(Outcome::Done),
    }
}

pub(crate) async fn send_renew(
    remote: &crate::Remote,
    id: String,
    token: &Token,
) -> Written<Option<Arc<Session>>> {
    let found: Sessions = remote.write("Session.Renew", &Named::new(id), token).await?;
    Ok(found.sessions.into_iter().next())
}
