//! Several machines with fast disks and a network that can be cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::kv::{DirEntry, KvOp, KvRequest};
use model::operator::{OperatorReply, OperatorRequest};
use rand::SeedableRng;
use rand::rngs::StdRng;
use replica::duty::{Liveness, Member, MemberServer};
use replica::{
    Effect, HardState, Input, LogEntry, Membership, Message, Mono, Note, Now, Peer, Recovered,
    Replica, ReplicaConfig, RequestId, Response, Snapshot,
};

enum Parcel {
    Message(Box<Message>),
    Snapshot(Box<Message>, Box<Snapshot>),
    Note(Note),
}

/// What a disk holds.
#[derive(Clone, Default)]
struct Disk {
    snapshot: Option<Snapshot>,
    hard_state: HardState,
    entries: Vec<LogEntry>,
    boundary: Option<(u64, u64)>,
    membership: Membership,
}

struct Machine {
    replica: Replica,
    disk: Disk,
    replies: BTreeMap<u64, Result<Response, Error>>,
    lease: Mono,
    is_rolled_back: bool,
    rollbacks: u64,
    received: u64,
}

#[derive(Default)]
struct Cluster {
    machines: BTreeMap<u64, Machine>,
    wire: VecDeque<(u64, u64, Parcel)>,
    isolated: BTreeSet<u64>,
    members: Vec<Member>,
    now: Now,
    next_request: u64,
    snapshot_threshold: u64,
}

const TICK: Duration = Duration::from_millis(50);

fn member(id: u64) -> Member {
    Member {
        id: format!("uuid-{id}"),
        name: format!("s{id}"),
        address: "10.0.0.1".into(),
        server: Some(MemberServer {
            consensus_id: Some(id),
            address: format!("10.0.0.1:{id}"),
            ..MemberServer::default()
        }),
        ..Member::default()
    }
}

impl Cluster {
    /// Server 1 founds a cluster with the others.
    fn new(count: u64) -> Self {
        let mut cluster = Self { snapshot_threshold: 1000, ..Self::default() };
        cluster.members = (1..=count).map(member).collect();
        let peers = (1..=count).map(|id| (id, Peer::default())).collect();
        let founding = Snapshot::founding(Membership::founded_by(1, peers));
        for id in 1..=count {
            let snapshot = (id == 1).then(|| founding.clone());
            cluster.start(id, Disk { snapshot, ..Disk::default() });
        }
        cluster.tell_members();
        cluster.until("all vote", |c| c.at(1).replica.membership().voters.len() as u64 == count);
        cluster
    }

    fn start(&mut self, id: u64, disk: Disk) {
        let config = ReplicaConfig {
            snapshot_threshold: self.snapshot_threshold,
            trailing_entries: 5,
            ..ReplicaConfig::new(id, "dc1")
        };
        let Disk { snapshot, hard_state, entries, boundary, membership } = disk.clone();
        let recovered = Recovered { snapshot, hard_state, entries, boundary, membership };
        let replica = Replica::new(config, recovered, StdRng::seed_from_u64(id)).unwrap();
        let machine = Machine {
            replica,
            disk,
            replies: BTreeMap::new(),
            lease: Mono::default(),
            is_rolled_back: false,
            rollbacks: 0,
            received: 0,
        };
        self.machines.insert(id, machine);
        self.give(id, Input::Members(self.members.clone()));
    }

    fn stop(&mut self, id: u64) -> Disk {
        self.machines.remove(&id).expect("it runs").disk
    }

    fn at(&self, id: u64) -> &Machine {
        &self.machines[&id]
    }

    fn tell_members(&mut self) {
        for id in self.machines.keys().copied().collect::<Vec<_>>() {
            self.give(id, Input::Members(self.members.clone()));
        }
    }

