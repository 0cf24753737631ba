//! A worker: one thread, one runtime, and all connections placed on it.
//!
//! Each listener lives on one worker, which takes its connections and gives some of them away at once when another
//! worker has fewer. After that both sockets of a connection stay on one thread to the end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pki::mesh::Peer;
use slab::Slab;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ask::{Ask, Question};
use crate::buffers::Pool;
use crate::control::{Control, Cut};
use crate::inbound;
use crate::listener::{Admission, Listener, Purpose};
use crate::live::{Live, Verdict};
use crate::metrics::Metrics;
use crate::outbound;
use crate::relay::reset_on_close;
use crate::settings::Settings;
use crate::socket;

/// Orders a worker may have waiting. Connections that find it full stay where they were accepted.
const COMMANDS_MAX: usize = 1024;
/// Pause after a failed accept, most often for want of file descriptors, which only time gives back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections decided again before others get their turn.
const RECHECKS_PER_TURN: usize = 512;
/// What connections that were cut at the end of a drain get to end in.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) live: ArcSwap<Live>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ask: Option<mpsc::Sender<Question>>,
    pub(crate) workers: Vec<Handle>,
    /// Stops accepting.
    pub(crate) drain: CancellationToken,
}

/// How others reach a worker.
pub(crate) struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    load: AtomicUsize,
}

impl Handle {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        (Self { commands, load: AtomicUsize::new(0) }, receiver)
    }
}

/// What a worker is told to do.
pub(crate) enum Command {
    /// Serve a listener until its token is cancelled.
    Listen { socket: std::net::TcpListener, listener: Arc<Listener>, stop: CancellationToken },
    /// Serve a connection that another worker took.
    Adopt { socket: std::net::TcpStream, from: SocketAddr, admission: Admission },
}

/// One worker as its own tasks see it.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Rc<Pool>,
    index: usize,
    connections: RefCell<Slab<Rc<Connection>>>,
    /// Handshakes under way, oldest first.
    handshakes: RefCell<BTreeMap<u64, Rc<Control>>>,
    handshakes_begun: Cell<u64>,
    tasks: TaskTracker,
}

/// An open connection as its worker knows it.
pub(crate) struct Connection {
    pub(crate) control: Rc<Control>,
    /// The client that was admitted; absent on the way out, where nothing is decided again.
    pub(crate) client: RefCell<Option<Arc<Peer>>>,
}

/// Runs a worker until it has drained.
pub(crate) async fn run(
    shared: Arc<Shared>,
    index: usize,
    mut commands: mpsc::Receiver<Command>,
    mut changes: watch::Receiver<()>,
) {
    let worker = Rc::new(Worker {
        pool: Rc::default(),
        index,
        connections: RefCell::default(),
        handshakes: RefCell::default(),
        handshakes_begun: Cell::new(0),
        tasks: TaskTracker::new(),
        shared,
    });
    let drain = worker.shared.drain.clone();
    let mut decided = worker.shared.live.load_full();
    loop {
        // Every branch is cancel safe: a command not received stays in the channel, a change stays marked.
        tokio::select! {
            biased;
            () = drain.cancelled() => break,
            Ok(()) = changes.changed() => {
                let live = worker.shared.live.load_full();
                if live.has_other_rules(&decided) {
                    worker.clone().recheck(live.clone()).await;
                }
                decided = live;
            }
            Some(command) = commands.recv() => worker.obey(command),
            else => break,
        }
    }
    commands.close();
    while let Some(command) = commands.recv().await {
        worker.obey(command);
    }
    worker.drain().await;
}

