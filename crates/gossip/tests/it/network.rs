//! A network in memory: nodes, packets and streams of one pool in one thread, all from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use gossip::{
    Command, Config, Effect, Event, Everybody, Gossip, Input, Mono, Now, OperationId, Snapshot,
    SnapshotLine, Status, StreamId,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How bad the network is.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Part of packets that vanish.
    pub(crate) loss: f64,
    /// Part of packets that come twice.
    pub(crate) duplication: f64,
    pub(crate) delay: std::ops::Range<Duration>,
    /// Whether streams cannot be opened.
    pub(crate) is_tcp_blocked: bool,
}

impl Weather {
    pub(crate) fn fine() -> Weather {
        Weather {
            loss: 0.0,
            duplication: 0.0,
            delay: Duration::from_micros(200)..Duration::from_millis(2),
            is_tcp_blocked: false,
        }
    }
}

/// One node and what it said.
pub(crate) struct Host {
    pub(crate) gossip: Gossip,
    pub(crate) events: Vec<Event>,
    pub(crate) lines: Vec<SnapshotLine>,
    /// The group it can talk within.
    side: usize,
    accepted: u64,
    wake: Mono,
    /// Of how long a span it may run how much; outside it stands still, and what comes in waits.
    pub(crate) ration: Option<(Duration, Duration)>,
}

impl Host {
    pub(crate) fn statuses(&self, status: Status) -> usize {
        self.gossip.members().filter(|member| member.status == status).count()
    }

    /// When it runs next, from a moment on.
    fn next_run(&self, now: Mono) -> Mono {
        let Some((span, active)) = self.ration else { return now };
        let into = Duration::from_nanos(now.0 % span.as_nanos() as u64);
        if into < active { now } else { now.plus(span - into) }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        Snapshot::parse(&text, false)
    }
}

/// One end of a stream.
type End = (SocketAddr, StreamId);

/// What arrives somewhere.
enum Delivery {
    Packet { from: SocketAddr, to: SocketAddr, bytes: Bytes },
    Connect { from: End, to: SocketAddr },
    Connected { end: End },
    Refused { end: End },
    Data { end: End, bytes: Bytes },
    Closed { end: End },
}

impl Delivery {
    fn to(&self) -> SocketAddr {
        match self {
            Delivery::Packet { to, .. } | Delivery::Connect { to, .. } => *to,
            Delivery::Connected { end }
            | Delivery::Refused { end }
            | Delivery::Data { end, .. }
            | Delivery::Closed { end } => end.0,
        }
    }
}

pub(crate) struct Network {
    pub(crate) hosts: BTreeMap<SocketAddr, Host>,
    pub(crate) weather: Weather,
    pub(crate) now: Mono,
    rng: StdRng,
    queue: BTreeMap<(Mono, u64), Delivery>,
    wakes: BTreeSet<(Mono, SocketAddr)>,
    /// The other end of each.
    streams: BTreeMap<End, End>,
    /// Streams keep their order: nothing arrives before what was sent earlier.
    last_arrival: BTreeMap<End, Mono>,
    sent: u64,
    /// Of all that was delivered, in order.
    trace: u64,
}

/// Address of the `n`-th node.
pub(crate) fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250) as u8 + 1], 8301))
}

pub(crate) fn name(n: usize) -> String {
    format!("node-{n}")
}

impl Network {
    pub(crate) fn new(seed: u64) -> Network {
        Network {
            hosts: BTreeMap::new(),
            weather: Weather::fine(),
            now: Mono(0),
            rng: StdRng::seed_from_u64(seed),
            queue: BTreeMap::new(),
            wakes: BTreeSet::new(),
            streams: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            sent: 0,
            trace: 0,
        }
    }

    /// A pool of `count` that all join through the first, converged.
    pub(crate) fn pool(seed: u64, count: usize, adjust: impl Fn(&mut Config)) -> Network {
        let mut network = Network::new(seed);
        for n in 0..count {
            network.start(n, &adjust);
            if n > 0 {
                network.join(n, 0);
            }
            // One by one: nobody takes hundreds of joins at the same moment.
            network.run_for(Duration::from_millis(20));
        }
        network.run_until("all to be alive everywhere", 120, |network| network.is_converged());
        network
    }

    /// Starts the `n`-th node.
    pub(crate) fn start(&mut self, n: usize, adjust: impl FnOnce(&mut Config)) {
        self.start_at(address(n), n, adjust);
    }