    fn give(&mut self, id: u64, input: Input) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        let mut effects = Vec::new();
        machine.replica.step(input, self.now, &mut effects);
        loop {
            machine.replica.flush(self.now, &mut effects);
            if effects.is_empty() {
                return;
            }
            let mut next = Vec::new();
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Persist(persist) => {
                        let ticket = persist.ticket;
                        machine.disk.write(persist);
                        let input = Input::Persisted { ticket };
                        machine.replica.step(input, self.now, &mut next);
                    }
                    Effect::Send(messages) => {
                        for m in messages {
                            self.wire.push_back((id, m.to, Parcel::Message(Box::new(m))));
                        }
                    }
                    Effect::SendSnapshot { message, snapshot } => {
                        let to = message.to;
                        let parcel = Parcel::Snapshot(message, Box::new(snapshot));
                        self.wire.push_back((id, to, parcel));
                    }
                    Effect::Note { to, note } => self.wire.push_back((id, to, Parcel::Note(note))),
                    Effect::Reply { request, result } => {
                        machine.replies.insert(request.0, result);
                    }
                    Effect::Lease(until) => machine.lease = until,
                    Effect::RolledBack(known) => {
                        machine.is_rolled_back = known.is_some();
                        machine.rollbacks += u64::from(known.is_some());
                    }
                    Effect::SaveSnapshot(snapshot) => {
                        let index = snapshot.index;
                        machine.disk.snapshot = Some(snapshot);
                        let input = Input::SnapshotSaved { index };
                        machine.replica.step(input, self.now, &mut next);
                    }
                    Effect::Compact { through } => {
                        machine.disk.entries.retain(|entry| entry.index > through);
                    }
                    Effect::Halt(cause) => panic!("{cause}"),
                    _ => {}
                }
            }
            effects = next;
        }
    }

    fn deliver(&mut self) {
        while let Some((from, to, parcel)) = self.wire.pop_front() {
            if self.isolated.contains(&from) || self.isolated.contains(&to) {
                if matches!(parcel, Parcel::Snapshot(..)) {
                    self.give(from, Input::SnapshotSent { to, is_received: false });
                }
                continue;
            }
            match parcel {
                Parcel::Message(message) => self.give(to, Input::Message(message)),
                Parcel::Note(note) => self.give(to, Input::Note { from, note }),
                Parcel::Snapshot(message, snapshot) => {
                    if let Some(machine) = self.machines.get_mut(&to) {
                        machine.received += 1;
                    }
                    self.give(to, Input::SnapshotReceived { message, snapshot });
                    self.give(from, Input::SnapshotSent { to, is_received: true });
                }
            }
        }
    }

    fn tick(&mut self) {
        self.now.mono = self.now.mono.plus(TICK);
        for id in self.machines.keys().copied().collect::<Vec<_>>() {
            self.give(id, Input::Tick);
            self.deliver();
        }
    }

    #[track_caller]
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if is_so(self) {
                return;
            }
            self.tick();
        }
        panic!("never came to be: {what}");
    }

    fn leader(&self) -> Option<u64> {
        let leads = |(id, m): (&u64, &Machine)| {
            (m.replica.leadership().is_ready && !self.isolated.contains(id)).then_some(*id)
        };
        self.machines.iter().find_map(leads)
    }

    #[track_caller]
    fn await_leader(&mut self) -> u64 {
        self.until("a leader", |c| c.leader().is_some());
        self.leader().unwrap()
    }

    fn ask(&mut self, id: u64, input: impl FnOnce(RequestId) -> Input) -> u64 {
        self.next_request += 1;
        let request = self.next_request;
        self.give(id, input(RequestId(request)));
        self.deliver();
        request
    }

    fn propose(&mut self, id: u64, key: &str) -> u64 {
        let entry = DirEntry { key: key.into(), value: key.into(), ..DirEntry::default() };
        let command = Command::Kv(KvRequest { op: KvOp::Set, entry });
        self.ask(id, |request| Input::Propose { request, command })
    }

    fn reply(&mut self, id: u64, request: u64) -> Option<Result<Response, Error>> {
        self.machines.get_mut(&id)?.replies.remove(&request)
    }

    /// Writes through whoever leads.
    #[track_caller]
    fn write(&mut self, key: &str) {
        let leader = self.await_leader();
        let request = self.propose(leader, key);
        self.until("an answer", |c| c.at(leader).replies.contains_key(&request));
        let result = self.reply(leader, request).unwrap();
        assert_eq!(result, Ok(Response::Outcome(Outcome::Done)), "{key}");
    }

    #[track_caller]
    fn all_have(&mut self, key: &str) {
        self.until("all have it", |c| {
            c.machines.values().all(|m| m.replica.state().kv_entry(key).is_some())
        });
    }

    fn gone(&mut self, id: u64, liveness: Liveness) {
        for member in self.members.iter_mut().filter(|m| m.name == format!("s{id}")) {
            member.liveness = liveness;
        }
        self.tell_members();
    }
}