impl Worker {
    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Listen { socket, listener, stop } => {
                let worker = self.clone();
                self.tasks.spawn_local(async move { worker.accept(socket, listener, stop).await });
            }
            Command::Adopt { socket, from, admission } => match TcpStream::from_std(socket) {
                Ok(stream) => self.serve(stream, from, admission),
                Err(error) => tracing::error!(%error, "cannot take over a connection"),
            },
        }
    }

    /// Takes connections until told to stop, then those that wait already.
    async fn accept(
        self: Rc<Self>,
        socket: std::net::TcpListener,
        listener: Arc<Listener>,
        stop: CancellationToken,
    ) {
        let socket = match TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                return tracing::error!(%error, listener = %listener.purpose, "cannot listen");
            }
        };
        loop {
            // Dropping accept loses no connection: it has taken none while it is pending.
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => self.place(stream, from, &listener),
                Err(error) => {
                    // A client that gave up while it waited is its own affair.
                    if error.kind() != std::io::ErrorKind::ConnectionAborted {
                        tracing::warn!(%error, listener = %listener.purpose, "cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        // Whoever the kernel has connected already would see a reset if the socket were just closed.
        let waiting = std::future::poll_fn(|cx| {
            let std::task::Poll::Ready(Ok(accepted)) = socket.poll_accept(cx) else {
                return std::task::Poll::Ready(None);
            };
            std::task::Poll::Ready(Some(accepted))
        });
        let mut waiting = std::pin::pin!(waiting);
        while let Some((stream, from)) = waiting.as_mut().await {
            self.place(stream, from, &listener);
        }
    }

    /// Serves a connection here, or hands it to a worker that has fewer.
    fn place(self: &Rc<Self>, stream: TcpStream, from: SocketAddr, listener: &Arc<Listener>) {
        let metrics = &self.shared.metrics;
        let accepted = match listener.purpose {
            Purpose::Public => &metrics.inbound_accepted,
            Purpose::Upstream { .. } => &metrics.outbound_accepted,
        };
        accepted.increment();
        let Some(admission) = listener.admit() else {
            metrics.refused_limit.increment();
            tracing::debug!(%from, listener = %listener.purpose, "connection limit reached");
            return reset_on_close(&stream);
        };
        let load = |handle: &Handle| handle.load.load(Ordering::Relaxed);
        let workers = &self.shared.workers;
        let own = workers.get(self.index).map_or(0, load);
        let other =
            workers.iter().filter(|other| load(other) < own).min_by_key(|other| load(other));
        let Some(other) = other else { return self.serve(stream, from, admission) };
        // Room first: a socket that left this runtime could not be served here any more without coming back.
        let Ok(permit) = other.commands.try_reserve() else {
            return self.serve(stream, from, admission);
        };
        match stream.into_std() {
            Ok(socket) => permit.send(Command::Adopt { socket, from, admission }),
            Err(error) => tracing::error!(%error, "cannot hand over a connection"),
        }
    }

    fn serve(self: &Rc<Self>, stream: TcpStream, from: SocketAddr, admission: Admission) {
        socket::tune(&stream);
        let worker = self.clone();
        let load = Load::new(self);
        match admission.purpose() {
            Purpose::Public => {
                self.tasks.spawn_local(async move {
                    inbound::serve(worker, stream, from).await;
                    drop((admission, load));
                });
            }
            Purpose::Upstream { .. } => {
                self.tasks.spawn_local(async move {
                    outbound::serve(worker, stream, from, admission.purpose().clone()).await;
                    drop((admission, load));
                });
            }
        }
    }

    /// Puts a connection where changes of the rules and the end of a drain reach it.
    pub(crate) fn register(self: &Rc<Self>) -> Registered {
        let connection = Rc::new(Connection { control: Rc::default(), client: RefCell::default() });
        let key = self.connections.borrow_mut().insert(connection.clone());
        Registered { worker: self.clone(), key, connection }
    }

    /// A place among the handshakes under way; the oldest loses its own if there are too many.
    pub(crate) fn begin_handshake(self: &Rc<Self>, control: &Rc<Control>) -> Handshaking {
        let number = self.handshakes_begun.get();
        self.handshakes_begun.set(number + 1);
        let mut handshakes = self.handshakes.borrow_mut();
        if handshakes.len() >= self.shared.settings.handshakes_max
            && let Some((_, oldest)) = handshakes.pop_first()
        {
            self.shared.metrics.handshakes_evicted.increment();
            oldest.cut(Cut::Crowded);
        }
        handshakes.insert(number, control.clone());
        Handshaking { worker: self.clone(), number }
    }

    /// Decides every admitted connection again under new rules.
    ///
    /// One that is admitted while this runs is decided under the same rules or newer ones, because they were in
    /// force before this began.
    async fn recheck(self: Rc<Self>, live: Arc<Live>) {
        let admitted: Vec<Rc<Connection>> = {
            let connections = self.connections.borrow();
            let is_admitted = |connection: &&Rc<Connection>| connection.client.borrow().is_some();
            connections
                .iter()
                .map(|(_, connection)| connection)
                .filter(is_admitted)
                .cloned()
                .collect()
        };
        for (count, connection) in admitted.into_iter().enumerate() {
            if count % RECHECKS_PER_TURN == RECHECKS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            self.recheck_one(&live, connection);
        }
    }

    fn recheck_one(self: &Rc<Self>, live: &Live, connection: Rc<Connection>) {
        let Some(client) = connection.client.borrow().clone() else { return };
        let verdict = match &live.inbound {
            Some(inbound) if !inbound.listener.recheck_connections => return,
            Some(inbound) => inbound.decide(&client.id),
            // The listener is gone; what came through it may end in peace.
            None => return,
        };
        match verdict {
            Verdict::Allowed(_) => {}
            Verdict::Denied(_) => self.cut_denied(&connection),
            Verdict::Ask => {
                let worker = self.clone();
                self.tasks.spawn_local(async move {
                    if !worker.ask(&client).await.is_allowed {
                        worker.cut_denied(&connection);
                    }
                });
            }
        }
    }

    fn cut_denied(&self, connection: &Connection) {
        self.shared.metrics.cut_denied.increment();
        connection.control.cut(Cut::Denied);
    }

    /// Puts a question to the agent; no answer is a refusal.
    pub(crate) async fn ask(&self, client: &Peer) -> Ask {
        let timeout = self.shared.settings.ask_timeout;
        crate::ask::ask(self.shared.ask.as_ref(), client, timeout).await
    }

    /// Lets connections end until the time is over, then ends them.
    async fn drain(&self) {
        self.tasks.close();
        let timeout = self.shared.settings.drain_timeout;
        if tokio::time::timeout(timeout, self.tasks.wait()).await.is_ok() {
            return;
        }
        for (_, connection) in &*self.connections.borrow() {
            self.shared.metrics.cut_drained.increment();
            connection.control.cut(Cut::Drained);
        }
        // What does not end even now ends with its thread.
        let _ = tokio::time::timeout(CUT_TIMEOUT, self.tasks.wait()).await;
    }
}

/// A connection's place in the table, given back when dropped.
pub(crate) struct Registered {
    worker: Rc<Worker>,
    key: usize,
    pub(crate) connection: Rc<Connection>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().try_remove(self.key);
    }
}

/// A handshake's place among those under way, given back when dropped.
pub(crate) struct Handshaking {
    worker: Rc<Worker>,
    number: u64,
}

impl Drop for Handshaking {
    fn drop(&mut self) {
        self.worker.handshakes.borrow_mut().remove(&self.number);
    }
}

/// Counts a connection towards its worker's load.
struct Load(Rc<Worker>);

impl Load {
    fn new(worker: &Rc<Worker>) -> Self {
        if let Some(handle) = worker.shared.workers.get(worker.index) {
            handle.load.fetch_add(1, Ordering::Relaxed);
        }
        Self(worker.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(handle) = self.0.shared.workers.get(self.0.index) {
            handle.load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
