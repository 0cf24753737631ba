//! Prepares the next segment ahead of need, on a thread of its own: zeroing and syncing megabytes
//! must not hold up a commit.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::segment::{self, Segment};
use crate::{Error, disk};

struct Order {
    sequence: u64,
    capacity: u64,
    /// A file no longer needed whose blocks are to be used again.
    recycled: Option<PathBuf>,
}

/// At most one segment is being prepared at a time.
#[derive(Debug)]
pub(crate) struct SparePreparer {
    orders: Option<mpsc::Sender<Order>>,
    ready: mpsc::Receiver<Result<Segment, Error>>,
    thread: Option<JoinHandle<()>>,
    is_ordered: bool,
}

impl SparePreparer {
    pub(crate) fn start(dir: &Path) -> Result<Self, Error> {
        let (orders, inbox) = mpsc::channel::<Order>();
        let (outbox, ready) = mpsc::channel();
        let dir_for_thread = dir.to_owned();
        let thread = std::thread::Builder::new()
            .name("log-spare".into())
            .spawn(move || {
                for order in inbox {
                    if outbox.send(make(&dir_for_thread, order)).is_err() {
                        return;
                    }
                }
            })
            .map_err(|e| Error::io("start a thread for the log in", dir, e))?;
        Ok(Self { orders: Some(orders), ready, thread: Some(thread), is_ordered: false })
    }

    pub(crate) fn order(&mut self, sequence: u64, capacity: u64, recycled: Option<PathBuf>) {
        if let Some(orders) = self.orders.as_ref() {
            self.is_ordered = orders.send(Order { sequence, capacity, recycled }).is_ok();
        }
    }

    /// Waits for the ordered segment; `None` when none was ordered.
    pub(crate) fn take(&mut self) -> Option<Result<Segment, Error>> {
        std::mem::take(&mut self.is_ordered).then(|| self.ready.recv().ok()).flatten()
    }
}

impl Drop for SparePreparer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic there already showed; there is nothing left to prepare.
            let _ = thread.join();
        }
    }
}

/// Builds the segment under a temporary name, so that a segment's name always means a whole header.
fn make(dir: &Path, order: Order) -> Result<Segment, Error> {
    let Order { sequence, capacity, recycled } = order;
    let path = dir.join(segment::file_name(sequence));
    let temporary = dir.join(disk::SPARE_NAME);
    let is_recycled = match recycled {
        Some(old) => {
            std::fs::rename(&old, &temporary)
                .map_err(|e| Error::io("recycle the log file", &old, e))?;
            true
        }
        None => false,
    };
    segment::prepare(&temporary, sequence, capacity, is_recycled)?;
    std::fs::rename(&temporary, &path).map_err(|e| Error::io("name the log file", &path, e))?;
    disk::sync_dir(dir)?;
    Segment::open(path)
}