impl Disk {
    fn write(&mut self, persist: replica::Persist) {
        let replica::Persist { hard_state, snapshot, entries, .. } = persist;
        if let Some(snapshot) = snapshot {
            self.entries.clear();
            self.boundary = Some((snapshot.index, snapshot.term));
            self.snapshot = Some(snapshot);
        }
        if let Some(first) = entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
        }
        self.entries.extend(entries);
        self.hard_state = hard_state;
    }
}

fn is_no_leader(reply: Option<Result<Response, Error>>) -> bool {
    matches!(reply, Some(Err(e)) if e.kind == ErrorKind::NoLeader)
}

#[test]
fn a_founded_cluster_replicates_and_outlives_its_leader() {
    let mut cluster = Cluster::new(3);
    cluster.write("a");
    cluster.all_have("a");
    let first = cluster.await_leader();
    let disk = cluster.stop(first);
    for id in 1..=3 {
        cluster.give(id, Input::Disconnected { peer: first });
    }
    cluster.write("b");
    cluster.start(first, disk);
    cluster.all_have("b");
    assert_eq!(cluster.at(first).replica.membership().cluster_id, 1);
}

#[test]
fn all_restart_and_agree() {
    let mut cluster = Cluster::new(5);
    cluster.write("a");
    let disks: Vec<_> = (1..=5).map(|id| (id, cluster.stop(id))).collect();
    cluster.wire.clear();
    for (id, disk) in disks.into_iter().rev() {
        cluster.start(id, disk);
    }
    cluster.write("b");
    cluster.all_have("b");
}

#[test]
fn a_minority_serves_nobody() {
    let mut cluster = Cluster::new(3);
    let old = cluster.await_leader();
    cluster.isolated.insert(old);
    let write = cluster.propose(old, "lost");
    let read = cluster.ask(old, |request| Input::ConfirmLeadership { request, by_lease: false });
    cluster.until("it steps down", |c| !c.at(old).replica.leadership().is_leader);
    assert!(is_no_leader(cluster.reply(old, read)));
    let by_lease = cluster.ask(old, |request| Input::ConfirmLeadership { request, by_lease: true });
    assert!(is_no_leader(cluster.reply(old, by_lease)));
    cluster.write("kept");
    cluster.isolated.clear();
    cluster.all_have("kept");
    // What it had proposed was overruled, and it knows.
    cluster.until("an answer", |c| c.at(old).replies.contains_key(&write));
    assert!(is_no_leader(cluster.reply(old, write)));
    assert!(cluster.machines.values().all(|m| m.replica.state().kv_entry("lost").is_none()));
}

/// However the votes fall, no second leader is ready while a lease holds.
#[test]
fn a_lease_ends_before_the_next_leader_begins() {
    for round in 0..20 {
        let mut cluster = Cluster::new(3);
        let old = cluster.await_leader();
        cluster.until("a lease", |c| c.at(old).lease > c.now.mono);
        for _ in 0..round {
            cluster.tick();
        }
        cluster.isolated.insert(old);
        cluster.until("another leader", |c| c.leader().is_some());
        assert!(cluster.at(old).lease <= cluster.now.mono);
    }
}

#[test]
fn a_restarted_voter_does_not_break_a_lease() {
    let mut cluster = Cluster::new(3);
    let old = cluster.await_leader();
    cluster.until("a lease", |c| c.at(old).lease > c.now.mono);
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let disk = cluster.stop(others[0]);
    cluster.start(others[0], disk);
    cluster.isolated.insert(old);
    // The other one has given up on the leader long ago.
    let mut effects = Vec::new();
    for _ in 0..12 {
        let machine = cluster.machines.get_mut(&others[1]).unwrap();
        machine.replica.step(Input::Tick, cluster.now, &mut effects);
        machine.replica.flush(cluster.now, &mut effects);
    }
    for message in effects.into_iter().flat_map(|effect| match effect {
        Effect::Send(messages) => messages,
        _ => Vec::new(),
    }) {
        cluster.wire.push_back((others[1], message.to, Parcel::Message(Box::new(message))));
    }
    cluster.deliver();
    assert_eq!(cluster.leader(), None);
    assert!(cluster.at(old).lease > cluster.now.mono);
}

