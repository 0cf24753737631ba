//! The gossip pools this agent takes part in, as the rest of it and its edges see them.
//!
//! Two implementations: the one that gossips, and [`Alone`] for a process that does not.

use std::sync::Arc;

use model::coordinate::{Coordinate, DIMENSIONS, NodeCoordinate};
use model::error::{Error, ErrorKind};
use model::event::UserEvent;
use model::keyring::{KeyError, KeyringOperation, KeyringRequest, KeyringResponse};
use rpc::{Pending, Pools};
use tokio::sync::watch;

use crate::member::Member;
use crate::settings::AgentSettings;

mod driver;
pub use driver::{JoinReport, Pool, PoolError, PoolSettings, PoolSockets, PoolStats};

mod gossiping;
pub use gossiping::{GossipSettings, Gossiping, SERVER_TAG};

mod event;
mod files;
mod resolve;
mod stream;

pub use files::{read_keys, write_keys};

/// Recent user events an agent remembers; the same number as Consul, whose clients page by it.
pub const EVENTS_MAX: usize = 256;

/// User events as they came, the newest last, [`EVENTS_MAX`] at most.
pub type Events = Arc<[Arc<UserEvent>]>;

/// Membership of the pool of this datacenter (LAN) and the pool of all servers (WAN).
pub trait Membership: Send + Sync + 'static {
    /// Everybody known, whatever their state, in no particular order. Empty for the WAN where this
    /// agent takes no part in it.
    fn members(&self, wan: bool) -> Vec<Member>;

    /// Contacts each address, `host` or `host:port`; resolves to how many were reached.
    ///
    /// Errors: none was reached; the text says why, a line for each.
    fn join(&self, addresses: Vec<String>, wan: bool) -> Pending<'_, usize>;

    /// Takes `node` for gone from both pools instead of failed; `prune` forgets it altogether.
    ///
    /// Errors: `NotFound` with the text of [`no_such_node`].
    fn force_leave(&self, node: String, prune: bool) -> Pending<'_, ()>;

    /// The events of this datacenter that reached this machine; the agent chooses those meant for it.
    fn events(&self) -> watch::Receiver<Events>;

    /// LAN: where this agent stands, one row per segment. WAN: where every server known stands, by
    /// its name in that pool (`node.datacenter`). Empty when coordinates are switched off.
    fn coordinate(&self, wan: bool) -> Vec<NodeCoordinate>;

    /// Changes whenever another server has won leadership: then the catalog is to be compared.
    fn leader_changes(&self) -> watch::Receiver<u64>;

    fn figures(&self, _wan: bool) -> PoolFigures {
        PoolFigures { event_time: 1, member_time: 1, query_time: 1, ..PoolFigures::default() }
    }
}

/// Figures of one pool that only those who run it care for, shown by `info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    pub is_encrypted: bool,
    /// How much this member doubts its own view; 0 is not at all.
    pub health_score: u32,
    /// Lamport times.
    pub event_time: u64,
    pub member_time: u64,
    pub query_time: u64,
    /// Messages that wait to be gossiped.
    pub event_queue: usize,
    pub intent_queue: usize,
    pub query_queue: usize,
    /// Times the own coordinate became useless and was begun anew.
    pub coordinate_resets: u64,
}

/// What clients look for when a node is not a member.
pub fn no_such_node(name: &str) -> Error {
    Error::not_found(format!("agent: No node found with name '{name}'"))
}

/// Where every node begins.
pub fn origin() -> Coordinate {
    Coordinate { vec: vec![0.0; DIMENSIONS], error: 1.5, adjustment: 0.0, height: 1e-5 }
}

/// Most bytes of an event: its name and payload, and again all of it as a message. The limit keeps
/// events in single packets; Consul has the same.
pub const EVENT_BYTES_MAX: usize = 512;

