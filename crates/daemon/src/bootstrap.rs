//! Config entries named in the configuration, made when they are absent.

use std::sync::Arc;
use std::time::Duration;

use agent::Life;
use config::AgentConfig;
use config::config_entry::entry_from_tree;
use model::command::{Command, Outcome};
use model::config_entry::{ConfigEntry, ConfigEntryRequest};
use model::query::Token;
use rpc::Cluster;

use crate::Error;

/// Pause before a failed attempt is repeated.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the entries now, so that a wrong one stops the start, and makes them once there is a leader.
pub(crate) fn spawn(
    config: &AgentConfig,
    cluster: Arc<dyn Cluster>,
    life: &Life,
) -> Result<(), Error> {
    let entries = config.config_entries.iter().map(entry_from_tree);
    let entries: Vec<ConfigEntry> =
        entries.collect::<Result<_, _>>().map_err(Error::ConfigEntry)?;
    let stop = life.stop.clone();
    life.tasks.spawn(async move {
        for entry in entries {
            // Dropping a write under way may leave it done, which is as good.
            tokio::select! {
                () = stop.cancelled() => return,
                () = make(&*cluster, entry) => {}
            }
        }
    });
    Ok(())
}

async fn make(cluster: &dyn Cluster, entry: ConfigEntry) {
    let (kind, name) = (entry.kind(), entry.name().to_owned());
    // Index 0: only if there is none yet.
    let request = ConfigEntryRequest::UpsertCas(entry.into(), 0);
    loop {
        let command = Command::ConfigEntry(request.clone());
        match cluster.command(command, Token::default()).await {
            Ok(Outcome::Applied(true)) => {
                tracing::info!(kind, name, "config entry made");
                return;
            }
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(kind, name, %error, "config entry not made yet");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}
