//! The proxy as a whole: follows snapshots, keeps listeners in step with them, runs the workers.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mesh::ProxySnapshot;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::ask::Question;
use crate::error::RunError;
use crate::listener::{Listener, Purpose};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::socket;
use crate::tls::Tls;
use crate::worker::{self, Command, Handle, Shared};

/// How long to wait before a listener that could not be opened is tried again.
const REBIND_INTERVAL: Duration = Duration::from_secs(2);

/// Where the proxy listens at the moment.
pub type Listening = BTreeMap<Purpose, SocketAddr>;

/// The built-in data plane of one service instance.
pub struct Proxy {
    settings: Settings,
    metrics: Arc<Metrics>,
    listening: watch::Sender<Listening>,
}

impl Proxy {
    pub fn new(settings: Settings) -> Self {
        Self { settings, metrics: Arc::default(), listening: watch::Sender::default() }
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// The listeners that are open, with the ports they really have.
    pub fn listening(&self) -> watch::Receiver<Listening> {
        self.listening.subscribe()
    }

    /// Serves whatever the latest snapshot says until `shutdown`, then drains.
    ///
    /// Shape: before the first snapshot nothing listens, so nothing is admitted without data. When the sender of
    /// snapshots is dropped the last one stays in force. `ask` reaches the agent where the default policy is only
    /// known there. Errors: a listener of the first snapshot that cannot be opened, or an identity in it that cannot
    /// be used; later ones are logged and tried again. Cancel safe: dropping the future ends all workers.
    pub async fn run(
        self,
        mut snapshots: watch::Receiver<Option<Arc<ProxySnapshot>>>,
        ask: Option<mpsc::Sender<Question>>,
        shutdown: CancellationToken,
    ) -> Result<(), RunError> {
        let first = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            first = first_snapshot(&mut snapshots) => first,
        };
        let Some(first) = first else {
            shutdown.cancelled().await;
            return Ok(());
        };
        let tls = Tls::new(&first)?;
        let live = Arc::new(Live::new(&first, tls, None));
        let (workers, receivers): (Vec<_>, Vec<_>) =
            (0..self.settings.workers.max(1)).map(|_| Handle::new()).unzip();
        let shared = Arc::new(Shared {
            live: ArcSwap::new(live),
            settings: self.settings.clone(),
            metrics: self.metrics.clone(),
            ask,
            workers,
            drain: shutdown.child_token(),
        });
        let mut running = Running {
            shared: shared.clone(),
            changes: watch::Sender::new(()),
            listening: self.listening,
            open: BTreeMap::new(),
            next_worker: 0,
        };
        // The workers stop with this guard whatever way this function is left.
        let _stop = shared.drain.clone().drop_guard();
        running.listen_first(&first).await?;
        let mut ends = tokio::task::JoinSet::new();
        for (index, commands) in receivers.into_iter().enumerate() {
            let end = start(shared.clone(), index, commands, running.changes.subscribe())?;
            ends.spawn(async move { (index, end.await.is_ok()) });
        }
        running.hand_out().await;
        running.shared.metrics.snapshots_applied.increment();

        loop {
            let retry = tokio::time::sleep(REBIND_INTERVAL);
            // Every branch is cancel safe: changes stay marked and ends stay in the set.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(Ok((index, _))) = ends.join_next() => return Err(RunError::WorkerDied(index)),
                Ok(()) = snapshots.changed() => {
                    let snapshot = snapshots.borrow_and_update().clone();
                    if let Some(snapshot) = snapshot {
                        running.apply(&snapshot).await;
                        running.shared.metrics.snapshots_applied.increment();
                    }
                }
                () = retry, if running.has_unopened() => running.listen_again().await,
            }
        }
        running.close_all();
        while let Some(ended) = ends.join_next().await {
            if let Ok((index, false)) = ended {
                return Err(RunError::WorkerDied(index));
            }
        }
        Ok(())
    }
}

async fn first_snapshot(
    snapshots: &mut watch::Receiver<Option<Arc<ProxySnapshot>>>,
) -> Option<Arc<ProxySnapshot>> {
    let first = snapshots.wait_for(Option::is_some).await.ok()?;
    first.clone()
}

/// Starts a worker's thread; the receiver hears of its end.
fn start(
    shared: Arc<Shared>,
    index: usize,
    commands: mpsc::Receiver<Command>,
    changes: watch::Receiver<()>,
) -> Result<oneshot::Receiver<()>, RunError> {
    let (ended, end) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Thread)?;
    std::thread::Builder::new()
        .name(format!("proxy-{index}"))
        .spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, worker::run(shared, index, commands, changes));
            // Not reached after a panic: then the sender is dropped, and the receiver knows.
            let _ = ended.send(());
        })
        .map_err(RunError::Thread)?;
    Ok(end)
}

/// A listener that should be open.
struct Open {
    listener: Arc<Listener>,
    address: (String, u16),
    stop: CancellationToken,
    state: OpenState,
}

enum OpenState {
    /// Opened, to be given to a worker.
    Ready(std::net::TcpListener, SocketAddr),
    Served(SocketAddr),
    /// Could not be opened; has been logged.
    Failed,
}

struct Running {
    shared: Arc<Shared>,
    changes: watch::Sender<()>,
    listening: watch::Sender<Listening>,
    open: BTreeMap<Purpose, Open>,
    next_worker: usize,
}

