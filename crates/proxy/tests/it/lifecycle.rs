//! Start, change, end: listeners, instances that come and go, drain.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mesh::ProxySnapshot;
use mesh::definition::PublicListener;
use proxy::{RunError, Settings};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{
    App, Authority, Behaviour, DEADLINE, DOMAIN, Pair, Running, allow, inbound, is_echoed,
    is_served, read_all, run, settings, snapshot, until, until_async, upstream,
};

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
    listener.local_addr().expect("is bound")
}

#[test]
fn a_dead_instance_is_stepped_over() {
    run(async {
        let mut pair = Pair::new(Behaviour::Echo).await;
        let at = [nobody().await, nobody().await, pair.db.public().await];
        let upstreams = vec![upstream(&pair.authority, "db", &at)];
        pair.web.apply(|snapshot| snapshot.upstreams = upstreams).await;
        for _ in 0..20 {
            let mut stream = pair.connect().await;
            assert!(is_echoed(&mut stream, b"found").await);
        }
        until("some attempts failed", || {
            pair.web.count(|metrics| metrics.outbound_attempts_failed) > 0
        })
        .await;
        assert_eq!(pair.web.count(|metrics| metrics.outbound_failed), 0);
    });
}

#[test]
fn no_instance_at_all_fails_the_application_at_once() {
    run(async {
        let pair = Pair::new(Behaviour::Echo).await;
        let (authority, dead) = (&pair.authority, nobody().await);
        for at in [vec![], vec![dead]] {
            let upstreams = vec![upstream(authority, "db", &at)];
            pair.web.apply(|snapshot| snapshot.upstreams = upstreams).await;
            assert!(!pair.is_served().await);
        }
        assert_eq!(pair.web.count(|metrics| metrics.outbound_failed), 2);
    });
}

#[test]
fn an_application_that_is_down_fails_the_client_and_nothing_else() {
    run(async {
        let authority = Authority::new(DOMAIN);
        let app = nobody().await;
        let db = ProxySnapshot {
            inbound: inbound(app, allow("web", "db")),
            ..snapshot(&authority, "db")
        };
        let mut db = Running::start(Some(db));
        let upstreams = vec![upstream(&authority, "db", &[db.public().await])];
        let web = ProxySnapshot { upstreams, ..snapshot(&authority, "web") };
        let mut web = Running::start(Some(web));
        assert!(!is_served(web.upstream().await).await);
        assert_eq!(db.count(|metrics| metrics.inbound_app_unreachable), 1);
    });
}

#[test]
fn a_listener_holds_no_more_connections_than_it_may() {
    run(async {
        let pair = Pair::new(Behaviour::Echo).await;
        pair.db.change(|snapshot| {
            let inbound = snapshot.inbound.as_mut().expect("has one");
            let mut listener = PublicListener::clone(&inbound.listener);
            listener.connections_max = 2;
            inbound.listener = listener.into();
        });
        // Connections made before the limit is known may make it more than two.
        let mut held: Vec<TcpStream> = Vec::new();
        loop {
            let Ok(mut stream) = TcpStream::connect(pair.entry).await else { break };
            if !is_echoed(&mut stream, b"hold").await {
                break;
            }
            held.push(stream);
            assert!(held.len() < 1000, "there is no limit");
        }
        assert!(held.len() >= 2);
        assert!(pair.db.count(|metrics| metrics.refused_limit) > 0);
        drop(held);
        until_async("there is room again", async || pair.is_served().await).await;
    });
}

#[test]
fn a_port_in_use_stops_the_start_with_a_line_that_names_it() {
    run(async {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
        let port = taken.local_addr().expect("is bound").port();
        let authority = Authority::new(DOMAIN);
        let mut inbound = inbound(taken.local_addr().expect("is bound"), allow("web", "db"));
        let listener = PublicListener::new(("127.0.0.1", port), ("127.0.0.1", port));
        inbound.as_mut().expect("is one").listener = listener.into();
        let db = Running::start(Some(ProxySnapshot { inbound, ..snapshot(&authority, "db") }));
        let ended = tokio::time::timeout(DEADLINE, db.end).await.expect("ends").expect("runs");
        let error = ended.expect_err("cannot listen");
        assert!(matches!(error, RunError::Bind { .. }));
        let line = format!("cannot listen on 127.0.0.1:{port} for the public listener");
        assert_eq!(error.to_string(), line);
    });
}

#[test]
fn an_upstream_that_goes_leaves_its_connections_and_takes_its_port() {
    run(async {
        let pair = Pair::new(Behaviour::Echo).await;
        let mut stream = pair.connect().await;
        assert!(is_echoed(&mut stream, b"before").await);
        pair.web.change(|snapshot| snapshot.upstreams.clear());
        until("the port is closed", || std::net::TcpStream::connect(pair.entry).is_err()).await;
        assert!(is_echoed(&mut stream, b"after").await);
    });
}

#[test]
fn a_drain_takes_no_new_connections_and_lets_the_open_ones_end() {
    run(async {
        let Pair { web, mut db, entry, .. } = Pair::new(Behaviour::Echo).await;
        let public = db.public().await;
        let mut stream = TcpStream::connect(entry).await.expect("listens");
        assert!(is_echoed(&mut stream, b"before").await);
        web.shutdown.cancel();
        db.shutdown.cancel();
        until("the ports are closed", || {
            std::net::TcpStream::connect(entry).is_err()
                && std::net::TcpStream::connect(public).is_err()
        })
        .await;
        assert!(is_echoed(&mut stream, b"during").await);
        assert!(!web.end.is_finished() && !db.end.is_finished());
        drop(stream);
        for end in [web.end, db.end] {
            let ended = tokio::time::timeout(DEADLINE, end).await.expect("ends").expect("runs");
            ended.expect("ends well");
        }
    });
}

#[test]
fn a_drain_ends_at_its_deadline_with_a_reset() {
    run(async {
        let settings = Settings { drain_timeout: Duration::from_millis(200), ..settings() };
        let Pair { web, db, entry, .. } = Pair::with(Behaviour::Echo, settings).await;
        let mut stream = TcpStream::connect(entry).await.expect("listens");
        assert!(is_echoed(&mut stream, b"before").await);
        web.shutdown.cancel();
        assert!(read_all(&mut stream).await.is_err());
        let ended = tokio::time::timeout(DEADLINE, web.end).await.expect("ends").expect("runs");
        ended.expect("ends well");
        assert_eq!(web.metrics.snapshot().cut_drained, 1);
        until("db let go", || db.count(|metrics| metrics.inbound_open) == 0).await;
    });
}

#[test]
fn certificates_that_cannot_be_used_leave_the_old_in_force() {
    run(async {
        let pair = Pair::new(Behaviour::Echo).await;
        pair.web.change(|snapshot| {
            let mut leaf = model::ca::IssuedCert::clone(&snapshot.leaf);
            leaf.private_key_pem = "nonsense".into();
            snapshot.leaf = leaf.into();
        });
        for _ in 0..3 {
            let mut stream = pair.connect().await;
            assert!(is_echoed(&mut stream, b"served").await);
        }
        let _ = App::start(Behaviour::Echo).await;
    });
}
