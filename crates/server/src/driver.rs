//! The consensus thread: takes in everything queued, lets the replica decide, and performs its
//! effects in order.
//!
//! Messages to other servers leave before the log is synced, so that all disks work at once; what
//! must not leave before, the replica holds back itself.
//!
//! The thread that decides also writes and syncs the log. Handing that to a second thread would
//! cost two wake-ups per write and gain little: whatever arrives during a sync is queued and becomes
//! the next group.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use model::error::Error;
use model::operator::OperatorReply;
use rand::SeedableRng;
use rand::rngs::StdRng;
use replica::{
    Effect, Input, Membership, Now, Recovered, Replica, ReplicaConfig, RequestId, Response,
    Snapshot,
};
use slab::Slab;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use wal::ReceivedSnapshot;

use crate::metrics::{add, record};
use crate::shared::{Job, ReplyTo, Shared};
use crate::slow_disk::SlowDisk;
use crate::snapshotter::Snapshotter;
use crate::storage::Storage;

/// The lowest of the real-time class: before every normal thread, behind everything else in it.
const REALTIME_PRIORITY: u8 = 1;
/// Jobs taken in before the log is written; the bytes in flight are bounded by the replica.
const GROUP_MAX: usize = 4096;

/// Who waits for which reply.
enum Waiting {
    Outcome(ReplyTo<model::command::Outcome>),
    Renewed(ReplyTo<Option<Arc<model::session::Session>>>),
    Confirmed(ReplyTo<u64>),
    Operated(ReplyTo<OperatorReply>),
}

pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) replica: Replica,
    config: ReplicaConfig,
    pub(crate) storage: Storage,
    pub(crate) jobs: Receiver<Job>,
    /// `None` when nothing is kept on disk.
    snapshotter: Option<Snapshotter>,
    waiting: Slab<Waiting>,
    effects: Vec<Effect>,
    /// The file of the snapshot that was received last, until the replica takes it on.
    received: Option<ReceivedSnapshot>,
    slow_disk: SlowDisk,
}

