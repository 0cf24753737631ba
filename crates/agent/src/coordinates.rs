//! Where this agent stands, told to the catalog again and again as gossip learns it.

use std::sync::Arc;
use std::time::Duration;

use model::command::Command;
use model::coordinate::NodeCoordinate;
use model::error::Error;
use model::query::{Consistency, Query, QueryOptions, Reply};
use rand::Rng as _;

use crate::agent::Agent;
use crate::settings::SyncSettings;

impl Agent {
    /// Runs until the agent stops.
    pub(crate) async fn report_coordinates(self: Arc<Self>) {
        loop {
            let members = self.membership().members(false).len();
            let pause = pause(&self.settings().sync, members, rand::rng().random_range(0.0..1.0));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop().cancelled() => return,
            }
            let report = self.report_coordinate();
            let reported = tokio::select! {
                // A report cut off is made by the next agent that runs here.
                reported = report => reported,
                () = self.stop().cancelled() => return,
            };
            if let Err(error) = reported {
                tracing::warn!(%error, "the coordinate of this node was not reported");
            }
        }
    }

    /// Asks first: what the catalog knows already need not go through the log again.
    async fn report_coordinate(&self) -> Result<(), Error> {
        let own = self.membership().coordinate(false);
        if own.is_empty() {
            return Ok(());
        }
        let token = self.settings().agent_token.clone();
        let query = Query::NodeCoordinates { node: self.settings().node.name.clone() };
        let options = QueryOptions {
            token: token.clone(),
            consistency: Consistency::Stale,
            ..QueryOptions::default()
        };
        let answer = self.cluster().query(query, options).await?;
        let Reply::Coordinates(known) = &answer.body.reply else { return Ok(()) };
        let is_news = |row: &NodeCoordinate| !known.iter().any(|known| **known == *row);
        let news: Vec<_> = own.into_iter().filter(is_news).collect();
        if !news.is_empty() {
            self.cluster().command(Command::Coordinates(news), token).await?;
        }
        Ok(())
    }
}

/// Time to the next report: longer the more members report, so that the servers get as many a
/// second as they are meant to, and up to twice that, so that they do not come together.
///
/// Units: `jitter` is from 0 to 1.
fn pause(settings: &SyncSettings, members: usize, jitter: f64) -> Duration {
    let rate = settings.coordinate_rate_target.max(f64::MIN_POSITIVE);
    let scaled = Duration::try_from_secs_f64(members as f64 / rate).unwrap_or(PAUSE_MAX);
    scaled
        .clamp(settings.coordinate_interval_min, PAUSE_MAX.max(settings.coordinate_interval_min))
        .mul_f64(1.0 + jitter)
}

/// However large the cluster: a coordinate older than this tells nothing.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_the_cluster() {
        let settings = SyncSettings {
            coordinate_interval_min: Duration::from_secs(15),
            coordinate_rate_target: 64.0,
            ..SyncSettings::default()
        };
        let check = |members, jitter, seconds: f64| {
            assert_eq!(pause(&settings, members, jitter), Duration::from_secs_f64(seconds));
        };
        check(1, 0.0, 15.0);
        check(960, 0.5, 22.5);
        check(6400, 0.0, 100.0);
        let never = SyncSettings { coordinate_rate_target: 0.0, ..settings.clone() };
        assert_eq!(pause(&never, 1, 0.0), PAUSE_MAX);
    }
}