impl Running {
    /// Opens every listener of the first snapshot, or none.
    async fn listen_first(&mut self, snapshot: &ProxySnapshot) -> Result<(), RunError> {
        for wanted in wanted(snapshot) {
            let socket = bind(&wanted.address).await.map_err(|source| RunError::Bind {
                address: shown(&wanted.address),
                purpose: wanted.purpose.to_string(),
                source,
            })?;
            self.insert(wanted, Ok(socket));
        }
        log_refused(snapshot);
        Ok(())
    }

    /// Puts a new snapshot in force. What cannot be used of it is logged, and the old stays.
    async fn apply(&mut self, snapshot: &ProxySnapshot) {
        let before = self.shared.live.load_full();
        let tls = match before.tls.updated(snapshot) {
            Ok(tls) => tls,
            Err(error) => {
                tracing::error!(
                    error = crate::inbound::causes(&error),
                    "new certificates cannot be used, the old ones stay"
                );
                before.tls.clone()
            }
        };
        self.shared.live.store(Arc::new(Live::new(snapshot, tls, Some(&before))));
        self.changes.send_replace(());

        let wanted = wanted(snapshot);
        let is_wanted = |purpose: &Purpose, open: &Open| {
            wanted.iter().any(|wanted| wanted.purpose == *purpose && wanted.address == open.address)
        };
        self.open.retain(|purpose, open| {
            let keep = is_wanted(purpose, open);
            if !keep {
                open.stop.cancel();
            }
            keep
        });
        for wanted in wanted {
            if let Some(open) = self.open.get(&wanted.purpose) {
                open.listener.set_connections_max(wanted.connections_max);
                continue;
            }
            let bound = bind(&wanted.address).await;
            self.insert(wanted, bound);
        }
        log_refused(snapshot);
        self.hand_out().await;
    }

    fn has_unopened(&self) -> bool {
        self.open.values().any(|open| matches!(open.state, OpenState::Failed))
    }

    /// Tries once more to open what could not be opened before.
    async fn listen_again(&mut self) {
        for (purpose, open) in &mut self.open {
            if !matches!(open.state, OpenState::Failed) {
                continue;
            }
            if let Ok((socket, address)) = bind(&open.address).await {
                tracing::info!(listener = %purpose, %address, "listening at last");
                open.state = OpenState::Ready(socket, address);
            }
        }
        self.hand_out().await;
    }

    fn insert(&mut self, wanted: Wanted, bound: io::Result<(std::net::TcpListener, SocketAddr)>) {
        let Wanted { purpose, address, connections_max } = wanted;
        let state = match bound {
            Ok((socket, bound)) => {
                tracing::info!(listener = %purpose, address = %bound, "listening");
                OpenState::Ready(socket, bound)
            }
            Err(error) => {
                tracing::error!(listener = %purpose, address = shown(&address), %error, "cannot listen");
                OpenState::Failed
            }
        };
        let listener = Arc::new(Listener::new(purpose.clone(), connections_max));
        let stop = self.shared.drain.child_token();
        self.open.insert(purpose, Open { listener, address, stop, state });
    }

    /// Gives every open socket to a worker, one after the other, and tells who listens where.
    async fn hand_out(&mut self) {
        let mut listening = Listening::new();
        for (purpose, open) in &mut self.open {
            let state = std::mem::replace(&mut open.state, OpenState::Failed);
            open.state = match state {
                OpenState::Ready(socket, address) => {
                    let workers = &self.shared.workers;
                    let worker = &workers[self.next_worker % workers.len()];
                    self.next_worker += 1;
                    let (listener, stop) = (open.listener.clone(), open.stop.clone());
                    let listen = Command::Listen { socket, listener, stop };
                    // Fails only when the workers are gone, which the main loop notices.
                    let _ = worker.commands.send(listen).await;
                    OpenState::Served(address)
                }
                other => other,
            };
            if let OpenState::Served(address) = &open.state {
                listening.insert(purpose.clone(), *address);
            }
        }
        self.listening.send_replace(listening);
    }

    fn close_all(&mut self) {
        self.open.clear();
        self.listening.send_replace(Listening::new());
    }
}

/// A listener that a snapshot asks for.
struct Wanted {
    purpose: Purpose,
    address: (String, u16),
    connections_max: u32,
}

fn wanted(snapshot: &ProxySnapshot) -> Vec<Wanted> {
    let public = snapshot.inbound.as_ref().map(|inbound| Wanted {
        purpose: Purpose::Public,
        address: (inbound.listener.bind_address.clone(), inbound.listener.bind_port),
        connections_max: inbound.listener.connections_max,
    });
    let upstreams = snapshot.upstreams.iter().map(|upstream| Wanted {
        purpose: Purpose::upstream(&upstream.definition),
        address: (upstream.definition.bind_address.clone(), upstream.definition.bind_port),
        connections_max: upstream.definition.connections_max,
    });
    public.into_iter().chain(upstreams).collect()
}

async fn bind((host, port): &(String, u16)) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
        match socket::listen(address).and_then(|socket| Ok((socket.local_addr()?, socket))) {
            Ok((address, socket)) => return Ok((socket, address)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn shown((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn log_refused(snapshot: &ProxySnapshot) {
    for refused in &*snapshot.refused {
        tracing::error!("{refused}");
    }
}
