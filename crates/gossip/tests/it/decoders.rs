//! Readers of what strangers send: nothing makes them panic, and nothing valid is lost on the way.

use bytes::Bytes;
use gossip::wire::keyring::{Key, Keyring};
use gossip::wire::message::{Accusation, Ack, Alive, IndirectPing, Message, Ping, Source};
use gossip::wire::packet::{self, Dress, PACKET_BYTES_MAX};
use gossip::wire::stream::{NodeState, PushPull, StreamDecoder, StreamMessage};
use proptest::collection::vec;
use proptest::prelude::*;

fn ring() -> Keyring {
    Keyring::new([Key::new(&[7; 24]).unwrap()]).unwrap()
}

fn name() -> impl Strategy<Value = String> {
    "[a-zà-ü0-9-]{0,40}"
}

fn blob(limit: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..limit).prop_map(Bytes::from)
}

fn source() -> impl Strategy<Value = Source> {
    (blob(17), any::<u16>(), name()).prop_map(|(address, port, node)| Source {
        address,
        port,
        node,
    })
}

fn message() -> impl Strategy<Value = Message> {
    let accusation = || {
        (any::<u32>(), name(), name()).prop_map(|(incarnation, node, from)| Accusation {
            incarnation,
            node,
            from,
        })
    };
    prop_oneof![
        (any::<u32>(), name(), source()).prop_map(|(sequence, node, source)| Message::Ping(Ping {
            sequence,
            node,
            source
        })),
        (any::<u32>(), blob(17), any::<u16>(), name(), any::<bool>(), source()).prop_map(
            |(sequence, target, port, node, wants_nack, source)| {
                Message::IndirectPing(IndirectPing {
                    sequence,
                    target,
                    port,
                    node,
                    wants_nack,
                    source,
                })
            }
        ),
        (any::<u32>(), blob(200))
            .prop_map(|(sequence, payload)| Message::Ack(Ack { sequence, payload })),
        any::<u32>().prop_map(Message::Nack),
        accusation().prop_map(Message::Suspect),
        accusation().prop_map(Message::Dead),
        (any::<u32>(), name(), blob(17), any::<u16>(), blob(500), blob(8)).prop_map(
            |(incarnation, node, address, port, meta, versions)| {
                Message::Alive(Alive { incarnation, node, address, port, meta, versions })
            }
        ),
        blob(300).prop_map(Message::User),
    ]
}

fn node() -> impl Strategy<Value = NodeState> {
    (name(), blob(17), any::<u16>(), blob(100), any::<u32>(), 0..4u8, blob(8)).prop_map(
        |(name, address, port, meta, incarnation, state, versions)| NodeState {
            name,
            address,
            port,
            meta,
            incarnation,
            state,
            versions,
        },
    )
}

fn stream_message() -> impl Strategy<Value = StreamMessage> {
    prop_oneof![
        (any::<bool>(), vec(node(), 0..20), blob(300)).prop_map(|(is_join, nodes, user)| {
            StreamMessage::PushPull(PushPull { is_join, nodes, user })
        }),
        (any::<u32>(), name(), source()).prop_map(|(sequence, node, source)| {
            StreamMessage::Ping(Ping { sequence, node, source })
        }),
        blob(300).prop_map(StreamMessage::User),
        name().prop_map(StreamMessage::Error),
    ]
}

/// Feeds a decoder in pieces until it has a message or gives up.
fn feed(bytes: &[u8], piece: usize, ring: Option<&Keyring>) -> Option<StreamMessage> {
    let mut decoder = StreamDecoder::default();
    for part in bytes.chunks(piece) {
        match decoder.push(part, ring, true) {
            Ok(None) => {}
            Ok(message) => return message,
            Err(_) => return None,
        }
    }
    None
}

