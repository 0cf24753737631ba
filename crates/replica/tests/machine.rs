//! The machine alone, with a disk that is always fast.

use std::time::Duration;

use model::command::{Command, Outcome};
use model::duration::GoDuration;
use model::error::{Error, ErrorKind};
use model::kv::{DirEntry, KvOp, KvRequest};
use model::session::{Session, SessionRequest};
use model::snapshot::RestoreChunk;
use rand::SeedableRng;
use rand::rngs::StdRng;
use replica::duty::Member;
use replica::{
    Effect, Input, Membership, Now, Recovered, Replica, ReplicaConfig, RequestId, Response,
    Snapshot,
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

/// What is known beside the state goes with it: delays of locks are forgotten, sessions that came
/// in have their time to live from then on, and the own node is registered again.
#[test]
fn a_restore_forgets_what_was_known_of_the_state_before() {
    let mut archived = Machine::alone();
    let (holder, other) = (archived.session("10s", 0), archived.session("", 0));
    archived.propose(1, kv(KvOp::Lock, &holder));
    archived.settle();
    assert_eq!(archived.outcome(1), Outcome::Applied(true));
    let mut bytes = Vec::new();
    archived.replica.state().write_snapshot(&mut bytes).unwrap();

    let mut machine = Machine::alone();
    let before = machine.session("", 60);
    machine.propose(1, kv(KvOp::Lock, &before));
    machine.propose(2, Command::Session(SessionRequest::Destroy(before)));
    machine.settle();
    let index = machine.replica.state().index();
    let chunk = RestoreChunk { id: "r".into(), sequence: 0, bytes, is_last: true };
    machine.propose(3, Command::Restore(chunk));
    machine.settle();
    assert_eq!(machine.outcome(3), Outcome::Done);
    let state = machine.replica.state();
    assert!(state.index() > index && state.index() > archived.replica.state().index());
    assert_eq!(state.lock_holder("k"), Some(holder.as_str()));

    // It ends by its time to live, and no delay of before keeps the next from its lock.
    for _ in 0..30 {
        machine.wait(Duration::from_secs(1));
    }
    assert_eq!(machine.replica.state().lock_holder("k"), None);
    machine.propose(4, kv(KvOp::Lock, &other));
    machine.settle();
    assert_eq!(machine.outcome(4), Outcome::Applied(true));
}

/// Replicated indexes are above those of the log after a restore, before and after a restart.
#[test]
fn a_recovered_replica_goes_on_where_the_restore_led() {
    let far = {
        let mut state = state::State::new();
        state.apply(5000, kv(KvOp::Set, ""));
        let mut bytes = Vec::new();
        state.write_snapshot(&mut bytes).unwrap();
        bytes
    };
    let config = ReplicaConfig { snapshot_threshold: 1, ..ReplicaConfig::new(1, "dc1") };
    let mut machine = Machine::new(config.clone(), vec![1]);
    let (first, rest) = far.split_at(20);
    for (sequence, (bytes, is_last)) in [(first, false), (rest, true)].into_iter().enumerate() {
        let (sequence, bytes) = (sequence as u64, bytes.to_vec());
        let chunk = RestoreChunk { id: "r".into(), sequence, bytes, is_last };
        machine.propose(sequence, Command::Restore(chunk));
        machine.settle();
        assert_eq!(machine.outcome(sequence), Outcome::Done);
    }
    machine.propose(9, kv(KvOp::Delete, ""));
    machine.settle();
    let state = machine.replica.state();
    assert!(state.index() > 5001, "{}", state.index());
    let log_index = state.log_index();
    assert!(log_index < 100);
    // What is on disk is what the state tells of itself.
    let mut bytes = Vec::new();
    state.write_snapshot(&mut bytes).unwrap();
    let snapshot = Snapshot {
        index: log_index,
        term: machine.replica.leadership().term,
        membership: Membership { voters: vec![1], ..Membership::default() },
        state: state::State::read_snapshot(&mut bytes.as_slice()).unwrap(),
    };
    let recovered = Recovered { snapshot: Some(snapshot), ..Recovered::default() };
    let again = Replica::new(config, recovered, StdRng::seed_from_u64(2)).unwrap();
    assert_eq!(again.state().index_of(log_index + 1), state.index() + 1);
}
