//! A connection from the application: choose an instance, prove that it is the expected one, and copy.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rand::Rng;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::access::Access;
use crate::handshake::{self, HandshakeError, Session};
use crate::inbound::causes;
use crate::listener::Purpose;
use crate::live::{Endpoint, EndpointUse};
use crate::metrics::Traffic;
use crate::relay::{relay, reset_on_close};
use crate::socket;
use crate::worker::Worker;

pub(crate) async fn serve(
    worker: Rc<Worker>,
    mut app: TcpStream,
    from: SocketAddr,
    purpose: Purpose,
) {
    let metrics = &worker.shared.metrics;
    let _open = metrics.outbound_open.hold();
    let mut access = Access::new("outbound", from);
    let registered = worker.register();
    let control = &registered.connection.control;
    let reached = match control.guard(reach(&worker, &purpose, &mut access)).await {
        Ok(reached) => reached,
        Err(cut) => Err(format!("cut: {cut:?}")),
    };
    let (mut peer, session, in_use) = match reached {
        Ok(reached) => reached,
        Err(error) => {
            metrics.outbound_failed.increment();
            // A clean end would look like an empty answer.
            reset_on_close(&app);
            return access.refused("failed", &error);
        }
    };
    metrics.outbound_connected.increment();
    let traffic = Traffic::new(metrics.clone());
    let ending = relay(&mut app, &mut peer, session, &worker.pool, &traffic, control).await;
    drop(in_use);
    access.ended(&ending, &traffic, metrics);
}

/// Connects to an instance, trying others when one cannot be reached or is not who it should be.
///
/// Nothing of the application has been sent yet, so trying another one is safe.
async fn reach(
    worker: &Rc<Worker>,
    purpose: &Purpose,
    access: &mut Access,
) -> Result<(TcpStream, Session, EndpointUse), String> {
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    let mut last_error = String::new();
    while tried.len() < worker.shared.settings.attempts_max {
        // Read anew for every attempt: the list may have changed while the last one failed.
        let live = worker.shared.live.load_full();
        let Some(upstream) = live.upstreams.get(purpose) else {
            return Err("the upstream is no longer configured".into());
        };
        let target = &upstream.definition.target;
        let Some(endpoints) = &upstream.endpoints else {
            return Err(format!("instances of {target} are not known yet"));
        };
        let Some(endpoint) = choose(endpoints, &tried, &mut rand::rng()) else {
            if tried.is_empty() {
                return Err(format!("{target} has no healthy instance in the mesh"));
            }
            break;
        };
        tried.push(endpoint.clone());
        let instance = &endpoint.instance;
        access.to = format!("{}:{}", instance.address, instance.port);
        let in_use = EndpointUse::new(&endpoint);
        let limit = upstream.definition.connect_timeout;
        match timeout(limit, dial(worker, &endpoint, access)).await {
            Ok(Ok((peer, session))) => return Ok((peer, session, in_use)),
            Ok(Err(error)) => last_error = error,
            Err(_) => last_error = format!("no connection after {limit:?}"),
        }
        worker.shared.metrics.outbound_attempts_failed.increment();
        tracing::debug!(
            node = instance.node,
            service_id = instance.service_id,
            to = access.to,
            error = last_error,
            "instance not reached"
        );
    }
    Err(format!("no instance reached in {} attempts, the last: {last_error}", tried.len()))
}

async fn dial(
    worker: &Rc<Worker>,
    endpoint: &Endpoint,
    access: &mut Access,
) -> Result<(TcpStream, Session), String> {
    let instance = &endpoint.instance;
    let stream = TcpStream::connect((instance.address.as_str(), instance.port)).await;
    let mut stream = stream.map_err(|error| error.to_string())?;
    socket::tune(&stream);
    let address = stream.peer_addr().map_err(|error| error.to_string())?;
    let outgoing = &endpoint.outgoing;
    let era = outgoing.era();
    let handshake = handshake::connect(&mut stream, outgoing.config(address), outgoing.name());
    let shown = |error: HandshakeError| causes(&error);
    let handshaken = handshake.await.map_err(shown)?;
    worker.shared.metrics.count_handshake(handshaken.is_resumed());
    let peer = outgoing.peer(handshaken.common()).map_err(|error| error.to_string())?;
    access.peer = peer.id.to_string();
    access.is_resumed = handshaken.is_resumed();
    let session = handshaken.into_session().map_err(shown)?;
    let session = Session { era: Some(era), ..session };
    Ok((stream, session))
}

/// Of two random instances not tried yet, the one with fewer connections of ours.
///
/// Two choices keep the longest queue short at the price of one look; one choice would not, and the least of all
/// would send everything to an instance that has just come up.
fn choose(
    endpoints: &[Arc<Endpoint>],
    tried: &[Arc<Endpoint>],
    random: &mut impl Rng,
) -> Option<Arc<Endpoint>> {
    let is_fresh =
        |endpoint: &&Arc<Endpoint>| !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint));
    let fresh_count =
        if tried.is_empty() { endpoints.len() } else { endpoints.iter().filter(is_fresh).count() };
    if fresh_count == 0 {
        return None;
    }
    let mut pick = || {
        let nth = random.random_range(0..fresh_count);
        if tried.is_empty() {
            endpoints.get(nth)
        } else {
            endpoints.iter().filter(is_fresh).nth(nth)
        }
    };
    let (one, other) = (pick()?, pick()?);
    Some(if other.open() < one.open() { other.clone() } else { one.clone() })
}
