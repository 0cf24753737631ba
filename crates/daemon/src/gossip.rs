//! The gossip pools of this process: from the configuration to running pools, and how a server shows itself in them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use agent::pool::{GossipSettings, Gossiping, PoolSettings, PoolSockets, SERVER_TAG, read_keys};
use agent::pool::{is_foreign_server, write_keys};
use agent::{AgentSettings, Life};
use config::AgentConfig;
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
    let Some(lan) = config.listen.serf_lan else { return Ok(None) };
    let lan = bind_pool(lan, "gossip (ports.serf_lan)")?;
    let wan = match config.listen.serf_wan.filter(|_| is_server(config)) {
        Some(wan) => Some(bind_pool(wan, "gossip among datacenters (ports.serf_wan)")?),
        None => None,
    };
    Ok(Some(Sockets { lan, wan }))
}

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
            let expect = config.settings.bootstrap_expect;
            if expect > 1 {
                tags.insert("expect".to_owned(), expect.to_string());
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
    let settings = &config.settings;
    !settings.retry_join.is_empty() || !settings.start_join.is_empty()
}

/// Starts the pools.
pub(crate) fn start(
    config: &AgentConfig,
    settings: &AgentSettings,
    appearance: &Appearance,
    sockets: Sockets,
    life: &Life,
) -> Result<Arc<Gossiping>, Error> {
    let written = &config.settings;
    let port = |address: Option<SocketAddr>| address.map_or(0, |address| address.port());
    let lan_address = SocketAddr::new(config.advertise_addr, port(config.listen.serf_lan));
    let lan = Config {
        tags: appearance.first.clone(),
        profile: Profile {
            reconnect_timeout: written.reconnect_timeout.to_std(),
            ..profile(&written.gossip_lan, Profile::lan())
        },
        keyring: keyring(config, LAN_KEYRING)?,
        verify_incoming: written.encrypt_verify_incoming,
        verify_outgoing: written.encrypt_verify_outgoing,
        ..Config::new(config.node_name.clone(), lan_address, rand::random())
    };
    let file = |name: &str| config.data_dir.as_deref().map(|folder| folder.join(name));
    let keyring_file = |name: &str| file(name).filter(|_| !written.disable_keyring_file);
    let wan_address = SocketAddr::new(config.advertise_addr_wan, port(config.listen.serf_wan));
    let wan = match sockets.wan {
        None => None,
        Some(sockets) => {
            let name = format!("{}.{}", config.node_name, config.datacenter);
            let gossip = Config {
                tags: appearance.wan.clone(),
                profile: Profile {
                    reconnect_timeout: written.reconnect_timeout_wan.to_std(),
                    ..profile(&written.gossip_wan, Profile::wan())
                },
                keyring: keyring(config, WAN_KEYRING)?,
                ..Config::new(name, wan_address, rand::random())
            };
            let gossip = Config {
                verify_incoming: lan.verify_incoming,
                verify_outgoing: lan.verify_outgoing,
                ..gossip
            };
            let settings = PoolSettings {
                gossip,
                snapshot_file: file(WAN_SNAPSHOT),
                keyring_file: keyring_file(WAN_KEYRING),
                rejoin_after_leave: written.rejoin_after_leave,
            };
            Some((settings, sockets))
        }
    };
    let lan = PoolSettings {
        gossip: lan,
        snapshot_file: file(LAN_SNAPSHOT),
        keyring_file: keyring_file(LAN_KEYRING),
        rejoin_after_leave: written.rejoin_after_leave,
    };
    let settings = GossipSettings {
        node_name: config.node_name.clone(),
        node_id: settings.node.id.clone(),
        datacenter: config.datacenter.clone(),
        is_server: settings.is_server,
        disable_coordinates: written.disable_coordinates,
        lan: (lan, sockets.lan),
        wan,
    };
    Gossiping::start(settings, life).map_err(Error::Gossip)
}

fn profile(written: &config::settings::gossip::Gossip, usual: Profile) -> Profile {
    let count = |number: i64| u32::try_from(number).unwrap_or(1).max(1);
    Profile {
        gossip_interval: written.gossip_interval.to_std(),
        gossip_fanout: count(written.gossip_nodes) as usize,
        probe_interval: written.probe_interval.to_std(),
        probe_timeout: written.probe_timeout.to_std(),
        suspicion_multiplier: count(written.suspicion_mult),
        retransmit_multiplier: count(written.retransmit_mult),
        ..usual
    }
}

/// The keys of one pool: those kept, else the configured one, which is kept from then on.
fn keyring(config: &AgentConfig, file: &str) -> Result<Option<Keyring>, Error> {
    let settings = &config.settings;
    let configured = match settings.encrypt.0.as_str() {
        "" => None,
        text => Some(Key::from_base64(text).map_err(|error| {
            let reason = format!("encrypt: {error}; make a key with the keygen command");
            Error::Keyring(reason)
        })?),
    };
    let path = config.data_dir.as_deref().filter(|_| !settings.disable_keyring_file);
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
    let settings = &config.settings;
    let attempts = |number: i64| usize::try_from(number).unwrap_or_default();
    let lan = Joining {
        once: settings.start_join.clone(),
        retry: settings.retry_join.clone(),
        interval: settings.retry_interval.to_std(),
        attempts_max: attempts(settings.retry_max),
        wan: false,
    };
    let wan = Joining {
        once: settings.start_join_wan.clone(),
        retry: settings.retry_join_wan.clone(),
        interval: settings.retry_interval_wan.to_std(),
        attempts_max: attempts(settings.retry_max_wan),
        wan: true,
    };
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
        let is_alone = settings.bootstrap || settings.bootstrap_expect == 1;
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
    once: Vec<String>,
    retry: Vec<String>,
    interval: std::time::Duration,
    attempts_max: usize,
    wan: bool,
}

impl Joining {
    async fn run(self, gossiping: &Gossiping) -> Result<(), Error> {
        if !self.once.is_empty() {
            let joined = gossiping.retry_join(self.once, self.wan, self.interval, 1).await;
            joined.map_err(|error| Error::Join(error.to_string()))?;
        }
        if !self.retry.is_empty() {
            let joined =
                gossiping.retry_join(self.retry, self.wan, self.interval, self.attempts_max);
            joined.await.map_err(|error| Error::Join(error.to_string()))?;
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
    let others = changes.wait_for(|_| lan.members().len() > 1);
    if is_alone {
        // Late is as good as nobody.
        let _ = tokio::time::timeout(ALONE_AFTER, others).await;
    } else {
        // The pool ends with the process.
        let _ = others.await;
    }
    if let Some(foreign) = lan.members().iter().find(|member| is_foreign_server(member)) {
        return Err(Error::ForeignServer(foreign.name.clone()));
    }
    lan.set_tags(server).map_err(Error::Gossip)
}
