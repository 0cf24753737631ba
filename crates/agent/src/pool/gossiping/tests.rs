//! Pools over real sockets on loopback.

use std::net::{Ipv4Addr, SocketAddr};

use gossip::{Config, Keyring, Profile};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

/// Longest wait for pools to agree.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sockets on one free port, over UDP and TCP.
async fn sockets() -> (SocketAddr, PoolSockets) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = tcp.local_addr().unwrap();
        // Another program may hold the same number over UDP.
        if let Ok(udp) = UdpSocket::bind(address).await {
            return (address, PoolSockets { udp, tcp });
        }
    }
}

/// One agent's pool; ended when dropped.
struct Node {
    gossiping: Arc<Gossiping>,
    address: SocketAddr,
    life: Life,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.life.stop.cancel();
    }
}

struct Start<'a> {
    name: &'a str,
    datacenter: &'a str,
    is_server: bool,
    keys: Option<Keyring>,
}

impl Start<'_> {
    async fn node(&self) -> Node {
        let (address, lan_sockets) = sockets().await;
        let life = Life { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let mut gossip = Config::new(self.name, address, u64::from(address.port()));
        gossip.keyring = self.keys.clone();
        gossip.profile = Profile {
            gossip_interval: Duration::from_millis(10),
            leave_propagate: Duration::from_millis(50),
            ..Profile::lan()
        };
        let role = if self.is_server { "consul" } else { "node" };
        let mut tags = vec![("dc", self.datacenter), ("role", role), ("id", self.name)];
        tags.extend([("segment", ""), ("port", "8300"), ("vsn", "2"), ("build", "1.8.7:")]);
        let tags = tags.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        gossip.tags = tags.collect();
        let lan = PoolSettings {
            gossip,
            snapshot_file: None,
            keyring_file: None,
            rejoin_after_leave: false,
        };
        let settings = GossipSettings {
            node_name: self.name.to_owned(),
            node_id: self.name.to_owned(),
            datacenter: self.datacenter.to_owned(),
            is_server: self.is_server,
            disable_coordinates: false,
            lan: (lan, lan_sockets),
            wan: None,
        };
        let gossiping = Gossiping::start(settings, &life).unwrap();
        Node { gossiping, address, life }
    }
}

fn client(name: &str) -> Start<'_> {
    Start { name, datacenter: "dc1", is_server: false, keys: None }
}

impl Node {
    /// Waits until `name` has `status` here.
    async fn until(&self, name: &str, status: Status) {
        let mut changes = self.gossiping.lan().changes();
        let wait = async {
            while self.gossiping.lan().member(name).is_none_or(|found| found.status != status) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the pool agrees in time");
    }

    async fn join(&self, other: &Node) -> Result<usize, Error> {
        self.gossiping.join(vec![other.address.to_string()], false).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_join_hear_events_and_leave() {
    let (a, b) = (client("a").node().await, client("b").node().await);
    assert_eq!(b.join(&a).await, Ok(1));
    a.until("b", Status::Alive).await;
    b.until("a", Status::Alive).await;

    let event = UserEvent { id: "1".into(), name: "deploy".into(), ..UserEvent::default() };
    let mut heard = Membership::events(&*b.gossiping);
    a.gossiping.fire_event(event).await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, heard.wait_for(|events| !events.is_empty()));
    assert_eq!(heard.await.unwrap().unwrap()[0].name, "deploy");

    let mut leaders = b.gossiping.leader_changes();
    a.gossiping.announce_leader();
    tokio::time::timeout(PATIENCE, leaders.changed()).await.unwrap().unwrap();

    b.gossiping.leave().await;
    a.until("b", Status::Left).await;
    a.gossiping.force_leave("b".into(), true).await.unwrap();
    let unknown = a.gossiping.force_leave("x".into(), false).await.unwrap_err();
    assert_eq!(unknown.to_string(), "agent: No node found with name 'x'");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_and_strangers_are_named() {
    let a = client("a").node().await;
    let (gone, sockets) = sockets().await;
    drop(sockets);
    let error = a.gossiping.join(vec![gone.to_string()], false).await.unwrap_err();
    assert!(error.to_string().contains(&format!("Failed to join {gone}")), "{error}");

    let foreign = Start { datacenter: "dc2", ..client("b") }.node().await;
    // Either side keeps the other out.
    let _ = a.join(&foreign).await;
    assert_eq!(a.gossiping.lan().members().len(), 1);
    assert_eq!(foreign.gossiping.lan().members().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_kind_is_kept_out() {
    let foreign = Start { is_server: true, ..client("real") }.node().await;
    let own = Start { is_server: true, ..client("own") }.node().await;
    let _ = own.join(&foreign).await;
    assert!(own.gossiping.lan().member("real").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_all_are_seen_and_changed() {
    let key = |byte| Key::new(&[byte; 16]).unwrap();
    let keys = || Some(Keyring::new([key(1)]).unwrap());
    let a = Start { keys: keys(), ..client("a") }.node().await;
    let b = Start { keys: keys(), ..client("b") }.node().await;
    assert_eq!(b.join(&a).await, Ok(1));
    a.until("b", Status::Alive).await;
    let ask = async |operation| {
        let request = KeyringRequest { operation, relay_factor: 0, local_only: false };
        a.gossiping.keyring(request).await.unwrap().remove(0)
    };
    let next = GossipKey(key(2).to_base64());
    let row = ask(KeyringOperation::Install(next.clone())).await;
    assert_eq!((row.error.as_str(), row.num_nodes), ("", 2));
    ask(KeyringOperation::Use(next.clone())).await;
    let row = ask(KeyringOperation::List).await;
    assert_eq!(row.keys.get(&next.0), Some(&2));
    assert_eq!(row.primary_keys.get(&next.0), Some(&2));
    let row = ask(KeyringOperation::Remove(next)).await;
    assert_ne!(row.error, "", "a key in use stays");
    // Without the key nobody gets in.
    let stranger = client("c").node().await;
    assert!(stranger.join(&a).await.is_err());
}

#[test]
fn a_stopped_server_is_not_taken_for_a_living_one() {
    let start = std::time::Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let lives = |told: &[u64]| {
        let mut known = None;
        for seconds in told {
            Foreign::told(&mut known, "old", at(*seconds));
        }
        known.is_some_and(|known| known.lives())
    };
    assert!(!lives(&[0]));
    assert!(!lives(&[0, 1, 8]));
    assert!(lives(&[0, 30]));
    assert!(!lives(&[0, 300]), "another occasion");
}
