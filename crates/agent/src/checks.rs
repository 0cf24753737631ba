//! Running checks: what each kind does to find out how something is, and the loops that do it.
//!
//! A [`Probe`] is one attempt and gives an [`Outcome`]; [`streak`] decides whether the outcome
//! counts; [`runner`] repeats the probe and reports. Output texts are those of Consul, because
//! people read them and scripts match them.

use std::time::Duration;

use model::check::CheckStatus;

pub(crate) mod alias;
pub(crate) mod dial;
pub(crate) mod grpc;
pub(crate) mod http;
pub mod output;
pub(crate) mod runner;
pub(crate) mod script;
pub mod streak;
pub(crate) mod tcp;
mod tls;

/// Longest a network probe takes when the check names no timeout and runs rarely.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Longest a program runs when the check names no timeout.
pub const SCRIPT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Shortest interval; anything less would be a busy loop.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What one attempt found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: CheckStatus,
    pub output: String,
}

impl Outcome {
    pub(crate) fn passing(output: impl Into<String>) -> Self {
        Self { status: CheckStatus::Passing, output: output.into() }
    }

    pub(crate) fn critical(output: impl Into<String>) -> Self {
        Self { status: CheckStatus::Critical, output: output.into() }
    }
}

/// One way to find out how something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    Http(http::HttpProbe),
    /// `host:port`.
    Tcp(String),
    Script(Vec<String>),
    Grpc(grpc::GrpcProbe),
    /// A program inside a container; this build has no container client, so the outcome says so.
    Docker {
        container: String,
    },
}

impl Probe {
    /// Makes one attempt, which ends within `timeout`. Keeps `output_bytes_max` bytes of what the
    /// target has to say.
    pub(crate) async fn attempt(&self, timeout: Duration, output_bytes_max: usize) -> Outcome {
        match self {
            Self::Http(probe) => probe.attempt(timeout, output_bytes_max).await,
            Self::Tcp(address) => tcp::attempt(address, timeout).await,
            Self::Script(args) => script::attempt(args, timeout, output_bytes_max).await,
            Self::Grpc(probe) => probe.attempt(timeout).await,
            Self::Docker { container } => Outcome::critical(format!(
                "create exec failed for container {container}: docker checks are not supported by this agent"
            )),
        }
    }

    /// The timeout of a check that names none: a network probe is to end before the next begins.
    pub(crate) fn timeout_default(&self, interval: Duration) -> Duration {
        match self {
            Self::Script(_) | Self::Docker { .. } => SCRIPT_TIMEOUT_DEFAULT,
            Self::Http(_) | Self::Tcp(_) | Self::Grpc(_) => interval.min(TIMEOUT_DEFAULT),
        }
    }
}
