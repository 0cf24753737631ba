//! Several whole servers in this process, over streams that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use model::ca::CaConfiguration;
use model::command::{Command, Outcome};
use model::error::ErrorKind;
use model::kv::{DirEntry, KvOp, KvRequest};
use model::operator::{OperatorReply, OperatorRequest};
use model::query::{Consistency, Query, QueryOptions, Reply, Token};
use model::spiffe::{SpiffeId, TrustDomain};
use pki::key::{Curve, KeyKind, PrivateKey};
use replica::duty::{Liveness, Member, MemberServer};
use rpc::Cluster as _;
use server::{Bootstrap, Dial, Server, ServerConfig, Stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::Notify;

/// Longer than any machine should need; a wait that ends here is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who can be reached under which address, and who is cut off.
#[derive(Default)]
struct Network {
    servers: Mutex<BTreeMap<String, Weak<Server>>>,
    cut_off: Mutex<BTreeSet<String>>,
    changed: Notify,
}

struct Dialer {
    network: Arc<Network>,
    own: String,
}

impl Network {
    fn is_cut(&self, one: &str, other: &str) -> bool {
        let cut_off = self.cut_off.lock().unwrap();
        cut_off.contains(one) || cut_off.contains(other)
    }

    fn cut(&self, address: &str) {
        self.cut_off.lock().unwrap().insert(address.to_owned());
    }

    fn heal(&self) {
        self.cut_off.lock().unwrap().clear();
        self.changed.notify_waiters();
    }

    /// Passes bytes on; once cut nothing passes any more, silently, until the connection breaks
    /// with the healing.
    async fn pass(
        self: Arc<Self>,
        ends: (String, String),
        mut from: ReadHalf<DuplexStream>,
        mut to: WriteHalf<DuplexStream>,
    ) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = from.read(&mut buffer).await {
            if self.is_cut(&ends.0, &ends.1) {
                let healed = self.changed.notified();
                if self.is_cut(&ends.0, &ends.1) {
                    healed.await;
                }
                return;
            }
            if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    }
}

impl Dial for Dialer {
    fn dial(&self, address: &str) -> Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>> {
        let (network, own, address) = (self.network.clone(), self.own.clone(), address.to_owned());
        Box::pin(async move {
            let found = network.servers.lock().unwrap().get(&address).and_then(Weak::upgrade);
            let server = found.ok_or(io::ErrorKind::ConnectionRefused)?;
            if network.is_cut(&own, &address) {
                drop(server);
                return std::future::pending().await;
            }
            let (here, out) = tokio::io::duplex(64 * 1024);
            let (there, inner) = tokio::io::duplex(64 * 1024);
            let (out_reader, out_writer) = tokio::io::split(out);
            let (inner_reader, inner_writer) = tokio::io::split(inner);
            let ends = (own, address);
            tokio::spawn(network.clone().pass(ends.clone(), out_reader, inner_writer));
            tokio::spawn(network.pass(ends, inner_reader, out_writer));
            tokio::spawn(async move {
                let served = Arc::downgrade(&server);
                drop(server);
                if let Some(server) = served.upgrade() {
                    let serving = server.accept_link(Box::new(there));
                    serving.await;
                }
            });
            Ok(Box::new(here) as Stream)
        })
    }
}

struct Node {
    address: String,
    dir: TempDir,
    server: Option<Arc<Server>>,
    liveness: Liveness,
    change: fn(&mut ServerConfig),
    bootstrap: Bootstrap,
    id: u64,
}

/// Servers and the gossip among them, which is always right.
struct Cluster {
    network: Arc<Network>,
    nodes: Vec<Node>,
}

impl Cluster {
    async fn new(count: usize) -> Self {
        Self::with(count, |_| ()).await
    }

    /// A cluster in which all vote.
    async fn with(count: usize, change: fn(&mut ServerConfig)) -> Self {
        let mut cluster = Self { network: Arc::default(), nodes: Vec::new() };
        for _ in 0..count {
            cluster.add(Bootstrap::Expect(count as u32), change);
        }
        cluster.tell();
        cluster.all_vote(count).await;
        cluster
    }

    fn add(&mut self, bootstrap: Bootstrap, change: fn(&mut ServerConfig)) -> usize {
        let at = self.nodes.len();
        self.nodes.push(Node {
            address: format!("10.0.0.{at}:8300"),
            dir: tempfile::tempdir().unwrap(),
            server: None,
            liveness: Liveness::Alive,
            change,
            bootstrap,
            id: 0,
        });
        self.start(at);
        at
    }

    fn member(&self, at: usize) -> Member {
        let node = &self.nodes[at];
        let Bootstrap::Expect(expect) = node.bootstrap else {
            return self.member_expecting(at, 0);
        };
        self.member_expecting(at, expect)
    }

    fn member_expecting(&self, at: usize, expect: u32) -> Member {
        let node = &self.nodes[at];
        Member {
            id: format!("uuid-{at}"),
            name: format!("s{at}"),
            address: format!("10.0.0.{at}"),
            liveness: node.liveness,
            server: Some(MemberServer {
                consensus_id: (node.id != 0).then_some(node.id),
                address: node.address.clone(),
                port: 8300,
                expect,
                ..MemberServer::default()
            }),
        }
    }

    fn config(&self, at: usize) -> ServerConfig {
        let node = &self.nodes[at];
        let dialer = Dialer { network: self.network.clone(), own: node.address.clone() };
        let mut config = ServerConfig::new("dc1");
        config.data_dir = Some(node.dir.path().into());
        config.advertise.clone_from(&node.address);
        config.member = Some(self.member(at));
        config.dial = Some(Arc::new(dialer));
        config.bootstrap = node.bootstrap;
        config.autopilot.server_stabilization_time = model::duration::GoDuration::from_millis(300);
        config.autopilot.last_contact_threshold = model::duration::GoDuration::from_secs(1);
        (node.change)(&mut config);
        config
    }

    fn start(&mut self, at: usize) {
        let server = Arc::new(Server::start(self.config(at)).unwrap());
        let node = &mut self.nodes[at];
        node.id = server.consensus_id();
        node.liveness = Liveness::Alive;
        let address = node.address.clone();
        self.network.servers.lock().unwrap().insert(address, Arc::downgrade(&server));
        node.server = Some(server);
    }

    /// Ends a server as a crash does: nothing is handed over.
    async fn kill(&mut self, at: usize) {
        let server = self.nodes[at].server.take().unwrap();
        self.network.servers.lock().unwrap().remove(&self.nodes[at].address);
        server.abort().await;
        drop(server);
    }

    async fn stop(&mut self, at: usize) {
        let server = self.nodes[at].server.take().unwrap();
        server.shutdown().await;
        self.network.servers.lock().unwrap().remove(&self.nodes[at].address);
    }

    fn tell(&self) {
        let members: Vec<Member> = (0..self.nodes.len()).map(|at| self.member(at)).collect();
        for server in self.nodes.iter().filter_map(|node| node.server.as_ref()) {
            server.set_members(members.clone()).unwrap();
        }
    }

    fn server(&self, at: usize) -> &Arc<Server> {
        self.nodes[at].server.as_ref().expect("it runs")
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|at| self.nodes[*at].server.is_some())
    }

    fn leader(&self) -> Option<usize> {
        let is_reachable =
            |at: &usize| !self.network.cut_off.lock().unwrap().contains(&self.nodes[*at].address);
        self.running().filter(is_reachable).find(|at| self.server(*at).leadership().is_ready)
    }

    async fn await_leader(&self) -> usize {
        until("a leader", || self.leader()).await
    }

    async fn all_vote(&self, count: usize) {
        until("all vote", || {
            let is_so = |at| self.server(at).membership().voters.len() == count;
            self.running().all(is_so).then_some(())
        })
        .await;
    }

    async fn put(&self, at: usize, key: &str) {
        let outcome = self.server(at).command(set(key), Token::default()).await.unwrap();
        assert_eq!(outcome, Outcome::Done, "{key}");
    }

    async fn get(&self, at: usize, key: &str, consistency: Consistency) -> Option<String> {
        let options = QueryOptions { consistency, ..QueryOptions::default() };
        let query = Query::KvGet { key: key.into() };
        value(&self.server(at).query(query, options).await.unwrap().body.reply)
    }

    async fn all_have(&self, key: &str) {
        until("all have it", || {
            let is_so = |at| self.server(at).state().kv_entry(key).is_some();
            self.running().all(is_so).then_some(())
        })
        .await;
    }

    fn others(&self, than: usize) -> Vec<usize> {
        self.running().filter(|at| *at != than).collect()
    }
}

