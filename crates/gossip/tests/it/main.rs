//! One pool with real agents, over real sockets. The machine is driven by a few threads of `std`.

// Only the machine is without input and output; these tests give it sockets, threads and a clock.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod driver;
mod pool;
