//! The built-in data plane: mutual TLS between the applications of the mesh, without their knowing.
//!
//! Deliberately absent: who may connect to whom (`authz` decides, from the snapshot), what a certificate is worth
//! (`pki`), layer 7. A proxy that has no snapshot yet listens nowhere, and one
//! whose agent is away serves the last it had.
//!
//! What holds for every connection:
//! - TLS 1.3 unless the registration asks for 1.2 too; both sides show a certificate; a resumed handshake is judged
//!   like a full one, for identity, dates and intention.
//! - A refused client never reaches the application, which is not even dialled, and hears `access_denied`.
//! - When the intentions change, open connections are decided again and cut if they are now denied
//!   (`recheck_connections = false` in the registration leaves them).
//! - FIN and `close_notify` stand for each other, each direction on its own; a reset is passed on as a reset; a peer
//!   that ends without `close_notify` resets the application.
//! - A slow reader slows its sender; at most two 64 KB buffers are held for it. An idle connection holds none.
//! - How long a proxy goes on without its agent is bounded by the life of the leaf certificates: peers refuse an
//!   expired one.
//!
//! Start with [`Proxy`], which keeps listeners in step with snapshots. A `worker` owns connections; `inbound` and
//! `outbound` take one each from accept to end; `relay` copies bytes and `record` seals them.

mod proxy;
pub mod source;

mod live;
mod tls;

mod listener;
mod worker;

mod inbound;
mod outbound;

mod control;
mod handshake;
mod relay;

mod buffers;
mod record;
mod socket;

mod access;
mod alert;
mod ask;
mod error;
mod metrics;
mod settings;

pub use ask::{Ask, Question};
pub use error::RunError;
pub use listener::Purpose;
pub use metrics::{Metrics, MetricsSnapshot};
pub use proxy::{Listening, Proxy};
pub use settings::{Settings, WORKERS_DEFAULT_MAX};
