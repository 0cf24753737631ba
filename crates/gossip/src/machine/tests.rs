//! The rules of membership and of failure detection, one row a case.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::admission::Everybody;
use crate::wire::address;
use crate::wire::message::{Accusation, Ack, Alive, IndirectPing, Message, Ping, Source};
use crate::wire::packet::{self, Dress};
use crate::{Mono, Now};

/// One machine called `us`, alone in time.
struct Rig {
    gossip: Gossip,
    now: Mono,
    effects: Vec<Effect>,
}

fn at(port: u16) -> SocketAddr {
    ([10, 0, 0, 1], port).into()
}

impl Rig {
    fn new() -> Rig {
        Rig::with(Box::new(Everybody))
    }

    fn with(admission: Box<dyn Admission>) -> Rig {
        let mut config = Config::new("us", at(1), 1);
        config.compress = false;
        // Tickers so slow that nothing happens but what a row says.
        config.profile.gossip_interval = Duration::from_secs(1 << 20);
        config.profile.push_pull_interval = Duration::from_secs(1 << 20);
        let mut effects = Vec::new();
        let now = Mono(0);
        let gossip = Gossip::start(config, admission, Now { mono: now }, &mut effects);
        Rig { gossip: gossip.expect("the settings are right"), now, effects }
    }

    fn receive(&mut self, message: Message) {
        let dress = Dress { compress: false, checksum: false, seal: None };
        let bytes = packet::encode(&[message.encode()], dress).into();
        self.step(Input::PacketReceived { from: at(9), bytes });
    }

    fn step(&mut self, input: Input) {
        self.effects.clear();
        self.gossip.step(input, Now { mono: self.now }, &mut self.effects);
    }

    /// Lets time pass, waking the machine when it asks for it.
    fn pass(&mut self, span: Duration) {
        let end = self.now.plus(span);
        while self.gossip.next_wake() <= end {
            self.now = self.gossip.next_wake();
            let mut before = std::mem::take(&mut self.effects);
            self.gossip.step(Input::Tick, Now { mono: self.now }, &mut before);
            self.effects = before;
        }
        self.now = end;
    }

    /// All messages sent, with where they went.
    fn sent(&self) -> Vec<(SocketAddr, Message)> {
        let mut all = Vec::new();
        for effect in &self.effects {
            if let Effect::SendPacket { to, bytes } = effect {
                let (messages, _) = packet::decode(bytes, None, true).expect("ours are right");
                all.extend(messages.into_iter().map(|message| (*to, message)));
            }
        }
        all
    }

    /// Makes `b` known in a state.
    fn know(&mut self, state: &str) {
        match state {
            "unknown" => {}
            "alive 5" => self.receive(alive("b", 5, 2)),
            "suspect 5" => {
                self.receive(alive("b", 5, 2));
                self.receive(suspect("b", 5, "c"));
            }
            "dead 5" => {
                self.receive(alive("b", 5, 2));
                self.receive(dead("b", 5, "c"));
            }
            "left 5" => {
                self.receive(alive("b", 5, 2));
                self.receive(dead("b", 5, "b"));
            }
            other => panic!("no such state: {other}"),
        }
    }

    fn state(&self, name: &str) -> String {
        match self.gossip.nodes.get(name) {
            Some(node) => format!("{:?} {}", node.state, node.incarnation).to_lowercase(),
            None => "unknown".to_owned(),
        }
    }

    fn events(&self) -> Vec<&'static str> {
        let events = self.effects.iter().filter_map(|effect| match effect {
            Effect::Event(Event::MemberJoin(_)) => Some("join"),
            Effect::Event(Event::MemberUpdate(_)) => Some("update"),
            Effect::Event(Event::MemberLeave(_)) => Some("leave"),
            Effect::Event(Event::MemberFailed(_)) => Some("failed"),
            _ => None,
        });
        events.collect()
    }
}

fn alive_with(name: &str, incarnation: u32, port: u16, meta: &'static str) -> Message {
    Message::Alive(Alive {
        incarnation,
        node: name.into(),
        address: address::to_bytes(at(port).ip()).into(),
        port,
        meta: Bytes::from_static(meta.as_bytes()),
        versions: Bytes::copy_from_slice(&Versions::OURS.to_bytes()),
    })
}

fn alive(name: &str, incarnation: u32, port: u16) -> Message {
    alive_with(name, incarnation, port, "")
}

