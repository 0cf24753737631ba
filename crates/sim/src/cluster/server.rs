//! One server: a replica with its disk and its clock, and what is done with its effects.

use std::collections::BTreeMap;
use std::time::Duration;

use model::duration::GoDuration;
use model::operator::AutopilotConfiguration;
use model::topic::Topic;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replica::duty::Liveness;
use replica::{
    Effect, Input, Leadership, LogEntry, Membership, Message, Mono, Note, Now, Persist, Replica,
    ReplicaConfig, Snapshot,
};
use state::State;
use wal::Log;

use super::clock::Clock;
use super::deed::token_of;
use super::log_terms::LogTerms;
use super::{Cluster, Event, Parcel, history};
use crate::bug::Bug;
use crate::check::{Indexes, Waits};
use crate::disk::{self, Disk};
use crate::trace;

const TICK: Duration = Duration::from_millis(50);
/// Entries kept behind a snapshot; few, so that who lags needs one.
const TRAILING_ENTRIES: u64 = 20;
/// One state in so many is compared whole.
const COMPARED_EVERY: u64 = 4;
/// How long gossip takes to miss a server.
const MISSED_AFTER_MILLIS: std::ops::Range<u64> = 1500..5000;

pub(super) struct Server {
    id: u64,
    /// `None` while it has no power.
    pub(super) replica: Option<Replica>,
    /// Counts restarts, so that what a former life began is not told to the next.
    pub(super) life: u64,
    pub(super) disk: Disk,
    pub(super) clock: Clock,
    /// Of its own time.
    next_tick: Mono,
    pub(super) paused_until: Option<Mono>,
    /// Syncs come to an end one after another.
    disk_busy_until: Mono,
    pub(super) is_disk_slow: bool,
    is_flush_due: bool,
    pub(super) leadership: Leadership,
    /// Of its own time.
    pub(super) lease: Mono,
    pub(super) published: State,
    /// The one before, and one from long ago.
    pub(super) published_before: State,
    old_state: State,
    log: LogTerms,
    applied: u64,
    /// Who is to be answered: the server that asked, and its call.
    pub(super) pending: BTreeMap<u64, (u64, u64)>,
    /// Calls that wait until a log index is applied.
    pub(super) awaiting: Vec<(u64, u64)>,
    pub(super) waits: Waits,
    indexes: Indexes,
}

