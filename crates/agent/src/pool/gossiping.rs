//! The membership of an agent that gossips: the pool of its datacenter, and for servers the pool of all servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gossip::{Admission, Event, Key, KeyRequest, Status, consul};
use model::coordinate::{Coordinate, NodeCoordinate};
use model::error::{Error, ErrorKind};
use model::event::UserEvent;
use model::keyring::{GossipKey, KeyringOperation, KeyringRequest, KeyringResponse};
use rpc::{Pending, Pools};
use tokio::sync::{mpsc, watch};

use crate::agent::Life;
use crate::member::Member;
use crate::pool::driver::{Pool, PoolError, PoolSettings, PoolSockets, PoolStats};
use crate::pool::{
    Events, Membership, PoolFigures, check_event_size, event, no_such_node, remember, resolve,
    without_keys,
};

/// Tag by which our servers know one another: consensus between them and others is not possible.
pub const SERVER_TAG: &str = "lictor";

/// One pool and the port it is found at when none is named.
#[derive(Debug)]
struct Own {
    pool: Pool,
    default_port: u16,
}

impl Own {
    fn names_alive(&self) -> Vec<String> {
        let alive = |member: &gossip::Member| member.status == Status::Alive;
        self.pool.members().into_iter().filter(alive).map(|member| member.name).collect()
    }
}

/// How the pools of an agent are run.
#[derive(Debug)]
pub struct GossipSettings {
    pub node_name: String,
    pub node_id: String,
    pub datacenter: String,
    pub is_server: bool,
    pub disable_coordinates: bool,
    pub lan: (PoolSettings, PoolSockets),
    /// For servers, unless switched off.
    pub wan: Option<(PoolSettings, PoolSockets)>,
}

/// See the module.
pub struct Gossiping {
    node_name: String,
    datacenter: String,
    has_coordinates: bool,
    lan: Own,
    wan: Option<Own>,
    events: watch::Sender<Events>,
    leader_changes: watch::Sender<u64>,
    foreign_server: watch::Receiver<Option<Foreign>>,
}

impl Gossiping {
    /// Starts the pools. Nothing is joined yet but whom the last run knew.
    ///
    /// Errors: see [`Pool::start`].
    pub fn start(settings: GossipSettings, life: &Life) -> Result<Arc<Self>, PoolError> {
        let GossipSettings {
            node_name,
            node_id,
            datacenter,
            is_server,
            disable_coordinates,
            lan: (lan_settings, lan_sockets),
            wan,
        } = settings;
        let identity = consul::LanIdentity {
            name: node_name.clone(),
            id: node_id,
            datacenter: datacenter.clone(),
            segment: String::new(),
        };
        let default_port = lan_settings.gossip.address.port();
        let foreign = watch::Sender::new(None);
        let foreign_server = foreign.subscribe();
        let admission = Box::new(LanAdmission { identity, is_server, foreign });
        let (pool, events_in, driver) =
            Pool::start(lan_settings, lan_sockets, admission, life.stop.clone())?;
        life.tasks.spawn(driver);
        let lan = Own { pool, default_port };
        let wan = match wan {
            None => None,
            Some((settings, sockets)) => {
                let default_port = settings.gossip.address.port();
                let (pool, _, driver) =
                    Pool::start(settings, sockets, Box::new(WanAdmission), life.stop.clone())?;
                life.tasks.spawn(driver);
                Some(Own { pool, default_port })
            }
        };
        let gossiping = Arc::new(Self {
            node_name,
            datacenter,
            has_coordinates: !disable_coordinates,
            lan,
            wan,
            events: watch::Sender::new(Arc::new([])),
            leader_changes: watch::Sender::new(0),
            foreign_server,
        });
        life.tasks.spawn(Arc::clone(&gossiping).take_events(events_in));
        Ok(gossiping)
    }

    /// The pool of this datacenter.
    pub fn lan(&self) -> &Pool {
        &self.lan.pool
    }

    /// The pool of all servers.
    pub fn wan(&self) -> Option<&Pool> {
        self.wan.as_ref().map(|own| &own.pool)
    }

    /// Waits until a server of another kind has shown itself for so long that it lives, and returns its name. For
    /// servers, which keep such a one out of their pool.
    pub async fn foreign_server(&self) -> String {
        let mut found = self.foreign_server.clone();
        let lives = |foreign: &Option<Foreign>| foreign.as_ref().is_some_and(Foreign::lives);
        let name = found.wait_for(lives).await.ok().and_then(|found| found.clone());
        match name {
            Some(foreign) => foreign.name,
            // The pool has ended.
            None => std::future::pending().await,
        }
    }