/// Refuses an event that is too large to gossip, in the words operators know.
pub fn check_event_size(event: &UserEvent) -> Result<(), Error> {
    let UserEvent {
        id, name, payload, node_filter, service_filter, tag_filter, version: _, ..
    } = event;
    // Lengths of the MessagePack form: the map, then each key and value with its header.
    let optional = [(1, payload.len()), (2, node_filter.len()), (2, service_filter.len())]
        .into_iter()
        .chain([(2, tag_filter.len())])
        .filter(|(_, length)| *length > 0)
        .map(|(key, length)| 1 + key + header(length, 31) + length);
    let fixed =
        1 + (3 + header(id.len(), 31) + id.len()) + (2 + header(name.len(), 31) + name.len());
    let body = fixed + optional.sum::<usize>() + 3;
    let name = "consul:event:".len() + name.len();
    let why = if name + body > EVENT_BYTES_MAX {
        "user event exceeds configured limit of 512 bytes before encoding"
    } else if message_bytes(name, body) > EVENT_BYTES_MAX {
        "encoded user event exceeds configured limit of 512 bytes after encoding"
    } else {
        return Ok(());
    };
    let reason = format!("error broadcasting event to segment \"\": {why}");
    Err(Error::invalid(model::definition::several(&[reason])))
}

/// Length of a gossip message with a name and a payload of these lengths.
fn message_bytes(name: usize, payload: usize) -> usize {
    // Kind, map, `LTime` with a small number, `Name`, `Payload`, `CC` with its truth value.
    let keys = 1 + 1 + (6 + 1) + 5 + 8 + (3 + 1);
    keys + header(name, 31) + name + header(payload, 31) + payload
}

/// Length of what MessagePack writes before a text of `length`; up to `short` one byte.
fn header(length: usize, short: usize) -> usize {
    match length {
        length if length <= short => 1,
        length if length <= 255 => 2,
        _ => 3,
    }
}

/// Adds `event` to `events`, dropping the oldest when there are too many.
pub fn remember(events: &watch::Sender<Events>, event: UserEvent) {
    events.send_modify(|known| {
        let oldest = (known.len() + 1).saturating_sub(EVENTS_MAX);
        *known = known[oldest..].iter().cloned().chain([Arc::new(event)]).collect();
    });
}

/// The membership of a process without gossip: itself.
#[derive(Debug)]
pub struct Alone {
    lan: Member,
    /// `None` for a client.
    wan: Option<Member>,
    datacenter: String,
    has_coordinates: bool,
    events: watch::Sender<Events>,
    /// Never changes: this agent comes up with its leader.
    leader_changes: watch::Sender<u64>,
}

impl Alone {
    pub fn new(settings: &AgentSettings) -> Arc<Self> {
        Arc::new(Self {
            lan: Member::own(settings, false),
            wan: settings.is_server.then(|| Member::own(settings, true)),
            datacenter: settings.node.datacenter.clone(),
            has_coordinates: settings.has_coordinates,
            events: watch::Sender::new(Arc::new([])),
            leader_changes: watch::Sender::new(0),
        })
    }

    fn pools(&self) -> impl Iterator<Item = &Member> {
        self.wan.iter().chain([&self.lan])
    }
}

impl Membership for Alone {
    fn members(&self, wan: bool) -> Vec<Member> {
        match wan {
            true => self.wan.iter().cloned().collect(),
            false => vec![self.lan.clone()],
        }
    }

    fn join(&self, addresses: Vec<String>, _wan: bool) -> Pending<'_, usize> {
        Box::pin(async move {
            let reasons = addresses
                .iter()
                .map(|address| format!("Failed to join {address}: this agent forms no pool"));
            Err(Error::new(ErrorKind::Unavailable, reasons.collect::<Vec<_>>().join("\n")))
        })
    }

    fn force_leave(&self, node: String, _prune: bool) -> Pending<'_, ()> {
        Box::pin(async move {
            match self.pools().any(|member| member.name == node) {
                true => Ok(()),
                false => Err(no_such_node(&node)),
            }
        })
    }

    fn events(&self) -> watch::Receiver<Events> {
        self.events.subscribe()
    }

    fn coordinate(&self, wan: bool) -> Vec<NodeCoordinate> {
        let members = self.members(wan).into_iter().filter(|_| self.has_coordinates);
        let row = |member: Member| NodeCoordinate {
            node: member.name,
            segment: String::new(),
            coord: origin(),
        };
        members.map(row).collect()
    }

    fn leader_changes(&self) -> watch::Receiver<u64> {
        self.leader_changes.subscribe()
    }
}

