//! Snapshot archives as Consul writes and reads them: `gzip(tar(meta.json, state.bin, SHA256SUMS))`.
//!
//! The records inside `state.bin` are made and read by `state`; here is the container around them:
//! sizes, checksums, compression, and what is told of where the state came from. It stands among
//! the tools because servers make archives and the command line looks into them offline.
//! Deliberately absent: files, sockets, and any rule about what a record means.
//!
//! Start with [`save`], [`restore`] and [`inspect`].

mod digest;
mod tar;

mod metadata;
pub use metadata::{Configuration, Metadata, Origin, Server};

mod write;
pub use write::save;

mod read;
pub use read::{Inspection, ReadError, inspect, restore};

#[cfg(test)]
mod tests;

/// Names inside the archive, in the order they are written.
const METADATA: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";
