//! Many blocking queries at once, each on a connection of its own, served by one thread.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::http::{Answer, Connection, request};
use crate::usage::CpuCounter;

/// Longest wait for the last watcher.
const WAKE_MAX: Duration = Duration::from_secs(60);
/// How long the servers are given at most to come to rest.
const REST_MAX: Duration = Duration::from_secs(20);

/// Held queries on one server.
pub(crate) struct Watchers {
    address: SocketAddr,
    /// Asked for in turn.
    paths: Vec<String>,
    all: Vec<Watcher>,
    ready: OwnedFd,
}

struct Watcher {
    stream: TcpStream,
    answer: Answer,
}

/// What a change did.
pub(crate) struct Wake {
    /// From sending the change to the end of the last answer.
    pub(crate) last: Duration,
    /// Of one answer.
    pub(crate) bytes: usize,
}

impl Watchers {
    pub(crate) fn new(address: SocketAddr, paths: Vec<String>) -> Self {
        let ready = epoll::create(CreateFlags::CLOEXEC).expect("the kernel has epoll");
        Self { address, paths, all: Vec::new(), ready }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Opens connections until there are `count`, and parks a query on each new one.
    pub(crate) fn park(&mut self, count: usize) {
        let mut first = Connection::open(self.address);
        let indexes: Vec<u64> =
            self.paths.iter().map(|path| first.ask("GET", path, b"").index).collect();
        for nth in self.all.len()..count {
            let stream = Connection::open(self.address).into_stream();
            stream.set_nonblocking(true).expect("an open socket takes options");
            epoll::add(&self.ready, &stream, EventData::new_u64(nth as u64), EventFlags::IN)
                .expect("an open socket can be watched");
            self.all.push(Watcher { stream, answer: Answer::default() });
            self.ask(nth, indexes[nth % self.paths.len()]);
        }
    }

    /// Parks every watcher again at the index its last answer carried.
    pub(crate) fn park_again(&mut self) {
        for nth in 0..self.all.len() {
            let index = std::mem::take(&mut self.all[nth].answer).index;
            self.ask(nth, index);
        }
    }

    fn ask(&mut self, nth: usize, index: u64) {
        let path = &self.paths[nth % self.paths.len()];
        let separator = if path.contains('?') { '&' } else { '?' };
        let query = request("GET", &format!("{path}{separator}index={index}&wait=9m"), b"");
        let sent = self.all[nth].stream.write(&query).expect("the server keeps connections");
        assert_eq!(sent, query.len(), "an idle socket takes a request at once");
    }

    /// Sends a change and reads until every watcher has its answer.
    pub(crate) fn wake(&mut self, method: &str, path: &str, body: &[u8]) -> Wake {
        let mut changer = Connection::open(self.address);
        let begin = Instant::now();
        changer.send(method, path, body).expect("the server reads requests");
        let bytes = self.read_answers(self.all.len(), WAKE_MAX);
        let last = begin.elapsed();
        let changed = changer.receive().expect("the server answers");
        assert_eq!(changed.status, 200, "{method} {path}");
        Wake { last, bytes: bytes / self.all.len() }
    }

    /// How many of the queries have been answered, though nothing was changed.
    pub(crate) fn answered_early(&mut self) -> usize {
        let mut buffer = [0; 1];
        self.all.iter().filter(|one| one.stream.peek(&mut buffer).is_ok()).count()
    }

    /// Reads until `count` answers are whole. Returns their bytes.
    fn read_answers(&mut self, count: usize, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        let mut events: Vec<Event> = Vec::with_capacity(1024);
        let mut buffer = vec![0; 256 << 10];
        let (mut whole, mut bytes) = (0, 0);
        while whole < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {count} watchers never woke", count - whole);
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: 999_999 };
            events.clear();
            let buffer_of_events = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.ready, buffer_of_events, Some(&left))
                .expect("the set can be waited on");
            for event in &events {
                let watcher = &mut self.all[event.data.u64() as usize];
                match watcher.stream.read(&mut buffer) {
                    Ok(0) => panic!("the server closed a watcher's connection"),
                    Ok(read) if watcher.answer.feed(&buffer[..read]) => {
                        assert_eq!(watcher.answer.status, 200, "a watcher's answer");
                        whole += 1;
                        bytes += watcher.answer.bytes;
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("a watcher's connection failed: {error}"),
                }
            }
        }
        bytes
    }
}

/// Waits until processes use next to no processor time: what was sent to them has been dealt with.
pub(crate) fn await_rest(pids: &[u32]) {
    const WINDOW: Duration = Duration::from_millis(60);
    /// Of one processor.
    const SHARE_MAX: f64 = 0.08;
    let deadline = Instant::now() + REST_MAX;
    let mut quiet = 0;
    while quiet < 2 && Instant::now() < deadline {
        let cpu = CpuCounter::start(pids);
        std::thread::sleep(WINDOW);
        let is_quiet = cpu.micros() < SHARE_MAX * WINDOW.as_micros() as f64;
        quiet = if is_quiet { quiet + 1 } else { 0 };
    }
}