fn suspect(name: &str, incarnation: u32, from: &str) -> Message {
    Message::Suspect(Accusation { incarnation, node: name.into(), from: from.into() })
}

fn dead(name: &str, incarnation: u32, from: &str) -> Message {
    Message::Dead(Accusation { incarnation, node: name.into(), from: from.into() })
}

#[test]
fn what_is_believed_of_another() {
    let check = |known: &str, message: Message, want: &str, events: &[&str]| {
        let mut rig = Rig::new();
        rig.know(known);
        rig.receive(message.clone());
        let got = (rig.state("b"), rig.events());
        assert_eq!(got, (want.to_owned(), events.to_vec()), "{known}, then {message:?}");
    };
    check("unknown", alive("b", 5, 2), "alive 5", &["join"]);
    check("unknown", alive("b", 0, 2), "unknown", &[]);
    check("unknown", suspect("b", 5, "c"), "unknown", &[]);
    check("unknown", dead("b", 5, "c"), "unknown", &[]);

    check("alive 5", alive("b", 4, 2), "alive 5", &[]);
    check("alive 5", alive("b", 5, 2), "alive 5", &[]);
    check("alive 5", alive("b", 6, 2), "alive 6", &[]);
    check("alive 5", alive_with("b", 6, 2, "web"), "alive 6", &["update"]);
    check("alive 5", alive_with("b", 5, 2, "web"), "alive 5", &[]);
    check("alive 5", alive("b", 6, 3), "alive 5", &[]);
    check("alive 5", suspect("b", 4, "c"), "alive 5", &[]);
    check("alive 5", suspect("b", 5, "c"), "suspect 5", &[]);
    check("alive 5", suspect("b", 7, "c"), "suspect 7", &[]);
    check("alive 5", dead("b", 4, "c"), "alive 5", &[]);
    check("alive 5", dead("b", 5, "c"), "dead 5", &["failed"]);
    // It left as the membership protocol has it; only an intent would make it left for serf.
    check("alive 5", dead("b", 5, "b"), "left 5", &["leave"]);

    check("suspect 5", alive("b", 5, 2), "suspect 5", &[]);
    check("suspect 5", alive("b", 6, 2), "alive 6", &[]);
    check("suspect 5", suspect("b", 6, "d"), "suspect 5", &[]);
    check("suspect 5", dead("b", 5, "c"), "dead 5", &["failed"]);

    check("dead 5", alive("b", 5, 2), "dead 5", &[]);
    check("dead 5", alive("b", 6, 2), "alive 6", &["join"]);
    check("dead 5", alive("b", 6, 3), "dead 5", &[]);
    check("dead 5", suspect("b", 6, "c"), "dead 5", &[]);
    check("dead 5", dead("b", 6, "b"), "dead 5", &[]);

    check("left 5", alive("b", 6, 2), "alive 6", &["join"]);
    check("left 5", alive("b", 1, 3), "alive 1", &["join"]);
}

#[test]
fn malformed_nodes_are_not_believed() {
    let check = |change: fn(&mut Alive)| {
        let mut rig = Rig::new();
        let Message::Alive(mut alive) = alive("b", 5, 2) else { unreachable!() };
        change(&mut alive);
        let name = alive.node.clone();
        rig.receive(Message::Alive(alive));
        assert_eq!(rig.state(&name), "unknown");
    };
    check(|alive| alive.versions = Bytes::from_static(&[1, 5, 2]));
    check(|alive| alive.versions = Bytes::from_static(&[0, 0, 2, 2, 5, 4]));
    check(|alive| alive.versions = Bytes::from_static(&[3, 2, 2, 2, 5, 4]));
    check(|alive| alive.address = Bytes::from_static(&[1, 2, 3]));
    check(|alive| alive.node = String::new());
}

#[test]
fn a_name_may_move_when_its_bearer_is_long_dead() {
    let mut rig = Rig::new();
    rig.know("dead 5");
    rig.now = rig.now.plus(Duration::from_secs(31));
    rig.receive(alive("b", 1, 3));
    assert_eq!(rig.state("b"), "alive 1");
    assert_eq!(rig.gossip.nodes["b"].address, at(3));
}

