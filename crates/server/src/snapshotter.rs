//! Writes snapshots beside the consensus thread: the state in one is an unchanging clone.
//!
//! The thread is started once by the server, not by the consensus thread, whose scheduling class
//! it would inherit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use replica::{Input, Snapshot};
use wal::SnapshotStore;

use crate::metrics::add;
use crate::shared::{Job, Shared};
use crate::storage;

/// The thread and its inbox. Dropping it waits for a snapshot being written, so that nothing
/// writes to the data directory after its lock is gone.
pub(crate) struct Snapshotter {
    orders: Option<mpsc::Sender<Snapshot>>,
    thread: Option<JoinHandle<()>>,
}

impl Snapshotter {
    pub(crate) fn start(shared: Arc<Shared>, store: SnapshotStore) -> std::io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<Snapshot>();
        let thread = std::thread::Builder::new().name("snapshot".into()).spawn(move || {
            for snapshot in inbox {
                let input = save(&shared, &store, &snapshot);
                // A server that has ended needs to know no more.
                let _ = shared.submit(Job::Input(input));
            }
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Has `snapshot` written; the replica asks for one at a time. False when the thread is gone.
    pub(crate) fn order(&self, snapshot: Snapshot) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.send(snapshot).is_ok())
    }
}

impl Drop for Snapshotter {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been shown already.
            let _ = thread.join();
        }
    }
}

fn save(shared: &Shared, store: &SnapshotStore, snapshot: &Snapshot) -> Input {
    let begun = Instant::now();
    match storage::save_snapshot(store, snapshot) {
        Ok(()) => {
            add(&shared.metrics.snapshots_saved, 1);
            let nanos = begun.elapsed().as_nanos() as u64;
            shared.metrics.snapshot_nanos.store(nanos, Ordering::Relaxed);
            Input::SnapshotSaved { index: snapshot.index }
        }
        Err(e) => {
            add(&shared.metrics.snapshots_failed, 1);
            tracing::error!(error = %e, "could not write a snapshot");
            Input::SnapshotFailed
        }
    }
}
