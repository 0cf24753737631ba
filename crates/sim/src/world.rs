//! The loop: servers, their disks, the network, clients, and power cuts, all from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::command::Outcome;
use model::time::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replica::{
    Effect, Input, Leadership, Membership, Message, Mono, Note, Now, Replica, ReplicaConfig,
    RequestId, Response, Snapshot,
};
use state::State;
use wal::Log;

use crate::bug::Bug;
use crate::check::{Acknowledged, Indexes, Sessions, Waits};
use crate::client::{self, Ask};
use crate::disk::{self, Disk};
use crate::trace::Trace;
use crate::violation::Violation;

const TICK: Duration = Duration::from_millis(50);
/// Pause between two requests, at most.
const PAUSE_MAX_MILLIS: u64 = 60;

/// What is simulated, beside the seed.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub servers: u64,
    /// Virtual time of a run.
    pub duration: Duration,
    /// Mean virtual time between two power cuts.
    pub crash_every: Duration,
    /// Entries between two snapshots; small, so that runs meet many.
    pub snapshot_threshold: u64,
    pub bug: Option<Bug>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: 1,
            duration: Duration::from_secs(60),
            crash_every: Duration::from_secs(6),
            snapshot_threshold: 100,
            bug: None,
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Equal for equal runs.
    pub trace_hash: u64,
    pub acknowledged: u64,
    pub crashes: u64,
    pub woken: u64,
    pub sessions_ended: u64,
    pub snapshots: u64,
}

enum Event {
    Tick {
        server: u64,
        life: u64,
    },
    Synced {
        server: u64,
        life: u64,
        ticket: u64,
    },
    /// The replica hears that its write is durable.
    CalledDurable {
        server: u64,
        life: u64,
        ticket: u64,
    },
    SnapshotWritten {
        server: u64,
        life: u64,
        snapshot: Box<Snapshot>,
    },
    Deliver {
        to: u64,
        message: Box<Message>,
    },
    DeliverSnapshot {
        message: Box<Message>,
        snapshot: Box<Snapshot>,
    },
    DeliverNote {
        from: u64,
        to: u64,
        note: Note,
    },
    Request,
    Crash,
    Restart {
        server: u64,
    },
}

/// One server with what it leaves behind when it dies.
struct Server {
    id: u64,
    /// `None` while it has no power.
    replica: Option<Replica>,
    /// Counts restarts, so that what a former life began is not told to the next.
    life: u64,
    disk: Disk,
    leadership: Leadership,
    published: State,
    /// Asked here and not answered.
    pending: BTreeMap<u64, Ask>,
}

/// A cluster and its clients.
pub struct World {
    settings: Settings,
    rng: StdRng,
    now: Mono,
    events: BTreeMap<(Mono, u64), Event>,
    next_event: u64,
    next_request: u64,
    servers: BTreeMap<u64, Server>,
    /// The server whose state the checkers look at, and its term.
    serving: Option<(u64, u64)>,
    acknowledged: Acknowledged,
    waits: Waits,
    indexes: Indexes,
    sessions: Sessions,
    known_sessions: BTreeSet<String>,
    is_changed: bool,
    trace: Trace,
    report: Report,
}

impl World {
    /// Runs `seed` to its end.
    pub fn run(seed: u64, settings: Settings) -> Result<Report, Violation> {
        let mut world = Self::new(seed, settings);
        let result = world.live();
        world.report.trace_hash = world.trace.hash();
        match result {
            Ok(()) => Ok(world.report),
            Err(what) => {
                let last_lines = world.trace.last_lines();
                Err(Violation { seed, what, test: "one_seed", last_lines })
            }
        }
    }

    fn new(seed: u64, settings: Settings) -> Self {
        let server = |id| Server {
            id,
            replica: None,
            life: 0,
            disk: Disk::new(settings.bug),
            leadership: Leadership::default(),
            published: State::new(),
            pending: BTreeMap::new(),
        };
        let mut world = Self {
            settings,
            rng: StdRng::seed_from_u64(seed),
            now: Mono(1_000_000_000),
            events: BTreeMap::new(),
            next_event: 0,
            next_request: 0,
            servers: (1..=settings.servers).map(|id| (id, server(id))).collect(),
            serving: None,
            acknowledged: Acknowledged::default(),
            waits: Waits::default(),
            indexes: Indexes::default(),
            sessions: Sessions::default(),
            known_sessions: BTreeSet::new(),
            is_changed: false,
            trace: Trace::default(),
            report: Report::default(),
        };
        for id in 1..=settings.servers {
            world.after_millis(0..5, Event::Restart { server: id });
        }
        world.after_millis(0..50, Event::Request);
        world.after_millis(1000..5000, Event::Crash);
        world
    }

