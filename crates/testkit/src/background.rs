//! A program that goes on beside the test, such as a proxy, with its words kept in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::command::command;
use crate::wait;

/// Longest orderly stop.
const STOP_MAX: Duration = Duration::from_secs(20);

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts `program` with `args`; what it says goes to the file `log`.
    pub fn start(program: &Path, args: &[&str], log: impl AsRef<Path>) -> Background {
        let log = log.as_ref().to_owned();
        let file = File::options().create(true).append(true).open(&log);
        let file = file.expect("a temporary folder can be written");
        let mut command = command(program);
        command.args(args).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a file handle can be copied")).stderr(file);
        match command.spawn() {
            Ok(child) => Background { child, log },
            Err(error) => panic!("cannot start {}: {error}", program.display()),
        }
    }

    /// All it has said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process id is not zero");
        kill_process(pid, signal).expect("an own child can be signalled");
    }

    /// Waits for its end; panics with what it said when that does not come.
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        match wait::poll(STOP_MAX, || child.try_wait().expect("a child can be waited for")) {
            Some(status) => status,
            None => panic!("a program did not end; it said:\n{}", self.log()),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
