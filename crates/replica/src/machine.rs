//! The machine itself: consensus, state and duties, driven by inputs.

mod apply;
mod recover;
mod requests;

use std::collections::VecDeque;

use model::command::Command;
use model::error::{Error, ErrorKind};
use model::topic::Topic;
use raft::{RawNode, StateRole};
use rand::Rng;
use rand::rngs::StdRng;
use state::State;

use crate::duty::Duties;
use crate::input::{
    Effect, HaltCause, Input, Leadership, Membership, Persist, RequestId, Response, Snapshot,
};
use crate::judge::{LockDelays, Rules};
use crate::log_store::LogStore;
use crate::{HardState, LogEntry, Message, Now};

/// Commands in flight before callers are told to come back later.
const PROPOSALS_MAX: usize = 16 * 1024;
/// Confirmations of leadership in flight.
const CONFIRMATIONS_MAX: usize = 16 * 1024;
/// Bound of entries proposed and not yet committed. Unit: bytes.
const UNCOMMITTED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Applied between two looks at the inputs, at most. Unit: bytes.
const APPLY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// One message to a follower. Unit: bytes.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;

/// Settings of one server's replica.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// Consensus id of this server; never 0, never reused.
    pub id: u64,
    pub datacenter: String,
    pub rules: Rules,
    /// Ticks without a leader before an election; drawn anew up to twice this each time.
    pub election_ticks: usize,
    pub heartbeat_ticks: usize,
    /// Entries applied since the last snapshot that ask for the next.
    pub snapshot_threshold: u64,
    /// Entries kept behind a snapshot for followers that lag.
    pub trailing_entries: u64,
    /// Log held in memory before a snapshot is asked for early and the tail is cut. Unit: bytes.
    pub log_bytes_max: usize,
}

