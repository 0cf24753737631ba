//! Pools of up to a thousand members in one process: how soon all know of all, how soon the dead
//! are missed, and who is taken for dead and lives.
//!
//! Real [`Gossip`] machines under a loop that carries their packets and streams. Some members are
//! slow: what they are sent and send is late. Some are starved: they stand still most of the time,
//! as on a host without processor time to spare (Lifeguard; Dadgar et al., 2018).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use gossip::{
    Command, Config, Effect, Event, Everybody, Gossip, Input, Mono, Now, OperationId, Status,
    StreamId,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::trace;

const DELAY: Range<Duration> = Duration::from_micros(200)..Duration::from_millis(3);
/// Longer than a probe may take, so that others are asked to try.
const DELAY_OF_SLOW: Range<Duration> = Duration::from_millis(300)..Duration::from_millis(900);
/// A starved member runs for some of each of these.
const STARVED_SPAN: Duration = Duration::from_secs(5);
const STARVED_RUNS: Range<u64> = 200..800;
/// Pause between two joins.
const JOIN_EVERY: Duration = Duration::from_millis(10);
/// All know of all, or all miss the dead, within this, or the run is given up.
const PATIENCE: Duration = Duration::from_secs(300);
const PIECE: Duration = Duration::from_millis(500);

/// What is simulated beside the seed.
#[derive(Clone, Copy, Debug)]
pub struct GossipSettings {
    pub members: usize,
    pub slow_percent: usize,
    pub starved_percent: usize,
    /// How many lose their power, one by one.
    pub deaths: usize,
    /// How long the pool is watched for false deaths.
    pub watched: Duration,
    pub loss_percent: u32,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GossipReport {
    /// Equal for equal runs.
    pub trace_hash: u64,
    /// From the last join until all knew of all.
    pub converged_after: Duration,
    /// From each death until the first member, and until every healthy one, had missed it.
    pub first_missed_after: Vec<Duration>,
    pub all_missed_after: Vec<Duration>,
    /// Living members taken for dead, each counted once for every member that did.
    pub false_deaths_of_healthy: u64,
    pub false_deaths_of_ailing: u64,
    pub suspicions: u64,
    pub refutations: u64,
    pub packets: u64,
}

struct Host {
    gossip: Gossip,
    wake: Mono,
    accepted: u64,
    is_slow: bool,
    /// How much of each [`STARVED_SPAN`] it runs, when it is starved.
    runs: Option<Duration>,
}

type End = (SocketAddr, StreamId);

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
            Self::Packet { to, .. } | Self::Connect { to, .. } => *to,
            Self::Connected { end }
            | Self::Refused { end }
            | Self::Data { end, .. }
            | Self::Closed { end } => end.0,
        }
    }
}

/// A pool and its network.
pub struct GossipWorld {
    settings: GossipSettings,
    rng: StdRng,
    now: Mono,
    hosts: BTreeMap<SocketAddr, Host>,
    names: BTreeMap<String, SocketAddr>,
    queue: BTreeMap<(Mono, u64), Delivery>,
    wakes: BTreeSet<(Mono, SocketAddr)>,
    streams: BTreeMap<End, End>,
    /// Nothing on a stream overtakes what was sent before.
    last_arrival: BTreeMap<End, Mono>,
    sent: u64,
    /// By name: when it died, and who has missed it.
    dead: BTreeMap<String, (Mono, BTreeSet<SocketAddr>)>,
    report: GossipReport,
}

impl GossipWorld {
    /// Runs `seed`: all join, some die, and all are watched.
    ///
    /// Errors: what did not come about in time.
    pub fn run(seed: u64, settings: GossipSettings) -> Result<GossipReport, String> {
        let mut world = Self {
            settings,
            rng: StdRng::seed_from_u64(seed),
            now: Mono(0),
            hosts: BTreeMap::new(),
            names: BTreeMap::new(),
            queue: BTreeMap::new(),
            wakes: BTreeSet::new(),
            streams: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            sent: 0,
            dead: BTreeMap::new(),
            report: GossipReport::default(),
        };
        world.live()?;
        Ok(world.conclude())
    }

