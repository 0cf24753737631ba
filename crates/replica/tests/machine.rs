//! The machine alone, with a disk that is always fast.

use std::time::Duration;

use model::command::{Command, Outcome};
use model::duration::GoDuration;
use model::error::{Error, ErrorKind};
use model::kv::{DirEntry, KvOp, KvRequest};
use model::session::{Session, SessionRequest};
use rand::SeedableRng;
use rand::rngs::StdRng;
use replica::duty::Member;
use replica::{
    Effect, Input, Membership, Now, Recovered, Replica, ReplicaConfig, RequestId, Response,
};

struct Machine {
    replica: Replica,
    now: Now,
    effects: Vec<Effect>,
    replies: Vec<(u64, Result<Response, Error>)>,
    snapshots: u64,
}

impl Machine {
    fn new(config: ReplicaConfig, voters: Vec<u64>) -> Self {
        let membership = Membership { voters, ..Membership::default() };
        let recovered = Recovered { membership, ..Recovered::default() };
        let replica = Replica::new(config, recovered, StdRng::seed_from_u64(1)).unwrap();
        let mut machine = Self {
            replica,
            now: Now::default(),
            effects: Vec::new(),
            replies: Vec::new(),
            snapshots: 0,
        };
        machine.give(Input::Members(vec![Member {
            name: "n".into(),
            address: "10.0.0.1".into(),
            ..Member::default()
        }]));
        machine.settle();
        machine
    }

    fn alone() -> Self {
        Self::new(ReplicaConfig::new(1, "dc1"), vec![1])
    }

    fn give(&mut self, input: Input) {
        self.replica.step(input, self.now, &mut self.effects);
    }

    fn propose(&mut self, request: u64, command: Command) {
        self.give(Input::Propose { request: RequestId(request), command });
    }

    /// Performs effects until there are none.
    fn settle(&mut self) {
        loop {
            self.replica.flush(self.now, &mut self.effects);
            if self.effects.is_empty() {
                return;
            }
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Persist(persist) => {
                        self.give(Input::Persisted { ticket: persist.ticket });
                    }
                    Effect::Reply { request, result } => self.replies.push((request.0, result)),
                    Effect::SaveSnapshot(snapshot) => {
                        self.snapshots += 1;
                        self.give(Input::SnapshotSaved { index: snapshot.index });
                    }
                    _ => {}
                }
            }
        }
    }

    fn wait(&mut self, span: Duration) {
        self.now.mono = self.now.mono.plus(span);
        self.give(Input::Tick);
        self.settle();
    }

    fn reply(&mut self, request: u64) -> Result<Response, Error> {
        let at = self.replies.iter().position(|(id, _)| *id == request).expect("answered");
        self.replies.remove(at).1
    }

    fn outcome(&mut self, request: u64) -> Outcome {
        match self.reply(request).unwrap() {
            Response::Outcome(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn session(&mut self, ttl: &str, lock_delay: i64) -> String {
        let session = Session {
            node: "n".into(),
            ttl: ttl.into(),
            lock_delay: GoDuration::from_secs(lock_delay),
            ..Session::default()
        };
        self.propose(0, Command::Session(SessionRequest::Create(session)));
        self.settle();
        match self.outcome(0) {
            Outcome::Created(id) => id,
            other => panic!("{other:?}"),
        }
    }
}

fn kv(op: KvOp, session: &str) -> Command {
    let entry = DirEntry { key: "k".into(), session: session.into(), ..DirEntry::default() };
    Command::Kv(KvRequest { op, entry })
}

/// A lock proposed behind the end of the holder's session, in one group, was judged as if the
/// session had not ended, and granted within the lock delay. Found by the simulation.
#[test]
fn a_lock_behind_a_session_end_meets_its_delay() {
    let mut machine = Machine::alone();
    let (holder, other) = (machine.session("", 5), machine.session("", 5));
    machine.propose(1, kv(KvOp::Lock, &holder));
    machine.settle();
    assert_eq!(machine.outcome(1), Outcome::Applied(true));
    machine.propose(2, Command::Session(SessionRequest::Destroy(holder)));
    machine.propose(3, kv(KvOp::Lock, &other));
    machine.settle();
    assert_eq!((machine.outcome(2), machine.outcome(3)), (Outcome::Done, Outcome::Applied(false)));
    machine.wait(Duration::from_secs(5));
    machine.propose(4, kv(KvOp::Lock, &other));
    machine.settle();
    assert_eq!(machine.outcome(4), Outcome::Applied(true));
}

#[test]
fn a_session_lives_while_it_is_renewed_and_ends_with_its_lock() {
    let mut machine = Machine::alone();
    let id = machine.session("10s", 0);
    machine.propose(1, kv(KvOp::Lock, &id));
    machine.settle();
    for _ in 0..5 {
        machine.wait(Duration::from_secs(15));
        machine.give(Input::RenewSession { request: RequestId(2), id: id.clone() });
        machine.settle();
        assert!(matches!(machine.reply(2), Ok(Response::Renewed(Some(_)))));
    }
    machine.wait(Duration::from_secs(19));
    assert!(machine.replica.state().session(&id).is_some());
    machine.wait(Duration::from_secs(1));
    assert!(machine.replica.state().session(&id).is_none());
    assert_eq!(machine.replica.state().lock_holder("k"), None);
    machine.give(Input::RenewSession { request: RequestId(2), id });
    machine.settle();
    assert_eq!(machine.reply(2).unwrap(), Response::Renewed(None));
}

#[test]
fn without_a_majority_nothing_is_taken_on() {
    let mut machine = Machine::new(ReplicaConfig::new(1, "dc1"), vec![1, 2, 3]);
    machine.propose(1, kv(KvOp::Set, ""));
    machine.give(Input::ConfirmLeadership { request: RequestId(2), by_lease: false });
    machine.settle();
    for request in [1, 2] {
        assert_eq!(machine.reply(request).unwrap_err().kind, ErrorKind::NoLeader);
    }
}

#[test]
fn snapshots_are_asked_for_by_number_of_entries() {
    let config = ReplicaConfig { snapshot_threshold: 100, ..ReplicaConfig::new(1, "dc1") };
    let mut machine = Machine::new(config, vec![1]);
    for request in 1..=1000 {
        machine.propose(request, kv(KvOp::Set, ""));
        machine.settle();
    }
    assert_eq!(machine.snapshots, 10);
}
