//! One log line per connection.

use std::net::SocketAddr;
use std::time::Instant;

use crate::control::Cut;
use crate::metrics::{Metrics, Traffic};
use crate::relay::Ending;

/// What is known of a connection by its end. Written once, when it is finished.
pub(crate) struct Access {
    direction: &'static str,
    from: SocketAddr,
    begun: Instant,
    pub(crate) peer: String,
    /// Where the application or the instance is.
    pub(crate) to: String,
    pub(crate) reason: String,
    pub(crate) is_resumed: bool,
}

impl Access {
    pub(crate) fn new(direction: &'static str, from: SocketAddr) -> Self {
        Self {
            direction,
            from,
            begun: Instant::now(),
            peer: String::new(),
            to: String::new(),
            reason: String::new(),
            is_resumed: false,
        }
    }

    /// A connection that never carried a byte.
    pub(crate) fn refused(self, verdict: &'static str, error: &dyn std::fmt::Display) {
        self.write(verdict, (0, 0), &error.to_string());
    }

    /// A connection that was admitted and has ended.
    pub(crate) fn ended(self, ending: &Ending, traffic: &Traffic, metrics: &Metrics) {
        if !matches!(ending, Ending::Clean) {
            metrics.ended_abruptly.increment();
        }
        self.write("allowed", (traffic.to_peer(), traffic.to_app()), &shown(ending));
    }

    fn write(self, verdict: &'static str, (to_peer, to_app): (u64, u64), error: &str) {
        let Self { direction, from, begun, peer, to, reason, is_resumed } = self;
        tracing::info!(
            target: "proxy::access",
            direction,
            %from,
            peer,
            to,
            verdict,
            reason,
            resumed = is_resumed,
            bytes_to_peer = to_peer,
            bytes_to_app = to_app,
            duration_ms = begun.elapsed().as_millis() as u64,
            error,
            "connection",
        );
    }
}

/// Empty for an end that both sides wanted.
fn shown(ending: &Ending) -> String {
    match ending {
        Ending::Clean => String::new(),
        Ending::App(error) => format!("application: {error}"),
        Ending::Peer(error) => format!("peer: {error}"),
        Ending::Truncated => "peer: closed without close_notify".into(),
        Ending::Alert(49) => "peer: refused the connection (alert access_denied)".into(),
        Ending::Alert(alert) => format!("peer: sent alert {alert}"),
        Ending::Protocol(error) => format!("peer: sent {error}"),
        Ending::Cut(Cut::Denied) => "cut: no longer allowed".into(),
        Ending::Cut(Cut::Drained) => "cut: proxy stopped".into(),
        Ending::Cut(Cut::Crowded) => "cut: too many handshakes".into(),
    }
}
