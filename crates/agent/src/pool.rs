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
}

/// What clients look for when a node is not a member.
pub fn no_such_node(name: &str) -> Error {
    Error::not_found(format!("agent: No node found with name '{name}'"))
}

/// Where every node begins.
pub fn origin() -> Coordinate {
    Coordinate { vec: vec![0.0; DIMENSIONS], error: 1.5, adjustment: 0.0, height: 1e-5 }
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
    events: watch::Sender<Events>,
}

impl Alone {
    pub fn new(settings: &AgentSettings) -> Arc<Self> {
        Arc::new(Self {
            lan: Member::own(settings, false),
            wan: settings.is_server.then(|| Member::own(settings, true)),
            datacenter: settings.node.datacenter.clone(),
            events: watch::Sender::new(Arc::new([])),
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
        let members = self.members(wan).into_iter();
        let row = |member: Member| NodeCoordinate {
            node: member.name,
            segment: String::new(),
            coord: origin(),
        };
        members.map(row).collect()
    }
}

/// What the server of this process may ask of the pools.
impl Pools for Alone {
    fn fire_event(&self, mut event: UserEvent) -> Pending<'_, ()> {
        Box::pin(async move {
            let newest = self.events.borrow().last().map_or(1, |event| event.lamport_time);
            event.lamport_time = newest + 1;
            remember(&self.events, event);
            Ok(())
        })
    }

    /// There is no key here, and each pool says so.
    fn keyring(&self, request: KeyringRequest) -> Pending<'_, Vec<KeyringResponse>> {
        Box::pin(async move {
            let (reason, key) = match request.operation {
                KeyringOperation::List => ("Keyring is empty (encryption not enabled)", None),
                KeyringOperation::Install(key)
                | KeyringOperation::Use(key)
                | KeyringOperation::Remove(key) => {
                    ("No keyring to modify (encryption not enabled)", Some(key))
                }
            };
            let unreadable = match key.map(|key| key.bytes()) {
                Some(Err(error @ KeyError::Base64(_))) => Some(error.to_string()),
                _ => None,
            };
            let row = |pool: &Member| match &unreadable {
                Some(error) => KeyringResponse { error: error.clone(), ..self.blank(pool) },
                None => KeyringResponse {
                    messages: [(pool.name.clone(), reason.to_owned())].into(),
                    num_nodes: 1,
                    error: "1/1 nodes reported failure".to_owned(),
                    ..self.blank(pool)
                },
            };
            let pools = self.pools();
            let pools = pools.filter(|pool| !request.local_only || pool.name == self.lan.name);
            Ok(pools.map(row).collect())
        })
    }
}

impl Alone {
    fn blank(&self, pool: &Member) -> KeyringResponse {
        KeyringResponse {
            wan: pool.name != self.lan.name,
            datacenter: self.datacenter.clone(),
            ..KeyringResponse::default()
        }
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
}
