//! What arrives: every byte, every end as it was meant, and no more than fits.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Behaviour, Pair, is_echoed, pattern, read_all, run, until};

#[test]
fn an_echo_of_any_size_comes_back_whole() {
    run(async {
        let pair = Pair::new(Behaviour::Echo).await;
        for (seed, bytes) in
            [0, 1, 100, 4096, 16_384, 16_385, 65_536, 100_000, 5_000_000].into_iter().enumerate()
        {
            let sent = pattern(seed as u64, bytes);
            let mut stream = pair.connect().await;
            let (mut read, mut write) = stream.split();
            let mut back = Vec::new();
            let done = tokio::join!(
                async {
                    write.write_all(&sent).await?;
                    write.shutdown().await
                },
                read.read_to_end(&mut back),
            );
            assert!(matches!(done, (Ok(()), Ok(_))), "{done:?}");
            assert!(back == sent, "{bytes} bytes differ");
        }
        let web = pair.web.metrics.snapshot();
        assert_eq!((web.bytes_to_peer, web.bytes_to_app), (5_202_502, 5_202_502));
    });
}

#[test]
fn many_connections_at_once_do_not_mix() {
    run(async {
        let pair = Pair::new(Behaviour::Echo).await;
        let tasks = (0..100).map(|seed| {
            let entry = pair.entry;
            tokio::spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(entry).await.expect("listens");
                for round in 0..10 {
                    assert!(is_echoed(&mut stream, &pattern(seed * 100 + round, 3000)).await);
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("is echoed");
        }
        let (web, db) = (pair.web.metrics.snapshot(), pair.db.metrics.snapshot());
        assert_eq!((web.outbound_connected, db.inbound_allowed), (100, 100));
        until("all are closed", || pair.db.count(|metrics| metrics.inbound_open) == 0).await;
    });
}

#[test]
fn either_side_may_end_first_and_still_read() {
    run(async {
        let mut pair = Pair::new(Behaviour::Give).await;
        for is_client_first in [true, false] {
            let mut client = pair.connect().await;
            client.write_all(b"begin").await.expect("writes");
            let mut server = pair.app.take().await;
            let mut begin = [0; 5];
            server.read_exact(&mut begin).await.expect("reads");
            let (first, second) = if is_client_first {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            first.write_all(b"last words").await.expect("writes");
            first.shutdown().await.expect("ends its side");
            assert_eq!(read_all(second).await.expect("a clean end"), b"last words");
            second.write_all(b"answer").await.expect("the other direction is open");
            second.shutdown().await.expect("ends its side");
            assert_eq!(read_all(first).await.expect("a clean end"), b"answer");
        }
        until("both are closed", || pair.web.count(|metrics| metrics.outbound_open) == 0).await;
        assert_eq!(pair.web.count(|metrics| metrics.ended_abruptly), 0);
        assert_eq!(pair.db.count(|metrics| metrics.ended_abruptly), 0);
    });
}

#[test]
fn a_reset_is_passed_on_as_a_reset_either_way() {
    run(async {
        let mut pair = Pair::new(Behaviour::Give).await;
        for is_client_resetting in [true, false] {
            let mut client = pair.connect().await;
            client.write_all(b"begin").await.expect("writes");
            let mut server = pair.app.take().await;
            let mut begin = [0; 5];
            server.read_exact(&mut begin).await.expect("reads");
            let (resetting, mut other) =
                if is_client_resetting { (client, server) } else { (server, client) };
            resetting.set_zero_linger().expect("sets");
            drop(resetting);
            let error = read_all(&mut other).await.expect_err("no clean end");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn a_slow_reader_stops_its_sender_and_nothing_is_lost() {
    run(async {
        let mut pair = Pair::new(Behaviour::Give).await;
        let mut client = pair.connect().await;
        client.write_all(b"begin").await.expect("writes");
        let mut server = pair.app.take().await;
        let block = pattern(5, 1 << 20);
        let mut sent = 5;
        // Without back-pressure this would go on for ever; with it, only kernel buffers fill.
        loop {
            let patience = std::time::Duration::from_millis(500);
            match tokio::time::timeout(patience, client.write(&block[..])).await {
                Ok(written) => sent += written.expect("is open"),
                Err(_) => break,
            }
            assert!(sent < 512 << 20, "nobody reads, yet {sent} bytes were taken");
        }
        let reader = tokio::spawn(async move { read_all(&mut server).await });
        client.shutdown().await.expect("ends its side");
        let got = reader.await.expect("reads").expect("a clean end");
        assert_eq!(got.len(), sent);
    });
}

#[test]
fn a_sender_that_resets_while_its_reader_is_slow_does_not_linger() {
    run(async {
        let mut pair = Pair::new(Behaviour::Give).await;
        let mut client = pair.connect().await;
        client.write_all(b"begin").await.expect("writes");
        let _server = pair.app.take().await;
        let block = pattern(5, 1 << 20);
        let patience = std::time::Duration::from_millis(300);
        while tokio::time::timeout(patience, client.write(&block)).await.is_ok() {}
        client.set_zero_linger().expect("sets");
        drop(client);
        until("web's proxy let go", || pair.web.count(|metrics| metrics.outbound_open) == 0).await;
    });
}
