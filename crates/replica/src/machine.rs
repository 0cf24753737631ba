//! The machine itself: consensus, state and duties, driven by inputs.

mod apply;
mod leadership;
mod lease;
mod memory;
mod messages;
mod operate;
mod ready;
mod recover;
mod requests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::command::Command;
use model::operator::AutopilotConfiguration;
use raft::{RawNode, SnapshotStatus, StateRole};
use rand::rngs::StdRng;
use state::State;

use crate::duty::Duties;
use crate::input::{Effect, HaltCause, Input, Leadership, RequestId, Response, Snapshot};
use crate::judge::{LockDelays, Rules};
use crate::log_store::LogStore;
use crate::membership::{Membership, Position};
use crate::{HardState, LogEntry, Message, Mono, Now};

use lease::Rounds;
use operate::Operations;

pub use lease::LEASE_DRIFT_PERCENT;
pub use recover::{last_membership, rebuild};

/// Commands in flight before callers are told to come back later.
const PROPOSALS_MAX: usize = 16 * 1024;
/// Confirmations of leadership in flight.
const CONFIRMATIONS_MAX: usize = 16 * 1024;
/// Bound of entries proposed and not yet committed. Unit: bytes.
const UNCOMMITTED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Applied between two looks at the inputs, at most. Unit: bytes.
const APPLY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Entries of one message to a follower, unless one entry alone is larger. Unit: bytes.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Appends on their way to a follower, which are merged while they wait: one for each proposal of
/// a group, so that a whole group is under way at once.
const INFLIGHT_MAX: usize = 4096;

/// Settings of one server's replica.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// Consensus id of this server; never 0, never reused.
    pub id: u64,
    pub datacenter: String,
    pub rules: Rules,
    /// What one [`Input::Tick`] stands for, at least: ticks may be late, never early.
    pub tick: Duration,
    /// Ticks without a leader before an election; drawn anew up to twice this each time.
    pub election_ticks: usize,
    pub heartbeat_ticks: usize,
    /// Entries applied since the last snapshot that ask for the next.
    pub snapshot_threshold: u64,
    /// Entries kept behind a snapshot for followers that lag.
    pub trailing_entries: u64,
    /// Log held in memory before a snapshot is asked for early and the tail is cut. Unit: bytes.
    pub log_bytes_max: usize,
    /// Settings of autopilot while the replicated state has none.
    pub autopilot: AutopilotConfiguration,
}

impl ReplicaConfig {
    pub fn new(id: u64, datacenter: impl Into<String>) -> Self {
        Self {
            id,
            datacenter: datacenter.into(),
            rules: Rules::default(),
            tick: Duration::from_millis(50),
            election_ticks: 6,
            heartbeat_ticks: 2,
            snapshot_threshold: 16_384,
            trailing_entries: 10_240,
            log_bytes_max: 64 * 1024 * 1024,
            autopilot: AutopilotConfiguration::default(),
        }
    }
}

/// What was found on disk at start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub snapshot: Option<Snapshot>,
    pub hard_state: HardState,
    pub entries: Vec<LogEntry>,
    /// Log index and term of the newest mark in the log at which a received snapshot took the
    /// place of everything before. `entries` begin behind it.
    pub boundary: Option<(u64, u64)>,
    /// Of a log that begins with its first entry. What the snapshot says comes first.
    pub membership: Membership,
}

/// A proposed command whose entry has not been applied.
struct Proposal {
    index: u64,
    term: u64,
    command: Command,
    /// `None` for the leader's own duties.
    request: Option<RequestId>,
}

/// One server: see the crate's documentation.
pub struct Replica {
    config: ReplicaConfig,
    node: RawNode<LogStore>,
    rng: StdRng,
    election_ticks_drawn: usize,
    /// Term, role and leader it was drawn for.
    election_drawn_for: (u64, u8, u64),
    /// While positive, votes are not given: before the restart this server may have answered a
    /// heartbeat, and a lease may rest on it.
    vote_pause_ticks: usize,
    /// Consecutive by index.
    proposals: VecDeque<Proposal>,
    /// Ticks until proposals of a lost leadership are given up; see [`Replica::give_up_proposals`].
    proposals_left_ticks: usize,
    /// Log index of the newest proposal that may end a session; see [`Replica::propose`].
    session_end_proposed: u64,
    /// Locks to be judged once that is applied.
    deferred: VecDeque<(RequestId, Command)>,
    rounds: Rounds,
    operations: Operations,
    lock_delays: LockDelays,
    duties: Duties,
    leadership: Leadership,
    /// When the present leader was last heard.
    leader_heard: Mono,
    /// When each follower was last heard, by the leader.
    followers_heard: BTreeMap<u64, Mono>,
    ticks_since_heartbeat: usize,
    /// What other servers are known to have come to.
    remembered: BTreeMap<u64, Position>,
    /// What this server once came to, when its disk holds less.
    rolled_back: Option<Position>,
    is_membership_shown: bool,
    is_introduced: bool,
    /// Newest ticket handed out and not yet persisted.
    unpersisted: Option<u64>,
    /// Came with a message that consensus has accepted and not yet handed back.
    received: Option<Snapshot>,
    /// Ticket and log index of a received snapshot that is not durable yet.
    installing: Option<(u64, u64)>,
    /// Term and last entry that are durable.
    position: Position,
    positions_unpersisted: VecDeque<(u64, Position)>,
    /// Messages that must not leave before their ticket is durable.
    held: VecDeque<(u64, Vec<Message>)>,
    snapshot_index: u64,
    is_saving_snapshot: bool,
    is_halted: bool,
}