    fn live(&mut self) -> Result<(), String> {
        for number in 0..self.settings.members {
            self.start(number);
            self.run_for(JOIN_EVERY);
        }
        let joined = self.now;
        let all = self.settings.members;
        self.until("all to know of all", |world| {
            let alive = |host: &Host| {
                host.gossip.members().filter(|m| m.status == Status::Alive).count() == all
            };
            world.hosts.values().all(alive)
        })?;
        self.report.converged_after = self.now.since(joined);
        // Only now, so that the joins are told apart from the rest.
        self.make_some_ail();
        for number in 0..self.settings.deaths {
            self.kill(number);
        }
        self.run_for(self.settings.watched);
        Ok(())
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), String> {
        let deadline = self.now.plus(PATIENCE);
        while !is_so(self) {
            if self.now >= deadline {
                return Err(format!("waited {PATIENCE:?} in vain for {what}"));
            }
            self.run_for(PIECE);
        }
        Ok(())
    }

    fn conclude(mut self) -> GossipReport {
        for host in self.hosts.values() {
            let counters = host.gossip.counters();
            self.report.suspicions += counters.suspicions;
            self.report.refutations += counters.refutations;
            self.report.packets += counters.packets_out;
        }
        self.report
    }

    /// Which members are healthy throughout: those that are neither slow nor starved.
    fn is_healthy(&self, at: SocketAddr) -> bool {
        self.hosts.get(&at).is_some_and(|host| !host.is_slow && host.runs.is_none())
    }

    fn start(&mut self, number: usize) {
        let at = address(number);
        let mut config = Config::new(format!("node-{number}"), at, self.rng.random());
        // Costs most of the time here and changes nothing.
        config.compress = false;
        self.names.insert(config.name.clone(), at);
        let mut effects = Vec::new();
        let now = Now { mono: self.now };
        let gossip = Gossip::start(config, Box::new(Everybody), now, &mut effects)
            .expect("the settings are sound");
        let wake = gossip.next_wake();
        self.hosts.insert(at, Host { gossip, wake, accepted: 0, is_slow: false, runs: None });
        self.wakes.insert((wake, at));
        self.perform(at, effects);
        if number > 0 {
            let addresses = vec![address(self.rng.random_range(0..number))];
            let command = Command::Join { operation: OperationId(0), addresses };
            self.input(at, Input::Command(command));
        }
    }

    /// The last ones are slow, those before them starved.
    fn make_some_ail(&mut self) {
        let GossipSettings { members, slow_percent, starved_percent, .. } = self.settings;
        let (slow, starved) = (members * slow_percent / 100, members * starved_percent / 100);
        for number in members - slow - starved..members {
            let runs = Duration::from_millis(self.rng.random_range(STARVED_RUNS));
            let Some(host) = self.hosts.get_mut(&address(number)) else { continue };
            host.is_slow = number >= members - slow;
            host.runs = (!host.is_slow).then_some(runs);
        }
    }

    fn kill(&mut self, number: usize) {
        let at = address(number);
        let Some(host) = self.hosts.remove(&at) else { return };
        self.wakes.remove(&(host.wake, at));
        self.dead.insert(host.gossip.name().to_owned(), (self.now, BTreeSet::new()));
        let ends: Vec<End> = self.streams.keys().filter(|end| end.0 == at).copied().collect();
        ends.into_iter().for_each(|end| self.close(end));
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.now.plus(span);
        loop {
            let delivery = self.queue.first_key_value().map(|(key, _)| key.0);
            let wake = self.wakes.first().map(|wake| wake.0);
            let next = delivery.into_iter().chain(wake).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if delivery == Some(next) {
                let Some((key, delivery)) = self.queue.pop_first() else { break };
                let runs = self.next_run(delivery.to());
                match runs > self.now {
                    true => _ = self.queue.insert((runs, key.1), delivery),
                    false => self.deliver(delivery),
                }
            } else if let Some((_, at)) = self.wakes.pop_first() {
                self.wake(at);
            }
        }
        self.now = end;
    }