#[test]
fn a_lagging_follower_gets_a_snapshot() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.await_leader();
    let far = (1..=3).find(|id| *id != leader).unwrap();
    let before = cluster.at(far).received;
    cluster.isolated.insert(far);
    for number in 0..1100 {
        cluster.write(&number.to_string());
    }
    cluster.isolated.clear();
    cluster.all_have("1099");
    assert_eq!(cluster.at(far).received, before + 1);
    let disk = cluster.stop(far);
    cluster.start(far, disk);
    cluster.write("after");
    cluster.all_have("after");
}

/// Also right after the library has looked who is active, and forgotten it: a stop must not find nobody then.
#[test]
fn leadership_is_handed_over_at_any_moment() {
    /// More ticks than pass between two such looks.
    const MOMENTS: usize = 40;
    let mut cluster = Cluster::new(3);
    cluster.write("first");
    for ticks in 0..MOMENTS {
        let old = cluster.await_leader();
        for _ in 0..ticks {
            cluster.tick();
        }
        assert_eq!(cluster.leader(), Some(old));
        cluster.now.mono = cluster.now.mono.plus(TICK);
        cluster.give(old, Input::Tick);
        cluster.give(old, Input::TransferLeadership { to: None });
        cluster.deliver();
        assert!(cluster.leader().is_some_and(|new| new != old), "after {ticks} ticks");
    }
}

#[test]
fn leadership_is_handed_over_with_everything_in_flight() {
    let mut cluster = Cluster::new(3);
    let old = cluster.await_leader();
    cluster.next_request += 1;
    let request = cluster.next_request;
    let entry = DirEntry { key: "k".into(), ..DirEntry::default() };
    let command = Command::Kv(KvRequest { op: KvOp::Set, entry });
    cluster.give(old, Input::Propose { request: RequestId(request), command });
    cluster.give(old, Input::TransferLeadership { to: None });
    let late = cluster.propose(old, "late");
    assert!(is_no_leader(cluster.reply(old, late)));
    // No tick was needed.
    let new = cluster.leader().unwrap();
    assert_ne!(new, old);
    assert!(cluster.at(old).lease <= cluster.now.mono);
    cluster.until("an answer", |c| c.at(old).replies.contains_key(&request));
    let outcome = cluster.reply(old, request).unwrap();
    assert_eq!(outcome, Ok(Response::Outcome(Outcome::Done)));
}

#[test]
fn an_operator_moves_leadership_and_removes_a_server() {
    let mut cluster = Cluster::new(3);
    let old = cluster.await_leader();
    let new = (1..=3).find(|id| *id != old).unwrap();
    let operation = OperatorRequest::TransferLeadership(Some(format!("uuid-{new}")));
    let request = cluster.ask(old, |request| Input::Operate { request, operation });
    assert_eq!(cluster.reply(old, request), Some(Ok(Response::Operated(OperatorReply::Done))));
    assert_eq!(cluster.await_leader(), new);

    let unknown = OperatorRequest::RemovePeerById("nobody".into());
    let request = cluster.ask(new, |request| Input::Operate { request, operation: unknown });
    let refused = cluster.reply(new, request).unwrap().unwrap_err();
    assert!(refused.message.contains("not found in the Raft configuration"), "{refused}");

    cluster.stop(old);
    cluster.gone(old, Liveness::Failed);
    let operation = OperatorRequest::RemovePeerByAddress(format!("10.0.0.1:{old}"));
    let request = cluster.ask(new, |request| Input::Operate { request, operation });
    cluster.until("an answer", |c| c.at(new).replies.contains_key(&request));
    assert_eq!(cluster.reply(new, request), Some(Ok(Response::Operated(OperatorReply::Done))));
    assert_eq!(cluster.at(new).replica.membership().voters.len(), 2);
    let show = OperatorRequest::RaftConfiguration;
    let request = cluster.ask(new, |request| Input::Operate { request, operation: show });
    let Some(Ok(Response::Operated(OperatorReply::RaftConfiguration(shown)))) =
        cluster.reply(new, request)
    else {
        panic!("no configuration")
    };
    let rows: Vec<_> = shown.servers.iter().map(|s| (s.node.as_str(), s.leader, s.voter)).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows.contains(&(format!("s{new}").as_str(), true, true)));
}

