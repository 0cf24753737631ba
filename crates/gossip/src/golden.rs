//! Bytes captured from real agents (Consul 1.8.7 on loopback), one node called `node1`, `first` or `second`, ours
//! `ours`. What is read must be what they meant; what is written from it must be the same bytes again.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;

use crate::coordinate::Coordinate;
use crate::serf::message::{
    EventMessage, FLAG_ACK, Intent, QueryMessage, Relay, ResponseMessage, SerfMessage, SerfState,
};
use crate::serf::tags;
use crate::wire::keyring::{Key, Keyring};
use crate::wire::lzw;
use crate::wire::message::{Accusation, Ack, IndirectPing, Message, Ping, Source, USER, Versions};
use crate::wire::msgpack::Reader;
use crate::wire::packet::{self, Dress};
use crate::wire::stream::{StreamDecoder, StreamMessage};

/// A probe of node1 for `ours`.
const PING: &str = "\
    0085a44e6f6465a46f757273a55365714e6f02aa536f7572636541646472a47f000001aa536f757263654e6f6465a56e6f64\
    6531aa536f75726365506f7274cd3ba1";
/// The answer to a probe: the coordinate of node1 as payload.
const ACK: &str = "\
    0282a75061796c6f6164da00820184aa41646a7573746d656e74cb3efa714397a8652da54572726f72cb3fefb18a1128a0d5\
    a6486569676874cb3f02f4ad1b622e66a356656398cbbf083ce6583ae4f4cb3f09f3a968705b0dcb3f07820dbdb745d7cb3f\
    0121d6144f8f5acb3f0f2d10e5688d84cb3ef15c2b92339a5bcb3f079eadc56baa04cbbf05c3924004a503a55365714e6f02";
/// `first` asks for a probe of `second`.
const INDIRECT_PING: &str = "\
    0188a44e61636bc3a44e6f6465a67365636f6e64a4506f7274cd4003a55365714e6f02aa536f7572636541646472a47f0000\
    01aa536f757263654e6f6465a56669727374aa536f75726365506f7274cd3ffca6546172676574a47f000001";
/// That a probe was asked for in vain.
const NACK: &str = "0b81a55365714e6f07";
/// A compound packet.
const NACK_AND_SUSPECT: &str = "\
    0702000900250b81a55365714e6f020383a446726f6da46f757273ab496e6361726e6174696f6e01a44e6f6465a67365636f\
    6e64";
/// With a checksum.
const CHECKED_SUSPECT: &str =
    "0c8691108f0383a446726f6da46f757273ab496e6361726e6174696f6e01a44e6f6465a67365636f6e64";
/// With a checksum, compressed, compound: alive messages of two nodes and an event.
const COMPRESSED_NEWS: &str = "\
    0c109d28fa0982a4416c676f00a3427566da019e070600380740168019040c910a42868c1c527f000008b02a899b3161e4b8\
    094327cd1b370148352943278c3600a8fe352225e70d9b32a6c6809c53878d28326346e58c716a4e99336dcab8a1036a949d\
    396e42c96875278c9b2f6adea4810ae78d1c3aa562d49061c386a834645092b06126c6981a61c8c06871634c8c322d688c99\
    31a6450eb4355ac02043c36c191b61728889d11329d43654979e3afca54d183ca166a09213c60c9d2f8725971253270d1b32\
    a662b8c0e1e2860e5256b16ae56a8306a93063d8cc0905a3d4e52f6668c720e5e40d9932a5dcfc2ec31bca553acd76841a65\
    25a9a900050408284040214387102552b4885123478f204592348992cebf44b065d3b6ddf973e8d1a54fe3d4c913ac580024\
    f8e230638370dcba68d0cb2f18e2ca810c1cc268a1861bc2382b8732641063061878730926528603ce27a08422ca28cd6460\
    2c29c720936c44c41493a137e24879a30e39e620e538ac941ba5b9e7a29bae3a0406204494218610a61426a8484328919c08\
    43a8586672a326367470a38c3b5a8049ad32e438058a30f260e30db584232e868000";
