//! Tells the servers where this agent stands in the latency space.

use std::sync::Arc;
use std::time::Duration;

use model::command::Command;
use model::query::Token;
use rand::Rng as _;
use rpc::Cluster;
use tokio_util::sync::CancellationToken;

use crate::pool::Membership;

/// Updates all agents together may send. Unit: per second. Source: Consul's target.
const UPDATES_PER_SECOND: usize = 64;
/// Shortest time between two updates of one agent.
const INTERVAL_MIN: Duration = Duration::from_secs(15);

/// Runs until `stop` fires.
pub(crate) async fn keep_told(
    membership: Arc<dyn Membership>,
    cluster: Arc<dyn Cluster>,
    token: Token,
    stop: CancellationToken,
) {
    loop {
        let interval = interval(membership.members(false).len());
        let pause = interval + interval.mul_f64(rand::rng().random_range(0.0..1.0));
        // Dropping an update under way loses one position of many.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let rows = membership.coordinate(false);
        if rows.is_empty() {
            continue;
        }
        let update = cluster.command(Command::Coordinates(rows), token.clone());
        tokio::select! {
            () = stop.cancelled() => return,
            result = update => {
                if let Err(error) = result {
                    tracing::debug!(%error, "the servers were not told the coordinate");
                }
            }
        }
    }
}

/// Grows with the number of agents, so that their sum stays the same.
fn interval(agents: usize) -> Duration {
    INTERVAL_MIN.max(Duration::from_secs((agents / UPDATES_PER_SECOND) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_agents_together_keep_to_a_rate() {
        assert_eq!(interval(1), INTERVAL_MIN);
        assert_eq!(interval(960), INTERVAL_MIN);
        assert_eq!(interval(6400), Duration::from_secs(100));
    }
}
