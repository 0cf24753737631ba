//! Two ends against each other, and a peer that breaks the rules.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::frame::{ACK, FIN, RST, SYN};
use super::state::WINDOW_BYTES;
use super::*;

/// A session of each side, connected and driven.
fn pair() -> (Session, Session, Incoming) {
    let (a, b) = duplex(4096);
    let (client, _, driver) = open(a, Side::Client, 4096);
    tokio::spawn(driver);
    let (server, incoming, driver) = open(b, Side::Server, 4096);
    tokio::spawn(driver);
    (client, server, incoming)
}

#[tokio::test]
async fn streams_carry_bytes_both_ways_and_end_by_halves() {
    let (client, _server, mut incoming) = pair();
    let mut ours = client.open_stream().unwrap();
    // Twice the window, so that credit has to come back.
    let sent: Vec<u8> = (0..2 * WINDOW_BYTES).map(|n| n as u8).collect();
    let echo = tokio::spawn(async move {
        let mut theirs = incoming.recv().await.unwrap();
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).await.unwrap();
        theirs.write_all(&all).await.unwrap();
        theirs.shutdown().await.unwrap();
        incoming
    });
    ours.write_all(&sent).await.unwrap();
    ours.shutdown().await.unwrap();
    let mut got = Vec::new();
    ours.read_to_end(&mut got).await.unwrap();
    assert!(got == sent);
    assert!(ours.write_all(b"x").await.is_err());
    echo.await.unwrap();
}

#[tokio::test]
async fn a_stream_nobody_reads_disturbs_nobody() {
    let (client, _server, mut incoming) = pair();
    let mut stuck = client.open_stream().unwrap();
    let mut fine = client.open_stream().unwrap();
    let filler = tokio::spawn(async move {
        let _ = stuck.write_all(&vec![0; 4 * WINDOW_BYTES as usize]).await;
        stuck
    });
    fine.write_all(b"hello").await.unwrap();
    let _unread = incoming.recv().await.unwrap();
    let mut theirs = incoming.recv().await.unwrap();
    let mut got = [0; 5];
    theirs.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
    // Writing alone, without reading, goes on when credit comes.
    let large = vec![7; 3 * WINDOW_BYTES as usize];
    let reader = tokio::spawn(async move {
        let mut got = vec![0; 3 * WINDOW_BYTES as usize];
        fine.read_exact(&mut got).await.unwrap();
        got
    });
    theirs.write_all(&large).await.unwrap();
    assert!(reader.await.unwrap() == large);
    filler.abort();
}

#[tokio::test]
async fn streams_are_acknowledged_before_anything_is_answered() {
    let (mut raw, b) = duplex(1 << 20);
    let (_server, mut incoming, driver) = open(b, Side::Server, 4096);
    tokio::spawn(driver);
    let mut hello = Vec::new();
    for id in (1..400).step_by(2) {
        Header { kind: Kind::WindowUpdate, flags: SYN, stream: id, length: 0 }.write(&mut hello);
    }
    raw.write_all(&hello).await.unwrap();
    let mut kept = Vec::new();
    for id in (1..400).step_by(2) {
        kept.push(incoming.recv().await.unwrap());
        assert_eq!(
            header(&mut raw).await,
            Header { kind: Kind::WindowUpdate, flags: ACK, stream: id, length: 0 }
        );
    }
}

async fn header(raw: &mut DuplexStream) -> Header {
    let mut bytes = [0; HEADER_BYTES];
    raw.read_exact(&mut bytes).await.unwrap();
    Header::read(&bytes).unwrap()
}

#[tokio::test]
async fn pings_are_answered_and_dropped_streams_reset() {
    let (mut raw, b) = duplex(1 << 20);
    let (_server, mut incoming, driver) = open(b, Side::Server, 4096);
    tokio::spawn(driver);
    let mut hello = Vec::new();
    Header { kind: Kind::Ping, flags: SYN, stream: 0, length: 77 }.write(&mut hello);
    raw.write_all(&hello).await.unwrap();
    let pong = header(&mut raw).await;
    assert_eq!((pong.kind, pong.flags, pong.length), (Kind::Ping, ACK, 77));
    hello.clear();
    Header { kind: Kind::WindowUpdate, flags: SYN, stream: 1, length: 0 }.write(&mut hello);
    raw.write_all(&hello).await.unwrap();
    assert_eq!(header(&mut raw).await.flags, ACK);
    drop(incoming.recv().await.unwrap());
    let reset = header(&mut raw).await;
    assert_eq!((reset.flags, reset.stream), (RST, 1));
}