/// A join intent.
const CHECKED_JOIN: &str = "0ce1758675080182a54c54696d6501a44e6f6465a46f757273";
/// A leave intent.
const CHECKED_LEAVE: &str = "0cf573b845080083a54c54696d6502a44e6f6465a46f757273a55072756e65c2";
/// A query of ours passed on, and an event.
const QUERY_AND_EVENT: &str = "\
    0c55daae5f07020075006e08048ba441646472a47f000001a746696c74657273c0a5466c61677301a24944ce84daa889a54c\
    54696d6501a44e616d65a7616e79626f6479a75061796c6f6164a13fa4506f7274cd3ba3ab52656c6179466163746f7201aa\
    536f757263654e6f6465a46f757273a754696d656f7574cebebc2000080384a24343c2a54c54696d6503a44e616d65b3636f\
    6e73756c3a6576656e743a75706c6f6164a75061796c6f6164da003c84a24944d92436653262316630632d386135662d3462\
    30652d396635332d326631643361346235633664a16ea675706c6f6164a170c4026869a17601";
/// The receipt of a query.
const RESPONSE: &str =
    "080585a5466c61677301a446726f6da56e6f646531a24944ce84daa889a54c54696d6501a75061796c6f6164c0";
/// The same through another.
const RELAYED_RESPONSE: &str = "\
    080982a8446573744164647283a24950a47f000001a4506f7274cd3ba3a45a6f6e65a0a8446573744e616d65a46f75727305\
    85a5466c61677301a446726f6da56e6f646531a24944ce84daa889a54c54696d6501a75061796c6f6164c0";
/// The answer to a join: compressed state of a pool of one.
const PUSH_PULL: &str = "\
    0982a4416c676f00a3427566da019e06069152f2268d9b61a59cbc2153664e005655e6949133854e183a65989471d34c80a0\
    43a48290212387d41f000002ac4ae2664c18396e30a679e32600a926652e6a0380ea5f235272deb029636a4ccd3975d88822\
    336654d318a7269e69c3910ea85176e6b80925a3d59d306ebea8312816ce1b39744ac5a821c3860d5169c8f02461c34c8c31\
    35c29081d1e2c69818655ad01833634c8b1c796bb4804186c6dd3236c2e4101323aa56b16d0e763d85f94b9b307842cd4025\
    278c193a5f308f2e25a64e1a36644cc57081c3c50d1da4cea65ddbd6060d5261c6b099130a4629d45fcc148f41ca4998aaa5\
    dc302cd31c0a5a3acd76842a6511631900a3ac6c3515a080000105080830a4aa881dab4ca8a4a92ac0d47bab73b80900004c\
    d07df8dca0638e4804710eba326239ca8da4d8d0c18d32ee6881a8bd283a058a30f260e38dbda4a32e8652e4a3af8c008031\
    f1441453547145165b74f14518639471461a6bb4f1461c73d471471e7bf4f147208314724819439cafaa9536422da736c4a0\
    680e485489a20e8af210114956bca3a38e39ae7428100f1b8a01808000";
/// A sealed message on a stream.
const SEALED_STREAM_ERROR: &str = "\
    0a0000007001139b23259191cdf3ae395f405530f6b75e03938862cbf12ed7553d187ab3b379c94aff4125cd2b4f286ac880\
    73d665627ea8490e5bb06603dd49fefc0c55e46800018a85496e3604dd2af1783d26b53f381974785b5f7a5d4caf1ef66b87\
    394864b6949246a86fd9efda15ed97e6f8";
/// A sealed packet.
const SEALED_PACKET: &str = "\
    017d3dcd17e632e307db1781e7a5aae0f9c0e0db33b0b019dbc8305ea4d01665dcb7d1a304dc43205513e10d55d04ae735b9\
    7d4aa4b547d4587ef8fb263f5f85f29c9ca5e166ee12578ce0a914b99ef5c775b3dc0110edd5d9f3f4cf46c89c892b2cc9ca\
    b398c506e71cfb2986c864973d";

