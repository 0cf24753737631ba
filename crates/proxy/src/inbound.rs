//! A connection from the mesh: prove who it is, decide, and only then reach the application.
//!
//! No byte is read from or sent to the application, and it is not even dialled, before the decision. A resumed
//! handshake is judged like a full one.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use pki::mesh::Peer;
use rustls::server::UnbufferedServerConnection;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::access::Access;
use crate::alert::{
    ALERT_ACCESS_DENIED, ALERT_BAD_CERTIFICATE, ALERT_FATAL, ALERT_INTERNAL_ERROR, ControlRecord,
};
use crate::control::Cut;
use crate::handshake::{self, HandshakeError, Handshaken, Session};
use crate::live::{Inbound, Live, Verdict};
use crate::metrics::Traffic;
use crate::record::ContentType;
use crate::relay::{relay, reset_on_close};
use crate::socket;
use crate::worker::{Registered, Worker};

pub(crate) async fn serve(worker: Rc<Worker>, mut peer: TcpStream, from: SocketAddr) {
    let metrics = &worker.shared.metrics;
    let _open = metrics.inbound_open.hold();
    let mut access = Access::new("inbound", from);
    let live = worker.shared.live.load_full();
    let Some(inbound) = live.inbound.clone() else {
        reset_on_close(&peer);
        return access.refused("refused", &"the proxy takes no connections any more");
    };
    let registered = worker.register();

    let (client, mut session) = match admit(&worker, &live, &inbound, &registered, &mut peer).await
    {
        Ok((client, handshaken)) => {
            access.is_resumed = handshaken.is_resumed();
            match handshaken.into_session() {
                Ok(session) => (client, session),
                Err(error) => {
                    metrics.inbound_handshake_failed.increment();
                    return access.refused("refused", &error);
                }
            }
        }
        Err(Refusal::Handshake(HandshakeError::Silent)) => {
            return tracing::debug!(%from, "connection that said nothing");
        }
        Err(refusal) => {
            metrics.inbound_handshake_failed.increment();
            return access.refused("refused", &refusal);
        }
    };
    access.peer = client.id.to_string();

    let (allowed, reason) = decide(&worker, &registered, &client).await;
    access.reason = reason;
    if !allowed {
        metrics.inbound_denied.increment();
        alert(&mut session, &peer, ALERT_ACCESS_DENIED);
        return access.refused("denied", &"");
    }
    metrics.inbound_allowed.increment();

    let listener = &inbound.listener;
    access.to = format!("{}:{}", listener.local_service_host, listener.local_service_port);
    let address = (listener.local_service_host.as_str(), listener.local_service_port);
    let dial = timeout(listener.local_connect_timeout, TcpStream::connect(address));
    // Not cut short by a change of mind: the relay sees that before it copies a byte, and resets both sides.
    let mut app = match dial.await {
        Ok(Ok(app)) => app,
        failed => {
            metrics.inbound_app_unreachable.increment();
            alert(&mut session, &peer, ALERT_INTERNAL_ERROR);
            let error = match failed {
                Ok(outcome) => outcome.expect_err("matched above").to_string(),
                Err(_) => format!("no connection after {:?}", listener.local_connect_timeout),
            };
            return access.refused("unreachable", &error);
        }
    };
    socket::tune(&app);
    let traffic = Traffic::new(metrics.clone());
    let control = &registered.connection.control;
    let ending = relay(&mut app, &mut peer, session, &worker.pool, &traffic, control).await;
    access.ended(&ending, &traffic, metrics);
}

/// Why a client did not get as far as a decision.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{}", causes(.0))]
    Handshake(HandshakeError),
    #[error("peer not accepted: {0}")]
    Peer(pki::mesh::VerifyError),
    #[error("cut: {0:?}")]
    Cut(Cut),
}

/// A handshake error with what caused it, for the one line that is logged.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut shown = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        shown += &format!(": {error}");
        cause = error.source();
    }
    shown
}

/// Makes the handshake and finds out who the client is.
async fn admit(
    worker: &Rc<Worker>,
    live: &Live,
    inbound: &Inbound,
    registered: &Registered,
    peer: &mut TcpStream,
) -> Result<(Arc<Peer>, Handshaken<UnbufferedServerConnection>), Refusal> {
    let control = &registered.connection.control;
    let place = worker.begin_handshake(control);
    let limited = timeout(
        inbound.listener.handshake_timeout,
        handshake::accept(peer, live.tls.server_config()),
    );
    let outcome = control.guard(limited).await;
    drop(place);
    let handshaken = match outcome {
        Err(cut) => {
            reset_on_close(peer);
            return Err(Refusal::Cut(cut));
        }
        Ok(Err(_)) => {
            reset_on_close(peer);
            return Err(Refusal::Handshake(HandshakeError::TimedOut));
        }
        Ok(Ok(outcome)) => outcome.map_err(Refusal::Handshake)?,
    };
    worker.shared.metrics.count_handshake(handshaken.is_resumed());
    match live.tls.peer(handshaken.common()) {
        Ok(client) => Ok((client, handshaken)),
        Err(error) => {
            if let Ok(mut session) = handshaken.into_session() {
                alert(&mut session, peer, ALERT_BAD_CERTIFICATE);
            }
            Err(Refusal::Peer(error))
        }
    }
}

/// Decides under the rules in force, and again if they change while the agent is being asked.
///
/// From the moment this says yes, changes reach the connection through the worker's table: the client is entered
/// there in the same turn as the rules are read.
async fn decide(
    worker: &Rc<Worker>,
    registered: &Registered,
    client: &Arc<Peer>,
) -> (bool, String) {
    loop {
        let live = worker.shared.live.load_full();
        let Some(inbound) = &live.inbound else {
            return (false, "the proxy takes no connections any more".into());
        };
        match inbound.decide(&client.id) {
            Verdict::Allowed(reason) => {
                registered.connection.client.replace(Some(client.clone()));
                return (true, reason);
            }
            Verdict::Denied(reason) => return (false, reason),
            Verdict::Ask => {
                let answer = worker.ask(client).await;
                if worker.shared.live.load().has_other_rules(&live) {
                    continue;
                }
                if answer.is_allowed {
                    registered.connection.client.replace(Some(client.clone()));
                }
                return (answer.is_allowed, answer.reason);
            }
        }
    }
}

/// Tells the client why it is refused, as far as the socket takes it at once, and ends the session.
///
/// The tickets go out before, because they were sealed before. They are worth nothing to the client but a cheaper
/// refusal for both sides.
fn alert(session: &mut Session, peer: &TcpStream, alert: u8) {
    let mut bytes = std::mem::take(&mut session.outgoing);
    let record =
        ControlRecord::seal(&mut session.sealer, ContentType::Alert, &[ALERT_FATAL, alert]);
    if let Ok(record) = record {
        bytes.extend_from_slice(record.bytes());
        // An alert is a courtesy: a client that does not take it sees the connection close.
        let _ = peer.try_write(&bytes);
    }
}
