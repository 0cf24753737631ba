//! Sends the same requests to two agents in lock-step and tells where their answers differ.
//!
//! A test is a list of [`Step`]s. Each goes to both agents at once; what an answer holds can be carried into later
//! requests as `{name}`. Differences that are wanted stand in a table of [`Wanted`] and must really occur, so that the
//! table stays true.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::compare::{Difference, Rules, compare, unpacked};
use crate::json::Json;
use crate::process::Spec;
use crate::request::{Answer, Client, Pending};
use crate::scrub::{Relations, Scrub};
use crate::wait;

/// Names another program to stand in our place. With the real agent as its own peer there must be no difference at all,
/// which proves the test itself.
const SUBJECT: &str = "LICTOR_DIFF_SUBJECT";
/// Names a folder that receives every request with the real answer, one file a noun.
const TRANSCRIPTS: &str = "LICTOR_DIFF_TRANSCRIPTS";

/// Longest wait for a state that an agent reaches by itself, such as its synchronisation with the catalog.
const UNTIL_MAX: Duration = Duration::from_secs(10);
/// Differences and characters of each that are shown of one step.
const SHOWN_MAX: usize = 8;
const SHOWN_CHARS_MAX: usize = 160;
/// An answer that took longer was held, which a transcript tells.
const HELD: Duration = Duration::from_millis(40);
/// Characters of a body that a transcript keeps; only the largest values are cut.
const NOTED_CHARS_MAX: usize = 20_000;

/// A difference that is meant to be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The step's name; `*` for all.
    pub step: &'static str,
    /// Where, as in [`Difference::at`]; a final `*` stands for any rest.
    pub at: &'static str,
    pub reason: &'static str,
}

/// One request, and what is done with its answer.
#[derive(Clone, Debug)]
pub struct Step {
    name: Option<String>,
    kind: Kind,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    captures: Vec<(String, Capture)>,
    rules: Rules,
    until: Option<Until>,
    waits: Duration,
}

#[derive(Clone, Debug)]
enum Kind {
    Ask,
    /// Sent now, answered later.
    Hold(String),
    /// The answer of a held request.
    Collect(String),
}

#[derive(Clone, Debug)]
enum Capture {
    Pointer(String),
    Header(String),
}

#[derive(Clone, Debug)]
enum Until {
    Has(String),
    HasNot(String),
    Status(u16),
    /// A list of so many.
    Length(usize),
}

pub fn get(path: impl Into<String>) -> Step {
    step("GET", path, "")
}

pub fn put(path: impl Into<String>, body: impl AsRef<[u8]>) -> Step {
    step("PUT", path, body)
}

pub fn post(path: impl Into<String>, body: impl AsRef<[u8]>) -> Step {
    step("POST", path, body)
}

pub fn delete(path: impl Into<String>) -> Step {
    step("DELETE", path, "")
}

/// A request with any method; the path goes out as written.
pub fn step(method: &str, path: impl Into<String>, body: impl AsRef<[u8]>) -> Step {
    Step {
        name: None,
        kind: Kind::Ask,
        method: method.to_owned(),
        path: path.into(),
        headers: Vec::new(),
        body: body.as_ref().to_vec(),
        captures: Vec::new(),
        rules: Rules::default(),
        until: None,
        waits: Duration::ZERO,
    }
}

/// Takes the answers of the request that was held under `name`.
pub fn collect(name: &str) -> Step {
    let mut taken = step("answer of", name, "");
    taken.kind = Kind::Collect(name.to_owned());
    taken
}

