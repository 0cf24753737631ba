//! The built-in data plane.
#![allow(dead_code)]
mod buffers;
mod control;
mod handshake;
mod metrics;
mod record;
mod relay;