    fn live(&mut self) -> Result<(), String> {
        let end = self.now.plus(self.settings.duration);
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            // Promises can break when something became visible and when time alone passed.
            self.is_changed = matches!(event, Event::Tick { .. });
            self.happen(event)?;
            if self.is_changed {
                self.check()?;
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Tick { server, life } => {
                if self.is_alive(server, life) {
                    self.after(TICK, Event::Tick { server, life });
                    return self.step(server, Input::Tick);
                }
            }
            Event::Synced { server, life, ticket } => {
                if self.is_alive(server, life) {
                    self.trace.note(format_args!("{} server {server} synced {ticket}", self.now.0));
                    self.disk_of(server).sync().expect("memory does not fail");
                    if self.settings.bug != Some(Bug::EarlyDurable) {
                        return self.step(server, Input::Persisted { ticket });
                    }
                }
            }
            Event::CalledDurable { server, life, ticket } => {
                if self.is_alive(server, life) {
                    return self.step(server, Input::Persisted { ticket });
                }
            }
            Event::SnapshotWritten { server, life, snapshot } => {
                if self.is_alive(server, life) {
                    let index = snapshot.index;
                    self.trace.note(format_args!(
                        "server {server} saved a snapshot of {index} with hash {:x}",
                        snapshot.state.hash()
                    ));
                    self.report.snapshots += 1;
                    self.disk_of(server).save(&snapshot);
                    return self.step(server, Input::SnapshotSaved { index });
                }
            }
            Event::Deliver { to, message } => {
                if self.servers.get(&to).is_some_and(|server| server.replica.is_some()) {
                    return self.step(to, Input::Message(message));
                }
            }
            Event::DeliverSnapshot { message, snapshot } => {
                let (from, to) = (message.from, message.to);
                let is_received = self.servers.get(&to).is_some_and(|s| s.replica.is_some());
                if is_received {
                    self.step(to, Input::SnapshotReceived { message, snapshot })?;
                }
                return self.step(from, Input::SnapshotSent { to, is_received });
            }
            Event::DeliverNote { from, to, note } => {
                return self.step(to, Input::Note { from, note });
            }
            Event::Request => {
                self.after_millis(0..PAUSE_MAX_MILLIS, Event::Request);
                return self.request();
            }
            Event::Crash => {
                let mean = self.settings.crash_every.as_millis() as u64;
                self.after_millis(0..2 * mean, Event::Crash);
                let server = self.rng.random_range(1..=self.settings.servers);
                // One at a time, so that a majority lives.
                if self.servers.values().all(|server| server.replica.is_some()) {
                    self.crash(server);
                }
            }
            Event::Restart { server } => return self.restart(server),
        }
        Ok(())
    }

    fn request(&mut self) -> Result<(), String> {
        let Some((leader, _)) = self.serving else { return Ok(()) };
        let Some(server) = self.servers.get(&leader) else { return Ok(()) };
        self.next_request += 1;
        let id = self.next_request;
        let ask = client::draw(&mut self.rng, &server.published, id);
        self.trace.note(format_args!("{} {id} asks {ask:?}", self.now.0));
        let request = RequestId(id);
        let input = match &ask {
            Ask::Change(command) => {
                let writes = client::writes(command);
                self.acknowledged.asked(id, &writes);
                if client::is_lock(command) {
                    writes.iter().for_each(|(key, _)| self.acknowledged.may_lock(key));
                }
                self.sessions.asked(command);
                Input::Propose { request, command: command.clone() }
            }
            Ask::Renew(session) => Input::RenewSession { request, id: session.clone() },
            Ask::Wait(query) => {
                self.waits.begin(query.clone(), &server.published);
                return Ok(());
            }
        };
        if let Some(server) = self.servers.get_mut(&leader) {
            server.pending.insert(id, ask);
        }
        self.step(leader, input)
    }

    fn crash(&mut self, id: u64) {
        self.trace.note(format_args!("{} server {id} loses its power", self.now.0));
        self.report.crashes += 1;
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.replica = None;
        server.life += 1;
        // What was pending stays open: nobody knows whether it came through.
        server.pending.clear();
        server.disk.lose_power(&mut self.rng);
        self.stop_serving(id);
        self.after_millis(1..3000, Event::Restart { server: id });
    }