impl Server {
    fn new(id: u64, disk: Disk, now: Mono, own: Mono) -> Self {
        Self {
            id,
            replica: None,
            life: 0,
            disk,
            clock: Clock::new(now, own),
            next_tick: own,
            paused_until: None,
            disk_busy_until: now,
            is_disk_slow: false,
            is_flush_due: false,
            leadership: Leadership::default(),
            lease: Mono::default(),
            published: State::new(),
            published_before: State::new(),
            old_state: State::new(),
            log: LogTerms::default(),
            applied: 0,
            pending: BTreeMap::new(),
            awaiting: Vec::new(),
            waits: Waits::default(),
            indexes: Indexes::default(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.replica.is_some()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_running() && self.leadership.is_ready
    }

    fn now(&self, now: Mono, bug: Option<Bug>) -> Now {
        let mut own = self.clock.now(now);
        match bug {
            Some(Bug::FastClock) => own.mono.0 *= 3,
            Some(Bug::WallClock) => {
                let step = self.clock.wall_offset.max(0) as u64;
                own.mono = own.mono.plus(Duration::from_secs(step));
            }
            _ => {}
        }
        own
    }
}

impl Cluster {
    /// Server 1 founds the cluster; the others wait to be taken in.
    pub(super) fn found(&mut self) {
        let founding = Membership::founded_by(1, self.roster.peers());
        let bug = self.settings.bug;
        for id in self.roster.staying() {
            let disk = match id {
                1 => Disk::founding(founding.clone(), bug),
                _ => Disk::joining(&founding, bug),
            };
            self.install(id, disk);
        }
    }

    pub(super) fn install(&mut self, id: u64, disk: Disk) {
        // Every machine counts its time from another start.
        let own = Mono(self.rng.random_range(1..1_000_000) * 1_000_000);
        self.servers.insert(id, Server::new(id, disk, self.now, own));
        self.draw_rate(id);
        self.after_millis(0..20, Event::Restart { server: id });
    }

    pub(super) fn is_alive(&self, server: u64, life: u64) -> bool {
        self.servers.get(&server).is_some_and(|s| s.is_running() && s.life == life)
    }

    pub(super) fn running(&self) -> Vec<u64> {
        self.servers.values().filter(|s| s.is_running()).map(|s| s.id).collect()
    }

    pub(super) fn is_newest_leader(&self, id: u64) -> bool {
        let is_ready = self.servers.get(&id).is_some_and(|server| server.is_ready());
        is_ready && self.newest_leader.1 == id
    }

    pub(super) fn crash(&mut self, id: u64) {
        let Some(server) = self.servers.get_mut(&id).filter(|s| s.is_running()) else { return };
        self.trace.note(format_args!("{} server {id} loses its power", self.now.0));
        self.report.crashes += 1;
        server.replica = None;
        server.life += 1;
        server.pending.clear();
        server.awaiting.clear();
        server.paused_until = None;
        server.disk.lose_power(&mut self.rng);
        self.report.woken += server.waits.answered();
        server.waits = Waits::default();
        server.indexes = Indexes::default();
        self.wipe(id);
        let Some(server) = self.servers.get(&id) else { return };
        let life = server.life;
        for peer in self.running() {
            if !self.network.is_cut(id, peer) {
                self.send(id, peer, || Input::Disconnected { peer: id });
            }
        }
        self.after_millis(MISSED_AFTER_MILLIS, Event::Suspect { server: id, life });
        self.after_millis(1..6000, Event::Restart { server: id });
    }

    pub(super) fn suspect(&mut self, id: u64, life: u64) {
        let is_down = self.servers.get(&id).is_some_and(|s| !s.is_running() && s.life == life);
        if is_down && self.roster.staying().contains(&id) {
            self.set_liveness(id, Liveness::Failed);
        }
    }

    pub(super) fn restart(&mut self, id: u64) -> Result<(), String> {
        let seed = self.rng.random();
        let config = ReplicaConfig {
            snapshot_threshold: self.settings.snapshot_threshold,
            trailing_entries: TRAILING_ENTRIES,
            autopilot: AutopilotConfiguration {
                server_stabilization_time: GoDuration::from_secs(1),
                ..AutopilotConfiguration::default()
            },
            ..ReplicaConfig::new(id, "dc1")
        };
        let now = self.now;
        let Some(server) = self.servers.get_mut(&id).filter(|s| !s.is_running()) else {
            return Ok(());
        };
        let recovered = server.disk.recover(Membership::default());
        server.log = LogTerms::of(&recovered);
        let replica = Replica::new(config, recovered, StdRng::seed_from_u64(seed))
            .map_err(|cause| format!("server {id} does not start: {cause}"))?;
        server.leadership = Leadership::default();
        server.lease = Mono::default();
        server.published = replica.state().clone();
        server.published_before = server.published.clone();
        server.applied = replica.applied();
        server.replica = Some(replica);
        server.is_flush_due = false;
        server.disk_busy_until = now;
        server.next_tick = server.clock.mono(now).plus(TICK);
        let (life, span) = (server.life, server.clock.true_span(TICK));
        self.trace.note(format_args!("{} server {id} starts life {life}", now.0));
        self.after(span, Event::Tick { server: id, life });
        if self.roster.servers.get(&id).is_some_and(|m| m.liveness == Liveness::Failed) {
            self.set_liveness(id, Liveness::Alive);
        }
        self.note_published(id)?;
        self.step(id, Input::Members(self.roster.members()))?;
        for peer in self.running() {
            self.connect(id, peer);
        }
        Ok(())
    }

    /// Two servers that find each other tell how far they have come.
    pub(super) fn connect(&mut self, one: u64, other: u64) {
        for (from, to) in [(one, other), (other, one)] {
            let replica = self.servers.get(&from).and_then(|server| server.replica.as_ref());
            if let Some(position) = replica.map(Replica::position).filter(|_| from != to) {
                self.send(from, to, || Input::Note { from, note: Note::Position(position) });
            }
        }
    }

    pub(super) fn tick(&mut self, id: u64) -> Result<(), String> {
        let now = self.now;
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        let (own, life) = (server.clock.mono(now), server.life);
        // The clock may have slowed down since; a tick is never early.
        if own < server.next_tick {
            let span = server.clock.true_span(server.next_tick.since(own));
            self.after(span, Event::Tick { server: id, life });
            return Ok(());
        }
        server.next_tick = own.plus(TICK);
        let span = server.clock.true_span(TICK);
        self.after(span, Event::Tick { server: id, life });
        self.step(id, Input::Tick)
    }

    /// Gives `input` to a server. What it leads to mostly follows at once, and sometimes after
    /// other inputs, as it does where they queue.
    pub(super) fn step(&mut self, id: u64, input: Input) -> Result<(), String> {
        let (now, bug) = (self.now, self.settings.bug);
        let may_wait = !matches!(input, Input::Tick) && self.rng.random_range(0..4) == 0;
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        let (at, life) = (server.now(now, bug), server.life);
        let Some(replica) = server.replica.as_mut() else { return Ok(()) };
        let mut effects = Vec::new();
        replica.step(input, at, &mut effects);
        if !may_wait {
            replica.flush(at, &mut effects);
        } else if !std::mem::replace(&mut server.is_flush_due, true) {
            self.after_millis(0..3, Event::Flush { server: id, life });
        }
        self.perform_all(id, effects)
    }

    pub(super) fn flush(&mut self, id: u64) -> Result<(), String> {
        let (now, bug) = (self.now, self.settings.bug);
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        server.is_flush_due = false;
        let at = server.now(now, bug);
        let mut effects = Vec::new();
        if let Some(replica) = server.replica.as_mut() {
            replica.flush(at, &mut effects);
        }
        self.perform_all(id, effects)
    }

    fn perform_all(&mut self, id: u64, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            self.perform(id, effect)?;
        }
        self.note_applied(id)?;
        self.answer_awaiting(id)
    }

    fn perform(&mut self, id: u64, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Persist(persist) => self.persist(id, &persist),
            Effect::Send(messages) => {
                messages.into_iter().for_each(|message| self.post(id, message));
                Ok(())
            }
            Effect::SendSnapshot { message, snapshot } => {
                self.post_snapshot(id, message, snapshot);
                Ok(())
            }
            Effect::Note { to, note } => {
                self.send(id, to, || Input::Note { from: id, note });
                Ok(())
            }
            Effect::Publish { state, touched } => self.publish(id, state, &touched),
            Effect::Replace(state) => {
                self.trace.note(format_args!("server {id} goes on from {}", state.index()));
                let touched = if self.has_bug(Bug::ReplacedSilently) {
                    Vec::new()
                } else {
                    vec![Topic::Everything]
                };
                self.publish(id, state, &touched)
            }
            Effect::Reply { request, result } => self.replied(id, request.0, result),
            Effect::Leadership(leadership) => self.lead(id, leadership),
            Effect::Lease(until) => {
                let is_kept = self.has_bug(Bug::LeaseKept);
                if let Some(server) = self.servers.get_mut(&id) {
                    server.lease = match is_kept {
                        true => server.lease.max(until.plus(60 * TICK)),
                        false => until,
                    };
                }
                Ok(())
            }
            Effect::Membership(membership) => {
                self.trace.note(format_args!(
                    "server {id}: voters {:?}, learners {:?}",
                    membership.voters, membership.learners
                ));
                if self.is_newest_leader(id) {
                    self.report.membership_changes += 1;
                    self.see_off(&membership);
                }
                Ok(())
            }
            // No disk is put back here.
            Effect::RolledBack(Some(known)) => {
                Err(format!("server {id} takes its disk for an older one than {known:?}"))
            }
            Effect::RolledBack(None) => Ok(()),
            Effect::SaveSnapshot(snapshot) => {
                let life = self.servers.get(&id).map_or(0, |server| server.life);
                let snapshot = Box::new(snapshot);
                self.after_millis(0..500, Event::SnapshotWritten { server: id, life, snapshot });
                Ok(())
            }
            Effect::Compact { through } => {
                if let Some(server) = self.servers.get_mut(&id) {
                    server.disk.compact(through).expect("memory does not fail");
                }
                Ok(())
            }
            Effect::Halt(cause) => Err(format!("server {id} halts: {cause}")),
        }
    }

