//! What servers offer to agents, as one trait with three implementations: the server in this
//! process, the client over the network, and fakes in tests.
//!
//! `server` and `agent` never use each other; they meet here. Start with [`Cluster`].
//!
//! The network in between is Consul's: [`serve`] answers on the server port what agents ask,
//! [`Remote`] is an agent's way to its servers. One noun is one file, with what travels and both
//! directions; `methods` is the table of all there is to call. Sources: the net/rpc framing of Go
//! with msgpack, [`yamux`], and what real agents of 1.8.7 were seen to send.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::ca::{CaConfiguration, IssuedCert};
use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::event::UserEvent;
use model::keyring::{KeyringRequest, KeyringResponse};
use model::operator::{OperatorReply, OperatorRequest};
use model::query::{Consistency, Query, QueryMeta, QueryOptions, Reply, Token};
use model::session::Session;

pub mod tls;
pub mod yamux;

mod dial;
mod port;
mod remote;

mod ca;
mod catalog;
mod chain;
mod config_entry;
mod coordinate;
mod health;
mod intention;
mod internal;
mod kv;
mod near;
mod operator;
mod session;
mod snapshot;
mod status;

mod codec;
mod failure;
mod methods;
mod service;
mod wire;

pub use dial::dial_link;
pub use port::{Link, LinkHandler, ServeSettings, Socket, serve};
pub use remote::{Remote, RemoteSettings, ServerAddress};

pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The servers of a datacenter, as seen by whoever asks them.
///
/// Dropping a returned future abandons the wait; a command already proposed may still take effect.
pub trait Cluster: Send + Sync + 'static {
    /// Answers `query`, waiting as `options` say.
    ///
    /// Errors: `Invalid` for a bad filter, `Denied`, `NoLeader`, `Unavailable`, `Timeout`.
    fn query(&self, query: Query, options: QueryOptions) -> Pending<'_, Answer>;

    /// Answers at once when that needs neither the network nor a wait; `None` sends the caller to
    /// [`Cluster::query`]. Never blocks, so that socket loops outside the runtime may call it.
    fn query_now(&self, query: &Query, options: &QueryOptions) -> Option<Result<Answer, Error>>;

    /// Judges and commits one change; resolves once it is durable and applied.
    ///
    /// Errors: `Invalid` or `Conflict` when it was refused and nothing changed; `NoLeader`,
    /// `Unavailable` before it entered the log; `Timeout` when its fate is unknown.
    fn command(&self, command: Command, token: Token) -> Pending<'_, Outcome>;

    /// Resets the time to live of a session. `None`: no such session.
    fn renew_session(&self, id: String, token: Token) -> Pending<'_, Option<Arc<Session>>>;

    /// Signs a leaf for the SPIFFE id in a PEM request. The key stays with the caller.
    ///
    /// Errors: `Invalid` for a bad request, `Unavailable` with a retry hint over the rate limit.
    fn sign_leaf(&self, csr_pem: String, token: Token) -> Pending<'_, IssuedCert>;

    /// Switches or reconfigures the certificate authority, rotating the root when it must.
    fn configure_ca(&self, config: CaConfiguration, token: Token) -> Pending<'_, ()>;

    fn status(&self) -> Status;

    /// Looks at or changes who takes part in consensus.
    ///
    /// Errors: `Invalid` for a server that does not take part, `NoLeader`, `Unavailable`.
    fn operator(&self, _request: OperatorRequest, _token: Token) -> Pending<'_, OperatorReply> {
        not_offered()
    }

    /// Broadcasts a user event to every agent of the datacenter.
    fn fire_event(&self, _event: UserEvent, _token: Token) -> Pending<'_, ()> {
        not_offered()
    }

    /// Lists or changes the gossip keys of all members. Shape: one row per pool asked.
    fn keyring(
        &self,
        _request: KeyringRequest,
        _token: Token,
    ) -> Pending<'_, Vec<KeyringResponse>> {
        not_offered()
    }

    /// The whole state as an archive in Consul's format, from the leader unless `stale`.
    fn save_snapshot(&self, _consistency: Consistency, _token: Token) -> Pending<'_, Archive> {
        not_offered()
    }

    /// Replaces the whole state by what an archive in Consul's format holds.
    ///
    /// Errors: `Invalid` for a damaged or foreign archive, of which nothing is used then.
    fn restore_snapshot(&self, _archive: Chunks, _token: Token) -> Pending<'_, ()> {
        not_offered()
    }

    /// A number that changes whenever any answer of [`Cluster::query_now`] may have changed, so
    /// that an unchanged number makes an earlier answer good for another use without asking.
    /// `None` when there is no such cheap promise.
    fn version(&self) -> Option<u64> {
        None
    }
}

fn not_offered<'a, T>() -> Pending<'a, T> {
    Box::pin(async {
        Err(Error::new(ErrorKind::Unavailable, "this implementation does not offer that"))
    })
}

/// Bytes in pieces, as they come. An error ends them. The sender waits for the receiver, so what
/// is in flight is bounded by the channel and the size of a piece.
pub type Chunks = tokio::sync::mpsc::Receiver<Result<Bytes, Error>>;

/// A snapshot on its way out.
#[derive(Debug)]
pub struct Archive {
    pub meta: QueryMeta,
    pub chunks: Chunks,
}

/// What a server may ask of the gossip pools its process takes part in.
pub trait Pools: Send + Sync + 'static {
    fn fire_event(&self, event: UserEvent) -> Pending<'_, ()>;
    fn keyring(&self, request: KeyringRequest) -> Pending<'_, Vec<KeyringResponse>>;
}

/// Who leads and who takes part in consensus. Shape: `host:port` of the server port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `None` while there is no leader.
    pub leader: Option<String>,
    pub peers: Vec<String>,
    /// Whether this process is the leader.
    pub is_leader: bool,
    /// Last index applied to the state here.
    pub applied_index: u64,
    /// Consensus term.
    pub term: u64,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub meta: QueryMeta,
    pub body: Arc<Body>,
}

/// A reply and its encoding, made once and shared by all who were waiting for it.
#[derive(Debug)]
pub struct Body {
    pub reply: Reply,
    encoded: OnceLock<Bytes>,
    /// The same for agents that ask over the network.
    binary: OnceLock<Bytes>,
}

impl Body {
    pub fn new(reply: Reply) -> Arc<Self> {
        Arc::new(Self { reply, encoded: OnceLock::new(), binary: OnceLock::new() })
    }

    /// The encoded form, produced by `encode` on the first call. There is one edge format (compact
    /// JSON), so one slot.
    pub fn encoded(&self, encode: impl FnOnce(&Reply) -> Vec<u8>) -> Bytes {
        self.encoded.get_or_init(|| Bytes::from(encode(&self.reply))).clone()
    }

    /// The binary form, produced by `encode` on the first call that succeeds.
    pub(crate) fn binary<E>(
        &self,
        encode: impl FnOnce(&Reply) -> Result<Vec<u8>, E>,
    ) -> Result<Bytes, E> {
        if let Some(bytes) = self.binary.get() {
            return Ok(bytes.clone());
        }
        let bytes = Bytes::from(encode(&self.reply)?);
        Ok(self.binary.get_or_init(|| bytes).clone())
    }
}
