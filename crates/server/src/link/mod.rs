//! Connections between servers, over byte streams that somebody else opens and secures.
//!
//! Each server dials each other one for what it has to say. There are three lanes, each with
//! connections of its own, so that a long one never delays a short one: the *log* lane carries
//! consensus messages one way, the *request* lane requests and their answers, the *snapshot* lane
//! one snapshot each. What is lost on the way, consensus sends again; so queues are bounded and
//! drop, and a connection that broke is simply dialled again.

mod alive;
mod frame;
mod hello;
mod inbound;
mod log_lane;
mod request;
mod request_lane;
mod snapshot_lane;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use replica::{Message, Note, Snapshot};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::shared::Shared;

pub(crate) use inbound::accept;
pub(crate) use request::{Answer, Request};
pub(crate) use request_lane::Failure;

/// A stream to another server, whose ends are who they claim to be.
pub type Stream = Box<dyn Connection>;

/// Anything bytes go both ways through.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// Opens streams to the server port of others, ready for our own frames.
pub trait Dial: Send + Sync + 'static {
    /// `address` is `host:port`. Errors: whatever keeps the other from being reached.
    fn dial(&self, address: &str) -> Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;
}

/// How long opening a connection may take, and how long the greeting on it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);
/// Pauses between attempts to reach a server; drawn between half and whole. The longest bounds how
/// late a server that came back is noticed.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The same where callers wait: they are told at once, and ask whoever leads then.
const REQUEST_BACKOFF_MAX: Duration = Duration::from_millis(100);
/// Other servers this one keeps links to at once: far more than take part in any consensus.
const PEERS_MAX: usize = 64;

/// Links to all other servers that are known.
pub(crate) struct Links {
    shared: Weak<Shared>,
    runtime: Option<Handle>,
    peers: Mutex<BTreeMap<u64, Arc<Peer>>>,
}

/// The link to one server.
pub(crate) struct Peer {
    pub(crate) id: u64,
    address: Mutex<String>,
    log: log_lane::Queue,
    requests: request_lane::Calls,
    tasks: Vec<AbortHandle>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Peer {
    fn address(&self) -> String {
        self.address.lock().clone()
    }
}

impl Links {
    pub(crate) fn new(shared: Weak<Shared>) -> Self {
        Self { shared, runtime: Handle::try_current().ok(), peers: Mutex::default() }
    }

    /// Keeps links to exactly these servers.
    pub(crate) fn set_peers(&self, addresses: &BTreeMap<u64, String>) {
        let Some(runtime) = &self.runtime else { return };
        let Some(shared) = self.shared.upgrade().filter(|s| s.config.dial.is_some()) else {
            return;
        };
        let mut peers = self.peers.lock();
        peers.retain(|id, _| addresses.contains_key(id));
        for (id, address) in addresses {
            if let Some(peer) = peers.get(id) {
                peer.address.lock().clone_from(address);
            } else if peers.len() < PEERS_MAX {
                peers.insert(*id, open(*id, address, &shared, runtime));
            }
        }
    }

    /// Ends all links.
    pub(crate) fn close(&self) {
        self.peers.lock().clear();
    }

    pub(crate) fn peer(&self, id: u64) -> Option<Arc<Peer>> {
        self.peers.lock().get(&id).cloned()
    }

    /// Queues messages. Returns to whom something was lost.
    pub(crate) fn send(&self, messages: Vec<Message>) -> Vec<u64> {
        let peers = self.peers.lock();
        let mut lost = Vec::new();
        for message in messages {
            let to = message.to;
            let is_queued = peers.get(&to).is_some_and(|peer| peer.log.push_message(message));
            if !is_queued && !lost.contains(&to) {
                lost.push(to);
            }
        }
        lost
    }

    pub(crate) fn note(&self, to: u64, note: Note) {
        if let Some(peer) = self.peer(to) {
            peer.log.push_note(note);
        }
    }

    /// Streams a snapshot. False when the server cannot be reached at all.
    pub(crate) fn send_snapshot(&self, message: Message, snapshot: Snapshot) -> bool {
        let (Some(runtime), Some(peer)) = (&self.runtime, self.peer(message.to)) else {
            return false;
        };
        let shared = self.shared.clone();
        runtime.spawn(async move { snapshot_lane::send(shared, peer, message, snapshot).await });
        true
    }
}

fn open(id: u64, address: &str, shared: &Arc<Shared>, runtime: &Handle) -> Arc<Peer> {
    let (log, log_inbox) = log_lane::Queue::new();
    let (requests, request_inbox) = request_lane::Calls::new();
    Arc::new_cyclic(|peer: &Weak<Peer>| {
        let (shared, link) = (Arc::downgrade(shared), peer.clone());
        let log_task = runtime.spawn(log_lane::run(shared.clone(), link.clone(), log_inbox));
        let request_task = runtime.spawn(request_lane::run(shared, link, request_inbox));
        Peer {
            id,
            address: Mutex::new(address.to_owned()),
            log,
            requests,
            tasks: vec![log_task.abort_handle(), request_task.abort_handle()],
        }
    })
}

/// A pause that grows with failures in a row.
struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    fn new(longest: Duration) -> Self {
        Self { next: BACKOFF_MIN, longest }
    }

    async fn pause(&mut self) {
        let drawn = self.next.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        self.next = (self.next * 2).min(self.longest);
        tokio::time::sleep(drawn).await;
    }
}
