//! Sessions: ids, the bounds of time to live and lock delay.

use model::command::Command;
use model::duration::GoDuration;
use model::error::Error;
use model::session::{Session, SessionRequest};

use crate::Rules;
use crate::judge::{Context, Judged, new_uuid};

/// What Consul answers to a session id that is no UUID.
pub(super) const BAD_ID: &str = "failed session lookup: index error: UUID must be 36 characters";

pub(super) fn judge(request: SessionRequest, context: &mut Context<'_>) -> Result<Judged, Error> {
    match request {
        SessionRequest::Create(session) => create(session, context),
        SessionRequest::Destroy(id) if id.is_empty() => Err(Error::invalid("Must provide ID")),
        SessionRequest::Destroy(id) if id.len() != 36 => Err(Error::invalid(BAD_ID)),
        destroy @ SessionRequest::Destroy(_) => Ok(Judged::Propose(Command::Session(destroy))),
    }
}

fn create(mut session: Session, context: &mut Context<'_>) -> Result<Judged, Error> {
    if session.node.is_empty() {
        return Err(Error::invalid("Must provide Node"));
    }
    check_ttl(&session.ttl, context.rules.session_ttl_min)?;
    // A taken id is improbable; looking costs nothing.
    session.id = loop {
        let id = new_uuid(context.rng);
        if context.state.session(&id).is_none() {
            break id;
        }
    };
    (session.create_index, session.modify_index) = (0, 0);
    Ok(Judged::Propose(Command::Session(SessionRequest::Create(session))))
}

fn check_ttl(text: &str, min: GoDuration) -> Result<(), Error> {
    if text.is_empty() {
        return Ok(());
    }
    let ttl: GoDuration =
        text.parse().map_err(|e| Error::invalid(format!("Session TTL '{text}' invalid: {e}")))?;
    let max = Rules::SESSION_TTL_MAX;
    if ttl.is_zero() || (min..=max).contains(&ttl) {
        return Ok(());
    }
    Err(Error::invalid(format!("Invalid Session TTL '{}', must be between [{min}={max}]", ttl.0)))
}

/// The id of the session `command` creates, if that is what it does.
pub(crate) fn created_id(command: &Command) -> Option<String> {
    match command {
        Command::Session(SessionRequest::Create(session)) => Some(session.id.clone()),
        _ => None,
    }
}