impl ReplicaConfig {
    pub fn new(id: u64, datacenter: impl Into<String>) -> Self {
        Self {
            id,
            datacenter: datacenter.into(),
            rules: Rules::default(),
            election_ticks: 10,
            heartbeat_ticks: 2,
            snapshot_threshold: 16_384,
            trailing_entries: 10_240,
            log_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// What was found on disk at start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub snapshot: Option<Snapshot>,
    pub hard_state: HardState,
    pub entries: Vec<LogEntry>,
    /// The servers of a new cluster. What the snapshot says comes first.
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
    state: State,
    rng: StdRng,
    /// Consecutive by index.
    proposals: VecDeque<Proposal>,
    /// Log index of the newest proposal that may end a session; see [`Replica::propose`].
    session_end_proposed: u64,
    /// Locks to be judged once that is applied.
    deferred: VecDeque<(RequestId, Command)>,
    /// Requests waiting for their read index, and those waiting for it to be applied.
    confirmations: VecDeque<RequestId>,
    confirmed_at: VecDeque<(u64, RequestId)>,
    lock_delays: LockDelays,
    duties: Duties,
    leadership: Leadership,
    /// Newest ticket handed out and not yet persisted.
    unpersisted: Option<u64>,
    /// Messages that must not leave before their ticket is durable.
    held: VecDeque<(u64, Vec<Message>)>,
    snapshot_index: u64,
    is_saving_snapshot: bool,
    is_halted: bool,
}

impl Replica {
    /// Starts from what was recovered. A server that is alone stands for election at once.
    ///
    /// Errors: the pieces do not fit together.
    pub fn new(
        config: ReplicaConfig,
        recovered: Recovered,
        rng: StdRng,
    ) -> Result<Self, HaltCause> {
        let Recovered { snapshot, hard_state, entries, membership } = recovered;
        let (snapshot_index, snapshot_term) =
            snapshot.as_ref().map_or((0, 0), |s| (s.index, s.term));
        let membership = snapshot.as_ref().map_or(&membership, |s| &s.membership);
        let is_alone = membership.voters == [config.id];
        let mut store = recover::join_log((snapshot_index, snapshot_term), entries, membership)?;
        if hard_state.commit > store.last() {
            return Err(HaltCause::Consensus(format!(
                "entry {} was committed, but the log ends at {}",
                hard_state.commit,
                store.last()
            )));
        }
        store.hard_state = hard_state;
        store.hard_state.commit = store.hard_state.commit.max(snapshot_index);
        let raft_config = raft::Config {
            id: config.id,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            applied: snapshot_index,
            max_size_per_msg: MESSAGE_BYTES_MAX,
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
            config,
            node,
            state: snapshot.map_or_else(State::new, |s| s.state),
            rng,
            proposals: VecDeque::new(),
            session_end_proposed: 0,
            deferred: VecDeque::new(),
            confirmations: VecDeque::new(),
            confirmed_at: VecDeque::new(),
            lock_delays: LockDelays::default(),
            duties: Duties::default(),
            leadership: Leadership::default(),
            unpersisted: None,
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

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn leadership(&self) -> Leadership {
        self.leadership
    }

    /// Takes one input in. What it leads to comes out of [`Replica::flush`], except replies that
    /// need no commit, so that inputs which wait together share one log write.
    pub fn step(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        if self.is_halted {
            return;
        }
        match input {
            Input::Tick => self.tick(now),
            Input::Propose { request, command } => {
                if let Some(result) = self.propose(request, command, now) {
                    effects.push(Effect::Reply { request, result: result.map(Response::Outcome) });
                }
            }
            Input::RenewSession { request, id } => {
                let result = self.renew_session(&id, now).map(Response::Renewed);
                effects.push(Effect::Reply { request, result });
            }
            Input::ConfirmLeadership { request } => {
                if let Some(result) = self.confirm_leadership(request) {
                    effects.push(Effect::Reply { request, result });
                }
            }
            Input::Persisted { ticket } => {
                self.node.on_persist_ready(ticket);
                if self.unpersisted.is_some_and(|newest| newest <= ticket) {
                    self.unpersisted = None;
                }
                while self.held.front().is_some_and(|(waits_for, _)| *waits_for <= ticket) {
                    effects.extend(self.held.pop_front().map(|(_, sent)| Effect::Send(sent)));
                }
            }
            Input::Message(message) => {
                let term = self.node.raft.term;
                // What a peer says may be stale or senseless; consensus drops it then.
                let _ = self.node.step(*message);
                if self.node.raft.term != term {
                    self.draw_election_timeout();
                }
            }
            Input::SnapshotSaved { index } => {
                self.is_saving_snapshot = false;
                // The one before stays in reserve, so the log on disk must reach back to it.
                let reserve = std::mem::replace(&mut self.snapshot_index, index);
                let (trailing, bytes) = (self.config.trailing_entries, self.config.log_bytes_max);
                let through = self.node.mut_store().compact(index, trailing, bytes / 2);
                effects.push(Effect::Compact { through: through.min(reserve) });
            }
            Input::SnapshotFailed => self.is_saving_snapshot = false,
            Input::Members(members) => self.duties.set_members(members),
            Input::TransferLeadership { to } => self.node.transfer_leader(to),
        }
    }

    /// Turns what the inputs since the last call came to into effects.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut touched = Vec::new();
        let mut replies = Vec::new();
        let applied_before = self.state.index();
        loop {
            while !self.is_halted && self.node.has_ready() {
                self.handle_ready(now, &mut touched, &mut replies, effects);
            }
            if self.notice_leadership(now, &mut replies) {
                // A new leader sees to its duties at once, not at the next tick.
                self.run_duties(now);
            } else if !self.judge_deferred(now, &mut replies) {
                break;
            }
        }
        if self.state.index() != applied_before {
            effects.push(Effect::Publish { state: self.state.clone(), touched });
        }
        effects.append(&mut replies);
        self.ask_for_snapshot(effects);
    }

    fn handle_ready(
        &mut self,
        now: Now,
        touched: &mut Vec<Topic>,
        replies: &mut Vec<Effect>,
        effects: &mut Vec<Effect>,
    ) {
        let mut ready = self.node.ready();
        if !ready.snapshot().is_empty() {
            // Snapshots between servers are not offered by `LogStore::snapshot` yet.
            return self.halt(HaltCause::Consensus("received a snapshot".into()), effects);
        }
        let messages = ready.take_messages();
        if !messages.is_empty() {
            effects.push(Effect::Send(messages));
        }
        let ticket = ready.number();
        let (must_sync, entries) = (ready.must_sync(), ready.take_entries());
        let held = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        let read_states = ready.take_read_states();
        let store = self.node.mut_store();
        store.append(&entries);
        if let Some(hard_state) = ready.hs() {
            store.hard_state = hard_state.clone();
        }
        let hard_state = store.hard_state.clone();
        self.node.advance_append_async(ready);
        if must_sync {
            self.unpersisted = Some(ticket);
            effects.push(Effect::Persist(Persist { ticket, hard_state, entries }));
        } else if self.unpersisted.is_none() {
            self.node.on_persist_ready(ticket);
        }
        if !held.is_empty() {
            match self.unpersisted {
                Some(newest) => self.held.push_back((newest, held)),
                None => effects.push(Effect::Send(held)),
            }
        }
        if let Some(last) = committed.last().map(|entry| entry.index) {
            for entry in committed {
                let index = entry.index;
                if let Err(cause) = self.apply(entry, now, touched, replies) {
                    return self.halt(cause, effects);
                }
                self.release_confirmed(index, replies);
            }
            self.node.advance_apply_to(last);
        }
        for state in read_states {
            self.read_state(&state, replies);
        }
    }

    fn tick(&mut self, now: Now) {
        let term = self.node.raft.term;
        self.node.tick();
        if self.node.raft.term != term {
            self.draw_election_timeout();
        }
        self.lock_delays.forget_passed(now.mono);
        if self.leadership.is_ready {
            self.run_duties(now);
        }
    }

    fn run_duties(&mut self, now: Now) {
        for command in self.duties.plan(&self.state, &self.config, now) {
            // A duty that finds no room comes again at its next turn.
            let _ = self.append(None, command);
        }
    }

    /// The library draws from a generator of its own; this draw replaces it, so that a run
    /// replays from its seed.
    fn draw_election_timeout(&mut self) {
        let ticks = self.config.election_ticks;
        let drawn = self.rng.random_range(ticks..2 * ticks);
        self.node.raft.set_randomized_election_timeout(drawn);
    }

    /// Whether this server has just become a leader that may serve.
    fn notice_leadership(&mut self, now: Now, replies: &mut Vec<Effect>) -> bool {
        let raft = &self.node.raft;
        let is_leader = raft.state == StateRole::Leader;
        let leadership = Leadership {
            term: raft.term,
            leader: (raft.leader_id != raft::INVALID_ID).then_some(raft.leader_id),
            is_leader,
            is_ready: is_leader && raft.apply_to_current_term(),
            is_alone: raft.prs().is_singleton(),
        };
        let before = std::mem::replace(&mut self.leadership, leadership);
        if before == leadership {
            return false;
        }
        let took_over = leadership.is_ready && !before.is_ready;
        if took_over {
            self.duties.take_over(&self.state, now);
        }
        if before.is_leader && (!is_leader || before.term != leadership.term) {
            self.session_end_proposed = 0;
            let undecided = self
                .deferred
                .drain(..)
                .map(|(request, _)| Effect::Reply { request, result: Err(Error::no_leader()) });
            replies.extend(undecided);
            let lost = self.proposals.drain(..).filter_map(|proposal| proposal.request);
            let unconfirmed = self.confirmations.drain(..);
            let behind = self.confirmed_at.drain(..).map(|(_, request)| request);
            replies.extend(lost.chain(unconfirmed).chain(behind).map(lost_leadership));
        }
        // After the state it speaks for is published.
        replies.push(Effect::Leadership(leadership));
        took_over
    }

    fn ask_for_snapshot(&mut self, effects: &mut Vec<Effect>) {
        let applied = self.node.raft.raft_log.applied;
        let behind = applied.saturating_sub(self.snapshot_index);
        let is_due = behind >= self.config.snapshot_threshold
            || (behind > 0 && self.node.store().data_bytes() > self.config.log_bytes_max);
        if !is_due || self.is_saving_snapshot || self.is_halted {
            return;
        }
        let Ok(term) = raft::Storage::term(self.node.store(), applied) else { return };
        self.is_saving_snapshot = true;
        effects.push(Effect::SaveSnapshot(Snapshot {
            index: applied,
            term,
            membership: Membership::from(&self.node.store().configuration),
            state: self.state.clone(),
        }));
    }

    fn halt(&mut self, cause: HaltCause, effects: &mut Vec<Effect>) {
        self.is_halted = true;
        effects.push(Effect::Halt(cause));
    }
}

fn lost_leadership(request: RequestId) -> Effect {
    let message = "leadership lost while committing log";
    Effect::Reply { request, result: Err(Error::new(ErrorKind::Timeout, message)) }
}
