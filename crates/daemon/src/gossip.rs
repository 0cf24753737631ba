//! The gossip pools of this process: from the configuration to running pools, and how a server shows itself in them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use agent::pool::{GossipSettings, Gossiping, PoolSettings, PoolSockets, SERVER_TAG, read_keys};
use agent::pool::{is_foreign_server, write_keys};
use agent::{AgentSettings, Life};
use config::AgentConfig;
use config::agent::{Bootstrap, JoinPool};
use gossip::{Config, Key, Keyring, Profile, Tags};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use crate::Error;

/// Below the data directory, as in Consul, whose files are taken over.
const LAN_SNAPSHOT: &str = "serf/local.snapshot";
const WAN_SNAPSHOT: &str = "serf/remote.snapshot";
const LAN_KEYRING: &str = "serf/local.keyring";
const WAN_KEYRING: &str = "serf/remote.keyring";

pub(crate) struct Sockets {
    lan: PoolSockets,
    wan: Option<PoolSockets>,
}

/// Binds the ports of gossip; `None` where they are off.
pub(crate) fn bind(config: &AgentConfig) -> Result<Option<Sockets>, Error> {
    let Some(lan) = &config.gossip_lan else { return Ok(None) };
    let lan = bind_pool(lan.bind, "gossip (ports.serf_lan)")?;
    let wan = match &config.gossip_wan {
        Some(wan) => Some(bind_pool(wan.bind, "gossip among datacenters (ports.serf_wan)")?),
        None => None,
    };
    Ok(Some(Sockets { lan, wan }))
}

/// Whether this agent is a server; in development mode it always is.
pub(crate) fn is_server(config: &AgentConfig) -> bool {
    config.settings.server || config.is_dev
}

fn bind_pool(address: SocketAddr, what: &str) -> Result<PoolSockets, Error> {
    let bind = || {
        let udp = std::net::UdpSocket::bind(address)?;
        let tcp = std::net::TcpListener::bind(address)?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(PoolSockets { udp: UdpSocket::from_std(udp)?, tcp: TcpListener::from_std(tcp)? })
    };
    bind().map_err(|source| Error::Bind { what: format!("{address} for {what}"), source })
}

/// What others are to know of this agent.
pub(crate) struct Appearance {
    /// As long as it is not known whether the pool has servers of another kind, a server appears as a client: they
    /// would take it into a consensus it cannot take part in.
    pub(crate) first: Tags,
    /// For servers, once that is known.
    pub(crate) server: Option<Tags>,
    pub(crate) wan: Tags,
}

impl Appearance {
    /// `consensus_id`: of a server.
    pub(crate) fn new(
        config: &AgentConfig,
        settings: &AgentSettings,
        consensus_id: Option<u64>,
    ) -> Self {
        let own = |wan| agent::member::Member::own(settings, wan).tags;
        let Some(consensus_id) = consensus_id else {
            return Self { first: own(false), server: None, wan: Tags::new() };
        };
        let mark = |mut tags: Tags| {
            tags.insert(SERVER_TAG.to_owned(), format!("{consensus_id:016x}"));
            if let Bootstrap::Expect(count) = config.consensus.bootstrap {
                tags.insert("expect".to_owned(), count.to_string());
            }
            if config.settings.non_voting_server || config.settings.read_replica {
                tags.insert("nonvoter".to_owned(), "1".to_owned());
                tags.insert("read_replica".to_owned(), "1".to_owned());
            }
            tags
        };
        let server = mark(own(false));
        let wan = mark(own(true));
        if !joins(config) {
            return Self { first: server, server: None, wan };
        }
        let as_client = AgentSettings { is_server: false, ..settings.clone() };
        let first = agent::member::Member::own(&as_client, false).tags;
        Self { first, server: Some(server), wan }
    }
}

/// Whether the configuration names anybody to join.
fn joins(config: &AgentConfig) -> bool {
    let lan = &config.joining.lan;
    !lan.retry.is_empty() || !lan.start.is_empty()
}

/// Starts the pools.
pub(crate) fn start(
    config: &AgentConfig,
    settings: &AgentSettings,
    appearance: &Appearance,
    sockets: Sockets,
    life: &Life,
) -> Result<Arc<Gossiping>, Error> {
    let pool = |written: &config::agent::GossipSettings, name: String, tags: &Tags, kind: Kind| {
        let file = |name: &str| config.data_dir.as_deref().map(|folder| folder.join(name));
        let gossip = Config {
            tags: tags.clone(),
            profile: profile(written, kind.profile),
            keyring: keyring(config, kind.keyring)?,
            verify_incoming: config.encryption.verify_incoming,
            verify_outgoing: config.encryption.verify_outgoing,
            ..Config::new(name, written.advertise, rand::random())
        };
        Ok::<_, Error>(PoolSettings {
            gossip,
            snapshot_file: file(kind.snapshot),
            keyring_file: file(kind.keyring).filter(|_| config.encryption.has_files),
            rejoin_after_leave: config.joining.rejoin_after_leave,
        })
    };
    let lan = config.gossip_lan.as_ref().expect("its sockets were bound");
    let lan_kind = Kind { profile: Profile::lan(), snapshot: LAN_SNAPSHOT, keyring: LAN_KEYRING };
    let lan = pool(lan, config.node_name.clone(), &appearance.first, lan_kind)?;
    let wan = match (&config.gossip_wan, sockets.wan) {
        (Some(wan), Some(sockets)) => {
            let kind =
                Kind { profile: Profile::wan(), snapshot: WAN_SNAPSHOT, keyring: WAN_KEYRING };
            let name = format!("{}.{}", config.node_name, config.datacenter);
            Some((pool(wan, name, &appearance.wan, kind)?, sockets))
        }
        _ => None,
    };
    let settings = GossipSettings {
        node_name: config.node_name.clone(),
        node_id: settings.node.id.clone(),
        datacenter: config.datacenter.clone(),
        is_server: settings.is_server,
        disable_coordinates: config.settings.disable_coordinates,
        lan: (lan, sockets.lan),
        wan,
    };
    Gossiping::start(settings, life).map_err(Error::Gossip)
}