#[test]
fn what_is_said_of_us() {
    let check = |message: Message, want: &str, score: u32| {
        let mut rig = Rig::new();
        rig.receive(message.clone());
        let got = (rig.state("us"), rig.gossip.health_score());
        assert_eq!(got, (want.to_owned(), score), "{message:?}");
    };
    let meta = "\u{0}";
    check(suspect("us", 0, "b"), "alive 1", 0);
    check(suspect("us", 1, "b"), "alive 2", 1);
    check(suspect("us", 7, "b"), "alive 8", 1);
    check(dead("us", 7, "b"), "alive 8", 1);
    check(dead("us", 7, "us"), "alive 8", 1);
    check(alive_with("us", 1, 1, meta), "alive 2", 1);
    check(alive_with("us", 7, 1, meta), "alive 8", 1);
    check(alive("us", 9, 2), "alive 1", 0);
}

#[test]
fn who_leaves_defends_itself_no_more() {
    for message in [suspect("us", 7, "b"), dead("us", 7, "b"), alive("us", 7, 1)] {
        let mut rig = Rig::new();
        rig.know("alive 5");
        rig.step(Input::Command(Command::Leave));
        rig.receive(message);
        assert_eq!(rig.state("us"), "alive 1");
        rig.pass(Duration::from_secs(20));
        assert_eq!(rig.state("us"), "left 1");
        assert!(rig.effects.contains(&Effect::Event(Event::LeaveDone)));
        assert_eq!(rig.gossip.next_wake(), Mono(u64::MAX));
    }
}

#[test]
fn confirmations_hasten_a_death() {
    // In a pool of 6 two confirmations are wanted: 24 s without, 4 s with both.
    let check = |confirmers: &[&str], seconds: u64| {
        let mut rig = Rig::new();
        rig.gossip.config.profile.probe_interval = Duration::from_secs(1);
        for name in ["b", "c", "d", "e", "f"] {
            rig.receive(alive(name, 5, 2));
        }
        rig.receive(suspect("b", 5, "c"));
        for from in confirmers {
            rig.receive(suspect("b", 5, from));
        }
        let node = &rig.gossip.nodes["b"];
        let (suspicion, _) = node.suspicion.as_ref().expect("it is a suspect");
        let left = suspicion.deadline().since(rig.now);
        assert_eq!(left.as_secs(), seconds, "{confirmers:?}");
    };
    check(&[], 24);
    check(&["c"], 24);
    check(&["d"], 11);
    check(&["d", "d"], 11);
    check(&["d", "e"], 4);
    check(&["d", "e", "f"], 4);
}

#[test]
fn a_silent_member_is_asked_after_and_then_suspected() {
    let mut rig = Rig::new();
    for (name, port) in [("b", 2), ("c", 3)] {
        rig.receive(alive(name, 5, port));
    }
    rig.effects.clear();
    let now = rig.now;
    rig.gossip.begin_probe("b".into(), &mut Step { now, effects: &mut rig.effects });
    let sequence = rig.gossip.sequence;
    let is_ping = |(to, message): &(SocketAddr, Message)| {
        *to == at(2) && matches!(message, Message::Ping(ping) if ping.sequence == sequence)
    };
    assert!(rig.sent().iter().any(is_ping), "{:?}", rig.sent());

    rig.pass(Duration::from_millis(500));
    let asks = |(to, message): &(SocketAddr, Message)| {
        let Message::IndirectPing(ping) = message else { return false };
        *to == at(3) && ping.node == "b" && ping.port == 2 && ping.wants_nack
    };
    assert!(rig.sent().iter().any(asks), "{:?}", rig.sent());
    let tries_tcp =
        |effect: &Effect| matches!(effect, Effect::OpenStream { to, .. } if *to == at(2));
    assert!(rig.effects.iter().any(tries_tcp));

    rig.pass(Duration::from_millis(499));
    assert_eq!(rig.state("b"), "alive 5");
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.state("b"), "suspect 5");
}

