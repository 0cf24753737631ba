//! Both sides of the network between agents and servers: against each other, against strangers,
//! and our client against real servers.

mod between;
mod fake;
mod hostile;
mod loopback;
mod real;
mod recorded;
mod samples;
mod secured;
