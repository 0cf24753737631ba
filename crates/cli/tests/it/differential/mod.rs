//! The same requests to a real agent and to ours: one file a noun, each a list of requests.
//!
//! `LICTOR_DIFF_SUBJECT=PROGRAM` puts another program in our place; with the real agent there no step may differ, which
//! proves the test. `LICTOR_DIFF_TRANSCRIPTS=FOLDER` writes down every request with the real answer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use testkit::differential::{Step, Wanted};
use testkit::process::Spec;

mod agent;
mod agent_check;
mod agent_service;
mod catalog;
mod config_entry;
mod connect_ca;
mod conventions;
mod coordinate;
mod event;
mod health;
mod intention;
mod kv;
mod operator;
mod session;
mod status;

/// Runs one noun against two agents of the usual settings.
fn run(noun: &str, steps: Vec<Step>, wanted: &[Wanted]) {
    run_with(noun, |program| Spec::new(program), steps, wanted);
}

/// Runs one noun against two agents of given settings.
fn run_with(noun: &str, spec: impl Fn(&Path) -> Spec + Sync, steps: Vec<Step>, wanted: &[Wanted]) {
    testkit::differential::run(noun, env!("CARGO_BIN_EXE_lictor"), spec, steps, wanted);
}

/// Rows for steps that one side refuses and the other takes, so that all of their answers differ.
fn whole(steps: &[&'static str], reason: &'static str) -> Vec<Wanted> {
    steps.iter().map(|step| Wanted { step, at: "*", reason }).collect()
}

/// One row of a table of wanted differences.
fn row(step: &'static str, at: &'static str, reason: &'static str) -> Wanted {
    Wanted { step, at, reason }
}

/// A web server that answers with the status its path names, so that checks of both agents look at the same thing.
///
/// It goes on until the tests end: its thread sits in `accept`, and nothing but the process holds it.
struct Answering {
    port: u16,
}

impl Answering {
    fn start() -> Answering {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(|| Answering::serve(stream));
            }
        });
        Answering { port }
    }

    /// Answers one request: `/echo` with what it sent but for the client's own headers, `/NNN` with that status.
    fn serve(mut stream: TcpStream) {
        let mut request = vec![0; 4096];
        // A client that sends nothing, or no HTTP, is let go.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let Ok(length) = stream.read(&mut request) else { return };
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match path.strip_prefix('/') {
            Some("echo") => ("200".to_owned(), Answering::echo(&request)),
            Some(status) if status.len() == 3 => (status.to_owned(), "body & <text>".to_owned()),
            _ => return,
        };
        let body = if status == "204" { String::new() } else { body };
        let length = if status == "204" {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let _ = stream.write_all(
            format!("HTTP/1.1 {status} Text\r\n{length}Connection: close\r\n\r\n{body}").as_bytes(),
        );
    }

    /// The request line, the headers in order of their names, and the body.
    fn echo(request: &str) -> String {
        let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
        let mut lines: Vec<String> = head.lines().skip(1).map(str::to_lowercase).collect();
        lines.sort();
        format!("{}; {}; {body}", head.lines().next().unwrap_or_default(), lines.join("; "))
    }
}
