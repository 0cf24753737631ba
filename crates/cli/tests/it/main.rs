//! Tests of the whole binary from outside: beside the real agent, through sockets, files and exit codes.
//!
//! They need the real programs that `scripts/peers test` installs.

mod certificates;
mod client_commands;
mod cluster;
mod cluster_faults;
mod cluster_keys;
mod cluster_mesh;
mod cluster_operation;
mod cluster_refusals;
mod cluster_tls;
mod command_script;
mod differential;
mod dns;
mod durability;
mod hostile;
mod house;
mod identity;
mod interop;
mod mesh;
mod minted;
mod restart;
mod snapshot;
