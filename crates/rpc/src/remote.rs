//! An agent's way to the servers: one of them, over one connection, whatever is asked at once.

mod pool;
mod router;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::ca::{CaConfiguration, IssuedCert};
use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::event::UserEvent;
use model::keyring::{KeyringRequest, KeyringResponse};
use model::msgpack::{self, DecodeError, EncodeError, MergedMap};
use model::operator::{OperatorReply, OperatorRequest};
use model::query::{Consistency, Query, QueryMeta, QueryOptions, Reply, Token};
use model::session::Session;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::pool::{CallError, Pool};
use self::router::Router;
use crate::catalog::OfService;
use crate::failure::{NO_LEADER, NO_SERVERS, error_of};
use crate::wire::{
    Credentials, Empty, JITTER_FRACTION, Scope, WAIT_DEFAULT, WireMeta, WireOptions,
};
use crate::{
    Answer, Archive, Body, Chunks, Cluster, Pending, Status, ca, catalog, config_entry, coordinate,
    health, intention, internal, kv, operator, port, session, snapshot, tls,
};

/// Longest time for a reply that is not waited for on purpose.
const REPLY_MAX: Duration = Duration::from_secs(60);
/// Servers are tried in another order every so often, so that load spreads after changes.
const REBALANCE: Duration = Duration::from_secs(120);
/// Up to so much is added, so that agents do not move together.
const REBALANCE_JITTER: Duration = Duration::from_secs(60);
/// How often who leads is asked.
const STATUS_PERIOD: Duration = Duration::from_secs(10);
/// How often connections nobody uses are looked for.
const SWEEP_PERIOD: Duration = Duration::from_secs(15);
/// Longest wait for a server's sign of life when servers are ordered anew.
const PING_MAX: Duration = Duration::from_secs(5);

/// A server as gossip knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    pub name: String,
    /// Of the server port.
    pub address: SocketAddr,
    pub datacenter: String,
    /// It says that it speaks TLS.
    pub use_tls: bool,
}

#[derive(Clone, Debug)]
pub struct RemoteSettings {
    pub datacenter: String,
    /// When given, all connections are TLS, whatever servers say of themselves.
    pub tls: Option<tls::Outgoing>,
    /// How long what may be tried again is (`performance.rpc_hold_timeout`).
    pub hold: Duration,
}

impl RemoteSettings {
    pub fn new(datacenter: impl Into<String>) -> Self {
        Self { datacenter: datacenter.into(), tls: None, hold: Duration::from_secs(7) }
    }
}

/// The servers over the network. Give it servers by [`Remote::set_servers`] and keep
/// [`Remote::run`] running.
#[derive(Debug)]
pub struct Remote {
    settings: RemoteSettings,
    router: Router,
    pool: Pool,
    status: Mutex<Status>,
    servers_changed: Notify,
}

pub(crate) type Written<T> = Result<T, Error>;
pub(crate) type Asked = Result<(QueryMeta, Reply), Error>;

pub(crate) fn malformed(error: DecodeError) -> Error {
    Error::internal(format!("malformed reply of a server: {error}"))
}

pub(crate) fn unencodable(error: EncodeError) -> Error {
    Error::internal(format!("encode a request: {error}"))
}

impl Remote {
    pub fn new(settings: RemoteSettings) -> Arc<Self> {
        let pool = Pool::new(settings.tls.clone());
        Arc::new(Self {
            settings,
            router: Router::default(),
            pool,
            status: Mutex::default(),
            servers_changed: Notify::new(),
        })
    }

    /// The servers of the datacenter, all of them. Whom it talks to stays, if still among them.
    pub fn set_servers(&self, servers: Vec<ServerAddress>) {
        self.router.set(servers);
        self.servers_changed.notify_one();
    }

    /// Connections that are open. Usually one.
    pub async fn connection_count(&self) -> usize {
        self.pool.count().await
    }