    fn persist(&mut self, id: u64, persist: &Persist) -> Result<(), String> {
        let ticket = persist.ticket;
        let entries = persist.entries.len();
        self.trace.note(format_args!("server {id} writes {ticket}: {entries} entries"));
        let is_saved = !self.has_bug(Bug::SnapshotNotSaved);
        let is_slow = self.servers.get(&id).is_some_and(|server| server.is_disk_slow);
        let millis = if is_slow { 20..300 } else { 0..6 };
        let delay =
            Duration::from_micros(self.rng.random_range(millis.start * 1000..millis.end * 1000));
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        if let Some(snapshot) = persist.snapshot.as_ref() {
            if is_saved {
                server.disk.save(snapshot);
            }
            server.log.install(snapshot);
        }
        server.disk.write(&disk::batch(persist)).expect("memory does not fail");
        for entry in &persist.entries {
            let before = server.log.term_at(entry.index - 1);
            self.observed.logs.holds((entry.index, entry.term), fingerprint(entry), before)?;
            server.log.append(entry);
        }
        let done = server.disk_busy_until.max(self.now).plus(delay);
        server.disk_busy_until = done;
        let life = server.life;
        self.at(done, Event::Synced { server: id, life, ticket });
        if self.has_bug(Bug::EarlyDurable) {
            self.after(Duration::ZERO, Event::CalledDurable { server: id, life, ticket });
        }
        Ok(())
    }

