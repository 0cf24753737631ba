//! What servers offer to agents, as one trait with three implementations: the server in this
//! process, the client over the network, and fakes in tests.
//!
//! `server` and `agent` never use each other; they meet here. Start with [`Cluster`].

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::ca::{CaConfiguration, IssuedCert};
use model::command::{Command, Outcome};
use model::error::Error;
use model::query::{Query, QueryMeta, QueryOptions, Reply, Token};
use model::session::Session;

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

    /// A number that changes whenever any answer of [`Cluster::query_now`] may have changed, so
    /// that an unchanged number makes an earlier answer good for another use without asking.
    /// `None` when there is no such cheap promise.
    fn version(&self) -> Option<u64> {
        None
    }
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
}

impl Body {
    pub fn new(reply: Reply) -> Arc<Self> {
        Arc::new(Self { reply, encoded: OnceLock::new() })
    }

    /// The encoded form, produced by `encode` on the first call. There is one edge format (compact
    /// JSON), so one slot.
    pub fn encoded(&self, encode: impl FnOnce(&Reply) -> Vec<u8>) -> Bytes {
        self.encoded.get_or_init(|| Bytes::from(encode(&self.reply))).clone()
    }
}
