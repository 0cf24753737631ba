//! The `lictor` binary: agent, proxy and client commands in one. Also answers to the name `consul`.
//!
//! Every command is a module named after its noun: flags on top, then what it does. They talk to
//! an agent through `api` alone. Start with [`command`], and [`argv`] for how flags are read.

mod argv;
mod command;
mod help;
mod output;

mod client_flags;
mod data;
mod log;

mod signal;

mod agent;
mod demo;

mod ca;
mod catalog;
mod completion;
mod config_entry;
mod connect;
mod control;
mod coordinate;
mod event;
mod info;
mod intention;
mod join;
mod keyring;
mod kv;
mod lock;
mod maintenance;
mod members;
mod operator;
mod service;
mod snapshot;
mod validate;
mod version;
mod watch;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(command::main(std::env::args_os().collect()))
}
