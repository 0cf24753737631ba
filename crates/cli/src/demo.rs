//! `lictor demo`: two services talk over mutual TLS on this machine, allowed or denied by an
//! intention, and the root of trust is rotated under them.
//!
//! Nothing is scripted: a real agent and two real proxies run as child processes, the applications
//! speak plain TCP to localhost, and what is shown is what was seen on the sockets. With `once` the
//! story is played unattended and every step must really happen.

mod processes;
mod story;
mod toys;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;

use self::processes::Household;
use self::toys::Database;

/// How long any step of the story may take.
const STEP_MAX: Duration = Duration::from_secs(20);

pub(crate) struct DemoOptions {
    /// The binary to run as agent and proxies.
    pub(crate) program: PathBuf,
    /// Play the story once, unattended.
    pub(crate) once: bool,
}

/// What kept the demo from going on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("cannot start {what}")]
    Start { what: String, source: std::io::Error },
    #[error("{what} ended; its log says:\n{log}")]
    Ended { what: String, log: String },
    #[error("the agent refused a request")]
    Agent(#[from] api::Error),
    #[error("no success within {seconds} s: {0}", seconds = STEP_MAX.as_secs())]
    Step(String),
    #[error("cannot make a key for the new root")]
    Key(#[from] pki::key::KeyError),
}

/// Runs the demo until it is interrupted, or once through its story.
pub(crate) async fn run(options: DemoOptions) -> Result<(), DemoError> {
    let database = Database::start()
        .await
        .map_err(|source| DemoError::Start { what: "the db service".to_owned(), source })?;
    let household = Household::start(&options, database.port).await?;
    household.introduce();
    if options.once {
        return story::play(&household).await;
    }
    household.explain()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(watch::traffic(household.upstream_port, household.client.clone()));
    tasks.spawn(watch::roots(household.client.clone()));
    // Whichever ends first ends the demo; the others are dropped with it.
    tokio::select! {
        ended = tasks.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error),
            _ => Ok(()),
        },
        error = household.ended() => Err(error),
        _ = tokio::signal::ctrl_c() => {
            println!("\nstopping");
            Ok(())
        }
    }
}