    /// Waits until nobody has told of a server of another kind for so long that there is none.
    pub async fn no_foreign_server(&self) {
        loop {
            let told = self.foreign_server.borrow().as_ref().map(|foreign| foreign.last_told);
            match told {
                Some(told) if told.elapsed() < Foreign::SILENCE_MAX => {
                    tokio::time::sleep(Foreign::SILENCE_MAX - told.elapsed()).await;
                }
                _ => return,
            }
        }
    }

    /// Tells every agent that this server has won leadership, so that they compare what the catalog knows of them.
    pub fn announce_leader(&self) {
        let name = Bytes::copy_from_slice(self.node_name.as_bytes());
        if let Err(error) = self.lan.pool.user_event(event::NEW_LEADER.to_owned(), name) {
            tracing::warn!(%error, "the new leadership could not be announced");
        }
    }

    /// Whether nobody else is there to be told anything.
    pub fn is_alone(&self) -> bool {
        self.pools(false).all(|(_, own)| own.names_alive().len() <= 1)
    }

    /// Leaves both pools for good; resolves once the others were told.
    pub async fn leave(&self) {
        if let Some(wan) = &self.wan {
            wan.pool.leave().await;
        }
        self.lan.pool.leave().await;
    }

    /// Tries to join until somebody was reached.
    ///
    /// Errors: nobody was within `attempts_max` rounds, where that is not 0.
    pub async fn retry_join(
        &self,
        addresses: Vec<String>,
        wan: bool,
        interval: Duration,
        attempts_max: usize,
    ) -> Result<(), Error> {
        for attempt in 1.. {
            match self.join_all(&addresses, wan).await {
                Ok(joined) => {
                    tracing::info!(joined, wan, "joined the pool");
                    return Ok(());
                }
                Err(error) if attempts_max != 0 && attempt >= attempts_max => {
                    tracing::error!(%error, "giving up joining after {attempt} attempts");
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(%error, "nobody could be joined, trying again in {interval:?}");
                }
            }
            tokio::time::sleep(interval).await;
        }
        unreachable!("the attempts do not run out of numbers")
    }

    async fn join_all(&self, addresses: &[String], wan: bool) -> Result<usize, Error> {
        let own = match wan {
            false => &self.lan,
            true => self.wan.as_ref().ok_or_else(|| {
                Error::invalid("agent: only servers take part in the pool of all datacenters")
            })?,
        };
        let mut failures = Vec::new();
        let mut found = Vec::new();
        for address in addresses {
            match resolve::resolve(address, own.default_port).await {
                Ok(addresses) => found.extend(addresses),
                Err(reason) => failures.push(format!("Failed to resolve {address}: {reason}")),
            }
        }
        let report = own.pool.join(found).await.map_err(unavailable)?;
        if report.joined > 0 {
            return Ok(report.joined);
        }
        let reasons = report
            .errors
            .iter()
            .map(|(address, reason)| format!("Failed to join {address}: {reason}"));
        failures.extend(reasons);
        Err(Error::new(ErrorKind::Unavailable, failures.join("\n")))
    }

    async fn take_events(self: Arc<Self>, mut events: mpsc::Receiver<Event>) {
        // Ends with the driver, which ends with the process.
        while let Some(event) = events.recv().await {
            let Event::UserEvent { time, name, payload, .. } = event else { continue };
            if name == event::NEW_LEADER {
                let leader = String::from_utf8_lossy(&payload);
                tracing::info!(%leader, "new leader elected");
                self.leader_changes.send_modify(|count| *count += 1);
            } else if name.starts_with(event::PREFIX) {
                match event::decode(time, &payload) {
                    Some(event) => self.take_user_event(event),
                    None => tracing::warn!(%name, "a user event that cannot be read"),
                }
            }
        }
    }

    fn take_user_event(&self, event: UserEvent) {
        tracing::debug!(name = %event.name, id = %event.id, "user event");
        remember(&self.events, event);
    }

    fn pools(&self, local_only: bool) -> impl Iterator<Item = (bool, &Own)> {
        let wan = self.wan.as_ref().filter(|_| !local_only);
        wan.map(|own| (true, own)).into_iter().chain([(false, &self.lan)])
    }
}

