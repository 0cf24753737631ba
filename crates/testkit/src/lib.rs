//! What integration tests share: real processes on free ports, a plain HTTP client, and the comparing of two agents.
//!
//! Everything here blocks and runs on `std`, so that a test sees the product only from outside, through its sockets,
//! its files and its exit codes. Start reading at [`process`]; [`differential`] is built on all the others.
//! Nothing here waits for a while: every wait polls a condition and has a deadline.

pub mod wait;

pub mod ports;

pub mod process;

pub mod network;

pub mod cluster;

pub mod request;

pub mod command;

pub mod background;

pub mod toy;

pub mod json;

pub mod scrub;

pub mod compare;

pub mod differential;
