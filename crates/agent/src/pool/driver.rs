//! One gossip pool at work: sockets, streams and timers around the machine of the `gossip` crate.
//!
//! The machine stands behind a short lock: the driver steps it, and who asks or commands something does so directly.
//! What a step leads to is queued beside the machine and performed by the driver alone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gossip::{
    Admission, Command, Counters, Effect, Event, Gossip, Input, KeyRequest, KeyringReport, Mono,
    Now, OperationId, Refusal, StreamId, Tags,
};
use parking_lot::Mutex;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pool::files::Files;
use crate::pool::stream;

/// Longest datagram: what UDP itself allows.
const PACKET_BYTES_MAX: usize = 64 * 1024;
/// Packets taken in before streams and timers have their turn.
const PACKETS_AT_ONCE: usize = 64;
/// What streams have read and the machine has not seen yet; readers wait beyond that.
const STREAM_INPUTS_MAX: usize = 256;
/// Events not yet looked at by the application; see [`Pool::start`].
const EVENTS_WAITING_MAX: usize = 4096;

/// Sockets of one pool, bound to one address.
#[derive(Debug)]
pub struct PoolSockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

/// How one pool is run.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    pub gossip: gossip::Config,
    /// Where the members of the last run stand; `None` keeps nothing.
    pub snapshot_file: Option<PathBuf>,
    /// Where changes of the keyring are kept.
    pub keyring_file: Option<PathBuf>,
    pub rejoin_after_leave: bool,
}

/// A running pool. Clones are the same pool.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    machine: Mutex<Machine>,
    started: Instant,
    /// Somebody left effects for the driver.
    has_effects: Notify,
    /// Counts changes of members or their tags.
    changes: watch::Sender<u64>,
    operations: Mutex<HashMap<OperationId, Waiting>>,
    next_operation: AtomicU64,
    has_left: CancellationToken,
}

struct Machine {
    gossip: Gossip,
    effects: Vec<Effect>,
}

/// Who waits for the end of an operation. Gone waiters are as good as served.
enum Waiting {
    Join(oneshot::Sender<JoinReport>),
    Key(oneshot::Sender<KeyringReport>),
}

/// How an attempt to join went.
#[derive(Debug, Default)]
pub struct JoinReport {
    pub joined: usize,
    pub errors: Vec<(SocketAddr, String)>,
}

/// What a pool shows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolStats {
    pub counters: Counters,
    pub health_score: u32,
    pub is_encrypted: bool,
    /// Of the next intent, event and query.
    pub clocks: (u64, u64, u64),
}

