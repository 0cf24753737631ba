//! `lock`: runs a child process while holding a lock or a place in a semaphore.
//!
//! Locks are keys held by a session; the layout of keys and flags is the one Consul's own clients
//! share, so both kinds of clients exclude one another. The session is renewed while the lock is
//! held and destroyed at the end, whatever happened in between.

mod child;
mod held;
mod mutex;
mod semaphore;

use std::str::FromStr as _;
use std::time::Duration;

use model::duration::GoDuration;
use tokio::time::Instant;

use crate::client_flags::{HttpFlags, block_on};
use crate::output::{self, CommandResult, Failure};
use crate::signal::Stop;

use child::Child;
pub(crate) use child::process;
use held::{Lock, Session};

/// Exit code when the child failed and `-child-exit-code` is given.
const CHILD_FAILED: u8 = 2;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Exit with 2 if the child fails; otherwise its failure is only reported.
    #[arg(long)]
    child_exit_code: bool,
    /// How often to ask again, a second apart, when watching the lock fails; 0 gives the lock up
    /// at the first failure.
    #[arg(long, default_value_t = 3, allow_negative_numbers = true, value_name = "COUNT")]
    monitor_retry: i64,
    /// How many may hold the lock at once; more than 1 makes it a semaphore.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true, value_name = "COUNT")]
    n: i64,
    /// Name of the session; default tells the command and the prefix.
    #[arg(long, default_value = "", value_name = "NAME")]
    name: String,
    /// Hand standard input on to the child.
    #[arg(long)]
    pass_stdin: bool,
    /// Run the command by the shell named by SHELL, else /bin/sh; on unless set to false.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    shell: Option<bool>,
    /// How long to wait for the lock, such as 10s; 0 waits forever.
    #[arg(long, value_parser = GoDuration::from_str, allow_hyphen_values = true, value_name = "DURATION")]
    timeout: Option<GoDuration>,
    /// Older name of -timeout.
    #[arg(long, value_parser = GoDuration::from_str, allow_hyphen_values = true, value_name = "DURATION")]
    r#try: Option<GoDuration>,
    /// Tell what is being done.
    #[arg(long)]
    verbose: bool,
    /// The prefix to lock, then the command to run.
    #[arg(value_name = "PREFIX COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    let [prefix, command @ ..] = &args.arguments[..] else { return Err(missing_arguments()) };
    if command.is_empty() {
        return Err(missing_arguments());
    }
    let limit = u64::try_from(args.n)
        .ok()
        .filter(|limit| *limit > 0)
        .ok_or_else(|| Failure::new("Lock holder limit must be positive"))?;
    let retries = u32::try_from(args.monitor_retry)
        .map_err(|_| Failure::new("Number for 'monitor-retry' must be >= 0"))?;
    let timeout = args.timeout.or(args.r#try).unwrap_or_default();
    if timeout < GoDuration::ZERO {
        return Err(Failure::new("Timeout must be positive"));
    }
    let prefix = prefix.strip_prefix('/').unwrap_or(prefix);
    let name = match args.name.as_str() {
        "" => format!("Consul lock for '{}' at '{prefix}'", command.join(" ")),
        name => name.to_owned(),
    };
    let client = args.http.client()?;
    block_on(async {
        let mut stop = Stop::new()?;
        if limit == 1 {
            tell(args, &format!("Setting up lock at path: {prefix}/.lock"));
        } else {
            tell(args, &format!("Setting up semaphore (limit {limit}) at prefix: {prefix}"));
        }
        let session = Session::create(&client, &name, limit > 1).await?;
        let lock = Lock::new(client.clone(), prefix, limit, session.id().to_owned());
        let result =
            hold_and_run(args, command, &lock, &session, timeout, retries, &mut stop).await;
        // Gone before its time to live, so that the next one need not wait for it.
        session.destroy().await;
        result
    })
}

fn missing_arguments() -> Failure {
    Failure::new("Key prefix and child command must be specified")
}

fn tell(args: &Args, text: &str) {
    if args.verbose {
        output::line(text);
    }
}

async fn hold_and_run(
    args: &Args,
    command: &[String],
    lock: &Lock,
    session: &Session,
    timeout: GoDuration,
    retries: u32,
    stop: &mut Stop,
) -> CommandResult {
    tell(args, "Attempting lock acquisition");
    let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout.to_std());
    let acquired = tokio::select! {
        acquired = lock.acquire(deadline) => match acquired {
            Ok(acquired) => acquired,
            Err(failure) => {
                lock.abandon().await;
                return Err(Failure::new(format!("Lock acquisition failed: {failure}")));
            }
        },
        () = session.expired() => return Err(Failure::new("The session ended while waiting for the lock")),
        () = stop.requested() => false,
    };
    if !acquired {
        // An acquisition cut short may have been granted all the same.
        lock.abandon().await;
        return Err(Failure::new("Shutdown triggered or timeout during lock acquisition"));
    }
    tell(args, "Starting handler");
    let mut child_failed = false;
    match Child::start(command, args.shell.unwrap_or(true), args.pass_stdin) {
        Err(error) => {
            output::note(&format!("Error starting handler: {error}"));
            child_failed = true;
        }
        Ok(mut child) => {
            let why_stopped = tokio::select! {
                ended = child.ended() => {
                    report(&ended);
                    child_failed = ended.is_err();
                    tell(args, "Child terminated, releasing lock");
                    None
                }
                reason = lost(lock, session, retries) => {
                    output::note(&format!("Lock lost: {reason}"));
                    Some("Lock lost, killing child")
                }
                () = stop.requested() => Some("Shutdown triggered, killing child"),
            };
            // How a child ends that was told to is no failure of its own.
            if let Some(why) = why_stopped {
                tell(args, why);
                report(&child.terminate(args.verbose).await);
                tell(args, "Child terminated");
            }
        }
    }
    lock.release().await.map_err(Failure::during("releasing the lock"))?;
    match lock.cleanup().await.map_err(Failure::during("cleaning up the lock"))? {
        true => tell(args, "Cleanup succeeded"),
        false => tell(args, "Cleanup aborted, lock in use"),
    }
    Ok(if child_failed && args.child_exit_code { CHILD_FAILED } else { 0 })
}

fn report(ended: &Result<(), String>) {
    if let Err(status) = ended {
        output::note(&format!("Error running handler: {status}"));
    }
}

/// Resolves with the reason once the lock may no longer be taken for held.
async fn lost(lock: &Lock, session: &Session, retries: u32) -> String {
    tokio::select! {
        reason = lock.lost(retries) => reason,
        () = session.expired() => "the session ended".to_owned(),
    }
}

/// The part of `wait` left before `deadline`; `None` when it has passed.
fn remaining(wait: Duration, deadline: Option<Instant>) -> Option<Duration> {
    match deadline {
        None => Some(wait),
        Some(deadline) => {
            let left = deadline.checked_duration_since(Instant::now())?;
            (!left.is_zero()).then(|| wait.min(left))
        }
    }
}
