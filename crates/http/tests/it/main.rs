//! The HTTP API in front of a real agent and server, as bytes on a socket. Expected answers are
//! those of Consul 1.8.7.

mod catalog;
mod conventions;
mod kv;
mod limits;
mod members;
mod mesh;
mod snapshot;
mod world;
