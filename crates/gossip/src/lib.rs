//! The membership pool, wire-exact with memberlist and serf. So far: its bytes.

pub mod wire;
