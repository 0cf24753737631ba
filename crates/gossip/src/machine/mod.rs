//! The machine itself: what it holds, and how one input becomes effects.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::admission::Admission;
use crate::awareness::Awareness;
use crate::broadcast::BroadcastQueue;
use crate::config::Config;
use crate::coordinate::{Coordinate, Vivaldi};
use crate::counters::Counters;
use crate::input::{Command, Effect, Event, Input, OperationId, Refusal, StreamId};
use crate::member::{Member, MemberRecord, Node, State, Status};
use crate::serf::{Serf, leave::Leaving, tags};
use crate::snapshot::SnapshotLine;
use crate::time::{Mono, Now};
use crate::timers::Timers;
use crate::wire::keyring::Keyring;
use crate::wire::message::{NAME_BYTES_MAX, Versions};
use crate::wire::stream::NODES_MAX;

pub mod membership;

pub mod probe;

pub mod spread;

pub mod exchange;

pub mod push_pull;

pub mod join;

pub mod reap;

/// What happens at a moment.
#[derive(Clone, Debug)]
pub(crate) enum Timer {
    Probe,
    ProbeTimeout(u32),
    ProbeEnd(u32),
    RelayEnd(u32),
    Gossip,
    PushPull,
    Suspicion(String),
    Stream(StreamId),
    Reap,
    Reconnect,
    Asked(crate::input::QueryId),
    Received(crate::input::QueryId),
    Leave,
    Prune(String),
}

/// The time of a step and where its effects go.
pub(crate) struct Step<'a> {
    pub(crate) now: Mono,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl Step<'_> {
    pub(crate) fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }

    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.event(Event::Warning(text.into()));
    }
}

/// One node of one pool.
pub struct Gossip {
    pub(crate) config: Config,
    pub(crate) admission: Box<dyn Admission>,
    pub(crate) keyring: Option<Keyring>,
    pub(crate) rng: StdRng,
    pub(crate) timers: Timers<Timer>,
    pub(crate) counters: Counters,
    pub(crate) leaving: Leaving,

    // The membership protocol.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// All names, in the order they are probed.
    pub(crate) probe_order: Vec<String>,
    pub(crate) probe_next: usize,
    pub(crate) probe: Option<probe::Probe>,
    /// The interval passed while a probe was under way.
    pub(crate) is_probe_due: bool,
    pub(crate) relays: BTreeMap<u32, probe::Relay>,
    pub(crate) incarnation: u32,
    pub(crate) sequence: u32,
    pub(crate) awareness: Awareness,
    pub(crate) members_out: BroadcastQueue,

    // Streams.
    pub(crate) exchanges: BTreeMap<StreamId, exchange::Exchange>,
    pub(crate) streams_opened: u64,
    pub(crate) refusal_told_at: Option<Mono>,
    pub(crate) joins: BTreeMap<OperationId, join::Joining>,
    pub(crate) rejoin: VecDeque<SocketAddr>,

    // What stands on it.
    pub(crate) serf: Serf,
    pub(crate) vivaldi: Vivaldi,
    pub(crate) clocks_saved_at: Mono,
    pub(crate) clocks_saved: [u64; 3],
}

