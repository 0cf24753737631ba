//! One pool with real agents over real sockets ([`pool`]), and pools of ours alone in memory ([`simulation`]).

// Only the machine is without input and output; these tests give it sockets, threads and a clock.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod driver;
mod pool;

mod decoders;

mod network;
mod simulation;