#[test]
fn a_newcomer_is_taken_in_and_one_that_leaves_is_let_go() {
    let mut cluster = Cluster::new(3);
    cluster.write("a");
    cluster.members.push(member(4));
    cluster.start(4, Disk::default());
    cluster.tell_members();
    let leader = cluster.await_leader();
    cluster.until("it is sent the log", |c| c.at(4).replica.state().kv_entry("a").is_some());
    assert!(!cluster.at(leader).replica.membership().is_voter(4));
    cluster.until("it votes", |c| c.at(leader).replica.membership().is_voter(4));
    cluster.gone(4, Liveness::Left);
    cluster.until("it is gone", |c| c.at(leader).replica.membership().servers().len() == 3);
}

/// A copy of the disk from before an acknowledged entry and a vote: noticed, no vote, caught up.
#[test]
fn a_disk_put_back_is_noticed_and_does_not_vote() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.await_leader();
    let victim = (1..=3).find(|id| *id != leader).unwrap();
    let copy = cluster.at(victim).disk.clone();
    cluster.write("a");
    cluster.all_have("a");
    cluster.stop(victim);
    cluster.isolated.insert(victim);
    cluster.start(victim, copy);
    // As its connection does.
    let position = cluster.at(victim).replica.position();
    cluster.isolated.clear();
    cluster.isolated.extend((1..=3).filter(|id| *id != leader && *id != victim));
    cluster.give(leader, Input::Note { from: victim, note: Note::Position(position) });
    cluster.now.mono = cluster.now.mono.plus(TICK);
    let told = cluster.wire.iter().any(|(_, to, parcel)| {
        *to == victim && matches!(parcel, Parcel::Note(Note::Remembered(_)))
    });
    assert!(told);
    let (_, _, parcel) = cluster
        .wire
        .iter()
        .position(|(_, to, p)| *to == victim && matches!(p, Parcel::Note(_)))
        .and_then(|at| cluster.wire.remove(at))
        .unwrap();
    let Parcel::Note(note) = parcel else { unreachable!() };
    cluster.give(victim, Input::Note { from: leader, note });
    assert!(cluster.at(victim).is_rolled_back);
    cluster.isolated.clear();
    cluster.until("it has caught up", |c| !c.at(victim).is_rolled_back);
    cluster.write("b");
    cluster.all_have("b");
}

/// Without a word from anybody: the leader's own heartbeat tells of commits the disk lacks.
#[test]
fn a_heartbeat_alone_tells_of_a_disk_put_back() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.await_leader();
    let victim = (1..=3).find(|id| *id != leader).unwrap();
    let copy = cluster.at(victim).disk.clone();
    cluster.write("a");
    cluster.all_have("a");
    cluster.stop(victim);
    cluster.start(victim, copy);
    cluster.until("noticed", |c| c.at(victim).rollbacks > 0);
    cluster.until("caught up", |c| !c.at(victim).is_rolled_back);
    cluster.all_have("a");
}

/// A log from its first entry on says nothing of its founder, who was alone: a newcomer must not
/// begin with it.
#[test]
fn a_server_that_was_alone_takes_others_in() {
    let mut cluster = Cluster { snapshot_threshold: 1000, ..Cluster::default() };
    cluster.members = vec![member(1)];
    let membership = Membership { voters: vec![1], ..Membership::default() };
    cluster.start(1, Disk { membership, ..Disk::default() });
    cluster.write("a");
    cluster.members.push(member(2));
    cluster.start(2, Disk::default());
    cluster.tell_members();
    cluster.all_have("a");
    assert_eq!(cluster.at(2).received, 1);
    cluster.until("it votes", |c| c.at(2).replica.membership().voters == [1, 2]);
    assert_eq!(cluster.at(2).replica.membership().cluster_id, 1);
    cluster.write("b");
    cluster.all_have("b");
}