impl Pool {
    /// Starts on `sockets`. What members say to applications goes to the receiver; events that find it full are lost,
    /// as those that find the network full are.
    ///
    /// Errors: settings the machine refuses, or a file that cannot be used.
    pub fn start(
        settings: PoolSettings,
        sockets: PoolSockets,
        admission: Box<dyn Admission>,
        stop: CancellationToken,
    ) -> Result<(Self, mpsc::Receiver<Event>, impl Future<Output = ()> + Send), PoolError> {
        let PoolSettings { mut gossip, snapshot_file, keyring_file, rejoin_after_leave } = settings;
        let (files, snapshot) = Files::open(snapshot_file, keyring_file, rejoin_after_leave)?;
        gossip.snapshot = snapshot;
        let started = Instant::now();
        let mut effects = Vec::new();
        let gossip = Gossip::start(gossip, admission, Now { mono: Mono(0) }, &mut effects)
            .map_err(PoolError::Refused)?;
        let shared = Arc::new(Shared {
            machine: Mutex::new(Machine { gossip, effects }),
            started,
            has_effects: Notify::new(),
            changes: watch::Sender::new(0),
            operations: Mutex::default(),
            next_operation: AtomicU64::new(1),
            has_left: CancellationToken::new(),
        });
        let (events, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        let (stream_inputs, streams_in) = mpsc::channel(STREAM_INPUTS_MAX);
        let driver = Driver {
            shared: Arc::clone(&shared),
            sockets,
            files,
            events,
            streams: HashMap::new(),
            accepted: 0,
            stream_inputs,
            streams_in,
            stop,
        };
        Ok((Self(shared), receiver, driver.run()))
    }

    /// Everybody known, by name.
    pub fn members(&self) -> Vec<gossip::Member> {
        self.0.machine.lock().gossip.members().cloned().collect()
    }

    pub fn member(&self, name: &str) -> Option<gossip::Member> {
        self.0.machine.lock().gossip.member(name).cloned()
    }

    /// Changes whenever a member or its tags do.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Own coordinate, and those of members it was measured against, by name.
    pub fn coordinates(&self) -> (gossip::Coordinate, Vec<(String, gossip::Coordinate)>) {
        let machine = self.0.machine.lock();
        let peers = machine.gossip.coordinates().iter();
        let peers = peers.map(|(name, coordinate)| (name.clone(), coordinate.clone()));
        (machine.gossip.coordinate().clone(), peers.collect())
    }

    pub fn stats(&self) -> PoolStats {
        let machine = self.0.machine.lock();
        PoolStats {
            counters: machine.gossip.counters(),
            health_score: machine.gossip.health_score(),
            is_encrypted: machine.gossip.is_encrypted(),
            clocks: machine.gossip.clocks(),
        }
    }

    /// Exchanges state with each address. Errors: `Refused` while leaving.
    pub async fn join(&self, addresses: Vec<SocketAddr>) -> Result<JoinReport, PoolError> {
        let (sender, receiver) = oneshot::channel();
        let operation = self.begin(Waiting::Join(sender));
        self.command(Command::Join { operation, addresses })
            .inspect_err(|_| self.forget(operation))?;
        receiver.await.map_err(|_| PoolError::Ended)
    }

    /// Reads or changes the keys of all members.
    pub async fn keys(&self, request: KeyRequest) -> Result<KeyringReport, PoolError> {
        let (sender, receiver) = oneshot::channel();
        let operation = self.begin(Waiting::Key(sender));
        self.command(Command::Key { operation, request })
            .inspect_err(|_| self.forget(operation))?;
        receiver.await.map_err(|_| PoolError::Ended)
    }

    /// Leaves for good; resolves when the others were told.
    pub async fn leave(&self) {
        // Leaving already is as good.
        let _ = self.command(Command::Leave);
        self.0.has_left.cancelled().await;
    }

    pub fn force_leave(&self, node: &str, prune: bool) -> Result<(), PoolError> {
        self.command(Command::ForceLeave { node: node.to_owned(), prune })
    }

    pub fn set_tags(&self, tags: Tags) -> Result<(), PoolError> {
        self.command(Command::SetTags(tags))
    }

    pub fn user_event(&self, name: String, payload: Bytes) -> Result<(), PoolError> {
        self.command(Command::UserEvent { name, payload, coalesce: false })
    }

    fn command(&self, command: Command) -> Result<(), PoolError> {
        let now = self.0.now();
        let mut machine = self.0.machine.lock();
        let Machine { gossip, effects } = &mut *machine;
        let result = gossip.command(command, now, effects);
        drop(machine);
        self.0.has_effects.notify_one();
        result.map_err(PoolError::Refused)
    }

    fn begin(&self, waiting: Waiting) -> OperationId {
        let operation = OperationId(self.0.next_operation.fetch_add(1, Ordering::Relaxed));
        self.0.operations.lock().insert(operation, waiting);
        operation
    }

    fn forget(&self, operation: OperationId) {
        self.0.operations.lock().remove(&operation);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Shared {
    fn now(&self) -> Now {
        Now { mono: Mono(self.started.elapsed().as_nanos() as u64) }
    }

    /// When the machine wants to be woken.
    fn wake_at(&self, wake: Mono) -> Instant {
        // The end of time is a day away: it is looked at again then.
        const FAR: Duration = Duration::from_secs(24 * 3600);
        self.started + Duration::from_nanos(wake.0).min(self.started.elapsed() + FAR)
    }
}

/// Why a pool does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error(transparent)]
    Refused(Refusal),
    #[error("the pool has ended")]
    Ended,
    #[error("cannot use {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {reason}", path.display())]
    Keyring { path: PathBuf, reason: String },
}

struct Driver {
    shared: Arc<Shared>,
    sockets: PoolSockets,
    files: Files,
    events: mpsc::Sender<Event>,
    streams: HashMap<StreamId, stream::Handle>,
    accepted: u64,
    stream_inputs: mpsc::Sender<Input>,
    streams_in: mpsc::Receiver<Input>,
    stop: CancellationToken,
}

impl Driver {
    /// Runs until stopped. Leaving is somebody else's decision, before.
    async fn run(mut self) {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        loop {
            let wake = self.perform_all();
            let wake = self.shared.wake_at(wake);
            // Every branch only waits: a dropped one loses nothing, what it waited for stays where it is.
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep_until(wake) => self.step(Input::Tick),
                () = self.shared.has_effects.notified() => {}
                Some(input) = self.streams_in.recv() => self.take_stream_input(input),
                readable = self.sockets.udp.readable() => match readable {
                    Ok(()) => self.receive(&mut packet),
                    Err(error) => tracing::warn!(%error, "the gossip socket cannot be read"),
                },
                accepted = self.sockets.tcp.accept() => match accepted {
                    Ok((stream, peer)) => {
                        self.accepted += 1;
                        let id = StreamId::accepted(self.accepted);
                        let handle = stream::serve(stream, id, self.stream_inputs.clone());
                        self.streams.insert(id, handle);
                        self.step(Input::StreamAccepted { id, peer });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a gossip connection");
                        tokio::time::sleep(stream::ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        self.files.flush();
    }

    fn receive(&mut self, packet: &mut [u8]) {
        for _ in 0..PACKETS_AT_ONCE {
            match self.sockets.udp.try_recv_from(packet) {
                Ok((length, from)) => {
                    let bytes = Bytes::copy_from_slice(&packet[..length]);
                    self.step(Input::PacketReceived { from, bytes });
                }
                // Nothing more, or the echo of a packet that found no one.
                Err(_) => return,
            }
        }
    }

    fn take_stream_input(&mut self, input: Input) {
        if let Input::StreamClosed { id } | Input::StreamFailed { id, .. } = &input {
            // The reading half ended; the writing half lives in the handle until the machine closes it.
            if matches!(input, Input::StreamFailed { .. }) {
                self.streams.remove(id);
            }
        }
        self.step(input);
    }

    fn step(&mut self, input: Input) {
        let now = self.shared.now();
        let mut machine = self.shared.machine.lock();
        let Machine { gossip, effects } = &mut *machine;
        gossip.step(input, now, effects);
    }

    /// Performs effects until there are none. Returns when the machine wants to be woken.
    fn perform_all(&mut self) -> Mono {
        loop {
            let (effects, wake) = {
                let mut machine = self.shared.machine.lock();
                (std::mem::take(&mut machine.effects), machine.gossip.next_wake())
            };
            if effects.is_empty() {
                self.files.tend(|| self.shared.machine.lock().gossip.snapshot_lines());
                return wake;
            }
            for effect in effects {
                self.perform(effect);
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::SendPacket { to, bytes } => {
                // A full socket buffer drops it, as a full network would.
                let _ = self.sockets.udp.try_send_to(&bytes, to);
            }
            Effect::OpenStream { id, to } => {
                self.streams.insert(id, stream::connect(to, id, self.stream_inputs.clone()));
            }
            Effect::WriteStream { id, bytes } => {
                let is_written = self.streams.get(&id).is_some_and(|handle| handle.write(bytes));
                if !is_written {
                    self.streams.remove(&id);
                    self.step(Input::StreamFailed { id, reason: "it takes no more".into() });
                }
            }
            Effect::CloseStream { id } => {
                self.streams.remove(&id);
            }
            Effect::Snapshot(line) => self.files.append(&line),
            Effect::Event(event) => self.tell(event),
        }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::JoinDone { operation, joined, errors } => {
                if let Some(Waiting::Join(waiting)) = self.end(operation) {
                    let _ = waiting.send(JoinReport { joined, errors });
                }
            }
            Event::KeyringReport { operation, report } => {
                if let Some(Waiting::Key(waiting)) = self.end(operation) {
                    let _ = waiting.send(report);
                }
            }
            Event::LeaveDone => self.shared.has_left.cancel(),
            Event::KeyringChanged(keys) => {
                if let Err(error) = self.files.keep_keys(&keys) {
                    tracing::error!(%error, "the changed gossip keys could not be kept");
                }
            }
            Event::Warning(text) => tracing::warn!("{text}"),
            Event::RejoinDone { through } => match through {
                Some(through) => tracing::info!(%through, "rejoined the members of the last run"),
                None => tracing::warn!("no member of the last run could be reached"),
            },
            Event::CoordinateUpdated { .. } | Event::Refused(_) => {}
            Event::MemberJoin(_)
            | Event::MemberUpdate(_)
            | Event::MemberLeave(_)
            | Event::MemberFailed(_)
            | Event::MemberReap(_) => {
                log_member(&event);
                self.shared.changes.send_modify(|count| *count += 1);
            }
            Event::UserEvent { .. }
            | Event::Query { .. }
            | Event::QueryAck { .. }
            | Event::QueryReply { .. }
            | Event::QueryDone { .. } => {
                if self.events.try_send(event).is_err() {
                    tracing::warn!("an event from the pool was lost, too many wait");
                }
            }
        }
    }

    fn end(&self, operation: OperationId) -> Option<Waiting> {
        self.shared.operations.lock().remove(&operation)
    }
}

fn log_member(event: &Event) {
    let (what, member) = match event {
        Event::MemberJoin(member) => ("member joined", member),
        Event::MemberUpdate(member) => ("member changed", member),
        Event::MemberLeave(member) => ("member left", member),
        Event::MemberFailed(member) => ("member failed", member),
        Event::MemberReap(member) => ("member forgotten", member),
        _ => return,
    };
    tracing::info!(name = %member.name, address = %member.address, "{what}");
}
