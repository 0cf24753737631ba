//! What is decided before a command enters the log: validity, defaults, ids, dates, and rules
//! that need the leader's clock. Applying then follows from command and index alone.
//!
//! Error texts are those of Consul 1.8.7, which its clients and tests know.

mod catalog;
mod config_entry;
mod coordinate;
mod intention;
mod kv;
pub(crate) mod session;

use std::time::Duration;

use model::check::CheckStatus;
use model::command::{Command, Outcome};
use model::duration::GoDuration;
use model::error::Error;
use model::kv::KvOp;
use model::session::SessionRequest;
use model::{kv as kv_model, session as session_model};
use rand::RngCore;
use state::State;

use crate::Now;

pub use kv::LockDelays;

/// Limits and clocks an operator may set.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Shortest time to live of a session.
    pub session_ttl_min: GoDuration,
    /// Longest value of a key. Unit: bytes.
    pub kv_value_bytes_max: usize,
    /// How long deletions are remembered, for those who wait on an older index.
    pub tombstone_ttl: Duration,
    pub tombstone_granularity: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            session_ttl_min: GoDuration::from_secs(10),
            kv_value_bytes_max: kv_model::VALUE_BYTES_MAX,
            tombstone_ttl: Duration::from_secs(15 * 60),
            tombstone_granularity: Duration::from_secs(30),
        }
    }
}

impl Rules {
    /// Longest time to live of a session.
    pub const SESSION_TTL_MAX: GoDuration = session_model::TTL_MAX;
}

/// What a command is judged against.
pub struct Context<'a> {
    pub state: &'a State,
    pub datacenter: &'a str,
    pub rules: &'a Rules,
    pub lock_delays: &'a LockDelays,
    pub now: Now,
    /// For ids.
    pub rng: &'a mut dyn RngCore,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Judged {
    /// Enter this into the log: the command with everything filled in.
    Propose(Command),
    /// Nothing needs to change; this is the answer.
    Answer(Outcome),
}

/// Decides about `command` against the state as it is.
///
/// Errors: `Invalid` for a command that can never succeed as it is; `NotFound` for one about
/// something that is not there.
pub fn judge(command: Command, context: &mut Context<'_>) -> Result<Judged, Error> {
    match command {
        Command::Register(request) => catalog::register(*request, context),
        Command::Deregister(request) => catalog::deregister(request, context),
        Command::Kv(request) => kv::judge(request, context),
        Command::Session(request) => session::judge(request, context),
        Command::Intention(request) => intention::judge(request, context),
        Command::ConfigEntry(request) => config_entry::judge(request),
        Command::Coordinates(updates) => Ok(coordinate::judge(updates)),
        Command::Autopilot(_) => Ok(Judged::Propose(command)),
        // Made by this server's own duties and certificate authority.
        command @ (Command::Ca(_) | Command::ReapTombstones(_) | Command::Restore(_)) => {
            Ok(Judged::Propose(command))
        }
    }
}

/// Whether the delay of a lost lock matters to `command`.
pub(crate) fn is_lock(command: &Command) -> bool {
    matches!(command, Command::Kv(request) if request.op == KvOp::Lock)
}

/// Whether applying `command` may end sessions, and so begin lock delays.
pub(crate) fn may_end_session(command: &Command) -> bool {
    match command {
        Command::Session(SessionRequest::Destroy(_)) | Command::Deregister(_) => true,
        Command::Register(request) => {
            request.checks.iter().any(|check| check.status == CheckStatus::Critical)
        }
        _ => false,
    }
}

/// A random UUID, version 4.
fn new_uuid(rng: &mut dyn RngCore) -> String {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

/// Why `text` is not a UUID, in the words of Consul's parser.
fn uuid_fault(text: &str) -> Option<&'static str> {
    if text.len() != 36 {
        return Some("uuid string is wrong length");
    }
    let is_form = text.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    (!is_form).then_some("uuid is improperly formatted")
}

/// Several faults as one text, in the form Consul's clients see.
fn all_faults(faults: Vec<String>) -> Result<(), Error> {
    let count = match faults.len() {
        0 => return Ok(()),
        1 => "1 error occurred".to_owned(),
        count => format!("{count} errors occurred"),
    };
    let lines: String = faults.iter().map(|fault| format!("\t* {fault}\n")).collect();
    Err(Error::invalid(format!("{count}:\n{lines}\n")))
}

#[cfg(test)]
mod tests;