    fn restart(&mut self, id: u64) -> Result<(), String> {
        let seed = self.rng.random();
        let voters = self.servers.keys().copied().collect();
        let membership = Membership { voters, ..Membership::default() };
        let config = ReplicaConfig {
            snapshot_threshold: self.settings.snapshot_threshold,
            trailing_entries: 20,
            ..ReplicaConfig::new(id, "dc1")
        };
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        let recovered = server.disk.recover(membership);
        let replica = Replica::new(config, recovered, StdRng::seed_from_u64(seed))
            .map_err(|cause| format!("server {id} does not start: {cause}"))?;
        server.leadership = Leadership::default();
        server.published = replica.state().clone();
        server.replica = Some(replica);
        let life = server.life;
        self.trace.note(format_args!("{} server {id} starts life {life}", self.now.0));
        self.after(TICK, Event::Tick { server: id, life });
        self.step(id, Input::Members(vec![client::member()]))
    }

    /// Gives `input` to a server and performs what comes of it.
    fn step(&mut self, id: u64, input: Input) -> Result<(), String> {
        let now = self.now_of();
        let Some(replica) = self.servers.get_mut(&id).and_then(|s| s.replica.as_mut()) else {
            return Ok(());
        };
        let mut effects = Vec::new();
        replica.step(input, now, &mut effects);
        replica.flush(now, &mut effects);
        for effect in effects {
            self.perform(id, effect)?;
        }
        Ok(())
    }

    fn perform(&mut self, id: u64, effect: Effect) -> Result<(), String> {
        let life = self.servers.get(&id).map_or(0, |server| server.life);
        match effect {
            Effect::Persist(persist) => {
                let ticket = persist.ticket;
                let entries = persist.entries.len();
                self.trace.note(format_args!("server {id} writes {ticket}: {entries} entries"));
                if let Some(snapshot) = &persist.snapshot {
                    self.report.snapshots += 1;
                    self.disk_of(id).save(snapshot);
                }
                let batch = disk::batch(&persist);
                self.disk_of(id).write(&batch).expect("memory does not fail");
                self.after_millis(0..20, Event::Synced { server: id, life, ticket });
                if self.settings.bug == Some(Bug::EarlyDurable) {
                    self.after(Duration::ZERO, Event::CalledDurable { server: id, life, ticket });
                }
            }
            Effect::Send(messages) => {
                for message in messages {
                    // A lossy network; consensus sends again.
                    if self.rng.random_range(0..100) < 98 {
                        let (to, message) = (message.to, Box::new(message));
                        self.after_millis(0..30, Event::Deliver { to, message });
                    }
                }
            }
            Effect::SendSnapshot { message, snapshot } => {
                self.trace.note(format_args!("server {id} sends a snapshot of {}", snapshot.index));
                let snapshot = Box::new(snapshot);
                self.after_millis(0..500, Event::DeliverSnapshot { message, snapshot });
            }
            Effect::Note { to, note } => {
                self.after_millis(0..30, Event::DeliverNote { from: id, to, note });
            }
            Effect::Replace(state) => {
                self.trace.note(format_args!("server {id} goes on from {}", state.index()));
                self.is_changed = true;
                if let Some(server) = self.servers.get_mut(&id) {
                    server.published = state;
                }
            }
            Effect::Lease(_) | Effect::Membership(_) => {}
            Effect::RolledBack(known) => {
                self.trace.note(format_args!("server {id} was put back, it was at {known:?}"));
            }
            Effect::Publish { state, touched } => {
                self.trace.note(format_args!("server {id} publishes {}", state.index()));
                self.is_changed = true;
                if let Some(server) = self.servers.get_mut(&id) {
                    server.published = state;
                }
                if self.serving.is_some_and(|(serving, _)| serving == id) {
                    let is_lost = self.settings.bug == Some(Bug::LostWakeUp)
                        && self.rng.random_range(0..10) == 0;
                    let published = self.servers.get(&id).map(|server| server.published.clone());
                    if let Some(state) = published.filter(|_| !is_lost) {
                        self.waits.wake(&touched, &state, false)?;
                    }
                }
            }
            Effect::Reply { request, result } => self.answered(id, request.0, result),
            Effect::Leadership(leadership) => return self.leadership(id, leadership),
            Effect::SaveSnapshot(snapshot) => {
                let snapshot = Box::new(snapshot);
                self.after_millis(0..500, Event::SnapshotWritten { server: id, life, snapshot });
            }
            Effect::Compact { through } => {
                self.disk_of(id).compact(through).expect("memory does not fail");
            }
            Effect::Halt(cause) => return Err(format!("server {id} halts: {cause}")),
        }
        Ok(())
    }