    /// Looks after order, connections and status until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let rebalance = || REBALANCE + REBALANCE_JITTER.mul_f64(rand::random::<f64>());
        let mut next_rebalance = Instant::now() + rebalance();
        let mut next_sweep = Instant::now() + SWEEP_PERIOD;
        let mut next_status = Instant::now();
        loop {
            let next = next_rebalance.min(next_sweep).min(next_status);
            // All of them only say that it is time to look; none is lost by not being chosen.
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(next) => {}
                () = self.servers_changed.notified() => next_status = Instant::now(),
            }
            let now = Instant::now();
            let look = async {
                if now >= next_rebalance {
                    next_rebalance = now + rebalance();
                    self.rebalance().await;
                }
                if now >= next_sweep {
                    next_sweep = now + SWEEP_PERIOD;
                    self.pool.sweep().await;
                }
                if now >= next_status {
                    next_status = now + STATUS_PERIOD;
                    self.refresh_status().await;
                }
            };
            if stop.run_until_cancelled(look).await.is_none() {
                break;
            }
        }
        self.pool.close().await;
    }

    /// Prefers a server at random that is alive.
    async fn rebalance(&self) {
        for server in self.router.shuffled() {
            let body = self.scoped(&Empty {}).unwrap_or_default();
            match self.pool.call(&server, "Status.Ping", &body, PING_MAX).await {
                Ok(Ok(_)) => return self.router.prefer(&server),
                Ok(Err(error)) => tracing::debug!(server = server.name, error, "ping refused"),
                Err(error) => tracing::debug!(server = server.name, %error, "ping failed"),
            }
        }
    }

    async fn refresh_status(&self) {
        let Some(server) = self.router.first() else {
            *self.status.lock() = Status::default();
            return;
        };
        let Ok(body) = self.scoped(&Empty {}) else { return };
        let leader = self.pool.call(&server, "Status.Leader", &body, PING_MAX).await;
        let peers = match leader {
            Ok(_) => self.pool.call(&server, "Status.Peers", &body, PING_MAX).await,
            Err(_) => return self.router.failed(&server),
        };
        let (Ok(Ok(leader)), Ok(Ok(peers))) = (leader, peers) else { return };
        let leader = msgpack::from_slice::<String>(&leader).ok().filter(|text| !text.is_empty());
        let peers = msgpack::from_slice(&peers).unwrap_or_default();
        *self.status.lock() = Status { leader, peers, ..Status::default() };
    }

    /// The one named, or ours.
    pub(crate) fn datacenter_of(&self, named: &str) -> String {
        match named {
            "" => self.settings.datacenter.clone(),
            named => named.to_owned(),
        }
    }

    fn scope(&self) -> Scope {
        Scope { datacenter: self.settings.datacenter.clone() }
    }

    fn scoped(&self, args: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
        crate::wire::merged(&self.scope(), args)
    }

    /// Calls what changes something, or asks without the options of a query.
    pub(crate) async fn write<T: DeserializeOwned>(
        &self,
        method: &'static str,
        args: &impl Serialize,
        token: &Token,
    ) -> Written<T> {
        let mut body = Vec::new();
        let mut merging = || {
            let map = MergedMap::begin(&mut body).with(&self.scope())?;
            map.with(&Credentials::of(token))?.with(args)?.end()
        };
        merging().map_err(unencodable)?;
        self.send(method, body).await
    }

    /// The same for arguments that name their datacenter.
    pub(crate) async fn write_placed<T: DeserializeOwned>(
        &self,
        method: &'static str,
        args: &impl Serialize,
        token: &Token,
    ) -> Written<T> {
        let body = crate::wire::merged(&Credentials::of(token), args).map_err(unencodable)?;
        self.send(method, body).await
    }

    /// A write with its arguments encoded.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: &'static str,
        body: Vec<u8>,
    ) -> Written<T> {
        let reply = self.call(method, &body, Effect::Writes, REPLY_MAX).await?;
        msgpack::from_slice(&reply).map_err(malformed)
    }

    /// Calls a method, again on other servers for a while when that can help.
    async fn call(
        &self,
        method: &'static str,
        body: &[u8],
        effect: Effect,
        wait: Duration,
    ) -> Result<Bytes, Error> {
        // The time to hold begins with the first failure: a query may have waited for minutes.
        let mut give_up = None;
        loop {
            let error = match self.router.first() {
                None => Retry::Later(Error::new(ErrorKind::Unavailable, NO_SERVERS)),
                Some(server) => match self.pool.call(&server, method, body, wait).await {
                    Ok(Ok(reply)) => return Ok(reply),
                    Ok(Err(text)) => {
                        let error = error_of(&text);
                        match text.contains(NO_LEADER) || text.contains("rate limit exceeded") {
                            true => {
                                self.router.failed(&server);
                                Retry::Later(error)
                            }
                            false => Retry::Never(error),
                        }
                    }
                    Err(error) => {
                        self.router.failed(&server);
                        tracing::debug!(server = server.name, method, %error, "call failed");
                        after(error, method, effect)
                    }
                },
            };
            let error = match error {
                Retry::Never(error) => return Err(error),
                Retry::Later(error) => error,
            };
            let now = Instant::now();
            let give_up = *give_up.get_or_insert(now + self.settings.hold);
            if now >= give_up {
                return Err(error);
            }
            let pause = (self.settings.hold / JITTER_FRACTION).mul_f64(rand::random::<f64>());
            tokio::time::sleep(pause).await;
        }
    }

    async fn query(&self, query: Query, options: &QueryOptions) -> Result<Answer, Error> {
        let ask = Ask { remote: self, options };
        let (meta, reply) = ask.query(query).await?;
        Ok(Answer { meta, body: Body::new(reply) })
    }

    async fn command(&self, command: Command, token: &Token) -> Written<Outcome> {
        match command {
            Command::Register(request) => catalog::send_register(self, *request, token).await,
            Command::Deregister(request) => catalog::send_deregister(self, request, token).await,
            Command::Kv(request) => kv::send(self, request, token).await,
            Command::Session(request) => session::send(self, request, token).await,
            Command::Intention(request) => intention::send(self, request, token).await,
            Command::ConfigEntry(request) => config_entry::send(self, request, token).await,
            Command::Coordinates(updates) => coordinate::send(self, updates, token).await,
            Command::Autopilot(request) => operator::send_autopilot(self, request, token).await,
            Command::Ca(_) | Command::ReapTombstones(_) | Command::Restore(_) => {
                Err(Error::invalid("only servers change this"))
            }
        }
    }

    /// A connection of its own to a server, for a snapshot.
    async fn connect(&self) -> Result<Box<dyn port::Socket>, Error> {
        let unavailable = |text: String| Error::new(ErrorKind::Unavailable, text);
        let server = self.router.first().ok_or_else(|| unavailable(NO_SERVERS.to_owned()))?;
        self.pool.dial(&server, port::SNAPSHOT).await.map_err(|error| {
            self.router.failed(&server);
            unavailable(format!("connect to server {}: {error}", server.name))
        })
    }
}

