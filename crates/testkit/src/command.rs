//! Runs a program to its end and keeps what it said: the command line as a user or a script sees it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::wait;

/// Longest run of one command before the test fails.
const RUN_MAX: Duration = Duration::from_secs(30);

/// What a command left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code, none if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A program with an environment, ready to be run many times.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    env: Vec<(String, String)>,
    dir: Option<PathBuf>,
}

impl Cli {
    /// A program that sees none of the caller's `CONSUL_*` and `LICTOR_*` settings.
    pub fn new(program: impl AsRef<Path>) -> Cli {
        Cli { program: program.as_ref().to_owned(), env: Vec::new(), dir: None }
    }

    pub fn env(mut self, name: &str, value: impl ToString) -> Cli {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Runs commands in `dir` instead of the test's own folder.
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Cli {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Runs to the end, with nothing on standard input.
    pub fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, b"")
    }

    /// Runs to the end with `stdin` on standard input; panics when that takes longer than [`RUN_MAX`].
    pub fn run_with(&self, args: &[&str], stdin: &[u8]) -> Output {
        let mut running = self.start(args);
        let mut pipe = running.child.stdin.take().expect("standard input is piped");
        let stdin = stdin.to_owned();
        let feed = thread::spawn(move || {
            // A program may end without reading all of it.
            let _ = pipe.write_all(&stdin);
        });
        let stdout = drain(running.child.stdout.take().expect("standard output is piped"));
        let stderr = drain(running.child.stderr.take().expect("standard error is piped"));
        let what = format!("{} {args:?} to end", self.program.display());
        let status = wait::until(&what, RUN_MAX, || {
            running.child.try_wait().expect("a child can be waited for")
        });
        feed.join().expect("feeding does not panic");
        Output {
            code: status.code(),
            stdout: stdout.join().expect("reading does not panic"),
            stderr: stderr.join().expect("reading does not panic"),
        }
    }

    /// Starts a command that goes on by itself; it is killed when the value is dropped.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = command(&self.program);
        command.args(args).envs(self.env.iter().cloned());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match command.spawn() {
            Ok(child) => Running { child },
            Err(error) => panic!("cannot start {}: {error}", self.program.display()),
        }
    }
}

/// A command that is still going on.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command without the settings that would point it at an agent of the person running the tests.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CONSUL_") || name_text.starts_with("LICTOR_") {
            command.env_remove(&name);
        }
    }
    command
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut all = Vec::new();
        // A pipe closed halfway keeps what was read before.
        let _ = from.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_gives_back_its_streams_and_code() {
        let output = Cli::new("/bin/sh")
            .env("WORD", "hi")
            .run_with(&["-c", "cat; echo $WORD >&2; exit 3"], b"in");
        assert_eq!(output, Output { code: Some(3), stdout: "in".into(), stderr: "hi\n".into() });
    }
}