#[test]
fn health_follows_probes() {
    // What comes after the probe of a pool of three, whose one helper can nack.
    let check = |name: &str, answer: fn(u32) -> Option<Message>, want: u32| {
        let mut rig = Rig::new();
        rig.receive(alive("b", 5, 2));
        rig.receive(alive("c", 5, 3));
        rig.gossip.awareness.apply(3);
        rig.gossip.begin_probe("b".into(), &mut Step { now: rig.now, effects: &mut Vec::new() });
        let sequence = rig.gossip.sequence;
        rig.now = rig.now.plus(Duration::from_millis(600));
        let now = rig.now;
        rig.gossip.probe_timeout(sequence, &mut Step { now, effects: &mut Vec::new() });
        if let Some(answer) = answer(sequence) {
            rig.receive(answer);
        }
        rig.gossip.probe_end(sequence, &mut Step { now, effects: &mut Vec::new() });
        assert_eq!(rig.gossip.health_score(), want, "{name}");
    };
    check("answered", |sequence| Some(Message::Ack(Ack { sequence, payload: Bytes::new() })), 2);
    check("nacked", |sequence| Some(Message::Nack(sequence)), 3);
    check("silence", |_| None, 4);
    check("another's", |sequence| Some(Message::Nack(sequence + 1)), 4);
}

#[test]
fn a_ping_is_answered_where_it_asks() {
    let source =
        Source { address: address::to_bytes(at(7).ip()).into(), port: 7, node: "b".into() };
    let check = |node: &str, source: Source, want: Option<SocketAddr>| {
        let mut rig = Rig::new();
        rig.receive(Message::Ping(Ping { sequence: 4, node: node.into(), source }));
        let acks = rig.sent().into_iter().filter_map(|(to, message)| match message {
            Message::Ack(ack) if ack.sequence == 4 && !ack.payload.is_empty() => Some(to),
            _ => None,
        });
        assert_eq!(acks.collect::<Vec<_>>(), want.into_iter().collect::<Vec<_>>(), "{node}");
    };
    check("us", source.clone(), Some(at(7)));
    check("", source.clone(), Some(at(7)));
    check("us", Source::default(), Some(at(9)));
    check("b", source, None);
}

#[test]
fn a_probe_for_another_is_answered_or_not() {
    let ask = |rig: &mut Rig, wants_nack: bool| {
        rig.receive(Message::IndirectPing(IndirectPing {
            sequence: 40,
            target: address::to_bytes(at(5).ip()).into(),
            port: 5,
            node: "b".into(),
            wants_nack,
            source: Source::default(),
        }));
        rig.sent().into_iter().find_map(|(to, message)| match message {
            Message::Ping(ping) if to == at(5) => Some(ping.sequence),
            _ => None,
        })
    };
    let mut rig = Rig::new();
    let sequence = ask(&mut rig, true).expect("the target is probed");
    rig.receive(Message::Ack(Ack { sequence, payload: Bytes::from_static(b"\x01") }));
    let relayed = Message::Ack(Ack { sequence: 40, payload: Bytes::new() });
    assert!(rig.sent().contains(&(at(9), relayed)));

    for wants_nack in [true, false] {
        let mut rig = Rig::new();
        ask(&mut rig, wants_nack).expect("the target is probed");
        rig.effects.clear();
        rig.pass(Duration::from_millis(500));
        assert_eq!(rig.sent().contains(&(at(9), Message::Nack(40))), wants_nack);
    }
}

#[test]
fn streams_have_an_end() {
    let mut rig = Rig::new();
    for count in 0..200 {
        let id = StreamId::accepted(count);
        rig.step(Input::StreamAccepted { id, peer: at(9) });
    }
    assert_eq!(rig.gossip.counters().streams, 128);
    // Bytes that drip in keep a stream for a while, not for ever.
    let id = StreamId::accepted(0);
    for _ in 0..12 {
        rig.pass(Duration::from_secs(9));
        rig.step(Input::StreamData { id, bytes: Bytes::from_static(b"\x09") });
    }
    assert_eq!(rig.gossip.counters().streams, 0);
}

#[test]
fn intents_about_strangers_wait_for_them() {
    use crate::serf::message::{Intent, SerfMessage};
    let intent = |time| Intent { time, node: "b".into(), prune: false };
    let user = |message: SerfMessage| Message::User(message.encode());
    let check = |messages: &[SerfMessage], want: Status| {
        let mut rig = Rig::new();
        for message in messages {
            rig.receive(user(message.clone()));
        }
        rig.receive(alive("b", 5, 2));
        assert_eq!(rig.gossip.member("b").unwrap().status, want, "{messages:?}");
    };
    check(&[], Status::Alive);
    check(&[SerfMessage::Leave(intent(5))], Status::Leaving);
    check(&[SerfMessage::Leave(intent(5)), SerfMessage::Join(intent(6))], Status::Alive);
    check(&[SerfMessage::Join(intent(6)), SerfMessage::Leave(intent(5))], Status::Alive);
    check(&[SerfMessage::Join(intent(5)), SerfMessage::Leave(intent(5))], Status::Alive);
}