/// What a call may have done when no reply came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    Writes,
}

enum Retry {
    Later(Error),
    Never(Error),
}

/// What is said, and whether to try again, when a call failed on its way.
fn after(error: CallError, method: &str, effect: Effect) -> Retry {
    let text = format!("rpc error making call: {method}: {error}");
    match (error, effect) {
        (CallError::NotSent(_), _) => Retry::Later(Error::new(ErrorKind::Unavailable, text)),
        (CallError::TooLate, _) => Retry::Never(Error::new(ErrorKind::Timeout, text)),
        (CallError::Malformed(_), _) => Retry::Never(Error::internal(text)),
        (CallError::Lost(_), Effect::Nothing) => {
            Retry::Later(Error::new(ErrorKind::Unavailable, text))
        }
        // It may have happened; doing it twice could be worse than not knowing.
        (CallError::Lost(_), Effect::Writes) => Retry::Never(Error::new(ErrorKind::Timeout, text)),
    }
}

/// A query on its way to the servers.
pub(crate) struct Ask<'a> {
    remote: &'a Remote,
    options: &'a QueryOptions,
}

impl Ask<'_> {
    /// What is said of an answer that came as an error.
    pub(crate) fn meta_of_nothing(&self) -> QueryMeta {
        let known_leader = true;
        QueryMeta {
            index: 1,
            known_leader,
            consistency: self.options.consistency,
            ..Default::default()
        }
    }

    pub(crate) fn meta(&self, meta: &WireMeta) -> QueryMeta {
        meta.meta(self.options.consistency)
    }

    /// Asks, and reads rows and what is said of them from one map.
    pub(crate) async fn rows<T: DeserializeOwned>(
        &self,
        method: &'static str,
        args: &impl Serialize,
    ) -> Result<(QueryMeta, T), Error> {
        self.rows_of(method, args, &Empty {}).await
    }

    /// The same with arguments in two parts.
    pub(crate) async fn rows_of<T: DeserializeOwned>(
        &self,
        method: &'static str,
        args: &impl Serialize,
        more: &impl Serialize,
    ) -> Result<(QueryMeta, T), Error> {
        let reply = self.reply(method, args, more).await?;
        let meta: WireMeta = msgpack::from_slice(&reply).map_err(malformed)?;
        Ok((self.meta(&meta), msgpack::from_slice(&reply).map_err(malformed)?))
    }

    /// Asks for something that is not a map.
    pub(crate) async fn body<T: DeserializeOwned>(
        &self,
        method: &'static str,
        args: &impl Serialize,
    ) -> Result<T, Error> {
        let reply = self.reply(method, args, &Empty {}).await?;
        msgpack::from_slice(&reply).map_err(malformed)
    }

    async fn reply(
        &self,
        method: &'static str,
        args: &impl Serialize,
        more: &impl Serialize,
    ) -> Result<Bytes, Error> {
        let mut body = Vec::new();
        let mut merging = || {
            let map = MergedMap::begin(&mut body).with(&self.remote.scope())?;
            let map = map.with(&WireOptions::of(self.options))?;
            map.with(args)?.with(more)?.end()
        };
        merging().map_err(unencodable)?;
        self.remote.call(method, &body, Effect::Nothing, self.wait()).await
    }

    /// How long a reply may take: the wait asked for, the jitter servers add, and time to spare.
    fn wait(&self) -> Duration {
        if self.options.min_index == 0 {
            return REPLY_MAX;
        }
        let wait = self.options.max_wait.filter(|wait| !wait.is_zero()).unwrap_or(WAIT_DEFAULT);
        wait + wait / JITTER_FRACTION + self.remote.settings.hold
    }

    async fn query(&self, query: Query) -> Asked {
        match query {
            Query::Nodes { node_meta } => catalog::ask_nodes(self, &node_meta).await,
            Query::Services { node_meta } => catalog::ask_services(self, &node_meta).await,
            Query::ServiceNodes { name, tags, mesh, node_meta } => {
                let asked = OfService::new(name, tags, mesh);
                catalog::ask_service_nodes(self, &asked, &node_meta).await
            }
            Query::NodeServices { node } => catalog::ask_node_services(self, node).await,
            Query::NodeServiceList { node } => catalog::ask_node_service_list(self, node).await,
            Query::GatewayServices { gateway } => {
                catalog::ask_gateway_services(self, gateway).await
            }
            Query::NodeChecks { node } => health::ask_node_checks(self, node).await,
            Query::ServiceChecks { name, node_meta } => {
                health::ask_service_checks(self, name, &node_meta).await
            }
            Query::Health { name, tags, mesh, passing_only, node_meta } => {
                let asked = OfService::new(name, tags, mesh);
                health::ask_instances(self, &asked, passing_only, &node_meta).await
            }
            Query::ChecksInState { status, node_meta } => {
                health::ask_in_state(self, status, &node_meta).await
            }
            Query::KvGet { key } => kv::ask_get(self, key).await,
            Query::KvList { prefix } => kv::ask_list(self, prefix).await,
            Query::KvKeys { prefix, separator } => kv::ask_keys(self, prefix, separator).await,
            Query::Session { id } => session::ask_get(self, id).await,
            Query::NodeSessions { node } => session::ask_node(self, node).await,
            Query::Sessions => session::ask_list(self).await,
            Query::Intentions => intention::ask_list(self).await,
            Query::Intention { id } => intention::ask_get(self, id).await,
            Query::IntentionExact { source, destination } => {
                intention::ask_exact(self, &source, &destination).await
            }
            Query::IntentionMatch { side, names } => intention::ask_match(self, side, names).await,
            Query::CaRoots => ca::ask_roots(self).await,
            Query::CaConfiguration => ca::ask_configuration(self).await,
            Query::ConfigEntry { kind, name } => config_entry::ask_get(self, kind, name).await,
            Query::ConfigEntries { kind } => config_entry::ask_list(self, kind).await,
            Query::Coordinates => coordinate::ask_nodes(self).await,
            Query::NodeCoordinates { node } => coordinate::ask_node(self, node).await,
            Query::AutopilotConfiguration => operator::ask_autopilot(self).await,
        }
    }
}