const KEY: &str = "pUqJrVyVRj5jsiYEkM/tFQ==";
const NEXT_KEY: &str = "HS5lJ+XuTlYKWaeGYyG+/A==";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map(|c| c.to_digit(16).expect("hexadecimal digits") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn loopback() -> Bytes {
    Bytes::copy_from_slice(&Ipv4Addr::LOCALHOST.octets())
}

fn source(node: &str, port: u16) -> Source {
    Source { address: loopback(), port, node: node.into() }
}

fn unpack(hex: &str) -> Vec<Message> {
    let (messages, damaged) = packet::decode(&bytes(hex), None, true).unwrap();
    assert_eq!(damaged, 0);
    messages
}

/// Reads a packet that is not compressed, and writes it again.
#[track_caller]
fn check(hex: &str, want: &[Message]) {
    let messages = unpack(hex);
    assert_eq!(messages, want);
    let parts: Vec<Bytes> = messages.iter().map(Message::encode).collect();
    let dress = Dress { compress: false, checksum: hex.starts_with("0c"), seal: None };
    assert_eq!(packet::encode(&parts, dress), bytes(hex), "written again");
}

fn serf(message: SerfMessage) -> Message {
    Message::User(message.encode())
}

#[test]
fn probes() {
    let ping = Ping { sequence: 2, node: "ours".into(), source: source("node1", 15265) };
    check(PING, &[Message::Ping(ping)]);
    let ping = IndirectPing {
        sequence: 2,
        target: loopback(),
        port: 16387,
        node: "second".into(),
        wants_nack: true,
        source: source("first", 16380),
    };
    check(INDIRECT_PING, &[Message::IndirectPing(ping)]);
    check(NACK, &[Message::Nack(7)]);
}

#[test]
fn an_answer_and_its_coordinate() {
    let [Message::Ack(ack)] = &unpack(ACK)[..] else { panic!("it is one ack") };
    assert_eq!(ack.sequence, 2);
    check(ACK, &[Message::Ack(Ack { sequence: 2, payload: ack.payload.clone() })]);
    let coordinate = Coordinate::decode(&ack.payload).unwrap();
    assert!((0.99..1.0).contains(&coordinate.error), "{coordinate:?}");
    assert_eq!(coordinate.encode(), ack.payload);
}

#[test]
fn accusations() {
    let accusation = |from: &str, node: &str| {
        Message::Suspect(Accusation { incarnation: 1, node: node.into(), from: from.into() })
    };
    check(NACK_AND_SUSPECT, &[Message::Nack(2), accusation("ours", "second")]);
    check(CHECKED_SUSPECT, &[accusation("ours", "second")]);
}

#[test]
fn compressed_news() {
    let messages = unpack(COMPRESSED_NEWS);
    let mut names = Vec::new();
    for message in &messages {
        let alive = match message {
            Message::Alive(alive) => alive,
            Message::User(event) => {
                let SerfMessage::Event(event) = SerfMessage::decode(event).unwrap() else {
                    panic!("it is an event: {event:?}")
                };
                assert_eq!(
                    (&event.name[..], &event.payload[..]),
                    ("consul:new-leader", &b"node1"[..])
                );
                continue;
            }
            other => panic!("alive messages and an event: {other:?}"),
        };
        assert_eq!((&alive.address, alive.incarnation), (&loopback(), 1));
        assert_eq!(Versions::from_bytes(&alive.versions), Some(Versions::OURS));
        assert_eq!(tags::decode(&alive.meta)["dc"], "dc1");
        let tags = tags::decode(&alive.meta);
        // Peers write tags in any order.
        let written = tags::encode(&tags).unwrap();
        assert_eq!((written.len(), tags::decode(&written)), (alive.meta.len(), tags.clone()));
        names.push((alive.node.clone(), tags["role"].clone()));
    }
    names.sort();
    let want = [("node1", "consul"), ("ours", "node")];
    assert_eq!(names, want.map(|(name, role)| (name.to_owned(), role.to_owned())));
    // What is inside, written again.
    let whole = bytes(COMPRESSED_NEWS);
    let inside = lzw::decompress(&mut Reader::new(&whole[6..]), 4096).unwrap();
    let parts: Vec<Bytes> = messages.iter().map(Message::encode).collect();
    let dress = Dress { compress: false, checksum: false, seal: None };
    assert_eq!(packet::encode(&parts, dress), inside);
}

#[test]
fn intents() {
    let intent = |time| Intent { time, node: "ours".into(), prune: false };
    check(CHECKED_JOIN, &[serf(SerfMessage::Join(intent(1)))]);
    check(CHECKED_LEAVE, &[serf(SerfMessage::Leave(intent(2)))]);
}

#[test]
fn a_query_and_an_event() {
    let query = QueryMessage {
        time: 1,
        id: 0x84da_a889,
        address: loopback(),
        port: 15267,
        source: "ours".into(),
        filters: Vec::new(),
        flags: FLAG_ACK,
        relay_factor: 1,
        timeout: Duration::from_millis(3200),
        name: "anybody".into(),
        payload: Bytes::from_static(b"?"),
    };
    let messages = unpack(QUERY_AND_EVENT);
    let Message::User(event) = &messages[1] else { panic!("the event comes second") };
    let SerfMessage::Event(event) = SerfMessage::decode(event).unwrap() else {
        panic!("the event comes second")
    };
    let EventMessage { time, name, payload, coalesce } = event.clone();
    assert_eq!((time, name.as_str(), coalesce), (3, "consul:event:upload", false));
    assert_eq!(payload.len(), 60);
    check(QUERY_AND_EVENT, &[serf(SerfMessage::Query(query)), serf(SerfMessage::Event(event))]);
}

#[test]
fn responses() {
    let response = ResponseMessage {
        time: 1,
        id: 0x84da_a889,
        from: "node1".into(),
        flags: FLAG_ACK,
        payload: Bytes::new(),
    };
    let response = SerfMessage::Response(response);
    check(RESPONSE, &[serf(response.clone())]);
    let to = (Ipv4Addr::LOCALHOST, 15267).into();
    let relay = Relay { to, node: "ours".into(), message: response.encode() };
    let Message::User(relayed) = &unpack(RELAYED_RESPONSE)[0] else { panic!("it is serf's") };
    assert_eq!(SerfMessage::decode(relayed), Ok(SerfMessage::Relay(relay.clone())));
    check(RELAYED_RESPONSE, &[serf(SerfMessage::Relay(relay))]);
    assert_eq!(bytes(RELAYED_RESPONSE)[0], USER);
}

#[test]
fn a_state_exchange() {
    let whole = bytes(PUSH_PULL);
    let mut decoder = StreamDecoder::default();
    let message = decoder.push(&whole, None, true).unwrap().expect("it is whole");
    let StreamMessage::PushPull(state) = message.clone() else { panic!("it is a push/pull") };
    assert!(state.is_join);
    let [node] = &state.nodes[..] else { panic!("a pool of one: {state:?}") };
    assert_eq!((node.name.as_str(), node.state, node.incarnation), ("node1", 0, 1));
    assert_eq!(tags::decode(&node.meta)["role"], "consul");
    let serf = SerfState::decode(&state.user).unwrap();
    assert_eq!(serf.events.len(), 512);
    assert!(serf.status_times.contains_key("node1") && serf.left.is_empty());
    let inside = lzw::decompress(&mut Reader::new(&whole[1..]), 1 << 20).unwrap();
    assert_eq!(message.encode(false, None), inside, "written again");
    let written = SerfState { left: serf.left.clone(), ..serf }.encode();
    assert_eq!(written, state.user, "serf's part written again");
}

#[test]
fn sealed_bytes() {
    // The packet was sent after a change of keys.
    let ring = Keyring::new([KEY, NEXT_KEY].map(|key| Key::from_base64(key).unwrap())).unwrap();
    let mut decoder = StreamDecoder::default();
    let message = decoder.push(&bytes(SEALED_STREAM_ERROR), Some(&ring), true).unwrap();
    assert!(matches!(message, Some(StreamMessage::Error(_))), "{message:?}");
    let (messages, damaged) = packet::decode(&bytes(SEALED_PACKET), Some(&ring), true).unwrap();
    assert_eq!((messages.len(), damaged), (1, 0), "{messages:?}");
    let other = Keyring::new([Key::new(&[1; 16]).unwrap()]).unwrap();
    assert!(packet::decode(&bytes(SEALED_PACKET), Some(&other), true).is_err());
}
