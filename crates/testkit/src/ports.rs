//! Free ports for programs that must be told theirs: a real agent cannot choose one itself and say which.
//!
//! Ports come from below the range the kernel hands to outgoing connections, so that no client socket of a parallel
//! test can take one between the reservation and the start of the program.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// First and one past last port handed out. The kernel's own range starts at 32768, sidecars' at 21000.
const RANGE: std::ops::Range<u16> = 10_000..20_000;

/// Where this process goes on; processes start apart from one another by their id.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// The ports of one agent, all distinct.
#[derive(Clone, Debug)]
pub struct Ports {
    pub http: u16,
    pub https: u16,
    pub dns: u16,
    pub grpc: u16,
    pub server: u16,
    pub serf_lan: u16,
    pub serf_wan: u16,
    /// First of the ports given to sidecars that name none; the same for every agent, as agents only hand them out.
    pub sidecar_min: u16,
    pub sidecar_max: u16,
}

impl Ports {
    /// Takes ports that nothing listens on, over TCP and UDP.
    pub fn reserve() -> Ports {
        Ports {
            http: free_port(),
            https: free_port(),
            dns: free_port(),
            grpc: free_port(),
            server: free_port(),
            serf_lan: free_port(),
            serf_wan: free_port(),
            sidecar_min: 21_000,
            sidecar_max: 21_255,
        }
    }

    /// Every port that belongs to this agent alone, by its name in the configuration.
    pub fn own(&self) -> [(&'static str, u16); 7] {
        [
            ("http", self.http),
            ("https", self.https),
            ("dns", self.dns),
            ("grpc", self.grpc),
            ("server", self.server),
            ("serf_lan", self.serf_lan),
            ("serf_wan", self.serf_wan),
        ]
    }
}

/// A port of loopback that is free over TCP and UDP, and that this process gives to nobody else.
pub fn free_port() -> u16 {
    let span = RANGE.end - RANGE.start;
    // 31 ports apart: about what one test takes, so that processes with neighbouring ids rarely meet.
    let start = (std::process::id().wrapping_mul(31) % u32::from(span)) as u16;
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = RANGE.start + (start + step % span) % span;
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no free port from {} to {}", RANGE.start, RANGE.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_ports_of_an_agent_are_distinct() {
        let (a, b) = (Ports::reserve(), Ports::reserve());
        let all: BTreeSet<u16> =
            a.own().iter().chain(b.own().iter()).map(|(_, port)| *port).collect();
        assert_eq!(all.len(), a.own().len() * 2);
    }
}