impl Replica {
    /// Starts from what was recovered. A server that is alone stands for election at once, one that
    /// belongs to no cluster waits for one.
    ///
    /// Errors: the pieces do not fit together.
    pub fn new(
        config: ReplicaConfig,
        recovered: Recovered,
        rng: StdRng,
    ) -> Result<Self, HaltCause> {
        let snapshot_index = recovered.snapshot.as_ref().map_or(0, |s| s.index);
        let store = recover::join(&config, recovered)?;
        let is_alone = store.membership.voters == [config.id];
        let (last_term, last_index) = store.end();
        let position = Position { term: store.hard_state.term, last_term, last_index };
        let raft_config = raft::Config {
            id: config.id,
            election_tick: config.election_ticks,
            // Heartbeats are sent by `Replica::heartbeat`, with a mark to measure the lease by.
            heartbeat_tick: config.election_ticks - 1,
            applied: store.applied,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: INFLIGHT_MAX,
            batch_append: true,
            check_quorum: true,
            pre_vote: true,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: APPLY_BYTES_MAX,
            ..raft::Config::default()
        };
        let consensus = |e: raft::Error| HaltCause::Consensus(e.to_string());
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&raft_config, store, &logger).map_err(consensus)?;
        let mut replica = Self {
            vote_pause_ticks: if is_alone { 0 } else { config.election_ticks },
            config,
            node,
            rng,
            election_ticks_drawn: 0,
            election_drawn_for: (0, 0, 0),
            proposals: VecDeque::new(),
            proposals_left_ticks: 0,
            session_end_proposed: 0,
            deferred: VecDeque::new(),
            rounds: Rounds::default(),
            operations: Operations::default(),
            lock_delays: LockDelays::default(),
            duties: Duties::default(),
            leadership: Leadership::default(),
            leader_heard: Mono::default(),
            followers_heard: BTreeMap::new(),
            ticks_since_heartbeat: 0,
            remembered: BTreeMap::new(),
            rolled_back: None,
            is_membership_shown: false,
            is_introduced: false,
            unpersisted: None,
            received: None,
            installing: None,
            position,
            positions_unpersisted: VecDeque::new(),
            held: VecDeque::new(),
            snapshot_index,
            is_saving_snapshot: false,
            is_halted: false,
        };
        replica.draw_election_timeout();
        if is_alone {
            replica.node.campaign().map_err(consensus)?;
        }
        Ok(replica)
    }

    /// As of the last applied entry.
    pub fn state(&self) -> &State {
        &self.node.store().state
    }

    /// Log index of the last applied entry.
    pub fn applied(&self) -> u64 {
        match self.installing {
            Some(_) => 0,
            None => self.node.store().applied,
        }
    }

    /// Log index up to which entries are known to be committed. What this server sends may tell
    /// others, who may show it before this one has applied it: a leader whose disk is the slowest.
    /// So a read by lease is good only of a state that has applied this much.
    pub fn committed(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    pub fn leadership(&self) -> Leadership {
        self.leadership
    }

    pub fn membership(&self) -> &Membership {
        &self.node.store().membership
    }

    /// When the present leader was last heard; the start of time if never.
    pub fn leader_heard(&self) -> Mono {
        self.leader_heard
    }

    /// What the disk of this server holds for certain.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Takes one input in. What it leads to comes out of [`Replica::flush`], except replies that
    /// need no commit, so that inputs which wait together share one log write.
    pub fn step(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        if self.is_halted {
            return;
        }
        match input {
            Input::Tick => self.tick(now, effects),
            Input::Propose { request, command } => {
                if let Some(result) = self.propose(request, command, now) {
                    effects.push(Effect::Reply { request, result: result.map(Response::Outcome) });
                }
            }
            Input::RenewSession { request, id } => {
                let result = self.renew_session(&id, now).map(Response::Renewed);
                effects.push(Effect::Reply { request, result });
            }
            Input::ConfirmLeadership { request, by_lease } => {
                if let Some(result) = self.confirm_leadership(request, by_lease, now) {
                    effects.push(Effect::Reply { request, result });
                }
            }
            Input::Operate { request, operation } => {
                if let Some(result) = self.operate(request, operation, now) {
                    effects.push(Effect::Reply { request, result: result.map(Response::Operated) });
                }
            }
            Input::Persisted { ticket } => self.persisted(ticket, effects),
            Input::Message(message) => self.hear(*message, now, effects),
            Input::SnapshotReceived { message, snapshot } => {
                self.receive(*message, *snapshot, now);
            }
            Input::SnapshotSent { to, is_received } => {
                let status =
                    if is_received { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.node.report_snapshot(to, status);
            }
            Input::Unreachable { peer } => self.node.report_unreachable(peer),
            Input::Disconnected { peer } => self.expect_election(peer),
            Input::Note { from, note } => self.take_note(from, note, effects),
            Input::SnapshotSaved { index } => {
                self.is_saving_snapshot = false;
                // One that was received meanwhile may be newer.
                if index <= self.snapshot_index {
                    return;
                }
                // The one before stays in reserve, so the log on disk must reach back to it.
                let reserve = std::mem::replace(&mut self.snapshot_index, index);
                let (trailing, bytes) = (self.trailing(index), self.config.log_bytes_max);
                let through = self.node.mut_store().compact(index, trailing, bytes / 2);
                effects.push(Effect::Compact { through: through.min(reserve) });
            }
            Input::SnapshotFailed => self.is_saving_snapshot = false,
            Input::Members(members) => self.duties.set_members(members),
            Input::TransferLeadership { to } => self.hand_over(to.or_else(|| self.best_follower())),
            // Others are preferred, but a log that is further ahead comes before all.
            Input::SlowDisk(is_slow) => self.node.set_priority(if is_slow { -1 } else { 0 }),
        }
        self.redraw_election_timeout();
    }

    /// Turns what the inputs since the last call came to into effects.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let first = effects.len();
        let mut touched = Vec::new();
        let mut replies = Vec::new();
        let applied_before = self.state().index();
        self.begin_round(now);
        loop {
            while !self.is_halted && self.node.has_ready() {
                self.handle_ready(now, &mut touched, &mut replies, effects);
            }
            if self.notice_leadership(now, &mut replies) {
                // A new leader sees to its duties at once, not at the next tick.
                self.set_up_autopilot();
                self.run_duties(now);
            } else if !self.judge_deferred(now, &mut replies) {
                break;
            }
        }
        // A snapshot is shown once it is durable, see `Replica::persisted`.
        if self.installing.is_none() && self.state().index() != applied_before {
            // First of all: what is sent may tell others that it is committed, and what is written
            // beside it takes its time.
            effects.insert(first, Effect::Publish { state: self.state().clone(), touched });
        }
        effects.extend(self.rounds.take_renewed().map(Effect::Lease));
        self.watch_catching_up(effects);
        self.introduce(effects);
        if !self.is_membership_shown {
            self.is_membership_shown = true;
            effects.push(Effect::Membership(self.membership().clone()));
        }
        effects.append(&mut replies);
        self.ask_for_snapshot(effects);
        self.redraw_election_timeout();
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.vote_pause_ticks = self.vote_pause_ticks.saturating_sub(1);
        let is_leader = self.node.raft.state == StateRole::Leader;
        // Who may not stand for election does not grow impatient either.
        if is_leader || self.may_campaign() {
            self.node.tick();
        }
        self.heartbeat(now);
        self.give_up_proposals(effects);
        self.watch_transfer(effects);
        self.lock_delays.forget_passed(now.mono);
        if self.leadership.is_ready {
            self.run_duties(now);
        }
    }

    fn run_duties(&mut self, now: Now) {
        let store = self.node.store();
        for command in self.duties.plan(&store.state, &self.config, now) {
            // A duty that finds no room comes again at its next turn.
            let _ = self.append(None, command);
        }
        self.look_after_membership(now);
    }

    /// How many entries stay behind a snapshot: more while a follower is being sent one, since it
    /// will go on from there.
    fn trailing(&self, index: u64) -> u64 {
        let followers = self.node.raft.prs().iter();
        let oldest = followers.map(|(_, p)| p.pending_snapshot).filter(|i| *i > 0).min();
        let needed = oldest.map_or(0, |oldest| index.saturating_sub(oldest));
        self.config.trailing_entries.max(needed)
    }

    fn ask_for_snapshot(&mut self, effects: &mut Vec<Effect>) {
        let store = self.node.store();
        let behind = store.applied.saturating_sub(self.snapshot_index);
        let is_due = behind >= self.config.snapshot_threshold
            || (behind > 0 && store.data_bytes() > self.config.log_bytes_max);
        if !is_due || self.is_saving_snapshot || self.is_halted || self.installing.is_some() {
            return;
        }
        let Ok(term) = raft::Storage::term(store, store.applied) else { return };
        let snapshot = Snapshot {
            index: store.applied,
            term,
            membership: store.membership.clone(),
            state: store.state.clone(),
        };
        self.is_saving_snapshot = true;
        effects.push(Effect::SaveSnapshot(snapshot));
    }

    fn halt(&mut self, cause: HaltCause, effects: &mut Vec<Effect>) {
        self.is_halted = true;
        effects.push(Effect::Halt(cause));
    }
}
