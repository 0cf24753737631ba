//! What servers ask of one another.

use model::ca::CaConfiguration;
use model::command::{Command, Outcome};
use model::error::Error;
use model::operator::{OperatorReply, OperatorRequest};
use model::session::Session;
use serde::{Deserialize, Serialize};

/// Asked of the leader, but for the last two. Whoever is asked answers itself and passes nothing
/// on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Command(Box<Command>),
    RenewSession(String),
    /// From which log index on is a read good?
    Confirm {
        by_lease: bool,
    },
    Operate(OperatorRequest),
    ConfigureCa(Box<CaConfiguration>),
    /// Join the cluster that this server is about to found, and no other.
    Promise {
        founder: u64,
        expect: u32,
        round: u64,
    },
    /// It is not going to, for now.
    Release {
        founder: u64,
        round: u64,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Outcome(Outcome),
    Renewed(Option<Box<Session>>),
    Confirmed { index: u64 },
    Operated(OperatorReply),
    Done,
}

pub(crate) type Result = std::result::Result<Answer, Error>;