impl Membership for Gossiping {
    fn members(&self, wan: bool) -> Vec<Member> {
        let own = if wan { self.wan.as_ref() } else { Some(&self.lan) };
        let members = own.map(|own| own.pool.members()).unwrap_or_default();
        members.into_iter().map(shown).collect()
    }

    fn join(&self, addresses: Vec<String>, wan: bool) -> Pending<'_, usize> {
        Box::pin(async move { self.join_all(&addresses, wan).await })
    }

    fn force_leave(&self, node: String, prune: bool) -> Pending<'_, ()> {
        Box::pin(async move {
            let in_wan = format!("{node}.{}", self.datacenter);
            let mut is_known = false;
            for (wan, own) in self.pools(false) {
                let name = if wan { &in_wan } else { &node };
                if own.pool.member(name).is_some() {
                    own.pool.force_leave(name, prune).map_err(unavailable)?;
                    is_known = true;
                }
            }
            is_known.then_some(()).ok_or_else(|| no_such_node(&node))
        })
    }

    fn events(&self) -> watch::Receiver<Events> {
        self.events.subscribe()
    }

    fn leader_changes(&self) -> watch::Receiver<u64> {
        self.leader_changes.subscribe()
    }

    fn figures(&self, wan: bool) -> PoolFigures {
        let Some(own) = (if wan { self.wan.as_ref() } else { Some(&self.lan) }) else {
            return PoolFigures::default();
        };
        let PoolStats { counters, health_score, is_encrypted, clocks } = own.pool.stats();
        PoolFigures {
            is_encrypted,
            health_score,
            member_time: clocks.0,
            event_time: clocks.1,
            query_time: clocks.2,
            event_queue: counters.queue_events as usize,
            intent_queue: counters.queue_intents as usize,
            query_queue: counters.queue_queries as usize,
            coordinate_resets: counters.coordinate_resets,
        }
    }

    fn coordinate(&self, wan: bool) -> Vec<NodeCoordinate> {
        if !self.has_coordinates {
            return Vec::new();
        }
        let row = |node: String, coordinate: gossip::Coordinate| NodeCoordinate {
            node,
            segment: String::new(),
            coord: coordinate_of(coordinate),
        };
        if !wan {
            return vec![row(self.node_name.clone(), self.lan.pool.coordinates().0)];
        }
        let Some(own) = &self.wan else { return Vec::new() };
        let (own, peers) = own.pool.coordinates();
        let own = (format!("{}.{}", self.node_name, self.datacenter), own);
        [own].into_iter().chain(peers).map(|(node, at)| row(node, at)).collect()
    }
}

/// What the server of this process may ask of the pools.
impl Pools for Gossiping {
    fn fire_event(&self, event: UserEvent) -> Pending<'_, ()> {
        Box::pin(async move {
            check_event_size(&event)?;
            let name = format!("{}{}", event::PREFIX, event.name);
            let payload = Bytes::from(event::encode(event));
            self.lan.pool.user_event(name, payload).map_err(|error| match error {
                PoolError::Refused(refusal) => Error::invalid(refusal.to_string()),
                other => unavailable(other),
            })
        })
    }

    fn keyring(&self, request: KeyringRequest) -> Pending<'_, Vec<KeyringResponse>> {
        Box::pin(async move {
            let KeyringRequest { operation, relay_factor: _, local_only } = request;
            let mut rows = Vec::new();
            for (wan, own) in self.pools(local_only) {
                let row = match own.pool.stats().is_encrypted {
                    true => self.ask_keys(own, &operation).await,
                    false => without_keys(&operation, own.names_alive()),
                };
                rows.push(KeyringResponse { wan, datacenter: self.datacenter.clone(), ..row });
            }
            Ok(rows)
        })
    }
}

impl Gossiping {
    async fn ask_keys(&self, own: &Own, operation: &KeyringOperation) -> KeyringResponse {
        let mut row = KeyringResponse::default();
        let request = match key_request(operation) {
            Ok(request) => request,
            Err(reason) => return KeyringResponse { error: reason, ..row },
        };
        match own.pool.keys(request).await {
            Err(error) => row.error = error.to_string(),
            Ok(report) => {
                let count = |counts: std::collections::BTreeMap<String, usize>| {
                    counts.into_iter().map(|(key, count)| (key, count as u32)).collect()
                };
                if !report.errors.is_empty() {
                    row.error =
                        format!("{}/{} nodes reported failure", report.errors.len(), report.nodes);
                } else if report.answers < report.nodes {
                    row.error =
                        format!("{}/{} nodes reported success", report.answers, report.nodes);
                }
                row.messages = report.messages;
                row.messages.extend(report.errors);
                row.keys = count(report.keys);
                row.primary_keys = count(report.primary_keys);
                row.num_nodes = report.nodes as u32;
            }
        }
        row
    }
}

