//! The script probe: a program whose exit code is the status and whose output is kept.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use model::check::CheckStatus;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::Command;

use super::Outcome;
use super::output::Tail;

/// How long output is still read after the program is gone but a child of its keeps the pipe open.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs the program in its own process group, which is killed as a whole when time is up.
pub(crate) async fn attempt(
    args: &[String],
    timeout: Duration,
    output_bytes_max: usize,
) -> Outcome {
    let Some((program, args)) = args.split_first() else {
        return Outcome::critical("exec: no command");
    };
    let mut run = match Run::start(program, args) {
        Ok(run) => run,
        Err(error) => return Outcome::critical(start_error(program, &error)),
    };
    let mut tail = Tail::new(output_bytes_max);
    let finished = tokio::time::timeout(timeout, run.finish(&mut tail)).await;
    match finished {
        Ok(Ok(exit)) => Outcome { status: status_of(exit), output: tail.annotated() },
        Ok(Err(error)) => Outcome::critical(error.to_string()),
        Err(_) => {
            run.kill_group();
            let shown = model::duration::GoDuration::from(timeout);
            Outcome::critical(format!("Timed out ({shown}) running check"))
        }
    }
}

struct Run {
    child: tokio::process::Child,
    group: Option<Pid>,
    output: pipe::Receiver,
    has_ended: bool,
}

impl Run {
    fn start(program: &str, args: &[String]) -> io::Result<Self> {
        // One pipe for both streams keeps their lines in order.
        let (reader, writer) = io::pipe()?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let output = pipe::Receiver::from_owned_fd(reader.into())?;
        Ok(Self { child, group, output, has_ended: false })
    }

    async fn finish(&mut self, tail: &mut Tail) -> io::Result<ExitStatus> {
        let mut buffer = [0; 4096];
        let mut is_open = true;
        let exit = loop {
            // Both branches may be dropped: a read takes bytes only when it completes.
            tokio::select! {
                read = self.output.read(&mut buffer), if is_open => match read? {
                    0 => is_open = false,
                    count => tail.push(buffer.get(..count).unwrap_or_default()),
                },
                exit = self.child.wait() => break exit?,
            }
        };
        self.has_ended = true;
        let drain = async {
            // After the end of the pipe a read gives 0 again.
            while let Ok(count @ 1..) = self.output.read(&mut buffer).await {
                tail.push(buffer.get(..count).unwrap_or_default());
            }
        };
        // Whoever still holds the pipe was left behind by the program.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain).await;
        Ok(exit)
    }

    fn kill_group(&self) {
        if let Some(group) = self.group {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Run {
    /// A probe that is given up, as when its check is removed, leaves no process behind.
    fn drop(&mut self) {
        if !self.has_ended {
            self.kill_group();
        }
    }
}

fn status_of(exit: ExitStatus) -> CheckStatus {
    match exit.code() {
        Some(0) => CheckStatus::Passing,
        Some(1) => CheckStatus::Warning,
        _ => CheckStatus::Critical,
    }
}

fn start_error(program: &str, error: &io::Error) -> String {
    if !program.contains('/') && error.kind() == io::ErrorKind::NotFound {
        return format!("exec: {program:?}: executable file not found in $PATH");
    }
    format!("fork/exec {program}: {}", super::dial::errno_text(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Vec<String> {
        ["sh", "-c", line].map(String::from).to_vec()
    }

    async fn run(args: &[String]) -> Outcome {
        attempt(args, Duration::from_secs(20), 16).await
    }

    #[tokio::test]
    async fn exit_codes_and_output() {
        let check = async |line: &str, status, output: &str| {
            assert_eq!(
                run(&shell(line)).await,
                Outcome { status, output: output.into() },
                "{line}"
            );
        };
        check("echo hi", CheckStatus::Passing, "hi\n").await;
        check("echo w; exit 1", CheckStatus::Warning, "w\n").await;
        check("echo a; echo e >&2; exit 2", CheckStatus::Critical, "a\ne\n").await;
        check("kill -9 $$", CheckStatus::Critical, "").await;
        let long = "printf 0123456789abcdefXYZ";
        check(long, CheckStatus::Passing, "Captured 16 of 19 bytes\n...\n3456789abcdefXYZ").await;
    }

    #[tokio::test]
    async fn programs_that_are_not_there() {
        let absolute = run(&["/nope".to_owned()]).await;
        assert_eq!(absolute, Outcome::critical("fork/exec /nope: no such file or directory"));
        let named = run(&["nope-at-all".to_owned()]).await;
        let want = "exec: \"nope-at-all\": executable file not found in $PATH";
        assert_eq!(named, Outcome::critical(want));
        assert_eq!(run(&[]).await, Outcome::critical("exec: no command"));
    }

    #[tokio::test]
    async fn a_timeout_ends_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        // The child of the shell would outlive a kill of the shell alone.
        let line = format!("sleep 60 & echo $! > {} ; wait", pid_file.display());
        let outcome = attempt(&shell(&line), Duration::from_millis(500), 16).await;
        assert_eq!(outcome, Outcome::critical("Timed out (500ms) running check"));
        let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        let is_gone = || {
            // A killed child that nobody has waited for yet is a zombie.
            match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) => stat.contains(") Z"),
                Err(_) => true,
            }
        };
        for _ in 0..500 {
            if is_gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the child of the timed-out program is still there");
    }

    #[tokio::test]
    async fn a_child_left_behind_does_not_hold_the_check_up() {
        let outcome = run(&shell("sleep 5 & echo done")).await;
        assert_eq!(outcome, Outcome::passing("done\n"));
    }
}
