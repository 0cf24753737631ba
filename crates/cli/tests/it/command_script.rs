//! A list of command lines run by two programs, each against an agent of its own, and what must come out alike.
//!
//! Standard output and exit codes are compared; random ids, times, ports and folders are named first, and runs of
//! blanks count as one, as the width of a column depends on them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use tempfile::TempDir;
use testkit::command::{Cli, Output};
use testkit::differential::Wanted;
use testkit::process::Agent;
use testkit::scrub::Scrub;

/// Lines that a report shows of a difference, from the first that differs on.
const SHOWN_LINES_MAX: usize = 6;

/// A date in words, such as `Monday, 23-Nov-26 06:27:14 UTC`: two sides are not asked in the same second.
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[A-Z][a-z]+day, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d [A-Z]+")
        .expect("a fixed pattern")
});

/// Replicated indexes, in JSON and in tables: how far two agents have counted is chance.
static INDEX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"((?:Create|Modify)Index"?:?\s*)\d+"#).expect("a fixed expression")
});

/// One command line.
pub(crate) struct Line {
    args: Vec<String>,
    stdin: Vec<u8>,
    captures: Vec<(&'static str, &'static str)>,
    compared: Compared,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// Exit code and both streams.
    All,
    /// Exit code and standard output: what stands on the other stream is help, in our own words.
    Output,
    /// Exit code alone.
    Code,
    /// Exit code and the first word of each line: values differ from run to run.
    Names,
    /// Exit code and the set of lines.
    Unordered,
}

/// A command line with blanks between the arguments; `~` stands for a blank inside one.
pub(crate) fn line(text: &str) -> Line {
    let args = text.split_whitespace().map(|arg| arg.replace('~', " ")).collect();
    Line { args, stdin: Vec::new(), captures: Vec::new(), compared: Compared::All }
}

impl Line {
    pub(crate) fn stdin(mut self, text: &str) -> Line {
        self.stdin = text.into();
        self
    }

    /// Keeps the word that follows `after` in the output, as `{name}` of later lines.
    pub(crate) fn capture(mut self, name: &'static str, after: &'static str) -> Line {
        self.captures.push((name, after));
        self
    }

    /// Does not compare standard error.
    pub(crate) fn output_only(mut self) -> Line {
        self.compared = Compared::Output;
        self
    }

    pub(crate) fn code_only(mut self) -> Line {
        self.compared = Compared::Code;
        self
    }

    pub(crate) fn names_only(mut self) -> Line {
        self.compared = Compared::Names;
        self
    }

    pub(crate) fn unordered(mut self) -> Line {
        self.compared = Compared::Unordered;
        self
    }
}

/// A program and the agent it talks to.
pub(crate) struct Side<'a> {
    pub(crate) program: &'a Path,
    pub(crate) agent: &'a Agent,
}