    pub(super) fn synced(&mut self, id: u64, ticket: u64) -> Result<(), String> {
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        server.disk.sync().expect("memory does not fail");
        if self.has_bug(Bug::EarlyDurable) {
            return Ok(());
        }
        self.step(id, Input::Persisted { ticket })
    }

    pub(super) fn snapshot_written(&mut self, id: u64, snapshot: &Snapshot) -> Result<(), String> {
        if self.rng.random_range(0..10) == 0 {
            return self.step(id, Input::SnapshotFailed);
        }
        let index = snapshot.index;
        self.trace.note(format_args!("server {id} saved a snapshot of {index}"));
        if let Some(server) = self.servers.get_mut(&id) {
            server.disk.save(snapshot);
        }
        self.step(id, Input::SnapshotSaved { index })
    }

    fn post(&mut self, from: u64, mut message: Message) {
        let to = message.to;
        let kind = format!("{:?}", message.get_msg_type());
        match self.settings.bug {
            Some(Bug::VoteForAll) if kind == "MsgRequestVoteResponse" => message.reject = false,
            Some(Bug::DamagedEntry) if kind == "MsgAppend" => {
                let damaged = message.mut_entries().iter_mut().find(|entry| entry.data.len() > 40);
                if let Some(entry) = damaged.filter(|_| self.rng.random_range(0..20) == 0) {
                    let mut data = entry.data.to_vec();
                    data[30] ^= 1;
                    entry.data = data.into();
                }
            }
            _ => {}
        }
        self.send(from, to, || Input::Message(Box::new(message.clone())));
        // A connection that breaks is noticed, sooner or later.
        if self.network.is_cut(from, to) && self.one_in(4) {
            let parcel = Parcel::Input(Box::new(Input::Unreachable { peer: to }));
            self.after_millis(1..50, Event::Deliver { to: from, parcel });
        }
    }

    fn post_snapshot(&mut self, from: u64, message: Box<Message>, mut snapshot: Snapshot) {
        self.trace.note(format_args!("server {from} sends a snapshot of {}", snapshot.index));
        let Some(server) = self.servers.get(&from) else { return };
        if self.settings.bug == Some(Bug::StaleSnapshotSent) {
            snapshot.state = server.old_state.clone();
        }
        let (life, to) = (server.life, message.to);
        let snapshot = Box::new(snapshot);
        let parcel = Parcel::Snapshot { from, life, message, snapshot };
        // Whether it arrives is seen when it does.
        self.after_millis(1..400, Event::Deliver { to, parcel });
    }