impl Cluster for Remote {
    fn query(&self, query: Query, options: QueryOptions) -> Pending<'_, Answer> {
        Box::pin(async move { self.query(query, &options).await })
    }

    /// Never: everything needs the network.
    fn query_now(&self, _: &Query, _: &QueryOptions) -> Option<Result<Answer, Error>> {
        None
    }

    fn command(&self, command: Command, token: Token) -> Pending<'_, Outcome> {
        Box::pin(async move { self.command(command, &token).await })
    }

    fn renew_session(&self, id: String, token: Token) -> Pending<'_, Option<Arc<Session>>> {
        Box::pin(async move { session::send_renew(self, id, &token).await })
    }

    fn sign_leaf(&self, csr_pem: String, token: Token) -> Pending<'_, IssuedCert> {
        Box::pin(async move { ca::send_sign(self, csr_pem, &token).await })
    }

    fn configure_ca(&self, config: CaConfiguration, token: Token) -> Pending<'_, ()> {
        Box::pin(async move { ca::send_configure(self, config, &token).await })
    }

    /// As it was some seconds ago.
    fn status(&self) -> Status {
        self.status.lock().clone()
    }

    fn operator(&self, request: OperatorRequest, token: Token) -> Pending<'_, OperatorReply> {
        Box::pin(async move { operator::send(self, request, &token).await })
    }

    fn fire_event(&self, event: UserEvent, token: Token) -> Pending<'_, ()> {
        Box::pin(async move { internal::send_event(self, event, &token).await })
    }

    fn keyring(&self, request: KeyringRequest, token: Token) -> Pending<'_, Vec<KeyringResponse>> {
        Box::pin(async move { internal::send_keyring(self, request, &token).await })
    }

    fn save_snapshot(&self, consistency: Consistency, token: Token) -> Pending<'_, Archive> {
        Box::pin(async move {
            let socket = self.connect().await?;
            snapshot::save(socket, self.datacenter_of(""), consistency, &token).await
        })
    }

    fn restore_snapshot(&self, archive: Chunks, token: Token) -> Pending<'_, ()> {
        Box::pin(async move {
            let socket = self.connect().await?;
            snapshot::restore(socket, self.datacenter_of(""), archive, &token).await
        })
    }
}