/// Why the thread ends.
enum End {
    Asked,
    Failed(String),
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        replica: Replica,
        config: ReplicaConfig,
        storage: Storage,
        snapshotter: Option<Snapshotter>,
        jobs: Receiver<Job>,
    ) -> Self {
        let tunables = &shared.config.tunables;
        let slow_disk = SlowDisk::new(tunables.slow_sync, tunables.slow_sync_span);
        Self {
            shared,
            replica,
            config,
            storage,
            jobs,
            snapshotter,
            waiting: Slab::new(),
            effects: Vec::new(),
            received: None,
            slow_disk,
        }
    }

    /// Runs until asked to stop or until the replica or the log cannot go on.
    pub(crate) fn run(mut self) {
        self.ask_for_realtime();
        let end = self.drive();
        self.snapshotter = None;
        let failure = match end {
            End::Asked => None,
            End::Failed(cause) => {
                tracing::error!(cause, "the server stops");
                Some(cause)
            }
        };
        // Whoever still waits for a reply sees its channel close and asks `Shared` why.
        self.shared.close(failure);
    }

    fn drive(&mut self) -> End {
        let tick = self.config.tick;
        let mut next_tick = Instant::now() + tick;
        if let Err(end) = self.settle() {
            return end;
        }
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            match self.jobs.recv_timeout(wait) {
                Ok(job) => {
                    if let Err(end) = self.take_group(job) {
                        return end;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return End::Asked,
            }
            if Instant::now() >= next_tick {
                // Late ones are not made up for: leases count on ticks being long enough.
                next_tick = Instant::now() + tick;
                self.step(Input::Tick);
            }
            if let Err(end) = self.settle() {
                return end;
            }
        }
    }

    /// Takes in `first` and everything queued behind it.
    fn take_group(&mut self, first: Job) -> Result<(), End> {
        let mut next = Some(first);
        let mut count = 0;
        while let Some(job) = next.take() {
            count += 1;
            let input = match job {
                Job::Command(command, reply) => {
                    let request = self.wait(Waiting::Outcome(reply));
                    Input::Propose { request, command: *command }
                }
                Job::Renew(id, reply) => {
                    Input::RenewSession { request: self.wait(Waiting::Renewed(reply)), id }
                }
                Job::Confirm { by_lease, reply } => {
                    let request = self.wait(Waiting::Confirmed(reply));
                    Input::ConfirmLeadership { request, by_lease }
                }
                Job::Operate(operation, reply) => {
                    let request = self.wait(Waiting::Operated(reply));
                    Input::Operate { request, operation: *operation }
                }
                Job::Input(input) => input,
                Job::Peer(input, room) => {
                    drop(room);
                    input
                }
                Job::Received(input, file) => {
                    if let (Some(older), Some(store)) =
                        (self.received.take(), &self.shared.snapshots)
                        && let Err(e) = store.discard(&older)
                    {
                        tracing::warn!(error = %e, "a received snapshot is left behind");
                    }
                    self.received = file;
                    input
                }
                Job::Found(membership) => {
                    self.found(*membership)?;
                    next = self.jobs.try_recv().ok();
                    continue;
                }
                Job::Stop => return Err(End::Asked),
            };
            self.step(input);
            if count < GROUP_MAX {
                next = self.jobs.try_recv().ok();
            }
        }
        self.shared.taken(count);
        Ok(())
    }

    fn wait(&mut self, waiting: Waiting) -> RequestId {
        RequestId(self.waiting.insert(waiting) as u64)
    }

    /// Takes an input in before the thread runs.
    pub(crate) fn take_in(&mut self, input: Input) {
        self.step(input);
    }

    fn step(&mut self, input: Input) {
        let now = self.now();
        self.replica.step(input, now, &mut self.effects);
    }

    /// Begins a cluster, if this server belongs to none.
    fn found(&mut self, membership: Membership) -> Result<(), End> {
        if self.replica.membership().is_configured() {
            return Ok(());
        }
        let snapshot = Snapshot::founding(membership);
        let failed = |e: wal::Error| End::Failed(e.to_string());
        let hard_state = self.storage.begin_anew(&snapshot).map_err(failed)?;
        let recovered = Recovered { snapshot: Some(snapshot), hard_state, ..Recovered::default() };
        self.replica = Replica::new(self.config.clone(), recovered, StdRng::from_os_rng())
            .map_err(|cause| End::Failed(cause.to_string()))?;
        let members = self.shared.members.load();
        self.step(Input::Members(members.as_ref().clone()));
        Ok(())
    }

    /// Performs effects until there are none, then tells what readers go by.
    fn settle(&mut self) -> Result<(), End> {
        loop {
            let now = self.now();
            self.replica.flush(now, &mut self.effects);
            if self.effects.is_empty() {
                break;
            }
            for effect in std::mem::take(&mut self.effects) {
                self.perform(effect)?;
            }
        }
        let shared = &self.shared;
        shared.set_applied(self.replica.applied());
        shared.set_leader_heard(self.replica.leader_heard());
        *shared.position.lock() = self.replica.position();
        Ok(())
    }

    fn perform(&mut self, effect: Effect) -> Result<(), End> {
        let links = self.shared.links.get();
        match effect {
            Effect::Persist(persist) => {
                let ticket = persist.ticket;
                self.persist(persist).map_err(|e| End::Failed(e.to_string()))?;
                self.step(Input::Persisted { ticket });
            }
            Effect::Send(messages) => {
                self.shared.set_committed(self.replica.committed());
                let lost = links.map(|links| links.send(messages)).unwrap_or_default();
                for peer in lost {
                    self.step(Input::Unreachable { peer });
                }
            }
            Effect::SendSnapshot { message, snapshot } => {
                let to = message.to;
                if !links.is_some_and(|links| links.send_snapshot(*message, snapshot)) {
                    self.step(Input::SnapshotSent { to, is_received: false });
                }
            }
            Effect::Note { to, note } => {
                if let Some(links) = links {
                    links.note(to, note);
                }
            }
            Effect::Publish { state, touched } => {
                let woken = self.shared.publish(state, &touched);
                self.shared.set_applied(self.replica.applied());
                add(&self.shared.metrics.wakes, woken as u64);
            }
            Effect::Replace(state) => self.shared.replace(state),
            Effect::Reply { request, result } => self.reply(request, result),
            Effect::Lease(until) => self.shared.set_lease(until),
            Effect::Membership(membership) => self.shared.set_membership(membership),
            Effect::RolledBack(Some(known)) => {
                add(&self.shared.metrics.rollbacks, 1);
                self.shared.metrics.rolled_back.store(1, Ordering::Relaxed);
                tracing::error!(
                    term = known.term,
                    index = known.last_index,
                    "the data directory is an older copy: other servers know this one to have come \
                     further; it does not vote until it has caught up"
                );
            }
            Effect::RolledBack(None) => {
                self.shared.metrics.rolled_back.store(0, Ordering::Relaxed);
                tracing::warn!("what the older copy of the data directory lacked is back");
            }
            Effect::Leadership(leadership) => {
                add(&self.shared.metrics.leader_changes, 1);
                tracing::info!(
                    term = leadership.term,
                    leader = leadership.leader.map(|id| format!("{id:016x}")),
                    is_leader = leadership.is_leader,
                    is_ready = leadership.is_ready,
                    "leadership changed"
                );
                self.shared.set_leadership(leadership);
            }
            Effect::SaveSnapshot(snapshot) => self.save_snapshot(snapshot),
            Effect::Compact { through } => {
                if let Err(e) = self.storage.log.compact(through) {
                    tracing::warn!(error = %e, "could not free log files");
                }
            }
            Effect::Halt(cause) => return Err(End::Failed(cause.to_string())),
        }
        Ok(())
    }

    fn persist(&mut self, persist: replica::Persist) -> Result<(), wal::Error> {
        let metrics = &self.shared.metrics;
        let entries = persist.entries.len() as u64;
        let begun = Instant::now();
        let received = persist.snapshot.as_ref().and_then(|_| self.received.take());
        self.storage.persist(persist, received)?;
        let took = begun.elapsed();
        record(&metrics.log_sync_nanos, &metrics.log_sync_nanos_max, took);
        metrics.log_disk_bytes.store(self.storage.log.disk_bytes(), Ordering::Relaxed);
        add(&metrics.log_entries, entries);
        add(&metrics.log_syncs, 1);
        self.watch_disk(took);
        Ok(())
    }

    /// A leader with a slow disk makes everybody wait for it: with others there, it hands over and
    /// does not stand again until its disk has recovered.
    fn watch_disk(&mut self, took: Duration) {
        let Some(is_slow) = self.slow_disk.synced(took, Instant::now()) else { return };
        self.step(Input::SlowDisk(is_slow));
        let leadership = self.replica.leadership();
        if is_slow && leadership.is_leader && !leadership.is_alone {
            tracing::warn!(last = ?took, "the disk is slow, handing leadership over");
            add(&self.shared.metrics.slow_disk_hand_overs, 1);
            self.step(Input::TransferLeadership { to: None });
        }
    }

    fn reply(&mut self, request: RequestId, result: Result<Response, Error>) {
        let Some(waiting) = self.waiting.try_remove(request.0 as usize) else { return };
        let metrics = &self.shared.metrics;
        let mismatch = || Error::internal("a reply of another kind than asked for");
        // A receiver that is gone has given up waiting; the effect stands.
        match waiting {
            Waiting::Outcome(reply) => {
                let counter = match &result {
                    Ok(_) => &metrics.commands_ok,
                    Err(e) if e.kind == model::error::ErrorKind::NoLeader => {
                        &metrics.commands_dropped
                    }
                    Err(_) => &metrics.commands_refused,
                };
                add(counter, 1);
                let _ = reply.send(result.and_then(|response| match response {
                    Response::Outcome(outcome) => Ok(outcome),
                    _ => Err(mismatch()),
                }));
            }
            Waiting::Renewed(reply) => {
                let _ = reply.send(result.and_then(|response| match response {
                    Response::Renewed(session) => Ok(session),
                    _ => Err(mismatch()),
                }));
            }
            Waiting::Confirmed(reply) => {
                let _ = reply.send(result.and_then(|response| match response {
                    Response::Confirmed { index } => Ok(index),
                    _ => Err(mismatch()),
                }));
            }
            Waiting::Operated(reply) => {
                let _ = reply.send(result.and_then(|response| match response {
                    Response::Operated(done) => Ok(done),
                    _ => Err(mismatch()),
                }));
            }
        }
    }

    fn save_snapshot(&mut self, snapshot: Snapshot) {
        let index = snapshot.index;
        match &self.snapshotter {
            // Nothing is kept, so nothing needs to be written before the log is cut.
            None => self.step(Input::SnapshotSaved { index }),
            Some(snapshotter) if snapshotter.order(snapshot) => {}
            Some(_) => self.step(Input::SnapshotFailed),
        }
    }

    /// Asks the system to run this thread as soon as a sync ends. Where the cores are busy, a
    /// thread of normal class waits for the next scheduler tick first, milliseconds after the disk
    /// is done; that was measured at ten to forty times the latency of a write.
    fn ask_for_realtime(&self) {
        let tunables = &self.shared.config.tunables;
        if !tunables.realtime_log || self.snapshotter.is_none() {
            return;
        }
        let lowest = ThreadPriorityValue::try_from(REALTIME_PRIORITY).expect("1 is in 0 to 99");
        let lowest = ThreadPriority::Crossplatform(lowest);
        let class = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        match set_thread_priority_and_policy(thread_native_id(), lowest, class) {
            Ok(()) => self.shared.metrics.log_realtime.store(1, Ordering::Relaxed),
            // Needs a capability or a limit the system did not give; writes are merely slower.
            Err(e) => tracing::debug!(error = ?e, "the log thread stays in the normal class"),
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.shared.now(), wall: SystemTime::now().into() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use crate::storage::Promise;
    use model::command::Command;
    use model::error::ErrorKind;
    use model::kv::{DirEntry, KvOp, KvRequest};
    use tokio::sync::oneshot;
    use wal::{Batch, Log};

    use super::*;
    use crate::config::ServerConfig;

    /// A log whose syncs fail once so many succeeded.
    struct Failing(u32);

    impl Log for Failing {
        fn write(&mut self, _batch: &Batch) -> Result<(), wal::Error> {
            Ok(())
        }

        fn sync(&mut self) -> Result<(), wal::Error> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| wal::Error::NotDurable {
                path: "raft/log/1.log".into(),
                cause: "fdatasync: input/output error".into(),
            })?;
            Ok(())
        }

        fn compact(&mut self, _through: u64) -> Result<(), wal::Error> {
            Ok(())
        }

        fn disk_bytes(&self) -> u64 {
            0
        }
    }

    /// After a failed sync nothing may be acknowledged, and the server ends with the cause.
    #[test]
    fn a_failed_sync_stops_the_server_with_its_cause() {
        let membership = Membership { voters: vec![1], ..Membership::default() };
        let recovered = Recovered { membership, ..Recovered::default() };
        let config = ReplicaConfig::new(1, "dc1");
        let replica = Replica::new(config.clone(), recovered, StdRng::seed_from_u64(1)).unwrap();
        let (sender, jobs) = mpsc::channel();
        let (state, promise) = (replica.state().clone(), Promise::default());
        let settings = ServerConfig::new("dc1");
        let shared = Arc::new(Shared::new(settings, 1, state, None, promise, sender));
        // The election is the first write, the command the second.
        let storage = Storage {
            log: Box::new(Failing(1)),
            snapshots: None,
            damaged: Vec::new(),
            _lock: None,
        };
        let driver = Driver::new(shared.clone(), replica, config, storage, None, jobs);
        let entry = DirEntry { key: "k".into(), ..DirEntry::default() };
        let command = Command::Kv(KvRequest { op: KvOp::Set, entry });
        let (reply, mut replied) = oneshot::channel();
        shared.submit(Job::Command(Box::new(command), reply)).unwrap();
        driver.run();
        assert!(replied.try_recv().is_err(), "not acknowledged");
        let cause = shared.failure().unwrap();
        assert!(cause.contains("raft/log/1.log") && cause.contains("input/output"), "{cause}");
        let refused = shared.submit(Job::Renew("s".into(), oneshot::channel().0)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable);
        assert!(refused.message.contains(cause.as_str()));
    }
}
