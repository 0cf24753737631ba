//! Files (HCL, JSON), flags and inline fragments to one validated tree of plain structs; and the
//! one decoder that service definitions and config entries are read with, wherever they come from.
//!
//! An agent starts with [`load`]. [`settings`] lists every setting, [`agent`] what an agent runs
//! with. Deliberately absent: a form of any struct with everything optional (sources are merged
//! while they are decoded), and settings read from a global.

pub mod decode;
pub mod error;
pub mod hcl;
pub mod json;
pub mod tree;

pub mod config_entry;
pub mod definition;

#[macro_use]
pub mod setting;
pub mod settings;

pub mod agent;
pub mod flags;
pub mod machine;
pub mod sockaddr;
pub mod source;
mod unavailable;

pub use agent::{
    AgentConfig, Bootstrap, CallLimits, Consensus, GossipEncryption, GossipSettings, GossipTiming,
    JoinPool, Joining, Listen, ListenAddress, RaftTiming, RpcTls, TlsFiles, load,
};
pub use error::{Error, Problem, SettingError};
pub use flags::AgentFlags;
pub use machine::{Machine, ThisMachine};
pub use setting::Change;
