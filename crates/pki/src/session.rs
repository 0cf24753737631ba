//! Resumption: tickets that die with what they were given under.
//!
//! A resumed handshake shows no certificates again, so a session must not outlive a change of the
//! roots or of the own leaf. Both sides therefore bind sessions to the identity they were made
//! under; after a change the next handshake is a full one and each side sees the other's new leaf.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use rustls_pki_types::ServerName;

use crate::identity::Generation;
use crate::mesh::MeshTls;

/// Tickets kept per endpoint: how many connections can be resumed at once.
const TICKETS_PER_ENDPOINT_MAX: usize = 32;

/// The server's tickets: encrypted with a key that is thrown away when the own identity changes.
pub(crate) struct Tickets {
    mesh: Arc<MeshTls>,
    current: ArcSwapOption<(Generation, Arc<dyn ProducesTickets>)>,
}

impl Tickets {
    pub(crate) fn new(mesh: &Arc<MeshTls>) -> Self {
        Self { mesh: Arc::clone(mesh), current: ArcSwapOption::empty() }
    }

    /// `None` if the generator fails: then nothing is resumed.
    fn of_now(&self) -> Option<Arc<dyn ProducesTickets>> {
        let generation = self.mesh.identity().generation();
        if let Some(current) = &*self.current.load()
            && current.0 == generation
        {
            return Some(Arc::clone(&current.1));
        }
        // Two threads may both come here; the tickets of one of them are then good for nothing,
        // which costs a full handshake.
        let fresh = Ticketer::new().ok()?;
        self.current.store(Some(Arc::new((generation, Arc::clone(&fresh)))));
        Some(fresh)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.of_now().map_or(0, |tickets| tickets.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.of_now()?.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.of_now()?.decrypt(cipher)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

/// The client's sessions with one endpoint that was verified to be one expected identity. The name
/// sent to the server plays no part: one store serves one endpoint.
pub(crate) struct EndpointSessions {
    mesh: Arc<MeshTls>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    generation: Option<Generation>,
    tickets: VecDeque<Tls13ClientSessionValue>,
    group: Option<NamedGroup>,
}

impl EndpointSessions {
    pub(crate) fn new(mesh: &Arc<MeshTls>) -> Self {
        Self { mesh: Arc::clone(mesh), held: Mutex::default() }
    }
}

impl ClientSessionStore for EndpointSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.held.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.held.lock().group
    }

    // Sessions of TLS 1.2 are not resumed: only foreign proxies speak it, and seldom.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let generation = self.mesh.identity().generation();
        let mut held = self.held.lock();
        if held.generation != Some(generation) {
            held.generation = Some(generation);
            held.tickets.clear();
        }
        if held.tickets.len() == TICKETS_PER_ENDPOINT_MAX {
            held.tickets.pop_front();
        }
        held.tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let generation = self.mesh.identity().generation();
        let mut held = self.held.lock();
        if held.generation != Some(generation) {
            held.tickets.clear();
            return None;
        }
        held.tickets.pop_back()
    }
}

impl fmt::Debug for EndpointSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointSessions").finish_non_exhaustive()
    }
}