/// What the server of this process may ask of the pools.
impl Pools for Alone {
    fn fire_event(&self, mut event: UserEvent) -> Pending<'_, ()> {
        Box::pin(async move {
            check_event_size(&event)?;
            let newest = self.events.borrow().last().map_or(1, |event| event.lamport_time);
            event.lamport_time = newest + 1;
            remember(&self.events, event);
            Ok(())
        })
    }

    /// There is no key here, and each pool says so.
    fn keyring(&self, request: KeyringRequest) -> Pending<'_, Vec<KeyringResponse>> {
        Box::pin(async move {
            let pools = self.pools();
            let pools = pools.filter(|pool| !request.local_only || pool.name == self.lan.name);
            let row = |pool: &Member| KeyringResponse {
                wan: pool.name != self.lan.name,
                datacenter: self.datacenter.clone(),
                ..without_keys(&request.operation, vec![pool.name.clone()])
            };
            Ok(pools.map(row).collect())
        })
    }
}

/// What the members `names` of a pool in the clear say to a key operation, in the words operators know.
pub(crate) fn without_keys(operation: &KeyringOperation, names: Vec<String>) -> KeyringResponse {
    let (reason, key) = match operation {
        KeyringOperation::List => ("Keyring is empty (encryption not enabled)", None),
        KeyringOperation::Install(key)
        | KeyringOperation::Use(key)
        | KeyringOperation::Remove(key) => {
            ("No keyring to modify (encryption not enabled)", Some(key))
        }
    };
    if let Some(Err(error @ KeyError::Base64(_))) = key.map(|key| key.bytes()) {
        return KeyringResponse { error: error.to_string(), ..KeyringResponse::default() };
    }
    let count = names.len();
    KeyringResponse {
        messages: names.into_iter().map(|name| (name, reason.to_owned())).collect(),
        num_nodes: u32::try_from(count).unwrap_or(u32::MAX),
        error: format!("{count}/{count} nodes reported failure"),
        ..KeyringResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_agent_is_its_whole_pool() {
        let alone = Alone::new(&AgentSettings::default());
        assert_eq!(alone.members(false)[0].name, "node1");
        assert_eq!(alone.members(true)[0].name, "node1.dc1");
        assert_eq!(alone.coordinate(true)[0].node, "node1.dc1");
        assert!(alone.join(vec!["10.0.0.9".into()], false).await.is_err());
        alone.force_leave("node1".into(), false).await.unwrap();
        let unknown = alone.force_leave("x".into(), true).await.unwrap_err();
        assert_eq!(unknown.to_string(), "agent: No node found with name 'x'");

        let client = AgentSettings { is_server: false, ..AgentSettings::default() };
        assert!(Alone::new(&client).members(true).is_empty());
    }

    #[tokio::test]
    async fn the_newest_events_are_remembered() {
        let alone = Alone::new(&AgentSettings::default());
        let mut events = Membership::events(alone.as_ref());
        for number in 0..EVENTS_MAX + 3 {
            let event = UserEvent { name: number.to_string(), ..UserEvent::default() };
            alone.fire_event(event).await.unwrap();
        }
        let seen = events.borrow_and_update().clone();
        assert_eq!(seen.len(), EVENTS_MAX);
        assert_eq!((seen[0].name.as_str(), seen[0].lamport_time), ("3", 5));
        assert_eq!(seen[EVENTS_MAX - 1].name, "258");
    }

    #[test]
    fn large_events_are_refused() {
        let check = |payload: usize, want: Option<&str>| {
            let event = UserEvent {
                id: "828ec388-3ff7-1d91-81c0-78a303a689ad".into(),
                name: "limit".into(),
                payload: vec![b'a'; payload],
                ..UserEvent::default()
            };
            let refused = check_event_size(&event).err().map(|error| error.message);
            let is_as_wanted = match (&refused, want) {
                (None, None) => true,
                (Some(text), Some(end)) => text.ends_with(&format!("{end} encoding\n\n")),
                _ => false,
            };
            assert!(is_as_wanted, "{payload}: {refused:?}");
        };
        check(406, None);
        check(407, Some("after"));
        check(436, Some("after"));
        check(438, Some("before"));
    }
}
