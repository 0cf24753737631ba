//! Keeps the server of this process told who is alive, as gossip sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent::Life;
use agent::pool::Gossiping;
use gossip::{Status, consul};
use replica::duty::{Member, MemberService};
use server::Server;

/// Tells `server` of the members of the datacenter now and after each change.
pub(crate) fn spawn(server: Arc<Server>, gossiping: Arc<Gossiping>, life: &Life) {
    let stop = life.stop.clone();
    life.tasks.spawn(async move {
        let mut changes = gossiping.lan().changes();
        loop {
            changes.borrow_and_update();
            let members = gossiping.lan().members().iter().filter_map(member).collect();
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

/// What the catalog is to show of a member.
fn member(found: &gossip::Member) -> Option<Member> {
    if found.status != Status::Alive {
        return None;
    }
    let tag = |name: &str| found.tags.get(name).cloned().unwrap_or_default();
    let server = consul::is_server(found).then(|| MemberService {
        port: tag("port").parse().unwrap_or_default(),
        meta: service_meta(found),
    });
    let (name, address) = (found.name.clone(), found.address.ip().to_string());
    Some(Member { id: tag("id"), name, address, server })
}

/// Metadata of a server's `consul` service, as Consul shows it.
fn service_meta(found: &gossip::Member) -> BTreeMap<String, String> {
    let tag = |name: &str| found.tags.get(name).cloned().unwrap_or_default();
    let build = tag("build");
    let version = build.split(':').next().unwrap_or_default().to_owned();
    let is_nonvoter = found.tags.contains_key("nonvoter");
    [
        ("non_voter", is_nonvoter.to_string()),
        ("raft_version", tag("raft_vsn")),
        ("serf_protocol_current", found.versions.protocol.to_string()),
        ("serf_protocol_max", found.versions.protocol_max.to_string()),
        ("serf_protocol_min", found.versions.protocol_min.to_string()),
        ("version", version),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