impl Step {
    /// A name for reports and the table of wanted differences; method and path otherwise.
    pub fn name(mut self, name: &str) -> Step {
        self.name = Some(name.to_owned());
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Step {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keeps a value of the answer for later requests, as `{name}` in path, headers and body.
    pub fn capture(mut self, name: &str, pointer: &str) -> Step {
        self.captures.push((name.to_owned(), Capture::Pointer(pointer.to_owned())));
        self
    }

    /// Keeps a header of the answer for later requests.
    pub fn capture_header(mut self, name: &str, header: &str) -> Step {
        self.captures.push((name.to_owned(), Capture::Header(header.to_owned())));
        self
    }

    /// Compares only the kind of value at a pointer; `*` stands for any one part.
    pub fn ignore(mut self, pointer: &str) -> Step {
        self.rules.ignored.push(pointer.to_owned());
        self
    }

    /// Compares only the presence of a header.
    pub fn ignore_header(mut self, name: &str) -> Step {
        self.rules.headers_ignored.push(name.to_ascii_lowercase());
        self
    }

    /// Compares a list as a set.
    pub fn unordered(mut self, pointer: &str) -> Step {
        self.rules.unordered.push(pointer.to_owned());
        self
    }

    /// Asks again until the body holds `text`.
    pub fn until(mut self, text: &str) -> Step {
        self.until = Some(Until::Has(text.to_owned()));
        self
    }

    /// Asks again until the body no longer holds `text`.
    pub fn until_not(mut self, text: &str) -> Step {
        self.until = Some(Until::HasNot(text.to_owned()));
        self
    }

    /// Asks again until the status is `status`.
    pub fn until_status(mut self, status: u16) -> Step {
        self.until = Some(Until::Status(status));
        self
    }

    /// Asks again until the body is a list of `length`.
    pub fn until_length(mut self, length: usize) -> Step {
        self.until = Some(Until::Length(length));
        self
    }

    /// Sends the request and goes on with the next step; [`collect`] compares the answers.
    pub fn hold(mut self, name: &str) -> Step {
        self.kind = Kind::Hold(name.to_owned());
        self
    }

    /// Demands that neither side answers before `time` has passed.
    pub fn waits(mut self, time: Duration) -> Step {
        self.waits = time;
        self
    }

    fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{} {}", self.method, self.path))
    }
}

/// The program in our place: the one under test, or the one named by the environment.
pub fn subject(ours: &str) -> PathBuf {
    env::var_os(SUBJECT).map_or_else(|| PathBuf::from(ours), PathBuf::from)
}

/// Whether another program stands in our place, of which nothing beyond the real one's ways may be demanded.
pub fn is_substituted() -> bool {
    env::var_os(SUBJECT).is_some()
}

/// Keeps what was asked and answered, if the environment names a folder for it.
pub fn write_transcript(noun: &str, text: &str) {
    if let Some(folder) = env::var_os(TRANSCRIPTS) {
        let file = Path::new(&folder).join(format!("{noun}.txt"));
        fs::write(&file, text).expect("the folder of transcripts can be written");
    }
}

/// Starts a real agent and one of ours with the same settings, runs the steps, and fails with all differences.
///
/// `spec` makes the settings of one agent for the program it is given.
pub fn run(
    noun: &str,
    ours: &str,
    spec: impl Fn(&Path) -> Spec + Sync,
    steps: Vec<Step>,
    wanted: &[Wanted],
) {
    let (real, ours) = (spec(&crate::process::consul()), spec(&subject(ours)));
    let (real, ours) = thread::scope(|scope| {
        let starting = scope.spawn(|| real.start());
        let ours = ours.start();
        (starting.join().expect("the real agent starts"), ours)
    });
    // The real agent as its own peer has nothing to differ in.
    let wanted = if is_substituted() { &[] } else { wanted };
    let mut pair = Pair {
        sides: [Side::new(&real), Side::new(&ours)],
        relations: Relations::default(),
        transcript: String::new(),
        held: BTreeMap::new(),
    };
    let mut report = String::new();
    let mut failed = 0;
    let mut seen = BTreeMap::new();
    let mut occurred = vec![false; wanted.len()];
    let count = steps.len();
    for step in steps {
        let name = numbered(&mut seen, step.title());
        let mut found = pair.play(&step, &name);
        found.retain(|difference| {
            let known = wanted.iter().position(|row| row.covers(&name, &difference.at));
            known.inspect(|n| occurred[*n] = true).is_none()
        });
        if !found.is_empty() {
            failed += 1;
            describe(&mut report, &name, &found);
        }
    }
    write_transcript(noun, &pair.transcript);
    for (row, occurred) in wanted.iter().zip(occurred) {
        if !occurred {
            failed += 1;
            let _ = writeln!(
                report,
                "{}\n  {}: wanted to differ ({}), does not",
                row.step, row.at, row.reason
            );
        }
    }
    assert!(failed == 0, "{noun}: {failed} of {count} steps differ (real | ours)\n{report}");
}

impl Wanted {
    fn covers(&self, step: &str, at: &str) -> bool {
        let place = match self.at.strip_suffix('*') {
            Some(start) => at.starts_with(start),
            None => at == self.at,
        };
        place && (self.step == "*" || self.step == step)
    }
}

/// The name of a step, told apart from earlier ones of the same name.
fn numbered(seen: &mut BTreeMap<String, usize>, name: String) -> String {
    let count = seen.entry(name.clone()).or_default();
    *count += 1;
    if *count == 1 { name } else { format!("{name} ({count})") }
}

fn describe(report: &mut String, name: &str, found: &[Difference]) {
    let _ = writeln!(report, "{name}");
    for difference in found.iter().take(SHOWN_MAX) {
        let _ = writeln!(
            report,
            "  {}: {} | {}",
            difference.at,
            short(&difference.left),
            short(&difference.right)
        );
    }
    if found.len() > SHOWN_MAX {
        let _ = writeln!(report, "  and {} more", found.len() - SHOWN_MAX);
    }
}

fn short(text: &str) -> String {
    let text = text.escape_debug().to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Both agents and what is known of each.
struct Pair {
    sides: [Side; 2],
    relations: Relations,
    transcript: String,
    held: BTreeMap<String, [JoinHandle<Timed>; 2]>,
}

struct Side {
    http: Client,
    scrub: Scrub,
    captured: BTreeMap<String, String>,
}

struct Timed {
    answer: io::Result<Answer>,
    took: Duration,
    /// Whether the awaited state came.
    reached: bool,
}

/// A request with everything filled in.
#[derive(Clone)]
struct Ready {
    http: Client,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ready {
    fn send(&self) -> Timed {
        let start = Instant::now();
        let answer = self.http.send(&self.method, &self.path, &self.headers, &self.body);
        Timed { answer, took: start.elapsed(), reached: true }
    }

    /// Sends, and lets the agent take the request up before anything else is asked of it: it answers a second one.
    fn begin(&self) -> Sent {
        let start = Instant::now();
        let pending = self.http.begin(&self.method, &self.path, &self.headers, &self.body);
        // Whether it answers is for the steps to tell.
        let _ = self.http.get("/v1/status/leader");
        Sent { pending, start }
    }

    fn send_until(&self, until: Option<&Until>) -> Timed {
        let Some(until) = until else { return self.send() };
        let reached = wait::poll(UNTIL_MAX, || {
            let timed = self.send();
            timed.answer.as_ref().is_ok_and(|answer| until.reached(answer)).then_some(timed)
        });
        // The last answer tells more than that time ran out.
        reached.unwrap_or_else(|| Timed { reached: false, ..self.send() })
    }
}

/// A held request.
struct Sent {
    pending: io::Result<Pending>,
    start: Instant,
}

impl Sent {
    fn finish(self) -> Timed {
        let answer = self.pending.and_then(Pending::finish);
        Timed { answer, took: self.start.elapsed(), reached: true }
    }
}

impl Until {
    fn reached(&self, answer: &Answer) -> bool {
        match self {
            Until::Has(text) => answer.text().contains(text.as_str()),
            Until::HasNot(text) => !answer.text().contains(text.as_str()),
            Until::Status(status) => answer.status == *status,
            Until::Length(length) => {
                matches!(Json::parse(&unpacked(answer)), Some(Json::List(list)) if list.len() == *length)
            }
        }
    }
}

impl Side {
    fn new(agent: &crate::process::Agent) -> Side {
        Side { http: agent.http(), scrub: Scrub::of(agent), captured: BTreeMap::new() }
    }

    fn ready(&self, step: &Step) -> Ready {
        Ready {
            http: self.http,
            method: step.method.clone(),
            path: self.fill(&step.path),
            headers: step
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), self.fill(value)))
                .collect(),
            body: match std::str::from_utf8(&step.body) {
                Ok(text) => self.fill(text).into_bytes(),
                Err(_) => step.body.clone(),
            },
        }
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.captured {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    fn keep(&mut self, step: &Step, answer: &Answer) {
        for (name, from) in &step.captures {
            let value = match from {
                Capture::Header(header) => answer.header(header).map(str::to_owned),
                Capture::Pointer(pointer) => {
                    match Json::parse(&unpacked(answer)).as_ref().and_then(|j| j.pointer(pointer)) {
                        Some(Json::Text(text)) => Some(text.clone()),
                        other => other.map(Json::compact),
                    }
                }
            };
            self.captured.insert(name.clone(), value.unwrap_or_else(|| format!("no-{name}")));
        }
    }
}

impl Pair {
    fn play(&mut self, step: &Step, name: &str) -> Vec<Difference> {
        let [real, ours] = match &step.kind {
            Kind::Hold(key) => {
                let sent = self.sides.each_ref().map(|side| {
                    let sent = side.ready(step).begin();
                    thread::spawn(move || sent.finish())
                });
                self.held.insert(key.clone(), sent);
                return Vec::new();
            }
            Kind::Collect(key) => {
                let held = self.held.remove(key).expect("only a held request is collected");
                held.map(|sent| sent.join().expect("sending does not panic"))
            }
            Kind::Ask => {
                let ready = self.sides.each_ref().map(|side| side.ready(step));
                let [real, ours] = &ready;
                thread::scope(|scope| {
                    let asking = scope.spawn(|| real.send_until(step.until.as_ref()));
                    let ours = ours.send_until(step.until.as_ref());
                    [asking.join().expect("sending does not panic"), ours]
                })
            }
        };
        self.note(step, name, &real);
        let mut found = Vec::new();
        for (side, timed) in [("real", &real), ("ours", &ours)] {
            if !timed.reached {
                let left = format!("{:?}", step.until);
                found.push(Difference {
                    at: "until".into(),
                    left,
                    right: format!("{side} never got there"),
                });
            }
            if timed.took < step.waits {
                found.push(Difference {
                    at: "wait".into(),
                    left: format!("{:?} at least", step.waits),
                    right: format!("{side} answered after {:?}", timed.took),
                });
            }
        }
        match (real.answer, ours.answer) {
            (Ok(real), Ok(ours)) => {
                let scrubs = (&self.sides[0].scrub, &self.sides[1].scrub);
                found.extend(compare(&real, &ours, &step.rules, scrubs, &mut self.relations));
                self.sides[0].keep(step, &real);
                self.sides[1].keep(step, &ours);
            }
            // A peer that breaks off on both sides does the same on both.
            (Err(real), Err(ours)) if real.to_string() == ours.to_string() => {}
            (real, ours) => found.push(Difference {
                at: "transport".into(),
                left: real.map_or_else(|e| e.to_string(), |a| a.to_string()),
                right: ours.map_or_else(|e| e.to_string(), |a| a.to_string()),
            }),
        }
        found
    }

    /// Writes the real side of a step down.
    fn note(&mut self, step: &Step, name: &str, real: &Timed) {
        let ready = self.sides[0].ready(step);
        let out = &mut self.transcript;
        let _ = writeln!(out, "=== {name}");
        if matches!(step.kind, Kind::Ask) {
            let _ = writeln!(out, "> {} {}", ready.method, ready.path);
            for (name, value) in &ready.headers {
                let _ = writeln!(out, "> {name}: {value}");
            }
            if !ready.body.is_empty() {
                let body = String::from_utf8_lossy(&ready.body);
                let shown: String = body.chars().take(NOTED_CHARS_MAX).collect();
                let _ = writeln!(out, "> body: {shown}");
            }
        }
        match &real.answer {
            Ok(answer) => {
                let held = if real.took > HELD {
                    format!(" after {:?}", real.took)
                } else {
                    String::new()
                };
                let _ = writeln!(out, "< {}{held}", answer.status);
                for (name, value) in &answer.headers {
                    if name != "Date" {
                        let _ = writeln!(out, "< {name}: {value}");
                    }
                }
                let body = unpacked(answer);
                let _ = writeln!(out, "{}", body.chars().take(NOTED_CHARS_MAX).collect::<String>());
            }
            Err(error) => {
                let _ = writeln!(out, "< {error}");
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_the_same_name_are_numbered() {
        let mut seen = BTreeMap::new();
        assert_eq!(numbered(&mut seen, "a".into()), "a");
        assert_eq!(numbered(&mut seen, "a".into()), "a (2)");
        assert_eq!(numbered(&mut seen, "b".into()), "b");
    }

    #[test]
    fn a_wanted_difference_covers_its_place_only() {
        let row = Wanted { step: "GET /x", at: "body/Config*", reason: "" };
        assert!(row.covers("GET /x", "body/Config/Version"));
        assert!(!row.covers("GET /y", "body/Config/Version"));
        assert!(!row.covers("GET /x", "body/Member"));
    }
}
