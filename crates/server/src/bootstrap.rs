//! How a cluster begins: servers that were told to expect so many wait until they know that many
//! of their kind. Then the one with the smallest consensus id asks each of the others for a
//! promise to join it and no other; with all promises it founds the cluster alone and takes the
//! others in. As each promises itself to one only, and all of them are needed, no two clusters
//! come of the same servers. One that belongs to a cluster refuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::error::{Error, ErrorKind};
use replica::{Membership, Peer};
use tokio::time::timeout;

use crate::config::Bootstrap;
use crate::link::Request;
use crate::shared::{Job, Shared};

/// How long one promise is waited for.
const PROMISE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between attempts, drawn between half and whole, so that two founders do not keep getting
/// in each other's way.
const RETRY: Duration = Duration::from_millis(200);

/// Waits until this server belongs to a cluster, founding one if it falls to it.
pub(crate) async fn run(shared: Arc<Shared>, expect: u32) {
    loop {
        let changed = shared.members_changed.listen();
        if shared.is_closed() || shared.membership.load().is_configured() {
            return;
        }
        let Some(founders) = founders(&shared, expect) else {
            changed.await;
            continue;
        };
        match gather(&shared, expect, &founders).await {
            Ok(()) => {
                tracing::info!(servers = founders.len(), "founding a cluster");
                let membership = Membership::founded_by(shared.id, founders);
                // A server that has ended founds nothing.
                let _ = shared.submit(Job::Found(Box::new(membership)));
                changed.await;
            }
            Err(e) => {
                tracing::info!(reason = %e, "not founding a cluster yet");
                let pause = RETRY.mul_f64(0.5 + rand::random::<f64>() / 2.0);
                // Either ends the pause; nothing is lost with it.
                let _ = timeout(pause, changed).await;
            }
        }
    }
}

/// All who are to found a cluster, when there are enough and it falls to this server.
fn founders(shared: &Shared, expect: u32) -> Option<BTreeMap<u64, Peer>> {
    let mut founders = BTreeMap::new();
    for member in shared.members.load().iter().filter(|member| member.is_alive()) {
        let Some(server) = &member.server else { continue };
        if server.is_nonvoter || server.expect != expect {
            continue;
        }
        if let Some(id) = server.consensus_id {
            let peer = Peer {
                node_id: member.id.clone(),
                name: member.name.clone(),
                address: server.address.clone(),
            };
            founders.insert(id, peer);
        }
    }
    let is_first = founders.keys().next() == Some(&shared.id);
    (is_first && founders.len() >= expect as usize).then_some(founders)
}

async fn gather(shared: &Shared, expect: u32, founders: &BTreeMap<u64, Peer>) -> Result<(), Error> {
    // Told apart, so that a late release of an earlier attempt ends no promise of this one.
    let round = rand::random();
    shared.promise_to(shared.id, expect, round)?;
    let links = shared.links.get().ok_or_else(|| shared.closed_error())?;
    let mut promised = Vec::new();
    let mut refused = None;
    for id in founders.keys().filter(|id| **id != shared.id) {
        let unreachable = || {
            let address = shared.address_of(*id).unwrap_or_default();
            Error::new(ErrorKind::Unavailable, format!("server {id:016x} at {address} is silent"))
        };
        let Some(peer) = links.peer(*id) else {
            refused = Some(unreachable());
            break;
        };
        let request = Request::Promise { founder: shared.id, expect, round };
        // Whoever may have promised is released, answer or not.
        promised.push(peer.clone());
        let answer = timeout(PROMISE_TIMEOUT, peer.ask(&request)).await;
        match answer {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(e))) => {
                refused = Some(e);
                break;
            }
            _ => {
                refused = Some(unreachable());
                break;
            }
        }
    }
    let Some(reason) = refused else { return Ok(()) };
    // From here on this attempt founds nothing.
    for peer in promised {
        let request = Request::Release { founder: shared.id, round };
        // One that does not hear it keeps its promise to this server, which will ask again.
        let _ = timeout(PROMISE_TIMEOUT, peer.ask(&request)).await;
    }
    shared.release(shared.id, round)?;
    Err(reason)
}

impl Shared {
    /// Promises to join the cluster of `founder`, durably.
    ///
    /// Errors: `Conflict` when this server belongs to a cluster or has promised itself to another.
    pub(crate) fn promise_to(&self, founder: u64, expect: u32, round: u64) -> Result<(), Error> {
        let refuse = |reason: String| {
            let message = format!("server {:016x} {reason}", self.id);
            Err(Error::new(ErrorKind::Conflict, message))
        };
        let membership = self.membership.load();
        if membership.is_configured() {
            return refuse(format!("belongs to cluster {:016x}", membership.cluster_id));
        }
        if self.config.bootstrap != Bootstrap::Expect(expect) {
            return refuse(format!("does not expect {expect} servers"));
        }
        let mut promise = self.promise.lock();
        match promise.to {
            Some(other) if other != founder => {
                let kept = promise.path().map(|path| {
                    format!("; if that server is gone for good, remove {}", path.display())
                });
                refuse(format!(
                    "has promised itself to server {other:016x}{}",
                    kept.unwrap_or_default()
                ))
            }
            _ => {
                promise.round = round;
                let kept = promise.set(Some(founder));
                kept.map_err(|e| Error::internal(format!("could not keep a promise: {e}")))
            }
        }
    }

    /// Ends a promise, if it was given in this attempt.
    pub(crate) fn release(&self, founder: u64, round: u64) -> Result<(), Error> {
        let mut promise = self.promise.lock();
        if promise.to != Some(founder) || promise.round != round {
            return Ok(());
        }
        promise.set(None).map_err(|e| Error::internal(format!("could not end a promise: {e}")))
    }
}