/// What differs between the pools.
struct Kind {
    profile: Profile,
    snapshot: &'static str,
    keyring: &'static str,
}

fn profile(written: &config::agent::GossipSettings, usual: Profile) -> Profile {
    let timing = &written.timing;
    Profile {
        gossip_interval: timing.gossip_interval,
        gossip_fanout: timing.gossip_nodes as usize,
        probe_interval: timing.probe_interval,
        probe_timeout: timing.probe_timeout,
        suspicion_multiplier: timing.suspicion_mult,
        retransmit_multiplier: timing.retransmit_mult,
        reconnect_timeout: written.reconnect_timeout,
        ..usual
    }
}

/// The keys of one pool: those kept, else the configured one, which is kept from then on.
fn keyring(config: &AgentConfig, file: &str) -> Result<Option<Keyring>, Error> {
    let unreadable = |error| Error::Keyring(format!("encrypt: {error}"));
    let configured = match &config.encryption.key {
        None => None,
        Some(key) => Some(Key::from_base64(&key.0).map_err(unreadable)?),
    };
    let path = config.data_dir.as_deref().filter(|_| config.encryption.has_files);
    let path = path.map(|folder: &Path| folder.join(file));
    let kept = match &path {
        Some(path) => read_keys(path).map_err(Error::Gossip)?,
        None => None,
    };
    let keys = match (kept, configured) {
        (Some(kept), configured) if !kept.is_empty() => {
            if configured.is_some_and(|key| !kept.contains(&key)) {
                tracing::warn!("the configured gossip key is not among those kept, which are used");
            }
            kept
        }
        (_, Some(key)) => {
            if let Some(path) = &path {
                write_keys(path, std::slice::from_ref(&key))
                    .map_err(|source| Error::File { path: path.clone(), source })?;
            }
            vec![key]
        }
        (_, None) => return Ok(None),
    };
    let keyring = Keyring::new(keys).map_err(|error| Error::Keyring(format!("{file}: {error}")))?;
    Ok(Some(keyring))
}

/// Joins whom the configuration names, and lets a server appear as one. What goes wrong for good goes to `fatal`.
pub(crate) fn spawn_joining(
    config: &AgentConfig,
    gossiping: &Arc<Gossiping>,
    appearance: Appearance,
    fatal: mpsc::Sender<Error>,
    life: &Life,
) {
    let lan = Joining { addresses: config.joining.lan.clone(), wan: false };
    let wan = Joining { addresses: config.joining.wan.clone(), wan: true };
    for joining in [lan, wan] {
        let (gossiping, fatal, stop) = (Arc::clone(gossiping), fatal.clone(), life.stop.clone());
        life.tasks.spawn(async move {
            let joined = tokio::select! {
                () = stop.cancelled() => return,
                joined = joining.run(&gossiping) => joined,
            };
            if let Err(error) = joined {
                // Nobody listens any more when the process ends already.
                let _ = fatal.send(error).await;
            }
        });
    }
    if let Some(server) = appearance.server {
        let (gossiping, stop) = (Arc::clone(gossiping), life.stop.clone());
        let is_alone = config.consensus.bootstrap == Bootstrap::Alone;
        life.tasks.spawn(async move {
            let appeared = tokio::select! {
                () = stop.cancelled() => return,
                appeared = appear(&gossiping, server, is_alone) => appeared,
            };
            if let Err(error) = appeared {
                let _ = fatal.send(error).await;
            }
        });
    }
}

struct Joining {
    addresses: JoinPool,
    wan: bool,
}

impl Joining {
    async fn run(self, gossiping: &Gossiping) -> Result<(), Error> {
        let JoinPool { start, retry, interval, attempts_max } = self.addresses;
        let attempts_max = attempts_max.map_or(0, |attempts| attempts as usize);
        let failed = |error: model::error::Error| Error::Join(error.to_string());
        if !start.is_empty() {
            gossiping.retry_join(start, self.wan, interval, 1).await.map_err(failed)?;
        }
        if !retry.is_empty() {
            let joined = gossiping.retry_join(retry, self.wan, interval, attempts_max);
            joined.await.map_err(failed)?;
        }
        Ok(())
    }
}

/// Waits until somebody else is known, then shows this agent as a server, unless the pool has servers of another kind.
/// Errors: it has.
async fn appear(gossiping: &Gossiping, server: Tags, is_alone: bool) -> Result<(), Error> {
    /// A server that forms a cluster of itself looks for others no longer than this.
    const ALONE_AFTER: std::time::Duration = std::time::Duration::from_secs(5);
    let lan = gossiping.lan();
    let mut changes = lan.changes();
    let others = async {
        let others = changes.wait_for(|_| lan.members().len() > 1);
        if is_alone {
            // Late is as good as nobody.
            let _ = tokio::time::timeout(ALONE_AFTER, others).await;
        } else {
            // The pool ends with the process.
            let _ = others.await;
        }
    };
    tokio::select! {
        biased;
        // Kept out of the pool already when it is found.
        foreign = gossiping.foreign_server() => return Err(Error::ForeignServer(foreign)),
        () = others => {}
    }
    if let Some(foreign) = lan.members().iter().find(|member| is_foreign_server(member)) {
        return Err(Error::ForeignServer(foreign.name.clone()));
    }
    lan.set_tags(server).map_err(Error::Gossip)
}