/// Runs all lines on both sides, in a folder with `files`, and fails with every difference.
pub(crate) fn run(sides: [Side<'_>; 2], files: &[(&str, &str)], lines: &[Line], wanted: &[Wanted]) {
    // Two programs word their errors each in its own way; that they say something is what counts.
    let has_own_words = sides[0].program != sides[1].program;
    let [mut left, mut right] = sides.map(|side| Player::new(&side, files));
    let mut report = String::new();
    let mut failed = 0;
    let mut occurred = vec![false; wanted.len()];
    for line in lines {
        let (a, b) = (left.play(line), right.play(line));
        let name = line.args.join(" ");
        for (at, left, right) in differences(line.compared, has_own_words, &a, &b) {
            let known = wanted.iter().position(|row| row.step == name && row.at == at);
            if let Some(n) = known {
                occurred[n] = true;
                continue;
            }
            failed += 1;
            describe(&mut report, &format!("{name}: {at}"), &left, &right);
        }
    }
    for (row, occurred) in wanted.iter().zip(occurred) {
        if !occurred {
            failed += 1;
            let _ = writeln!(report, "{}\n  {}: wanted to differ, does not", row.step, row.at);
        }
    }
    assert!(failed == 0, "{failed} differences of {} lines\n{report}", lines.len());
}

fn differences(
    compared: Compared,
    has_own_words: bool,
    a: &Output,
    b: &Output,
) -> Vec<(&'static str, String, String)> {
    let mut found = Vec::new();
    let mut compare = |at, a: String, b: String| {
        if a != b {
            found.push((at, a, b));
        }
    };
    // The streams tell why the codes differ.
    let code = |output: &Output| format!("{:?}\n{}{}", output.code, output.stdout, output.stderr);
    if a.code != b.code {
        compare("code", code(a), code(b));
        return found;
    }
    match compared {
        Compared::All => {
            compare("stdout", a.stdout.clone(), b.stdout.clone());
            if !has_own_words || a.stderr.is_empty() != b.stderr.is_empty() {
                compare("stderr", a.stderr.clone(), b.stderr.clone());
            }
        }
        Compared::Output => compare("stdout", a.stdout.clone(), b.stdout.clone()),
        Compared::Names => compare("stdout", names(&a.stdout), names(&b.stdout)),
        Compared::Unordered => compare("stdout", sorted(&a.stdout), sorted(&b.stdout)),
        Compared::Code => {}
    }
    found
}

fn names(text: &str) -> String {
    let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    text.lines().map(|line| first(line) + "\n").collect()
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn describe(report: &mut String, what: &str, left: &str, right: &str) {
    let same = left.lines().zip(right.lines()).take_while(|(a, b)| a == b).count();
    let _ = writeln!(report, "{what} (from line {})", same + 1);
    for (mark, text) in [('-', left), ('+', right)] {
        for line in text.lines().skip(same).take(SHOWN_LINES_MAX) {
            let _ = writeln!(report, "  {mark} {line}");
        }
    }
}

struct Player {
    cli: Cli,
    scrub: Scrub,
    folder: TempDir,
    captured: BTreeMap<&'static str, String>,
}

impl Player {
    fn new(side: &Side<'_>, files: &[(&str, &str)]) -> Player {
        let folder = TempDir::with_prefix("lines-").expect("a temporary folder can be made");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a temporary folder is writable");
        }
        let cli = Cli::new(side.program)
            .env("CONSUL_HTTP_ADDR", side.agent.address(side.agent.ports.http))
            .current_dir(folder.path());
        Player { cli, scrub: Scrub::of(side.agent), folder, captured: BTreeMap::new() }
    }

    fn play(&mut self, line: &Line) -> Output {
        let fill = |text: &str| {
            let mut text = text.to_owned();
            for (name, value) in &self.captured {
                text = text.replace(&format!("{{{name}}}"), value);
            }
            text
        };
        let args: Vec<String> = line.args.iter().map(|arg| fill(arg)).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = self.cli.run_with(&args, &line.stdin);
        for (name, after) in &line.captures {
            let word = output.stdout.split_once(after).and_then(|(_, rest)| {
                rest.split_whitespace().next().map(|word| word.trim_matches(['"', ',']).to_owned())
            });
            self.captured.insert(name, word.unwrap_or_else(|| format!("no-{name}")));
        }
        Output {
            code: output.code,
            stdout: self.scrubbed(&output.stdout),
            stderr: self.scrubbed(&output.stderr),
        }
    }

    fn scrubbed(&self, text: &str) -> String {
        let text = text.replace(&*self.folder.path().to_string_lossy(), "<here>");
        let (text, _) = self.scrub.text(&text);
        let text = INDEX.replace_all(&text, "${1}<index>");
        let text = DATE.replace_all(&text, "<date>");
        let words = text.lines().map(|line| line.split(' ').filter(|word| !word.is_empty()));
        words.map(|words| words.collect::<Vec<_>>().join(" ") + "\n").collect()
    }
}