#[test]
fn intents_decide_what_an_end_means() {
    use crate::serf::message::{Intent, SerfMessage};
    let leave = |time, prune| {
        Message::User(SerfMessage::Leave(Intent { time, node: "b".into(), prune }).encode())
    };
    let join = |time| {
        Message::User(SerfMessage::Join(Intent { time, node: "b".into(), prune: false }).encode())
    };
    let check = |messages: &[Message], want: Option<Status>| {
        let mut rig = Rig::new();
        rig.receive(alive("b", 5, 2));
        for message in messages {
            rig.receive(message.clone());
        }
        let got = rig.gossip.member("b").map(|member| member.status);
        assert_eq!(got, want, "{messages:?}");
    };
    let gone = dead("b", 5, "c");
    check(&[leave(3, false)], Some(Status::Leaving));
    check(&[leave(3, false), gone.clone()], Some(Status::Left));
    check(&[leave(3, false), join(4), gone.clone()], Some(Status::Failed));
    check(&[join(4), leave(3, false), gone.clone()], Some(Status::Failed));
    check(&[gone.clone(), leave(3, false)], Some(Status::Left));
    check(&[gone.clone(), leave(3, true)], None);
    check(&[leave(3, true)], Some(Status::Leaving));
    check(&[gone.clone(), leave(3, false), alive("b", 6, 2)], Some(Status::Alive));
}

/// Lets in only who has a role.
struct Web;

impl Admission for Web {
    fn admit(&self, members: &[Member]) -> Result<(), String> {
        match members.iter().find(|member| member.tags.get("role").is_none_or(|r| r != "web")) {
            Some(member) => Err(format!("{} is not of the web", member.name)),
            None => Ok(()),
        }
    }
}

#[test]
fn the_callers_rules_hold_for_every_way_in() {
    use crate::wire::stream::{PushPull, StreamDecoder, StreamMessage};
    let mut rig = Rig::with(Box::new(Web));
    rig.receive(alive_with("b", 5, 2, "web"));
    rig.receive(alive_with("c", 5, 3, "database"));
    // What a member says later is judged like what it said first.
    rig.receive(alive_with("b", 6, 2, "database"));
    assert_eq!((rig.state("b"), rig.state("c")), ("alive 5".to_owned(), "unknown".to_owned()));
    assert_eq!(rig.gossip.counters().members_refused, 2);

    let node = |name: &str, meta: &'static str| crate::wire::stream::NodeState {
        name: name.into(),
        address: address::to_bytes(at(4).ip()).into(),
        port: 4,
        meta: Bytes::from_static(meta.as_bytes()),
        incarnation: 1,
        state: 0,
        versions: Bytes::copy_from_slice(&Versions::OURS.to_bytes()),
    };
    let nodes = vec![node("d", "web"), node("e", "database")];
    for (count, is_join, want) in [(1, true, "unknown"), (2, false, "alive 1")] {
        let id = StreamId::accepted(count);
        let state = PushPull { is_join, nodes: nodes.clone(), user: Bytes::new() };
        rig.step(Input::StreamAccepted { id, peer: at(9) });
        let bytes = StreamMessage::PushPull(state).encode(true, None);
        rig.step(Input::StreamData { id, bytes });
        assert_eq!(rig.state("d"), want, "a join is taken as a whole");
        assert_eq!(rig.state("e"), "unknown");
        let answer = rig.effects.iter().find_map(|effect| match effect {
            Effect::WriteStream { bytes, .. } => Some(bytes.clone()),
            _ => None,
        });
        let mut decoder = StreamDecoder::default();
        let answer = decoder.push(&answer.expect("it is answered first"), None, true);
        assert!(matches!(answer, Ok(Some(StreamMessage::PushPull(_)))));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let check = |command: Command, want: Refusal| {
        let mut rig = Rig::new();
        let mut effects = Vec::new();
        let now = Now { mono: rig.now };
        let refusal = rig.gossip.command(command.clone(), now, &mut effects);
        assert_eq!(refusal, Err(want.clone()), "{command:?}");
        rig.step(Input::Command(command));
        assert_eq!(rig.effects, [Effect::Event(Event::Refused(want))]);
    };
    let operation = OperationId(1);
    let query = |name: &str, size: usize| crate::Query {
        name: name.into(),
        payload: vec![0; size].into(),
        ..crate::Query::default()
    };
    let tags = [("a".to_owned(), "b".repeat(600))].into();
    check(Command::SetTags(tags), Refusal::TagsTooLarge);
    let (name, payload) = ("a".to_owned(), Bytes::from(vec![0; 512]));
    let event = Command::UserEvent { name, payload, coalesce: false };
    check(event, Refusal::EventTooLarge { limit: 512 });
    let command = Command::Query { operation, query: query("a", 1024) };
    check(command, Refusal::QueryTooLarge { limit: 1024 });
    let command = Command::Query { operation, query: query("_serf_ping", 0) };
    check(command, Refusal::NameReserved { prefix: "_serf_" });
    let unknown = crate::QueryId { time: 1, id: 1 };
    let command = Command::Respond { query: unknown, payload: Bytes::new() };
    check(command, Refusal::QueryUnknown);
    let command = Command::ForceLeave { node: "b".into(), prune: false };
    check(command, Refusal::MemberUnknown { node: "b".into() });
    let command = Command::Key { operation, request: crate::KeyRequest::List };
    check(command, Refusal::NotEncrypted);
    let addresses = vec![at(2); 1000];
    check(Command::Join { operation, addresses }, Refusal::Busy);
}

