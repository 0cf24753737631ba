//! What an agent is in its cluster: a server, or a client of servers it finds by gossip.

use std::sync::Arc;
use std::time::Duration;

use agent::pool::Gossiping;
use agent::{AgentSettings, Life, Membership};
use config::AgentConfig;
use rpc::{Cluster, Link, Remote};
use server::Server;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::Error;
use crate::{assemble, gossip, members, port, remote};

/// Longest time for telling others that this agent leaves; what gossip itself needs and some to spare.
const LEAVE_MAX: Duration = Duration::from_secs(20);

/// Sockets that a cluster needs.
pub(crate) struct Sockets {
    pub(crate) gossip: Option<gossip::Sockets>,
    /// The server port, for servers.
    pub(crate) port: Option<TcpListener>,
}

impl Sockets {
    pub(crate) fn bind(config: &AgentConfig) -> Result<Self, Error> {
        let port = if gossip::is_server(config) { port::bind(config)? } else { None };
        Ok(Self { gossip: gossip::bind(config)?, port })
    }
}

/// See the module.
pub(crate) enum Role {
    Server { server: Arc<Server>, gossiping: Option<Arc<Gossiping>> },
    Client { remote: Arc<Remote>, gossiping: Arc<Gossiping> },
}

impl Role {
    /// Starts what the configuration asks for. What goes wrong for good later goes to `fatal`.
    pub(crate) async fn start(
        config: &AgentConfig,
        settings: &AgentSettings,
        sockets: Sockets,
        fatal: mpsc::Sender<Error>,
        life: &Life,
    ) -> Result<Self, Error> {
        if gossip::is_server(config) {
            Self::start_server(config, settings, sockets, fatal, life).await
        } else {
            let sockets = sockets.gossip.ok_or(Error::ClientWithoutGossip)?;
            let appearance = gossip::Appearance::new(config, settings, None);
            let gossiping = gossip::start(config, settings, &appearance, sockets, life)?;
            let remote = remote::start(config, gossiping.clone(), life)?;
            gossip::spawn_joining(config, &gossiping, appearance, fatal, life);
            Ok(Self::Client { remote, gossiping })
        }
    }

    async fn start_server(
        config: &AgentConfig,
        settings: &AgentSettings,
        sockets: Sockets,
        fatal: mpsc::Sender<Error>,
        life: &Life,
    ) -> Result<Self, Error> {
        let mut server_config = assemble::server(config, &settings.node.id);
        server_config.dial = Some(Arc::new(port::Dialer::new(config)?));
        let pools = server_config.pools.clone();
        // Recovery reads the disk; other tasks must not wait behind it.
        let started = tokio::task::spawn_blocking(move || Server::start(server_config)).await;
        let server = Arc::new(started.expect("recovery does not panic and is not aborted")?);
        if let Some(listener) = sockets.port {
            let (server, tasks) = (server.clone(), life.tasks.clone());
            let taken = server.clone();
            let on_link = Arc::new(move |link: Link| {
                let server = taken.clone();
                tasks.spawn(async move { server.accept_link(Box::new(link.socket)).await });
            });
            port::serve(config, listener, server.clone(), on_link, life)?;
        }
        let gossiping = match sockets.gossip {
            None => {
                let _ = pools.set(agent::Alone::new(settings));
                None
            }
            Some(sockets) => {
                let id = Some(server.consensus_id());
                let appearance = gossip::Appearance::new(config, settings, id);
                let gossiping = gossip::start(config, settings, &appearance, sockets, life)?;
                let _ = pools.set(gossiping.clone());
                members::spawn(server.clone(), gossiping.clone(), life);
                gossip::spawn_joining(config, &gossiping, appearance, fatal, life);
                Some(gossiping)
            }
        };
        Ok(Self::Server { server, gossiping })
    }

    pub(crate) fn cluster(&self) -> Arc<dyn Cluster> {
        match self {
            Self::Server { server, .. } => server.clone(),
            Self::Client { remote, .. } => remote.clone(),
        }
    }

    pub(crate) fn membership(&self, settings: &AgentSettings) -> Arc<dyn Membership> {
        match self {
            Self::Server { gossiping: Some(gossiping), .. } | Self::Client { gossiping, .. } => {
                gossiping.clone()
            }
            Self::Server { gossiping: None, .. } => agent::Alone::new(settings),
        }
    }

    /// Resolves with the cause when the server of this process could not go on.
    pub(crate) async fn ended(&self) -> String {
        match self {
            Self::Server { server, .. } => {
                server.ended().await.unwrap_or_else(|| "it was stopped".to_owned())
            }
            // Servers come and go; a client goes on.
            Self::Client { .. } => std::future::pending().await,
        }
    }

    /// Tells the others that this agent leaves for good, so that nobody takes it for failed.
    pub(crate) async fn leave(&self) {
        let (Self::Server { gossiping: Some(gossiping), .. } | Self::Client { gossiping, .. }) =
            self
        else {
            return;
        };
        if gossiping.is_alone() {
            return;
        }
        if let Self::Server { server, .. } = self
            && timeout(LEAVE_MAX, server.leave()).await.is_err()
        {
            tracing::warn!("the other servers did not let this one go in time");
        }
        if timeout(LEAVE_MAX, gossiping.leave()).await.is_err() {
            tracing::warn!("the others were not told in time that this agent leaves");
        }
    }

    pub(crate) async fn shutdown(&self) {
        if let Self::Server { server, .. } = self {
            server.shutdown().await;
        }
    }
}