    pub(crate) fn start_at(&mut self, at: SocketAddr, n: usize, adjust: impl FnOnce(&mut Config)) {
        let mut config = Config::new(name(n), at, self.rng.random());
        // Compression is tested elsewhere and costs most of the time here.
        config.compress = false;
        adjust(&mut config);
        let mut effects = Vec::new();
        let now = Now { mono: self.now };
        let gossip = Gossip::start(config, Box::new(Everybody), now, &mut effects)
            .expect("the settings are right");
        let wake = gossip.next_wake();
        let (events, lines) = (Vec::new(), Vec::new());
        let host = Host { gossip, events, lines, side: 0, accepted: 0, wake, ration: None };
        self.hosts.insert(at, host);
        self.wakes.insert((wake, at));
        self.perform(at, effects);
    }

    /// As a power cut.
    pub(crate) fn kill(&mut self, n: usize) {
        self.kill_at(address(n));
    }

    pub(crate) fn kill_at(&mut self, at: SocketAddr) {
        let host = self.hosts.remove(&at).expect("it runs");
        self.wakes.remove(&(host.wake, at));
        let ends: Vec<End> = self.streams.keys().filter(|end| end.0 == at).copied().collect();
        for end in ends {
            self.close(end);
        }
    }

    pub(crate) fn join(&mut self, n: usize, to: usize) {
        let addresses = vec![address(to)];
        self.command(n, Command::Join { operation: OperationId(0), addresses });
    }

    pub(crate) fn command(&mut self, n: usize, command: Command) {
        self.input(address(n), Input::Command(command));
    }

    pub(crate) fn host(&self, n: usize) -> &Host {
        &self.hosts[&address(n)]
    }