impl Gossip {
    /// A pool of one. With a snapshot, the members of the last run are tried in random order until one answers.
    ///
    /// Errors: `Name`, `Port`, `TagsTooLarge`.
    pub fn start(
        config: Config,
        admission: Box<dyn Admission>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<Gossip, Refusal> {
        if config.name.is_empty() || config.name.len() > NAME_BYTES_MAX {
            return Err(Refusal::Name);
        }
        if config.address.port() == 0 {
            return Err(Refusal::Port);
        }
        let meta = tags::encode(&config.tags).ok_or(Refusal::TagsTooLarge)?;
        let mut gossip = Gossip {
            admission,
            keyring: config.keyring.clone(),
            rng: StdRng::seed_from_u64(config.seed),
            timers: Timers::default(),
            counters: Counters::default(),
            leaving: Leaving::No,
            nodes: BTreeMap::new(),
            probe_order: Vec::new(),
            probe_next: 0,
            probe: None,
            is_probe_due: false,
            relays: BTreeMap::new(),
            incarnation: 1,
            sequence: 0,
            awareness: Awareness::default(),
            members_out: BroadcastQueue::default(),
            exchanges: BTreeMap::new(),
            streams_opened: 0,
            refusal_told_at: None,
            joins: BTreeMap::new(),
            rejoin: VecDeque::new(),
            serf: Serf { tags: config.tags.clone(), ..Serf::default() },
            vivaldi: Vivaldi::default(),
            clocks_saved_at: now.mono,
            clocks_saved: [0; 3],
            config,
        };
        let mut step = Step { now: now.mono, effects };
        gossip.enter(meta, &mut step);
        gossip.start_tickers(now.mono);
        gossip.resume(&mut step);
        Ok(gossip)
    }

    /// Becomes the first member of the own pool.
    fn enter(&mut self, meta: Bytes, step: &mut Step<'_>) {
        let name = self.config.name.clone();
        let node = Node {
            address: self.config.address,
            meta,
            versions: Versions::OURS,
            incarnation: self.incarnation,
            state: State::Alive,
            changed_at: step.now,
            suspicion: None,
        };
        let member = node.to_member(&name, Status::Alive);
        self.nodes.insert(name.clone(), node);
        self.probe_order.push(name.clone());
        let record = MemberRecord { member: member.clone(), status_time: 0, gone_at: Mono(0) };
        self.serf.members.insert(name, record);
        self.broadcast_alive(false);
        step.event(Event::MemberJoin(member));
    }

    /// Intervals start at random, so that members started together do not act together.
    fn start_tickers(&mut self, now: Mono) {
        let profile = &self.config.profile;
        let tickers = [
            (profile.probe_interval, Timer::Probe),
            (profile.gossip_interval, Timer::Gossip),
            (profile.push_pull_interval, Timer::PushPull),
            (profile.reap_interval, Timer::Reap),
            (profile.reconnect_interval, Timer::Reconnect),
        ];
        for (interval, timer) in tickers {
            let stagger = interval.mul_f64(self.rng.random::<f64>());
            self.timers.set(now.plus(stagger), timer);
        }
    }

    /// Lets one thing happen. Inputs that concern nothing known are ignored; none panics.
    ///
    /// What is due is done on [`Input::Tick`] alone. A driver that was held up hands in first what it has received
    /// meanwhile, so that late answers count before overdue deadlines: a stopped process does not call the others dead.
    /// It must not put off a tick for long, though, whatever else comes in.
    pub fn step(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        if self.leaving == Leaving::Done {
            return;
        }
        let mut step = Step { now: now.mono, effects };
        match input {
            Input::Tick => self.fire_due(&mut step),
            Input::PacketReceived { from, bytes } => self.receive_packet(from, &bytes, &mut step),
            Input::StreamAccepted { id, peer } => self.accept_stream(id, peer, &mut step),
            Input::StreamConnected { id } => self.stream_connected(id, &mut step),
            Input::StreamData { id, bytes } => self.stream_data(id, &bytes, &mut step),
            Input::StreamClosed { id } => self.stream_ended(id, "closed by the peer", &mut step),
            Input::StreamFailed { id, reason } => self.stream_ended(id, &reason, &mut step),
            Input::Command(command) => {
                if let Err(refusal) = self.follow(command, &mut step) {
                    step.event(Event::Refused(refusal));
                }
            }
        }
        self.go_on_leaving(&mut step);
    }

    /// As [`Gossip::step`] with a command, for a caller who wants to know at once why it is refused.
    pub fn command(
        &mut self,
        command: Command,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let mut step = Step { now: now.mono, effects };
        let result = self.follow(command, &mut step);
        self.go_on_leaving(&mut step);
        result
    }

    /// When [`Input::Tick`] is due; may be now.
    pub fn next_wake(&self) -> Mono {
        match self.leaving {
            Leaving::Done => Mono(u64::MAX),
            _ => self.timers.next_wake().unwrap_or(Mono(u64::MAX)),
        }
    }

    fn fire_due(&mut self, step: &mut Step<'_>) {
        while let Some(timer) = self.timers.pop(step.now) {
            self.fire(timer, step);
        }
    }

    fn fire(&mut self, timer: Timer, step: &mut Step<'_>) {
        match timer {
            Timer::Probe => self.probe_tick(step),
            Timer::ProbeTimeout(sequence) => self.probe_timeout(sequence, step),
            Timer::ProbeEnd(sequence) => self.probe_end(sequence, step),
            Timer::RelayEnd(sequence) => self.relay_end(sequence, step),
            Timer::Gossip => self.gossip_tick(step),
            Timer::PushPull => self.push_pull_tick(step),
            Timer::Suspicion(name) => self.suspicion_end(&name, step),
            Timer::Stream(id) => self.stream_ended(id, "timed out", step),
            Timer::Reap => self.reap_tick(step),
            Timer::Reconnect => self.reconnect_tick(step),
            Timer::Asked(query) => self.asked_end(query, step),
            Timer::Received(query) => {
                self.serf.received.remove(&query);
            }
            Timer::Leave => self.leave_timeout(step),
            Timer::Prune(name) => self.prune(&name, step),
        }
    }

    fn follow(&mut self, command: Command, step: &mut Step<'_>) -> Result<(), Refusal> {
        if self.leaving != Leaving::No {
            return match command {
                Command::Leave => Ok(()),
                _ => Err(Refusal::Leaving),
            };
        }
        match command {
            Command::Join { operation, addresses } => self.join(operation, addresses, step),
            Command::Leave => {
                self.leave(step);
                Ok(())
            }
            Command::ForceLeave { node, prune } => self.force_leave(&node, prune, step),
            Command::SetTags(tags) => self.set_tags(tags, step),
            Command::UserEvent { name, payload, coalesce } => {
                self.send_event(name, payload, coalesce, step)
            }
            Command::Query { operation, query } => self.ask(operation, query, step),
            Command::Respond { query, payload } => self.respond(query, payload, step),
            Command::Key { operation, request } => self.ask_keys(operation, request, step),
        }
    }
}

/// What is known, for whoever shows it.
impl Gossip {
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// All members by name, also the failed and the left until they are forgotten.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.serf.members.values().map(|record| &record.member)
    }