mod whatever_comes {
    use proptest::prelude::*;

    use super::*;
    use crate::serf::message::{EventMessage, Intent, SerfMessage};

    fn name() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["us", "b", "c", "d", ""]).prop_map(str::to_owned)
    }

    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![0..6u32, Just(u32::MAX)]
    }

    fn time() -> impl Strategy<Value = u64> {
        prop_oneof![0..9u64, Just(600), Just(u64::MAX)]
    }

    fn serf_message() -> impl Strategy<Value = SerfMessage> {
        let intent = || {
            (time(), name(), any::<bool>()).prop_map(|(time, node, prune)| Intent {
                time,
                node,
                prune,
            })
        };
        prop_oneof![
            intent().prop_map(SerfMessage::Leave),
            intent().prop_map(|intent| SerfMessage::Join(Intent { prune: false, ..intent })),
            (time(), name(), any::<bool>()).prop_map(|(time, name, coalesce)| {
                SerfMessage::Event(EventMessage { time, name, payload: Bytes::new(), coalesce })
            }),
        ]
    }

    fn message() -> impl Strategy<Value = Message> {
        let accusation = || {
            (name(), number(), name()).prop_map(|(node, incarnation, from)| Accusation {
                node,
                incarnation,
                from,
            })
        };
        prop_oneof![
            (name(), number(), 0..4u16, any::<bool>()).prop_map(|(name, number, port, is_web)| {
                alive_with(&name, number, port, if is_web { "web" } else { "" })
            }),
            accusation().prop_map(Message::Suspect),
            accusation().prop_map(Message::Dead),
            number().prop_map(|sequence| Message::Ack(Ack { sequence, payload: Bytes::new() })),
            number().prop_map(Message::Nack),
            serf_message().prop_map(|message| Message::User(message.encode())),
        ]
    }

    /// What holds between any two steps of a machine that does not leave.
    fn check(gossip: &Gossip) {
        assert_eq!(gossip.own().state, State::Alive);
        assert_eq!(gossip.member("us").expect("we are a member").status, Status::Alive);
        let mut order = gossip.probe_order.clone();
        order.sort();
        let names: Vec<String> = gossip.nodes.keys().cloned().collect();
        assert_eq!(order, names, "each node is probed once a round");
        for (name, node) in &gossip.nodes {
            let is_suspect = node.state == State::Suspect;
            assert_eq!(node.suspicion.is_some(), is_suspect, "{name} is {:?}", node.state);
            let status = gossip.member(name).map(|member| member.status);
            let is_here = matches!(status, Some(Status::Alive | Status::Leaving));
            assert!(node.state.is_gone() || is_here, "{name}: {:?} but {status:?}", node.state);
        }
    }

    proptest! {
        #[test]
        fn a_machine_keeps_its_books(
            inputs in prop::collection::vec((message(), 0..3000u64), 1..60),
        ) {
            let mut rig = Rig::new();
            for (message, milliseconds) in inputs {
                rig.receive(message);
                check(&rig.gossip);
                rig.pass(Duration::from_millis(milliseconds));
                check(&rig.gossip);
            }
        }
    }
}