/// Waits for a condition, a bounded time.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "never came to be: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn set(key: &str) -> Command {
    let entry = DirEntry { key: key.into(), value: key.into(), ..DirEntry::default() };
    Command::Kv(KvRequest { op: KvOp::Set, entry })
}

fn value(reply: &Reply) -> Option<String> {
    let Reply::KvEntries(rows) = reply else { panic!("{reply:?}") };
    rows.first().map(|row| String::from_utf8(row.value.clone()).unwrap())
}

fn impatient(config: &mut ServerConfig) {
    config.tunables.leader_hold = Duration::from_millis(300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_server_takes_writes_and_answers_reads() {
    let cluster = Cluster::new(3).await;
    for round in 0..5 {
        for at in 0..3 {
            let key = format!("{round}/{at}");
            cluster.put(at, &key).await;
            // Read on every server at once: never less than what was acknowledged.
            for reader in 0..3 {
                for consistency in [Consistency::Default, Consistency::Consistent] {
                    let found = cluster.get(reader, &key, consistency).await;
                    assert_eq!(found.as_deref(), Some(key.as_str()), "{at} to {reader}");
                }
            }
        }
    }
    let leader = cluster.await_leader().await;
    for at in 0..3 {
        let status = cluster.server(at).status();
        assert_eq!(status.leader.as_ref(), Some(&cluster.nodes[leader].address));
        assert_eq!(status.peers.len(), 3);
    }
    let forwarded = cluster.server(cluster.others(leader)[0]).metrics().requests_forwarded;
    assert!(forwarded > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_query_on_a_follower_wakes() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.await_leader().await;
    let follower = cluster.others(leader)[0];
    cluster.put(leader, "k").await;
    let query = Query::KvGet { key: "other".into() };
    let server = cluster.server(follower).clone();
    let first = server.query(query.clone(), QueryOptions::default()).await.unwrap();
    let options = QueryOptions { min_index: first.meta.index, ..QueryOptions::default() };
    let waiting = tokio::spawn(async move { server.query(query, options).await.unwrap() });
    until("it waits", || (cluster.server(follower).metrics().waiters == 1).then_some(())).await;
    cluster.put(leader, "other").await;
    let answer = waiting.await.unwrap();
    assert_eq!(value(&answer.body.reply).as_deref(), Some("other"));
    assert!(answer.meta.index > first.meta.index);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_go_on_when_the_leader_dies_and_it_comes_back() {
    let mut cluster = Cluster::new(3).await;
    for round in 0..3 {
        let leader = cluster.await_leader().await;
        cluster.kill(leader).await;
        let follower = cluster.others(leader)[0];
        let key = format!("after {round}");
        cluster.put(follower, &key).await;
        cluster.start(leader);
        cluster.tell();
        cluster.all_have(&key).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_restart_with_their_disks() {
    let mut cluster = Cluster::new(3).await;
    cluster.put(0, "before").await;
    for at in 0..3 {
        cluster.kill(at).await;
    }
    for at in [2, 0, 1] {
        cluster.start(at);
    }
    // Nobody tells them of each other: the log knows where the others are.
    let found = cluster.get(1, "before", Consistency::Consistent).await;
    assert_eq!(found.as_deref(), Some("before"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_stop_hands_over() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.await_leader().await;
    let term = cluster.server(leader).leadership().term;
    cluster.stop(leader).await;
    // It was followed by another before it ended, in the very next term.
    let new = cluster.await_leader().await;
    assert_eq!(cluster.server(new).leadership().term, term + 1);
    cluster.put(cluster.others(new)[0], "k").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_refuses_and_says_how_old_its_data_is() {
    let cluster = Cluster::with(3, impatient).await;
    cluster.put(0, "k").await;
    cluster.all_have("k").await;
    let old = cluster.await_leader().await;
    cluster.network.cut(&cluster.nodes[old].address);
    let server = cluster.server(old);
    until("it steps down", || (!server.leadership().is_leader).then_some(())).await;
    let refused = server.command(set("lost"), Token::default()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NoLeader);
    for consistency in [Consistency::Default, Consistency::Consistent] {
        let options = QueryOptions { consistency, ..QueryOptions::default() };
        let query = Query::KvGet { key: "k".into() };
        assert!(server.query_now(&query, &options).is_none());
        let refused = server.query(query, options).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::NoLeader);
    }
    let stale = QueryOptions { consistency: Consistency::Stale, ..QueryOptions::default() };
    let query = Query::KvGet { key: "k".into() };
    let answer = server.query_now(&query, &stale).unwrap().unwrap();
    assert!(!answer.meta.known_leader && answer.meta.last_contact > Duration::ZERO);
    let picky = QueryOptions { max_stale: Some(Duration::from_nanos(1)), ..stale };
    assert!(server.query_now(&query, &picky).is_none());
    assert_eq!(server.query(query, picky).await.unwrap_err().kind, ErrorKind::NoLeader);

    let new = cluster.await_leader().await;
    assert_ne!(new, old);
    cluster.put(new, "kept").await;
    cluster.network.heal();
    cluster.all_have("kept").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_five_may_fail() {
    let mut cluster = Cluster::new(5).await;
    let leader = cluster.await_leader().await;
    cluster.kill(leader).await;
    let next = cluster.await_leader().await;
    cluster.kill(next).await;
    let last = cluster.await_leader().await;
    cluster.put(cluster.others(last)[0], "k").await;
    cluster.all_have("k").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lags_gets_a_snapshot_and_keeps_it() {
    let short = |config: &mut ServerConfig| {
        config.tunables.snapshot_threshold = 50;
        config.tunables.trailing_entries = 10;
    };
    let mut cluster = Cluster::with(3, short).await;
    let leader = cluster.await_leader().await;
    let far = cluster.others(leader)[0];
    cluster.kill(far).await;
    for number in 0..200 {
        cluster.put(leader, &format!("k{number}")).await;
    }
    cluster.start(far);
    cluster.tell();
    cluster.all_have("k199").await;
    assert!(cluster.server(far).metrics().snapshots_received > 0);
    cluster.put(leader, "after").await;
    cluster.all_have("after").await;
    cluster.kill(far).await;
    cluster.start(far);
    let stale = cluster.server(far).state();
    assert!(stale.kv_entry("k199").is_some());
    cluster.put(far, "again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_come_and_go() {
    let mut cluster = Cluster::new(3).await;
    cluster.put(0, "k").await;
    let new = cluster.add(Bootstrap::Join, |_| ());
    cluster.tell();
    cluster.all_vote(4).await;
    assert_eq!(cluster.get(new, "k", Consistency::Default).await.as_deref(), Some("k"));

    // One leaves for good, the leader even.
    let leader = cluster.await_leader().await;
    let left = cluster.nodes[leader].server.take().unwrap();
    left.leave().await;
    cluster.nodes[leader].liveness = Liveness::Left;
    cluster.tell();
    cluster.all_vote(3).await;

    // Another dies: with three left nobody is let go, a replacement changes that.
    let dead = cluster.others(cluster.await_leader().await)[0];
    cluster.kill(dead).await;
    cluster.nodes[dead].liveness = Liveness::Failed;
    cluster.tell();
    cluster.add(Bootstrap::Join, |_| ());
    cluster.tell();
    let gone = cluster.nodes[dead].id;
    until("the dead one is gone", || {
        let is_so = |at| {
            let membership = cluster.server(at).membership();
            membership.voters.len() == 3 && !membership.servers().contains(&gone)
        };
        cluster.running().all(is_so).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_and_move_things() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.await_leader().await;
    let follower = cluster.others(leader)[0];
    let server = cluster.server(follower);
    let shown = server.operator(OperatorRequest::RaftConfiguration, Token::default()).await;
    let OperatorReply::RaftConfiguration(shown) = shown.unwrap() else { panic!() };
    assert_eq!(shown.servers.len(), 3);
    let row = shown.servers.iter().find(|row| row.leader).unwrap();
    assert_eq!(
        (row.node.clone(), row.id.clone()),
        (format!("s{leader}"), format!("uuid-{leader}"))
    );
    assert_eq!(row.address, cluster.nodes[leader].address);

    let to = OperatorRequest::TransferLeadership(Some(format!("uuid-{follower}")));
    server.operator(to, Token::default()).await.unwrap();
    until("it leads", || (cluster.leader() == Some(follower)).then_some(())).await;

    let unknown = OperatorRequest::RemovePeerById("nobody".into());
    let refused = server.operator(unknown, Token::default()).await.unwrap_err();
    assert_eq!(refused.message, "id \"nobody\" was not found in the Raft configuration");
    until_healthy(&cluster, follower).await;
}

async fn until_healthy(cluster: &Cluster, at: usize) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let reply = cluster.server(at).operator(OperatorRequest::Health, Token::default()).await;
        let OperatorReply::Health(health) = reply.unwrap() else { panic!() };
        if health.healthy && health.failure_tolerance == 1 && health.servers.len() == 3 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "never healthy: {health:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_founded_once_in_any_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut cluster = Cluster { network: Arc::default(), nodes: Vec::new() };
        for _ in 0..3 {
            cluster.add(Bootstrap::Expect(3), |_| ());
        }
        for at in 0..3 {
            cluster.kill(at).await;
        }
        // Each sees those who have come so far.
        for at in order {
            cluster.start(at);
            let members: Vec<Member> = cluster.running().map(|at| cluster.member(at)).collect();
            for at in cluster.running() {
                cluster.server(at).set_members(members.clone()).unwrap();
            }
        }
        cluster.all_vote(3).await;
        let ids: BTreeSet<u64> =
            cluster.running().map(|at| cluster.server(at).membership().cluster_id).collect();
        assert_eq!(ids.len(), 1);
    }
}

/// Four servers that expect three, each with another view of who is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn founders_with_different_views_do_not_found_two_clusters() {
    for _ in 0..5 {
        let mut cluster = Cluster { network: Arc::default(), nodes: Vec::new() };
        for _ in 0..4 {
            cluster.add(Bootstrap::Expect(3), |_| ());
        }
        for at in 0..4 {
            let seen = (0..4).filter(|other| *other != (at + 1) % 4);
            let members: Vec<Member> = seen.map(|other| cluster.member(other)).collect();
            cluster.server(at).set_members(members).unwrap();
        }
        // Gossip comes to agree.
        cluster.tell();
        cluster.all_vote(4).await;
        let ids: BTreeSet<u64> =
            cluster.running().map(|at| cluster.server(at).membership().cluster_id).collect();
        assert_eq!(ids.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peers_file_revives_what_is_left() {
    let mut cluster = Cluster::with(3, impatient).await;
    cluster.put(0, "k").await;
    cluster.all_have("k").await;
    for at in 0..3 {
        cluster.kill(at).await;
    }
    let raft = cluster.nodes[2].dir.path().join("raft");
    let rows = r#"[{"id": "uuid-2", "address": "10.0.0.2:8300", "non_voter": false}]"#;
    std::fs::write(raft.join("peers.json"), rows).unwrap();
    cluster.start(2);
    cluster.server(2).ready().await.unwrap();
    assert_eq!(cluster.get(2, "k", Consistency::Consistent).await.as_deref(), Some("k"));
    assert!(raft.join("peers.info").exists() && !raft.join("peers.json").exists());
    // A lost one that comes back is of another cluster.
    cluster.start(0);
    cluster.put(2, "alone").await;
    let options = QueryOptions::default();
    let query = Query::KvGet { key: "k".into() };
    let refused = cluster.server(0).query(query, options).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NoLeader);
    assert!(cluster.server(0).state().kv_entry("alone").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaves_are_signed_by_any_server() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.await_leader().await;
    let follower = cluster.others(leader)[0];
    let server = cluster.server(follower);
    let roots = || {
        let query = server.query_now(
            &Query::CaRoots,
            &QueryOptions { consistency: Consistency::Stale, ..QueryOptions::default() },
        );
        match &query?.ok()?.body.reply {
            Reply::CaRoots(roots) if !roots.roots.is_empty() => Some(roots.clone()),
            _ => None,
        }
    };
    let roots = until("roots", roots).await;
    let domain: TrustDomain = roots.trust_domain.parse().unwrap();
    let id = SpiffeId::service(&domain, "dc1", "web").unwrap();
    let key = PrivateKey::generate(KeyKind::Ec(Curve::P256)).unwrap();
    let csr = pki::csr::build(&key, &id).unwrap();
    let leaf = server.sign_leaf(csr, Token::default()).await.unwrap();
    assert!(leaf.cert_pem.contains("BEGIN CERTIFICATE"));
    // A rotation asked of a follower is the leader's.
    let config = serde_json::json!({"PrivateKeyType": "ec", "PrivateKeyBits": 384});
    let config = CaConfiguration {
        provider: "consul".into(),
        config: serde_json::from_value(config).unwrap(),
        ..CaConfiguration::default()
    };
    server.configure_ca(config, Token::default()).await.unwrap();
    let answer = server.query(Query::CaRoots, QueryOptions::default()).await.unwrap();
    let Reply::CaRoots(rotated) = &answer.body.reply else { panic!() };
    assert_ne!(rotated.active_root_id, roots.active_root_id);
}

/// Every sync of the first leader counts as slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_slow_disk_hands_over() {
    let mut cluster = Cluster::new(3).await;
    let slow = cluster.await_leader().await;
    cluster.kill(slow).await;
    cluster.nodes[slow].change = |config| {
        config.tunables.slow_sync = Duration::ZERO;
        config.tunables.slow_sync_span = Duration::ZERO;
    };
    cluster.start(slow);
    cluster.tell();
    cluster.put(slow, "k").await;
    cluster.all_have("k").await;
    let leader = cluster.await_leader().await;
    let to = OperatorRequest::TransferLeadership(Some(format!("uuid-{slow}")));
    // It has known since its first write that it is slow, so it may not even be voted for.
    let _ = cluster.server(leader).operator(to, Token::default()).await;
    for number in 0..20 {
        cluster.put(slow, &number.to_string()).await;
    }
    until("another leads", || cluster.leader().filter(|at| *at != slow)).await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// As when a virtual machine is put back to an older snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_put_back_is_noticed_and_catches_up() {
    let mut cluster = Cluster::new(3).await;
    cluster.put(0, "before").await;
    cluster.all_have("before").await;
    let leader = cluster.await_leader().await;
    let victim = cluster.others(leader)[0];
    cluster.stop(victim).await;
    let saved = tempfile::tempdir().unwrap();
    let raft = cluster.nodes[victim].dir.path().join("raft");
    copy(&raft, saved.path());
    cluster.start(victim);
    cluster.tell();
    for number in 0..20 {
        cluster.put(leader, &number.to_string()).await;
    }
    cluster.all_have("19").await;
    cluster.kill(victim).await;
    std::fs::remove_dir_all(&raft).unwrap();
    copy(saved.path(), &raft);
    cluster.start(victim);
    cluster.tell();
    until("noticed", || (cluster.server(victim).metrics().rollbacks > 0).then_some(())).await;
    cluster.all_have("19").await;
    until("votes again", || (cluster.server(victim).metrics().rolled_back == 0).then_some(()))
        .await;
    cluster.put(victim, "after").await;
}

/// A second server with a copied data directory says who it is, and is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_data_directory_does_not_disturb() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.await_leader().await;
    let original = cluster.others(leader)[0];
    cluster.stop(original).await;
    let twin = cluster.nodes.len();
    cluster.add(Bootstrap::Join, |_| ());
    cluster.stop(twin).await;
    let raft = cluster.nodes[twin].dir.path().join("raft");
    std::fs::remove_dir_all(&raft).unwrap();
    copy(&cluster.nodes[original].dir.path().join("raft"), &raft);
    cluster.start(original);
    cluster.start(twin);
    for number in 0..20 {
        cluster.put(leader, &number.to_string()).await;
    }
    let all = cluster.others(twin);
    until("both have it", || {
        all.iter().all(|at| cluster.server(*at).state().kv_entry("19").is_some()).then_some(())
    })
    .await;
}
