//! The DNS edge: questions about nodes and services answered from agent memory.
//!
//! Nothing is decided here: which instances exist and are healthy is what the agent's view says.
//! An answer costs in proportion to the records sent, never to the instances registered: per name
//! the records are prepared once per change ([`prepared`]) and each answer copies a few of them.
//! UDP is served by plain threads, one socket each, outside the runtime; TCP and everything that
//! must wait (recursors, remote views) runs on it.
//!
//! Start with [`serve`], then [`respond`].

mod lookup;
mod message;
mod prepared;
mod recursor;
mod respond;
mod serve;
mod settings;

pub use serve::{Bound, ServeError, bind};
pub use settings::{ServiceTtl, Settings, Soa};
