//! The child process: started by a shell or directly, ended by request.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::output;

/// How long a child may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
const SHELL_DEFAULT: &str = "/bin/sh";

pub(super) struct Child {
    process: tokio::process::Child,
}

impl Child {
    /// Starts `command` with the lock told in its environment. By a shell, its words are joined
    /// by spaces and read again.
    pub(super) fn start(command: &[String], by_shell: bool, pass_stdin: bool) -> io::Result<Self> {
        let mut process = process(command, by_shell);
        process.env("CONSUL_LOCK_HELD", "true").env("LICTOR_LOCK_HELD", "true");
        process.stdin(if pass_stdin { Stdio::inherit() } else { Stdio::null() });
        Ok(Self { process: process.spawn()? })
    }

    /// Waits for the end; `Err` tells how it failed. Cancel safe.
    pub(super) async fn ended(&mut self) -> Result<(), String> {
        match self.process.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(describe(status)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Asks the child to end, and makes it after a while.
    pub(super) async fn terminate(&mut self, verbose: bool) -> Result<(), String> {
        let pid = self.process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            if verbose {
                output::line(&format!("Terminating child pid {pid}"));
            }
            // It may have ended in this very moment, which is just as well.
            let _ = kill_process(pid, Signal::TERM);
        }
        if let Ok(ended) = tokio::time::timeout(GRACE, self.ended()).await {
            return ended;
        }
        output::note(&format!("Child did not exit within {GRACE:?}, killing it"));
        let _ = self.process.start_kill();
        self.ended().await
    }
}

/// `command` ready to start: as it is, or read by the user's shell.
pub(crate) fn process(command: &[String], by_shell: bool) -> Command {
    if by_shell {
        let shell = std::env::var("SHELL").ok().filter(|shell| !shell.is_empty());
        let mut process = Command::new(shell.as_deref().unwrap_or(SHELL_DEFAULT));
        process.arg("-c").arg(command.join(" "));
        return process;
    }
    let (program, arguments) = command.split_first().expect("a command has a first word");
    let mut process = Command::new(program);
    process.args(arguments);
    process
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}