    pub fn member(&self, name: &str) -> Option<&Member> {
        self.serf.members.get(name).map(|record| &record.member)
    }

    /// Ours.
    pub fn coordinate(&self) -> &Coordinate {
        self.vivaldi.own()
    }

    /// Of members we measured, as they last told them.
    pub fn coordinates(&self) -> &BTreeMap<String, Coordinate> {
        self.vivaldi.peers()
    }

    /// Times of the next intent, event and query.
    pub fn clocks(&self) -> (u64, u64, u64) {
        let Serf { clock, event_clock, query_clock, .. } = &self.serf;
        (clock.time(), event_clock.time(), query_clock.time())
    }

    /// 0 is healthy, 7 the worst.
    pub fn health_score(&self) -> u32 {
        self.awareness.score()
    }

    pub fn is_encrypted(&self) -> bool {
        self.keyring.is_some()
    }

    pub fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    pub fn counters(&self) -> Counters {
        Counters {
            coordinate_resets: self.vivaldi.resets(),
            queue_members: self.members_out.len() as u64,
            queue_intents: self.serf.intents_out.len() as u64,
            queue_queries: self.serf.queries_out.len() as u64,
            queue_events: self.serf.events_out.len() as u64,
            streams: self.exchanges.len() as u64,
            ..self.counters
        }
    }

    /// The whole content of a new snapshot file.
    pub fn snapshot_lines(&self) -> Vec<SnapshotLine> {
        let others = self.members().filter(|member| member.name != self.config.name);
        let mut lines: Vec<SnapshotLine> = others
            .filter(|member| matches!(member.status, Status::Alive | Status::Leaving))
            .map(|m| SnapshotLine::Alive { name: m.name.clone(), address: m.address })
            .collect();
        let [clock, event_clock, query_clock] = self.times_seen();
        lines.push(SnapshotLine::Clock(clock));
        lines.push(SnapshotLine::EventClock(event_clock));
        lines.push(SnapshotLine::QueryClock(query_clock));
        lines
    }

    pub(crate) fn times_seen(&self) -> [u64; 3] {
        let (clock, event_clock, query_clock) = self.clocks();
        [clock - 1, event_clock - 1, query_clock - 1]
    }
}

/// What several parts need.
impl Gossip {
    pub(crate) fn is_own(&self, name: &str) -> bool {
        name == self.config.name
    }

    pub(crate) fn own(&self) -> &Node {
        self.nodes.get(&self.config.name).expect("a node always knows itself")
    }

    /// Whether there is room for one more node.
    pub(crate) fn has_room(&self) -> bool {
        self.nodes.len() < NODES_MAX && self.serf.members.len() < NODES_MAX
    }

    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    pub(crate) fn nonce(&mut self) -> [u8; 12] {
        self.rng.random()
    }

    /// Up to `count` distinct nodes other than us for which `wanted` holds. Looks at three times as many as there
    /// are, so that it stays cheap when few are wanted ones.
    pub(crate) fn random_nodes(
        &mut self,
        count: usize,
        wanted: impl Fn(&str, &Node) -> bool,
    ) -> Vec<String> {
        let mut chosen: Vec<String> = Vec::new();
        let known = self.probe_order.len();
        for _ in 0..known * 3 {
            if chosen.len() >= count {
                break;
            }
            let name = &self.probe_order[self.rng.random_range(0..known)];
            let node = self.nodes.get(name).expect("the probe order holds known nodes");
            if !self.is_own(name) && wanted(name, node) && !chosen.contains(name) {
                chosen.push(name.clone());
            }
        }
        chosen
    }

    pub(crate) fn has_alive_peer(&self) -> bool {
        let mut others = self.nodes.iter().filter(|(name, _)| !self.is_own(name));
        others.any(|(_, node)| !node.state.is_gone())
    }

    /// Notes something for the next run. After a leave nothing is to be remembered.
    pub(crate) fn remember(&self, line: SnapshotLine, step: &mut Step<'_>) {
        if self.leaving == Leaving::No {
            step.effects.push(Effect::Snapshot(line));
        }
    }

    pub(crate) fn every(&mut self, interval: Duration, timer: Timer, step: &Step<'_>) {
        self.timers.set(step.now.plus(interval), timer);
    }
}

impl std::fmt::Debug for Gossip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gossip")
            .field("name", &self.config.name)
            .field("nodes", &self.nodes.len())
            .field("leaving", &self.leaving)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
