//! Hosts on one machine: network namespaces on one switch, each with an address of its own and the usual ports free.
//!
//! Names carry the process id, so that test runs side by side never meet; what was made is removed when dropped. Needs
//! root. A cut is made where a broken cable is: what one host sends the other arrives nowhere,
//! silently, and existing connections stall.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::command;
use crate::process::peer;

/// The link address of nobody: frames sent there are dropped by the switch.
const NOWHERE: &str = "02:00:00:00:00:01";
/// Where the kernel keeps named namespaces.
const NAMESPACES: &str = "/run/netns";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A switch with hosts on it.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    hosts: usize,
}

impl Network {
    /// Makes `hosts` hosts, numbered from 0. Panics with what is missing when that is not possible.
    pub fn new(hosts: usize) -> Network {
        assert!(hosts < 200, "host numbers end the address");
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let network = Network { prefix: format!("lt{}x{id}", std::process::id()), hosts };
        let switch = network.switch();
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "set", "lo", "up"]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "addr", "add", "10.77.0.254/24", "dev", "br0"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for host in 0..hosts {
            let (name, port) = (network.name(host), format!("p{host}"));
            let address = format!("{}/24", network.address(host));
            ip(&["netns", "add", &name]);
            let pair = ["link", "add", &port, "type", "veth", "peer", "name", "eth0"];
            ip(&[&["-n", &switch], &pair[..], &["netns", &name]].concat());
            ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
            ip(&["-n", &name, "link", "set", "lo", "up"]);
            ip(&["-n", &name, "addr", "add", &address, "dev", "eth0"]);
            ip(&["-n", &name, "link", "set", "eth0", "up"]);
            // Sidecars and tests on a host speak to it by its own address, others through the switch.
            ip(&["-n", &name, "route", "add", "default", "via", "10.77.0.254"]);
        }
        network
    }

    pub fn hosts(&self) -> usize {
        self.hosts
    }

    pub fn address(&self, host: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, host as u8 + 1)
    }

    /// `program`, to be run on a host.
    pub fn command(&self, host: usize, program: &Path) -> Command {
        let mut command = command(&peer("ip"));
        command.args(["netns", "exec", &self.name(host)]).arg(program);
        command
    }

    /// Runs `work` on a thread that reaches every host, from the switch.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        enter(&self.switch(), work)
    }

    /// A way to where [`Network::inside`] is, for threads that outlive a look at the network.
    pub fn door(&self) -> Door {
        Door { switch: self.switch() }
    }

    /// Runs `work` on a thread of `host`. What it binds and starts is on that host, threads and programs, too.
    pub fn on<T: Send>(&self, host: usize, work: impl FnOnce() -> T + Send) -> T {
        enter(&self.name(host), work)
    }

    /// From now on nothing `from` sends reaches `to`. The other way stays open.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        let to = self.address(to).to_string();
        let name = self.name(from);
        ip(&[
            "-n",
            &name,
            "neigh",
            "replace",
            &to,
            "lladdr",
            NOWHERE,
            "dev",
            "eth0",
            "nud",
            "permanent",
        ]);
    }

    /// Cuts every line between a host of one side and a host of the other.
    pub fn partition(&self, one: &[usize], other: &[usize]) {
        for (&a, &b) in one.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
            self.cut_one_way(a, b);
            self.cut_one_way(b, a);
        }
    }

    /// Mends every cut.
    pub fn heal(&self) {
        for host in 0..self.hosts {
            ip(&["-n", &self.name(host), "neigh", "flush", "nud", "permanent", "dev", "eth0"]);
        }
    }

    fn name(&self, host: usize) -> String {
        format!("{}h{host}", self.prefix)
    }

    fn switch(&self) -> String {
        format!("{}sw", self.prefix)
    }
}

/// See [`Network::door`].
#[derive(Clone, Debug)]
pub struct Door {
    switch: String,
}

impl Door {
    /// As [`Network::inside`].
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        enter(&self.switch, work)
    }
}

/// Runs `work` on a thread within a namespace.
fn enter<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let path = Path::new(NAMESPACES).join(name);
    let namespace = File::open(&path).expect("a namespace that was made can be opened");
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter a namespace it made");
            work()
        });
        match inside.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Drop for Network {
    fn drop(&mut self) {
        let names = (0..self.hosts).map(|host| self.name(host)).chain([self.switch()]);
        for name in names {
            // What is gone already need not be removed; a second panic would hide the first.
            let _ = Command::new(peer("ip")).args(["netns", "del", &name]).output();
        }
    }
}

fn ip(args: &[&str]) {
    let output = Command::new(peer("ip")).args(args).output().expect("an installed peer runs");
    assert!(
        output.status.success(),
        "ip {} failed, are you root? {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    /// Whether a datagram from one host arrives at another.
    fn arrives(network: &Network, from: usize, to: usize) -> bool {
        let bind = |host| network.on(host, || UdpSocket::bind((network.address(host), 0)).unwrap());
        let (receiver, sender) = (bind(to), bind(from));
        sender.send_to(b"x", receiver.local_addr().unwrap()).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        match receiver.recv(&mut [0; 8]) {
            Ok(_) => true,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
                false
            }
        }
    }

    #[test]
    fn hosts_reach_each_other_until_the_line_is_cut() {
        let network = Network::new(3);
        assert!(arrives(&network, 0, 1) && arrives(&network, 1, 0));
        network.cut_one_way(0, 1);
        assert!(!arrives(&network, 0, 1));
        assert!(arrives(&network, 1, 0) && arrives(&network, 0, 2));
        network.partition(&[2], &[0, 1]);
        assert!(!arrives(&network, 2, 0) && !arrives(&network, 1, 2));
        network.heal();
        assert!(arrives(&network, 0, 1) && arrives(&network, 2, 0) && arrives(&network, 1, 2));
    }
}
