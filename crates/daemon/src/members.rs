//! Keeps the server of this process told who is alive, as gossip sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use agent::Life;
use agent::pool::{Gossiping, SERVER_TAG};
use gossip::{Status, consul};
use replica::duty::{Liveness, Member, MemberServer};
use server::Server;

/// Where a server says in which redundancy zone it stands.
pub(crate) const ZONE_TAG: &str = "zone";

/// Tells `server` of the members of the datacenter now and after each change.
pub(crate) fn spawn(server: Arc<Server>, gossiping: Arc<Gossiping>, life: &Life) {
    let stop = life.stop.clone();
    life.tasks.spawn(async move {
        let mut changes = gossiping.lan().changes();
        loop {
            changes.borrow_and_update();
            let members = gossiping.lan().members().iter().map(member).collect();
            if server.set_members(members).is_err() {
                // It has ended, and says why itself.
                return;
            }
            // A change that is missed while this ends is of no use any more.
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    });
}

/// What a server is to know of a member.
fn member(found: &gossip::Member) -> Member {
    let tag = |name: &str| found.tags.get(name).cloned().unwrap_or_default();
    let address = found.address.ip();
    let server = consul::is_server(found).then(|| {
        let port = tag("port").parse().unwrap_or_default();
        MemberServer {
            consensus_id: u64::from_str_radix(&tag(SERVER_TAG), 16).ok(),
            address: SocketAddr::new(address, port).to_string(),
            port,
            meta: service_meta(found),
            version: version(found),
            is_nonvoter: found.tags.contains_key("nonvoter"),
            zone: found.tags.get(ZONE_TAG).cloned(),
            expect: tag("expect").parse().unwrap_or_default(),
        }
    });
    Member {
        id: tag("id"),
        name: found.name.clone(),
        address: address.to_string(),
        liveness: match found.status {
            Status::Alive => Liveness::Alive,
            Status::Leaving => Liveness::Leaving,
            Status::Left => Liveness::Left,
            Status::Failed => Liveness::Failed,
        },
        server,
    }
}

fn version(found: &gossip::Member) -> String {
    let build = found.tags.get("build").map(String::as_str).unwrap_or_default();
    build.split(':').next().unwrap_or_default().to_owned()
}

/// Metadata of a server's `consul` service, as Consul shows it.
fn service_meta(found: &gossip::Member) -> BTreeMap<String, String> {
    let tag = |name: &str| found.tags.get(name).cloned().unwrap_or_default();
    let is_nonvoter = found.tags.contains_key("nonvoter");
    [
        ("non_voter", is_nonvoter.to_string()),
        ("raft_version", tag("raft_vsn")),
        ("serf_protocol_current", found.versions.protocol.to_string()),
        ("serf_protocol_max", found.versions.protocol_max.to_string()),
        ("serf_protocol_min", found.versions.protocol_min.to_string()),
        ("version", version(found)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