    fn answered(&mut self, id: u64, request: u64, result: Result<Response, model::error::Error>) {
        self.trace.note(format_args!("{request} is answered {result:?}"));
        let Some(ask) = self.servers.get_mut(&id).and_then(|s| s.pending.remove(&request)) else {
            return;
        };
        match (ask, result) {
            (Ask::Change(command), Ok(Response::Outcome(outcome))) => {
                if outcome == Outcome::Applied(false) {
                    self.acknowledged.had_no_effect(request);
                } else {
                    self.report.acknowledged += 1;
                    self.acknowledged.took_effect(request, &client::writes(&command));
                }
            }
            (Ask::Renew(session), Ok(Response::Renewed(Some(_)))) => {
                self.sessions.renewed(&session, self.now);
            }
            // Its fate is unknown.
            (Ask::Change(_), Err(e)) if e.kind == model::error::ErrorKind::Timeout => {}
            (Ask::Change(_), Err(_)) => self.acknowledged.had_no_effect(request),
            _ => {}
        }
    }

    fn leadership(&mut self, id: u64, leadership: Leadership) -> Result<(), String> {
        self.trace.note(format_args!("server {id}: {leadership:?}"));
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        server.leadership = leadership;
        if !leadership.is_ready {
            self.stop_serving(id);
            return Ok(());
        }
        // A leader of an older term that has not heard of the next one serves nobody here.
        if self.serving.is_none_or(|(_, term)| term < leadership.term) {
            self.serving = Some((id, leadership.term));
            self.waits.disconnect();
            self.sessions.serving(self.now);
            let state = server.published.clone();
            self.acknowledged.decided(&state)?;
        }
        Ok(())
    }

    fn stop_serving(&mut self, id: u64) {
        if self.serving.is_some_and(|(serving, _)| serving == id) {
            self.serving = None;
            self.waits.disconnect();
            self.sessions.interrupted();
        }
    }

    fn check(&mut self) -> Result<(), String> {
        let Some((serving, _)) = self.serving else { return Ok(()) };
        let Some(server) = self.servers.get(&serving) else { return Ok(()) };
        let state = &server.published;
        self.acknowledged.check(state)?;
        self.acknowledged.may_vanish(state);
        self.waits.check(state)?;
        self.indexes.check(state)?;
        self.sessions.check(state, self.now)?;
        let known: BTreeSet<String> = state.sessions().map(|session| session.id.clone()).collect();
        self.report.sessions_ended += self.known_sessions.difference(&known).count() as u64;
        self.known_sessions = known;
        self.report.woken = self.waits.answered();
        self.check_agreement()
    }

    /// Servers that have applied as far have the same state. Hashing is dear, so one in a few.
    fn check_agreement(&mut self) -> Result<(), String> {
        let mut hashes = BTreeMap::new();
        if self.servers.len() == 1 || self.rng.random_range(0..20) != 0 {
            return Ok(());
        }
        for server in self.servers.values().filter(|server| server.replica.is_some()) {
            let (index, hash) = (server.published.index(), server.published.hash());
            if *hashes.entry(index).or_insert(hash) != hash {
                return Err(format!("server {} differs from another at {index}", server.id));
            }
        }
        Ok(())
    }

    fn now_of(&self) -> Now {
        let factor = if self.settings.bug == Some(Bug::FastClock) { 3 } else { 1 };
        let wall = Timestamp::from_unix(1_800_000_000 + (self.now.0 / 1_000_000_000) as i64);
        Now { mono: Mono(self.now.0 * factor), wall }
    }

    fn is_alive(&self, server: u64, life: u64) -> bool {
        self.servers.get(&server).is_some_and(|s| s.replica.is_some() && s.life == life)
    }

    fn disk_of(&mut self, server: u64) -> &mut Disk {
        &mut self.servers.get_mut(&server).expect("servers are never removed").disk
    }

    fn after(&mut self, span: Duration, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now.plus(span), self.next_event), event);
    }

    fn after_millis(&mut self, range: std::ops::Range<u64>, event: Event) {
        let micros = self.rng.random_range(range.start * 1000..range.end * 1000);
        self.after(Duration::from_micros(micros), event);
    }
}
