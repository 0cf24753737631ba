//! Asking the agent about one connection, where only it knows the default policy.
//!
//! Answers are never kept: the next connection asks again. Whatever goes wrong is a refusal.

use std::time::Duration;

use pki::mesh::Peer;
use tokio::sync::{mpsc, oneshot};

/// May this client come in?
#[derive(Debug)]
pub struct Question {
    pub client_uri: String,
    pub client_serial: String,
    pub reply: oneshot::Sender<Ask>,
}

/// What the agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub is_allowed: bool,
    pub reason: String,
}

impl Ask {
    fn refused(reason: &str) -> Self {
        Self { is_allowed: false, reason: reason.into() }
    }
}

pub(crate) async fn ask(
    questions: Option<&mpsc::Sender<Question>>,
    client: &Peer,
    timeout: Duration,
) -> Ask {
    let Some(questions) = questions else {
        return Ask::refused("no intention matches and there is no agent to ask");
    };
    let (reply, answer) = oneshot::channel();
    let question = Question {
        client_uri: client.id.to_string(),
        client_serial: client.serial_number.clone(),
        reply,
    };
    // A full channel means that the agent does not keep up; waiting would only add to what it has to do.
    if questions.try_send(question).is_err() {
        return Ask::refused("no intention matches and the agent is asked too much already");
    }
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => Ask::refused("no intention matches and the agent does not answer"),
    }
}