#[tokio::test]
async fn a_peer_that_breaks_the_rules_ends_the_session() {
    let check = async |frames: &[Header], want: Violation| {
        let (mut raw, b) = duplex(1 << 20);
        let (server, _incoming, driver) = open(b, Side::Server, 4096);
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        raw.write_all(&bytes).await.unwrap();
        match driver.await {
            Err(SessionError::Violation(violation)) => assert_eq!(violation, want),
            other => panic!("{other:?}"),
        }
        assert!(!server.is_usable());
        assert!(server.open_stream().is_none());
    };
    let syn = |stream| Header { kind: Kind::WindowUpdate, flags: SYN, stream, length: 0 };
    check(&[syn(1), syn(1)], Violation::StreamId).await;
    check(&[syn(2)], Violation::StreamId).await;
    check(&[syn(0)], Violation::StreamId).await;
    let data = Header { kind: Kind::Data, flags: 0, stream: 1, length: WINDOW_BYTES + 1 };
    check(&[syn(1), data], Violation::Window).await;
}

#[test]
fn what_nobody_reads_is_bounded() {
    let mut state = State::new(Side::Server, 4096);
    let waker = std::task::Waker::noop();
    let fill = |state: &mut State, id: u32| {
        let syn = Header { kind: Kind::WindowUpdate, flags: SYN, stream: id, length: 0 };
        state.receive(syn).unwrap();
        let data = Header { kind: Kind::Data, flags: 0, stream: id, length: WINDOW_BYTES };
        state.receive(data)?;
        state.receive_data(data, &vec![0; WINDOW_BYTES as usize], true);
        Ok::<(), Violation>(())
    };
    let ids: Vec<u32> = (0..256).map(|n| 2 * n + 1).collect();
    ids.iter().for_each(|id| fill(&mut state, *id).unwrap());
    assert_eq!(fill(&mut state, 1001), Err(Violation::Unread));
    // What was read or given up counts no more.
    state.read(1, WINDOW_BYTES as usize, |_| (), waker);
    fill(&mut state, 1003).unwrap();
    assert_eq!(fill(&mut state, 1005), Err(Violation::Unread));
    state.release(3);
    fill(&mut state, 1007).unwrap();
}

#[tokio::test]
async fn the_end_of_the_connection_ends_all_streams() {
    let (raw, b) = duplex(1 << 20);
    let (client, _incoming, driver) = open(b, Side::Client, 4096);
    let driver = tokio::spawn(driver);
    let mut stream = client.open_stream().unwrap();
    let reading = tokio::spawn(async move { stream.read_u8().await });
    drop(raw);
    assert!(reading.await.unwrap().is_err());
    driver.await.unwrap().ok();
    assert!(!client.is_usable());
}

#[tokio::test]
async fn as_many_streams_as_allowed() {
    let (a, _b) = duplex(4096);
    let (client, _incoming, _driver) = open(a, Side::Client, 3);
    let streams: Vec<Stream> = (0..3).map(|_| client.open_stream().unwrap()).collect();
    assert!(client.open_stream().is_none());
    drop(streams);
    assert!(client.open_stream().is_some());
}

proptest! {
    #[test]
    fn strangers_frames_never_panic(
        frames in proptest::collection::vec((0u8..5, 0u16..16, 0u32..6, 0u32..300_000), 0..60),
    ) {
        let mut state = State::new(Side::Server, 8);
        let waker = std::task::Waker::noop();
        let mut out = Vec::new();
        for (kind, flags, stream, length) in frames {
            let mut bytes = vec![0, kind];
            bytes.extend(flags.to_be_bytes());
            bytes.extend(stream.to_be_bytes());
            bytes.extend(length.to_be_bytes());
            let Ok(header) = Header::read(&bytes.try_into().unwrap()) else { continue };
            if state.receive(header).is_err() {
                break;
            }
            if header.kind == Kind::Data {
                state.receive_data(header, &[1; 10][..(length as usize).min(10)], true);
            }
            for id in 1..6 {
                state.read(id, 4, |_| (), waker);
                state.write(id, &[0; 70_000], waker);
            }
            state.finish(3);
            out.clear();
            state.send(&mut out, 100_000, waker);
            if flags & FIN != 0 {
                state.release(5);
            }
        }
    }
}
