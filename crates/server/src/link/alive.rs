//! Notices a connection that is dead without having been closed, as when a machine lost power or
//! the network fell silent: who writes asks for a sign of life now and then. The system itself
//! would take minutes to tell.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::frame::{self, kind};

/// Pause between two questions on a connection in use.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long a sign of life may take: longer than any pause of a healthy process.
const PONG_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) struct Alive {
    next_ping: Instant,
    unanswered_since: Option<Instant>,
}

impl Alive {
    pub(super) fn new() -> Self {
        Self { next_ping: Instant::now(), unanswered_since: None }
    }

    /// Adds a question to what is about to be written, if one is due.
    pub(super) fn ping(&mut self, out: &mut BytesMut) {
        let now = Instant::now();
        if self.unanswered_since.is_none() && now >= self.next_ping {
            frame::put(out, kind::PING, &[]);
            self.unanswered_since = Some(now);
            self.next_ping = now + PING_INTERVAL;
        }
    }

    pub(super) fn answered(&mut self) {
        self.unanswered_since = None;
    }

    /// Resolves when the next question is due.
    pub(super) async fn due(&self) {
        match self.unanswered_since {
            None => tokio::time::sleep_until(self.next_ping).await,
            Some(_) => std::future::pending().await,
        }
    }

    /// Resolves when the other side gave no sign of life for too long.
    pub(super) async fn dead(&self) {
        match self.unanswered_since {
            Some(since) => tokio::time::sleep_until(since + PONG_TIMEOUT).await,
            None => std::future::pending().await,
        }
    }
}