/// Errors: the key is none, in the words operators know.
fn key_request(operation: &KeyringOperation) -> Result<KeyRequest, String> {
    let read = |key: &GossipKey| {
        let bytes = key.bytes().map_err(|error| error.to_string())?;
        Key::new(&bytes).map_err(|error| error.to_string())
    };
    Ok(match operation {
        KeyringOperation::List => KeyRequest::List,
        KeyringOperation::Install(key) => KeyRequest::Install(read(key)?),
        KeyringOperation::Use(key) => KeyRequest::Use(read(key)?),
        KeyringOperation::Remove(key) => KeyRequest::Remove(read(key)?),
    })
}

fn unavailable(error: PoolError) -> Error {
    Error::new(ErrorKind::Unavailable, error.to_string())
}

fn coordinate_of(found: gossip::Coordinate) -> Coordinate {
    let gossip::Coordinate { vector, error, adjustment, height } = found;
    Coordinate { vec: vector.to_vec(), error, adjustment, height }
}

fn shown(member: gossip::Member) -> Member {
    let gossip::Member { name, address, tags, status, versions } = member;
    Member {
        name,
        addr: address.ip().to_string(),
        port: address.port(),
        tags,
        status: status as u8,
        protocol_min: versions.protocol_min,
        protocol_max: versions.protocol_max,
        protocol_cur: versions.protocol,
        delegate_min: versions.delegate_min,
        delegate_max: versions.delegate_max,
        delegate_cur: versions.delegate,
    }
}

/// Who may be in the pool of this datacenter: Consul's rules, and no server of another kind beside one of ours.
struct LanAdmission {
    identity: consul::LanIdentity,
    is_server: bool,
    /// The last server of another kind that was kept out.
    foreign: watch::Sender<Option<Foreign>>,
}

/// A server of another kind, as others tell of it.
#[derive(Clone, Debug)]
struct Foreign {
    name: String,
    first_told: Instant,
    last_told: Instant,
}

impl Foreign {
    /// Others go on telling of a server that was stopped until they find that out, which takes them some seconds: a fleet
    /// that moves over starts ours right after the others. One still told of after this lives.
    const LIVES_AFTER: Duration = Duration::from_secs(15);
    /// Longer silence than that, and it is another occasion: attempts to join come every half minute.
    const SILENCE_MAX: Duration = Duration::from_secs(90);

    fn lives(&self) -> bool {
        self.last_told.duration_since(self.first_told) >= Self::LIVES_AFTER
    }

    fn told(known: &mut Option<Self>, name: &str, now: Instant) {
        match known {
            Some(known) if now.duration_since(known.last_told) <= Self::SILENCE_MAX => {
                known.last_told = now;
                name.clone_into(&mut known.name);
            }
            _ => *known = Some(Self { name: name.to_owned(), first_told: now, last_told: now }),
        }
    }
}

impl Admission for LanAdmission {
    fn admit(&self, members: &[gossip::Member]) -> Result<(), String> {
        consul::admit_lan(&self.identity, members)?;
        if !self.is_server {
            return Ok(());
        }
        match members.iter().find(|member| is_foreign_server(member)) {
            None => Ok(()),
            Some(foreign) => {
                let now = Instant::now();
                self.foreign.send_modify(|known| Foreign::told(known, &foreign.name, now));
                Err(format!(
                    "member '{}' is a server of another kind, which cannot take part in consensus with this one: \
                     stop it, and restore a snapshot of its state here",
                    foreign.name
                ))
            }
        }
    }

    fn admit_beside(
        &self,
        members: &[gossip::Member],
        known: &mut dyn Iterator<Item = &gossip::Member>,
    ) -> Result<(), String> {
        consul::admit_beside(members, known)
    }
}

/// Whether a member is a server that lives and is none of ours.
fn is_foreign_server(member: &gossip::Member) -> bool {
    member.status == Status::Alive
        && consul::is_server(member)
        && !member.tags.contains_key(SERVER_TAG)
}

/// Who may be in the pool of all servers.
struct WanAdmission;

impl Admission for WanAdmission {
    fn admit(&self, members: &[gossip::Member]) -> Result<(), String> {
        consul::admit_wan(members)
    }
}

#[cfg(test)]
mod tests;