    pub(super) fn deliver(&mut self, to: u64, parcel: Parcel) -> Result<(), String> {
        match parcel {
            Parcel::Input(input) => self.step(to, *input),
            Parcel::Snapshot { from, life, message, snapshot } => {
                let is_running = self.servers.get(&to).is_some_and(Server::is_running);
                let is_received = is_running && !self.network.is_cut(from, to);
                if is_received {
                    self.report.snapshots_sent += 1;
                    self.step(to, Input::SnapshotReceived { message, snapshot })?;
                }
                match self.is_alive(from, life) {
                    true => self.step(from, Input::SnapshotSent { to, is_received }),
                    false => Ok(()),
                }
            }
            Parcel::Question { from, call, question } => {
                self.take_question(to, from, call, *question)
            }
            Parcel::Answer { call, result } => self.take_answer(to, call, *result),
        }
    }

    fn publish(&mut self, id: u64, state: State, touched: &[Topic]) -> Result<(), String> {
        self.trace.note(format_args!("server {id} publishes {}", state.index()));
        let is_lost = self.has_bug(Bug::LostWakeUp) && self.one_in(10);
        let (is_early, is_spurious) =
            (self.has_bug(Bug::WakeBeforePublish), self.has_bug(Bug::SpuriousAnswer));
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        let before = std::mem::replace(&mut server.published, state);
        let read = if is_early { &before } else { &server.published };
        if !is_lost {
            let is_spurious = is_spurious && !touched.is_empty();
            server.waits.wake(touched, read, is_spurious)?;
        }
        server.waits.check(&server.published)?;
        if server.published.index() > server.old_state.index() + 50 {
            server.old_state = before.clone();
        }
        server.published_before = before;
        self.note_published(id)
    }

    /// Tells the checkers what readers see from now on.
    fn note_published(&mut self, id: u64) -> Result<(), String> {
        let is_leading = self.is_newest_leader(id);
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        let state = &server.published;
        let index = state.index();
        for key in history::keys_in_use(self.now) {
            let token = state.kv_entry(&key).map_or(0, |entry| token_of(entry));
            self.observed.prefix.committed(&key, index, token)?;
        }
        if index.is_multiple_of(COMPARED_EVERY) {
            self.observed.agreement.published(id, index, state.hash())?;
            server.indexes.check(state)?;
        }
        if is_leading {
            let is_there = |session: &str| state.session(session).is_some();
            self.observed.renewals.check(self.now.0, is_there)?;
        }
        Ok(())
    }

    fn note_applied(&mut self, id: u64) -> Result<(), String> {
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        let Some(replica) = &server.replica else { return Ok(()) };
        let applied = replica.applied();
        let term = replica.leadership().term;
        for index in server.applied + 1..=applied {
            if let Some(of) = server.log.term_at(index) {
                self.observed.completeness.committed(index, of, term)?;
            }
        }
        server.applied = server.applied.max(applied);
        Ok(())
    }

    fn lead(&mut self, id: u64, leadership: Leadership) -> Result<(), String> {
        self.trace.note(format_args!("{} server {id}: {leadership:?}", self.now.0));
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        let before = std::mem::replace(&mut server.leadership, leadership);
        let term = leadership.term;
        if leadership.is_leader && (!before.is_leader || before.term != term) {
            self.observed.elections.leads(term, id)?;
            let log = &server.log;
            let term_at = |index| log.term_at(index);
            self.observed.completeness.leads(id, term, log.first(), term_at)?;
        }
        if leadership.is_ready && term > self.newest_leader.0 {
            self.newest_leader = (term, id);
            let state = &server.published;
            let has = |key: &str| state.kv_entry(key).is_some();
            self.observed.survival.check(self.now.0, has)?;
            if let Some(replica) = &server.replica {
                let membership = replica.membership().clone();
                self.see_off(&membership);
            }
        }
        Ok(())
    }
}

fn fingerprint(entry: &LogEntry) -> u64 {
    trace::fingerprint([entry.entry_type as u8].into_iter().chain(entry.data.iter().copied()))
}
