//! A node on loopback: the machine, a thread for each socket, and one that steps.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gossip::{
    Admission, Command, Config, Effect, Event, Everybody, Gossip, Input, Mono, Now, Snapshot,
    SnapshotLine, StreamId,
};
use testkit::ports::free_port;
use testkit::wait;

/// Longest wait for anything a pool does.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(40);
/// Longest connect, as the machine's own deadline.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How often blocked readers look whether to stop.
const STOP_POLL: Duration = Duration::from_millis(50);

/// How long a tick is put off while there is something to receive.
const LATE_MAX: Duration = Duration::from_millis(100);

enum Message {
    Input(Input),
    Opened(StreamId, TcpStream),
    Inspect(Box<dyn FnOnce(&Gossip) + Send>),
    Stop,
}

/// What the machine said so far.
#[derive(Default)]
struct Said {
    events: Vec<Event>,
    lines: Vec<SnapshotLine>,
}

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    sender: Sender<Message>,
    said: Arc<Mutex<Said>>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Node {
    /// Starts on a port of its own; `adjust` has the last word on the settings.
    pub(crate) fn start(name: &str, adjust: impl FnOnce(&mut Config)) -> Node {
        Node::start_at(SocketAddr::from(([127, 0, 0, 1], free_port())), name, adjust)
    }

    /// Starts on the port of an earlier run.
    pub(crate) fn start_at(
        address: SocketAddr,
        name: &str,
        adjust: impl FnOnce(&mut Config),
    ) -> Node {
        Node::launch(address, Box::new(Everybody), name, adjust)
    }

    /// Starts on a port of its own, with rules of its own about who may be in.
    pub(crate) fn start_judging(
        admission: Box<dyn Admission>,
        name: &str,
        adjust: impl FnOnce(&mut Config),
    ) -> Node {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Node::launch(address, admission, name, adjust)
    }

    fn launch(
        address: SocketAddr,
        admission: Box<dyn Admission>,
        name: &str,
        adjust: impl FnOnce(&mut Config),
    ) -> Node {
        let mut config = Config::new(name, address, 7);
        adjust(&mut config);
        let udp = UdpSocket::bind(address).expect("a free port can be bound");
        let tcp = TcpListener::bind(address).expect("a free port can be bound");
        let (sender, receiver) = channel();
        let said = Arc::new(Mutex::new(Said::default()));
        let stopping = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let reader = udp.try_clone().expect("a socket can be cloned");
        reader.set_read_timeout(Some(STOP_POLL)).expect("a timeout can be set");
        let (to, stop) = (sender.clone(), stopping.clone());
        threads.push(thread::spawn(move || read_packets(&reader, &to, &stop)));
        let (to, stop) = (sender.clone(), stopping.clone());
        threads.push(thread::spawn(move || accept(&tcp, &to, &stop)));
        let (to, heard) = (sender.clone(), said.clone());
        threads.push(thread::spawn(move || {
            Driver::new(udp, to, heard).run(config, admission, receiver)
        }));
        Node { address, sender, said, stopping, threads }
    }

    pub(crate) fn command(&self, command: Command) {
        self.send(Message::Input(Input::Command(command)));
    }

    /// Looks into the machine.
    pub(crate) fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Gossip) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = channel();
        self.send(Message::Inspect(Box::new(move |gossip| {
            answer.send(look(gossip)).expect("the asker waits");
        })));
        answered.recv_timeout(WAIT_MAX).expect("the machine runs")
    }

    /// Waits for an event, among all since the start.
    pub(crate) fn wait_event<T>(
        &self,
        what: &str,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        wait::until(what, WAIT_MAX, || {
            self.said.lock().unwrap().events.iter().find_map(&mut wanted)
        })
    }

    pub(crate) fn count_events(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.said.lock().unwrap().events.iter().filter(|event| wanted(event)).count()
    }

    /// What a snapshot file would hold by now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let said = self.said.lock().unwrap();
        let text: String = said.lines.iter().map(|line| format!("{line}\n")).collect();
        Snapshot::parse(&text, false)
    }

    /// Ends it as a power cut would.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn send(&self, message: Message) {
        self.sender.send(message).expect("the machine runs");
    }

    fn end(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Ended already is as good.
        let _ = self.sender.send(Message::Stop);
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !thread::panicking() {
                ended.expect("no thread of a node panics");
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

fn read_packets(udp: &UdpSocket, sender: &Sender<Message>, stopping: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !stopping.load(Ordering::SeqCst) {
        if let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let bytes = buffer[..length].to_vec().into();
            let _ = sender.send(Message::Input(Input::PacketReceived { from, bytes }));
        }
    }
}

fn accept(tcp: &TcpListener, sender: &Sender<Message>, stopping: &AtomicBool) {
    for count in 0.. {
        let Ok((stream, peer)) = tcp.accept() else { continue };
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let id = StreamId::accepted(count);
        let writer = stream.try_clone().expect("a socket can be cloned");
        let _ = sender.send(Message::Opened(id, writer));
        let _ = sender.send(Message::Input(Input::StreamAccepted { id, peer }));
        let sender = sender.clone();
        thread::spawn(move || read_stream(id, stream, &sender));
    }
}

fn connect(id: StreamId, to: SocketAddr, sender: &Sender<Message>) {
    match TcpStream::connect_timeout(&to, CONNECT_MAX) {
        Ok(stream) => {
            let writer = stream.try_clone().expect("a socket can be cloned");
            let _ = sender.send(Message::Opened(id, writer));
            let _ = sender.send(Message::Input(Input::StreamConnected { id }));
            read_stream(id, stream, sender);
        }
        Err(error) => {
            let reason = error.to_string();
            let _ = sender.send(Message::Input(Input::StreamFailed { id, reason }));
        }
    }
}

fn read_stream(id: StreamId, mut stream: TcpStream, sender: &Sender<Message>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let input = match stream.read(&mut buffer) {
            Ok(0) => Input::StreamClosed { id },
            Ok(length) => Input::StreamData { id, bytes: buffer[..length].to_vec().into() },
            Err(error) => Input::StreamFailed { id, reason: error.to_string() },
        };
        let is_end = !matches!(input, Input::StreamData { .. });
        if sender.send(Message::Input(input)).is_err() || is_end {
            return;
        }
    }
}

