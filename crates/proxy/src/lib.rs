//! The built-in data plane: mutual TLS between the applications of the mesh, without their knowing.
//!
//! Deliberately absent: who may connect to whom (`authz` decides, from the snapshot), what a certificate is worth
//! (`pki`), layer 7. A proxy that has no snapshot yet listens nowhere, and one
//! whose agent is away serves the last it had.
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
