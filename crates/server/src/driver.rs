//! The consensus thread: takes in everything queued, lets the replica decide, and performs its
//! effects in order.
//!
//! The thread that decides also writes and syncs the log. Handing that to a second thread would
//! cost two wake-ups per write and gain nothing while there is one server: whatever arrives during
//! a sync is queued and becomes the next group.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use model::error::Error;
use replica::{Effect, Input, Mono, Now, Replica, RequestId, Response, Snapshot};
use slab::Slab;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::metrics::{add, record};
use crate::shared::{Job, ReplyTo, Shared};
use crate::snapshotter::Snapshotter;
use crate::storage::{self, Storage};

/// Interval of the consensus clock.
const TICK: Duration = Duration::from_millis(100);
/// The lowest of the real-time class: before every normal thread, behind everything else in it.
const REALTIME_PRIORITY: u8 = 1;
/// Jobs taken in before the log is written; the bytes in flight are bounded by the replica.
const GROUP_MAX: usize = 4096;

/// Who waits for which reply.
enum Waiting {
    Outcome(ReplyTo<model::command::Outcome>),
    Renewed(ReplyTo<Option<Arc<model::session::Session>>>),
    Confirmed(ReplyTo<()>),
}

pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) replica: Replica,
    pub(crate) storage: Storage,
    pub(crate) jobs: Receiver<Job>,
    /// `None` when nothing is kept on disk.
    snapshotter: Option<Snapshotter>,
    waiting: Slab<Waiting>,
    started: Instant,
    effects: Vec<Effect>,
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
        storage: Storage,
        snapshotter: Option<Snapshotter>,
        jobs: Receiver<Job>,
    ) -> Self {
        Self {
            shared,
            replica,
            storage,
            jobs,
            snapshotter,
            waiting: Slab::new(),
            started: Instant::now(),
            effects: Vec::new(),
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
        let mut next_tick = Instant::now() + TICK;
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
                next_tick = Instant::now() + TICK;
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
                Job::Confirm(reply) => {
                    let request = self.wait(Waiting::Confirmed(reply));
                    Input::ConfirmLeadership { request, by_lease: false }
                }
                Job::Input(input) => input,
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

    /// Performs effects until there are none.
    fn settle(&mut self) -> Result<(), End> {
        loop {
            let now = self.now();
            self.replica.flush(now, &mut self.effects);
            if self.effects.is_empty() {
                return Ok(());
            }
            for effect in std::mem::take(&mut self.effects) {
                self.perform(effect)?;
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Result<(), End> {
        match effect {
            Effect::Persist(persist) => {
                let ticket = persist.ticket;
                self.persist(persist).map_err(|e| End::Failed(e.to_string()))?;
                self.step(Input::Persisted { ticket });
            }
            // A server alone has nobody to send to.
            Effect::Send(_) | Effect::SendSnapshot { .. } | Effect::Note { .. } => {}
            Effect::Replace(_) | Effect::Lease(_) => {}
            Effect::Membership(_) | Effect::RolledBack(_) => {}
            Effect::Publish { state, touched } => {
                let woken = self.shared.publish(state, &touched);
                add(&self.shared.metrics.wakes, woken as u64);
            }
            Effect::Reply { request, result } => self.reply(request, result),
            Effect::Leadership(leadership) => {
                add(&self.shared.metrics.leader_changes, 1);
                tracing::info!(
                    term = leadership.term,
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
        let batch = storage::batch_of(persist);
        self.storage.log.write(&batch)?;
        self.storage.log.sync()?;
        record(&metrics.log_sync_nanos, &metrics.log_sync_nanos_max, begun.elapsed());
        metrics.log_disk_bytes.store(self.storage.log.disk_bytes(), Ordering::Relaxed);
        add(&metrics.log_entries, entries);
        add(&metrics.log_syncs, 1);
        Ok(())
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
                let _ = reply.send(result.map(|_| ()));
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
        Now { mono: Mono(self.started.elapsed().as_nanos() as u64), wall: SystemTime::now().into() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use model::command::Command;
    use model::error::ErrorKind;
    use model::kv::{DirEntry, KvOp, KvRequest};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use replica::{Membership, Recovered, ReplicaConfig};
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
        let replica = Replica::new(config, recovered, StdRng::seed_from_u64(1)).unwrap();
        let (sender, jobs) = mpsc::channel();
        let shared =
            Arc::new(Shared::new(ServerConfig::new("dc1"), replica.state().clone(), sender));
        // The election is the first write, the command the second.
        let storage = Storage {
            log: Box::new(Failing(1)),
            snapshots: None,
            damaged: Vec::new(),
            _lock: None,
        };
        let driver = Driver::new(shared.clone(), replica, storage, None, jobs);
        let entry = DirEntry { key: "k".into(), ..DirEntry::default() };
        let command = Command::Kv(KvRequest { op: KvOp::Set, entry });
        let (reply, mut replied) = oneshot::channel();
        shared.submit(Job::Command(Box::new(command), reply)).unwrap();
        driver.run();
        assert!(replied.try_recv().is_err(), "not acknowledged");
        let cause = shared.failure().unwrap();
        assert!(cause.contains("raft/log/1.log") && cause.contains("input/output"), "{cause}");
        let refused = shared.submit(Job::Confirm(oneshot::channel().0)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable);
        assert!(refused.message.contains(cause.as_str()));
    }
}