proptest! {
    #[test]
    fn packets_come_back_as_written(
        messages in vec(message(), 1..6),
        compress: bool,
        checksum: bool,
        sealed: bool,
    ) {
        let ring = ring();
        let parts: Vec<Bytes> = messages.iter().map(Message::encode).collect();
        let seal = sealed.then_some((&ring, [3; 12]));
        let bytes = packet::encode(&parts, Dress { compress, checksum, seal });
        let read = packet::decode(&bytes, sealed.then_some(&ring), true);
        prop_assert_eq!(read, Ok((messages, 0)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in vec(any::<u8>(), 0..400), kind in 0..14u8) {
        let _ = packet::decode(&bytes, None, true);
        let _ = packet::decode(&bytes, Some(&ring()), true);
        let _ = packet::decode(&bytes, Some(&ring()), false);
        feed(&bytes, 7, None);
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        let _ = packet::decode(&bytes, None, true);
        feed(&bytes, 64, None);
        feed(&bytes, 64, Some(&ring()));
    }

    #[test]
    fn damaged_packets_are_read_or_refused(
        messages in vec(message(), 1..6),
        compress: bool,
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut: prop::sample::Index,
    ) {
        let parts: Vec<Bytes> = messages.iter().map(Message::encode).collect();
        let dress = Dress { compress, checksum: false, seal: None };
        let mut bytes = packet::encode(&parts, dress);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = packet::decode(&bytes, None, true);
        let _ = packet::decode(&bytes[..cut.index(bytes.len())], None, true);
    }

    #[test]
    fn one_flipped_bit_fails_the_checksum(messages in vec(message(), 1..3), at: prop::sample::Index) {
        let parts: Vec<Bytes> = messages.iter().map(Message::encode).collect();
        let mut bytes = packet::encode(&parts, Dress { compress: true, checksum: true, seal: None });
        let bit = 8 + at.index((bytes.len() - 1) * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(packet::decode(&bytes, None, true).is_err());
    }

    #[test]
    fn streams_come_back_in_any_pieces(
        message in stream_message(),
        piece in 1..300usize,
        compress: bool,
        sealed: bool,
    ) {
        let ring = ring();
        let bytes = message.encode(compress, sealed.then_some((&ring, [3; 12])));
        prop_assert_eq!(feed(&bytes, piece, sealed.then_some(&ring)), Some(message));
        // Half a message is none yet, and never an error.
        let mut decoder = StreamDecoder::default();
        let half = decoder.push(&bytes[..bytes.len() / 2], sealed.then_some(&ring), true);
        prop_assert_eq!(half, Ok(None));
    }

    #[test]
    fn damaged_streams_are_read_or_refused(
        message in stream_message(),
        compress: bool,
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = message.encode(compress, None).to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        feed(&bytes, 50, None);
    }
}

#[test]
fn what_promises_too_much_is_refused_early() {
    // A push/pull of four billion nodes; a sealed message of as many bytes; a user message of more than a stream may have.
    let nodes = b"\x06\x83\xa5Nodes\xce\xff\xff\xff\xff\xacUserStateLen\x00\xa4Join\xc3";
    let user = b"\x08\x81\xaaUserMsgLen\xce\x7f\xff\xff\xff";
    let mut decoder = StreamDecoder::default();
    assert!(decoder.push(nodes, None, true).is_err());
    let mut decoder = StreamDecoder::default();
    assert!(decoder.push(user, None, true).is_err());
    let mut decoder = StreamDecoder::default();
    assert!(decoder.push(b"\x0a\xff\xff\xff\xff", Some(&ring()), true).is_err());
}

#[test]
fn labels_and_plain_speech_are_refused() {
    let ping = Message::Ping(Ping::default()).encode();
    let labelled = [&b"\xf4\x01x"[..], &ping].concat();
    assert!(packet::decode(&labelled, None, true).is_err());
    assert!(packet::decode(&ping, Some(&ring()), true).is_err());
    assert!(packet::decode(&ping, Some(&ring()), false).is_ok());
    assert_eq!(feed(&labelled, 100, None), None);
    assert_eq!(feed(&ping, 100, Some(&ring())), None);
    assert!(ping.len() < PACKET_BYTES_MAX);
}
