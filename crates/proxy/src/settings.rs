//! Settings of the process rather than of the registration, each with its default and the reason for it.

use std::time::Duration;

/// How a proxy runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Worker threads; each owns the connections placed on it. Default: one per core, at most
    /// [`WORKERS_DEFAULT_MAX`].
    pub workers: usize,
    /// How long open connections may go on after the proxy was told to stop.
    pub drain_timeout: Duration,
    /// Handshakes a worker has under way before the oldest is ended to make room. A handshake takes milliseconds, so
    /// the oldest of so many is a client that stalls.
    pub handshakes_max: usize,
    /// Instances tried for one connection before it is given up.
    pub attempts_max: usize,
    /// How long the agent may take to decide about one connection.
    pub ask_timeout: Duration,
}

/// A sidecar shares its host with the application it serves: more threads than this want a setting.
pub const WORKERS_DEFAULT_MAX: usize = 4;

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers: cores.min(WORKERS_DEFAULT_MAX),
            drain_timeout: Duration::from_secs(30),
            handshakes_max: 1024,
            attempts_max: 3,
            ask_timeout: Duration::from_secs(5),
        }
    }
}
