//! A client agent's way to the servers: which there are it hears from gossip.

use std::net::SocketAddr;
use std::sync::Arc;

use agent::Life;
use agent::pool::Gossiping;
use config::AgentConfig;
use gossip::{Status, consul};
use rpc::{Remote, RemoteSettings, ServerAddress};

use crate::Error;
use crate::port;

/// Starts to look for servers.
pub(crate) fn start(
    config: &AgentConfig,
    gossiping: Arc<Gossiping>,
    life: &Life,
) -> Result<Arc<Remote>, Error> {
    let tls = port::tls(config)?.outgoing().map_err(Error::AgentTls)?;
    let hold = config.settings.performance.rpc_hold_timeout.to_std();
    let settings = RemoteSettings { tls, hold, ..RemoteSettings::new(config.datacenter.clone()) };
    let remote = Remote::new(settings);
    let (running, stop) = (Arc::clone(&remote), life.stop.clone());
    life.tasks.spawn(async move { running.run(stop).await });
    let (told, stop) = (Arc::clone(&remote), life.stop.clone());
    let datacenter = config.datacenter.clone();
    life.tasks.spawn(async move {
        let mut changes = gossiping.lan().changes();
        loop {
            changes.borrow_and_update();
            let members = gossiping.lan().members();
            let servers = members.iter().filter_map(|member| server(member, &datacenter));
            told.set_servers(servers.collect());
            // A change that is missed while this ends is of no use any more.
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    });
    Ok(remote)
}

/// How a member is called as a server of `datacenter`.
fn server(member: &gossip::Member, datacenter: &str) -> Option<ServerAddress> {
    let tag = |name: &str| member.tags.get(name).map(String::as_str).unwrap_or_default();
    let is_here = tag("dc").eq_ignore_ascii_case(datacenter);
    if member.status != Status::Alive || !is_here || !consul::is_server(member) {
        return None;
    }
    Some(ServerAddress {
        name: member.name.clone(),
        address: SocketAddr::new(member.address.ip(), tag("port").parse().ok()?),
        datacenter: datacenter.to_owned(),
        use_tls: member.tags.contains_key("use_tls"),
    })
}