struct Driver {
    udp: UdpSocket,
    sender: Sender<Message>,
    said: Arc<Mutex<Said>>,
    streams: BTreeMap<StreamId, TcpStream>,
    started: Instant,
}

impl Driver {
    fn new(udp: UdpSocket, sender: Sender<Message>, said: Arc<Mutex<Said>>) -> Driver {
        Driver { udp, sender, said, streams: BTreeMap::new(), started: Instant::now() }
    }

    fn now(&self) -> Now {
        Now { mono: Mono(self.started.elapsed().as_nanos() as u64) }
    }

    fn run(mut self, config: Config, admission: Box<dyn Admission>, receiver: Receiver<Message>) {
        let mut effects = Vec::new();
        let mut gossip = Gossip::start(config, admission, self.now(), &mut effects)
            .expect("the settings are right");
        loop {
            for effect in effects.drain(..) {
                self.perform(effect);
            }
            let wake = gossip.next_wake();
            // What was received counts before what is due, but does not put it off for long.
            let is_late = self.now().mono.since(wake) > LATE_MAX;
            let wait = wake.since(self.now().mono);
            let received = match is_late {
                true => Err(RecvTimeoutError::Timeout),
                false => receiver.recv_timeout(wait.min(WAIT_MAX)),
            };
            let input = match received {
                Ok(Message::Input(input)) => input,
                Ok(Message::Opened(id, stream)) => {
                    self.streams.insert(id, stream);
                    continue;
                }
                Ok(Message::Inspect(look)) => {
                    look(&gossip);
                    continue;
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => Input::Tick,
            };
            gossip.step(input, self.now(), &mut effects);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::SendPacket { to, bytes } => {
                // Nobody may listen there any more.
                let _ = self.udp.send_to(&bytes, to);
            }
            Effect::OpenStream { id, to } => {
                let sender = self.sender.clone();
                thread::spawn(move || connect(id, to, &sender));
            }
            Effect::WriteStream { id, bytes } => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    let _ = stream.write_all(&bytes);
                }
            }
            Effect::CloseStream { id } => {
                if let Some(stream) = self.streams.remove(&id) {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            Effect::Event(event) => self.said.lock().unwrap().events.push(event),
            Effect::Snapshot(line) => self.said.lock().unwrap().lines.push(line),
        }
    }
}