    /// Cuts the network into groups.
    pub(crate) fn split(&mut self, side: impl Fn(usize) -> usize) {
        for (n, host) in self.hosts.values_mut().enumerate() {
            host.side = side(n);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.split(|_| 0);
    }

    /// Whether all who run see all who run alive, and nobody else.
    pub(crate) fn is_converged(&self) -> bool {
        let count = self.hosts.len();
        self.hosts.values().all(|host| host.statuses(Status::Alive) == count)
    }

    pub(crate) fn count_events(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        let events = self.hosts.values().flat_map(|host| &host.events);
        events.filter(|event| wanted(event)).count()
    }

    /// A number that differs when anything delivered differs.
    pub(crate) fn trace(&self) -> u64 {
        self.trace
    }

    /// Runs until a condition holds; panics when it does not within so many seconds of the network's time.
    pub(crate) fn run_until(&mut self, what: &str, seconds: u64, holds: impl Fn(&Network) -> bool) {
        let deadline = self.now.plus(Duration::from_secs(seconds));
        while !holds(self) {
            assert!(self.now < deadline, "waited {seconds} s in vain: {what}");
            self.run_for(Duration::from_millis(100));
        }
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now.plus(span);
        loop {
            let delivery = self.queue.first_key_value().map(|(key, _)| key.0);
            let wake = self.wakes.first().map(|wake| wake.0);
            let next = delivery.into_iter().chain(wake).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if delivery == Some(next) {
                let (key, delivery) = self.queue.pop_first().expect("there is one");
                let run = self.next_run(delivery.to());
                if run > self.now {
                    self.queue.insert((run, key.1), delivery);
                } else {
                    self.deliver(delivery);
                }
            } else {
                let wake = self.wakes.pop_first().expect("there is one");
                let run = self.next_run(wake.1);
                if run > self.now {
                    self.hosts.get_mut(&wake.1).expect("it runs").wake = run;
                    self.wakes.insert((run, wake.1));
                } else {
                    self.input(wake.1, Input::Tick);
                }
            }
        }
        self.now = end;
    }

    fn next_run(&self, at: SocketAddr) -> Mono {
        self.hosts.get(&at).map(|host| host.next_run(self.now)).unwrap_or(self.now)
    }

    fn input(&mut self, at: SocketAddr, input: Input) {
        let Some(host) = self.hosts.get_mut(&at) else { return };
        let is_tick = matches!(input, Input::Tick);
        let mut effects = Vec::new();
        host.gossip.step(input, Now { mono: self.now }, &mut effects);
        self.wakes.remove(&(host.wake, at));
        host.wake = host.gossip.next_wake();
        assert!(!is_tick || host.wake > self.now, "a machine that wakes at once never sleeps");
        self.wakes.insert((host.wake, at));
        self.perform(at, effects);
    }

    fn perform(&mut self, at: SocketAddr, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::SendPacket { to, bytes } => self.send(at, to, bytes),
                Effect::OpenStream { id, to } => {
                    self.post((at, id), Delivery::Connect { from: (at, id), to });
                }
                Effect::WriteStream { id, bytes } => {
                    if let Some(end) = self.streams.get(&(at, id)).copied() {
                        self.post(end, Delivery::Data { end, bytes });
                    }
                }
                Effect::CloseStream { id } => self.close((at, id)),
                Effect::Event(event) => {
                    let host = self.hosts.get_mut(&at).expect("it runs");
                    host.events.push(event.clone());
                    self.answer(at, event);
                }
                Effect::Snapshot(line) => {
                    self.hosts.get_mut(&at).expect("it runs").lines.push(line);
                }
            }
        }
    }

    /// Every node answers queries with its own name.
    fn answer(&mut self, at: SocketAddr, event: Event) {
        if let Event::Query { query, .. } = event {
            let payload = Bytes::from(self.hosts[&at].gossip.name().to_owned());
            self.input(at, Input::Command(Command::Respond { query, payload }));
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if self.rng.random_bool(self.weather.loss) {
            return;
        }
        let copies = 1 + usize::from(self.rng.random_bool(self.weather.duplication));
        for _ in 0..copies {
            let at = self.now.plus(self.delay());
            self.sent += 1;
            let delivery = Delivery::Packet { from, to, bytes: bytes.clone() };
            self.queue.insert((at, self.sent), delivery);
        }
    }

    fn delay(&mut self) -> Duration {
        self.rng.random_range(self.weather.delay.clone())
    }

    /// Sends something that is never lost and keeps its order.
    fn post(&mut self, end: End, delivery: Delivery) {
        let at = self.now.plus(self.delay());
        let last = self.last_arrival.get(&end).copied().unwrap_or_default();
        let at = at.max(last);
        self.last_arrival.insert(end, at);
        self.sent += 1;
        self.queue.insert((at, self.sent), delivery);
    }

    fn close(&mut self, end: End) {
        if let Some(other) = self.streams.remove(&end) {
            self.streams.remove(&other);
            self.post(other, Delivery::Closed { end: other });
        }
    }

    fn can_reach(&self, from: SocketAddr, to: SocketAddr) -> bool {
        match (self.hosts.get(&from), self.hosts.get(&to)) {
            (Some(from), Some(to)) => from.side == to.side,
            _ => false,
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Packet { from, to, bytes } => {
                if self.can_reach(from, to) {
                    self.note(from, to, &bytes);
                    self.input(to, Input::PacketReceived { from, bytes });
                }
            }
            Delivery::Connect { from, to } => {
                if self.weather.is_tcp_blocked || !self.can_reach(from.0, to) {
                    self.post(from, Delivery::Refused { end: from });
                    return;
                }
                let host = self.hosts.get_mut(&to).expect("it can be reached");
                host.accepted += 1;
                let end = (to, StreamId::accepted(host.accepted));
                self.streams.insert(from, end);
                self.streams.insert(end, from);
                self.input(to, Input::StreamAccepted { id: end.1, peer: from.0 });
                self.post(from, Delivery::Connected { end: from });
            }
            Delivery::Connected { end } => self.input(end.0, Input::StreamConnected { id: end.1 }),
            Delivery::Refused { end } => {
                let reason = "connection refused".to_owned();
                self.input(end.0, Input::StreamFailed { id: end.1, reason });
            }
            Delivery::Data { end, bytes } => {
                self.note(end.0, end.0, &bytes);
                // In pieces, as they come.
                for piece in bytes.chunks(1000) {
                    let bytes = Bytes::copy_from_slice(piece);
                    self.input(end.0, Input::StreamData { id: end.1, bytes });
                }
            }
            Delivery::Closed { end } => self.input(end.0, Input::StreamClosed { id: end.1 }),
        }
    }

    fn note(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let head = format!("{} {from} {to} ", self.now.0);
        // FNV-1a.
        for byte in head.as_bytes().iter().chain(bytes) {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
