//! The proxy from outside: real sockets on loopback, an authority in memory, snapshots made by hand.

mod world;

mod data;
mod identity;
mod lifecycle;
mod measure;
mod policy;
mod source;