    fn wake(&mut self, at: SocketAddr) {
        let runs = self.next_run(at);
        if runs == self.now {
            return self.input(at, Input::Tick);
        }
        if let Some(host) = self.hosts.get_mut(&at) {
            host.wake = runs;
            self.wakes.insert((runs, at));
        }
    }

    /// When a member runs next.
    fn next_run(&self, at: SocketAddr) -> Mono {
        let Some(runs) = self.hosts.get(&at).and_then(|host| host.runs) else { return self.now };
        // Not all at the same time.
        let shift = u64::from(at.port()) + hash_of(at) % STARVED_SPAN.as_nanos() as u64;
        let into = Duration::from_nanos((self.now.0 + shift) % STARVED_SPAN.as_nanos() as u64);
        if into < runs { self.now } else { self.now.plus(STARVED_SPAN - into) }
    }

    fn input(&mut self, at: SocketAddr, input: Input) {
        let Some(host) = self.hosts.get_mut(&at) else { return };
        let mut effects = Vec::new();
        host.gossip.step(input, Now { mono: self.now }, &mut effects);
        self.wakes.remove(&(host.wake, at));
        host.wake = host.gossip.next_wake();
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
                Effect::Event(Event::MemberFailed(member)) => self.missed(at, &member.name),
                Effect::Event(_) | Effect::Snapshot(_) => {}
            }
        }
    }

    fn missed(&mut self, by: SocketAddr, name: &str) {
        let healthy: BTreeSet<SocketAddr> =
            self.hosts.keys().copied().filter(|at| self.is_healthy(*at)).collect();
        let Some((died, missed_by)) = self.dead.get_mut(name) else {
            let of = self.names.get(name).copied();
            match of.is_some_and(|of| self.is_healthy(of)) {
                true => self.report.false_deaths_of_healthy += 1,
                false => self.report.false_deaths_of_ailing += 1,
            }
            return;
        };
        let after = self.now.since(*died);
        if missed_by.is_empty() {
            self.report.first_missed_after.push(after);
        }
        if healthy.contains(&by) && missed_by.insert(by) && missed_by.is_superset(&healthy) {
            self.report.all_missed_after.push(after);
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if self.rng.random_range(0..100) < self.settings.loss_percent {
            return;
        }
        let at = self.now.plus(self.delay(from, to));
        self.sent += 1;
        self.queue.insert((at, self.sent), Delivery::Packet { from, to, bytes });
    }

    fn delay(&mut self, from: SocketAddr, to: SocketAddr) -> Duration {
        let is_slow = |at| self.hosts.get(&at).is_some_and(|host| host.is_slow);
        let range = if is_slow(from) || is_slow(to) { DELAY_OF_SLOW } else { DELAY };
        self.rng.random_range(range)
    }

    /// Sends something that is never lost and keeps its order.
    fn post(&mut self, end: End, delivery: Delivery) {
        let at = self.now.plus(self.delay(end.0, delivery.to()));
        let last = self.last_arrival.entry(end).or_default();
        *last = at.max(*last);
        self.sent += 1;
        self.queue.insert((*last, self.sent), delivery);
    }

    fn close(&mut self, end: End) {
        self.last_arrival.remove(&end);
        if let Some(other) = self.streams.remove(&end) {
            self.streams.remove(&other);
            self.post(other, Delivery::Closed { end: other });
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Packet { from, to, bytes } => {
                let mixed = self.report.trace_hash.rotate_left(1) ^ self.now.0;
                let content = trace::fingerprint(bytes.iter().copied());
                self.report.trace_hash = mixed ^ content ^ hash_of(to);
                self.input(to, Input::PacketReceived { from, bytes });
            }
            Delivery::Connect { from, to } => {
                let Some(host) = self.hosts.get_mut(&to) else {
                    return self.post(from, Delivery::Refused { end: from });
                };
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
                self.input(end.0, Input::StreamData { id: end.1, bytes });
            }
            Delivery::Closed { end } => self.input(end.0, Input::StreamClosed { id: end.1 }),
        }
    }
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (number / 250) as u8, (number % 250) as u8 + 1], 8301))
}

fn hash_of(at: SocketAddr) -> u64 {
    trace::fingerprint(at.to_string().bytes())
}
