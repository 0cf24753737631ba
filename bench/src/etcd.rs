//! etcd beside the others, through its JSON gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use testkit::network::Network;
use testkit::ports::free_port;
use testkit::process::peer;
use testkit::request::Client;
use testkit::wait;

const START_MAX: Duration = Duration::from_secs(30);

/// One member, or several on hosts of their own. Killed when dropped.
pub(crate) struct Etcd {
    members: Vec<(Child, SocketAddr)>,
    /// Gone after its members.
    network: Option<Network>,
    _folder: tempfile::TempDir,
}

impl Etcd {
    /// One member on loopback.
    pub(crate) fn alone() -> Self {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::start(None, &[(address(free_port()), address(free_port()))])
    }

    pub(crate) fn cluster(members: usize) -> Self {
        let network = Network::new(members);
        let address = |host, port| SocketAddr::from((network.address(host), port));
        let addresses: Vec<_> =
            (0..members).map(|host| (address(host, 2379), address(host, 2380))).collect();
        Self::start(Some(network), &addresses)
    }

    /// Starts a member at each pair of addresses, for clients and for one another.
    fn start(network: Option<Network>, addresses: &[(SocketAddr, SocketAddr)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let url = |address: &SocketAddr| format!("http://{address}");
        let all: Vec<String> = addresses
            .iter()
            .enumerate()
            .map(|(nth, (_, peers))| format!("member{nth}={}", url(peers)))
            .collect();
        let start = |(nth, (clients, peers)): (usize, &(SocketAddr, SocketAddr))| {
            let mut command = match &network {
                Some(network) => network.command(nth, &peer("etcd")),
                None => Command::new(peer("etcd")),
            };
            command
                .arg(format!("--name=member{nth}"))
                .arg(format!("--data-dir={}", folder.path().join(nth.to_string()).display()))
                .arg(format!("--listen-client-urls={}", url(clients)))
                .arg(format!("--advertise-client-urls={}", url(clients)))
                .arg(format!("--listen-peer-urls={}", url(peers)))
                .arg(format!("--initial-advertise-peer-urls={}", url(peers)))
                .arg(format!("--initial-cluster={}", all.join(",")))
                .arg("--log-level=error");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.spawn().expect("an installed peer runs");
            (child, *clients)
        };
        let members = addresses.iter().enumerate().map(start).collect();
        let etcd = Self { members, network, _folder: folder };
        etcd.leader();
        etcd
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|(child, _)| child.id()).collect()
    }

    /// Where the member that leads listens for clients; waits for one.
    pub(crate) fn leader(&self) -> SocketAddr {
        self.inside(|| {
            wait::until("a leader of etcd", START_MAX, || {
                self.members.iter().map(|(_, address)| *address).find(|address| {
                    let status =
                        Client::new(*address).send("POST", "/v3/maintenance/status", &[], b"{}");
                    let status = status.ok().filter(|answer| answer.status == 200);
                    status.is_some_and(|answer| {
                        let json = answer.json();
                        json["leader"].is_string() && json["leader"] == json["header"]["member_id"]
                    })
                })
            })
        })
    }

    /// Runs `work` where the members can be reached.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.network {
            Some(network) => network.inside(work),
            None => work(),
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for (child, _) in &mut self.members {
            // Ended already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// 36-byte values to 1,000 keys in turn, as a script for wrk. The gateway wants base64.
pub(crate) fn writes() -> String {
    let bodies: Vec<String> = (0..1000)
        .map(|nth| {
            let key = base64(format!("bench/{nth:03}").as_bytes());
            let value = base64(b"0123456789abcdef0123456789abcdef0123");
            format!("'{}'", json!({ "key": key, "value": value }))
        })
        .collect();
    format!(
        "local bodies = {{ {} }}\nlocal counter = 0\nrequest = function()\n  counter = counter + 1\n  \
         return wrk.format(\"POST\", \"/v3/kv/put\", nil, bodies[counter % 1000 + 1])\nend\n",
        bodies.join(", ")
    )
}

/// Of bytes whose number three divides.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_eq!(bytes.len() % 3, 0, "padding is not needed here");
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group = three.iter().fold(0, |group, byte| group << 8 | usize::from(*byte));
        for shift in [18, 12, 6, 0] {
            text.push(char::from(DIGITS[group >> shift & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_the_usual_one() {
        assert_eq!(super::base64(b"Man"), "TWFu");
        assert_eq!(super::base64(b"bench/007"), "YmVuY2gvMDA3");
        assert_eq!(super::base64(&[255, 239, 190]), "/+++");
    }
}
