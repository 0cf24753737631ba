//! Who may talk to whom, and what happens when that changes.

use std::sync::Arc;

use mesh::definition::PublicListener;
use mesh::{DefaultPolicy, ProxySnapshot};
use proxy::Ask;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::world::{
    App, Authority, Behaviour, DOMAIN, Pair, Running, allow, deny, inbound, is_echoed, read_all,
    run, snapshot, until, until_async,
};

#[test]
fn a_denied_client_fails_on_its_first_read_and_the_application_never_knows() {
    run(async {
        let pair = Pair::new(Behaviour::Echo).await;
        for intentions in [deny("web", "db"), allow("api", "db"), deny("*", "db"), [].into()] {
            let denied = pair.db.count(|metrics| metrics.inbound_denied);
            pair.db.set_intentions(intentions);
            until_async("it is denied", async || !pair.is_served().await).await;
            assert_eq!(pair.db.count(|metrics| metrics.inbound_denied), denied + 1);
            let served = pair.app.connections();
            for _ in 0..10 {
                assert!(!pair.is_served().await);
            }
            assert_eq!(pair.app.connections(), served);
            pair.db.set_intentions(allow("*", "*"));
            until_async("it is allowed", async || pair.is_served().await).await;
        }
    });
}

#[test]
fn a_change_to_deny_cuts_what_is_open_and_a_change_elsewhere_does_not() {
    run(async {
        let mut pair = Pair::new(Behaviour::Give).await;
        let mut client = pair.connect().await;
        let mut server = pair.app.take().await;
        pair.db.set_intentions(allow("*", "db"));
        pair.db
            .set_intentions([allow("web", "db")[0].clone(), deny("api", "db")[0].clone()].into());
        pair.db.set_intentions(deny("web", "db"));
        // Both applications see that it was cut and did not end.
        assert!(read_all(&mut client).await.is_err());
        assert!(read_all(&mut server).await.is_err());
        assert_eq!(pair.db.count(|metrics| metrics.cut_denied), 1);
        assert_eq!(pair.app.connections(), 1);
    });
}

#[test]
fn open_connections_are_left_alone_where_the_registration_says_so() {
    run(async {
        let mut pair = Pair::new(Behaviour::Give).await;
        pair.db.change(|snapshot| {
            let inbound = snapshot.inbound.as_mut().expect("has one");
            let mut listener = PublicListener::clone(&inbound.listener);
            listener.recheck_connections = false;
            inbound.listener = Arc::new(listener);
        });
        let mut client = pair.connect().await;
        let mut server = pair.app.take().await;
        let denied = pair.db.count(|metrics| metrics.inbound_denied);
        pair.db.set_intentions(deny("web", "db"));
        until("new ones are denied", || {
            drop(std::net::TcpStream::connect(pair.entry).expect("listens"));
            pair.db.count(|metrics| metrics.inbound_denied) > denied
        })
        .await;
        use tokio::io::AsyncWriteExt;
        client.write_all(b"still").await.expect("writes");
        let mut got = [0; 5];
        server.read_exact(&mut got).await.expect("reads");
        assert_eq!(pair.db.count(|metrics| metrics.cut_denied), 0);
    });
}

#[test]
fn where_only_the_agent_knows_the_default_it_is_asked_each_time_and_silence_is_no() {
    run(async {
        let mut pair = Pair::new(Behaviour::Echo).await;
        pair.db.change(|snapshot| {
            let inbound = snapshot.inbound.as_mut().expect("has one");
            inbound.default_policy = DefaultPolicy::AskAgent;
            inbound.intentions = [].into();
        });
        for is_allowed in [true, true, false] {
            let mut stream = pair.connect().await;
            let (served, question) = tokio::join!(is_echoed(&mut stream, b"may I"), async {
                let question = pair.db.questions.recv().await.expect("it asks");
                let reason = "because".into();
                question.reply.send(Ask { is_allowed, reason }).expect("it waits");
                question.client_uri
            });
            assert_eq!(question, pair.authority.id("web").to_string());
            assert_eq!(served, is_allowed);
        }
        let mut stream = pair.connect().await;
        let (served, ()) = tokio::join!(is_echoed(&mut stream, b"may I"), async {
            drop(pair.db.questions.recv().await.expect("it asks"));
        });
        assert!(!served);
        assert_eq!(pair.app.connections(), 2);
    });
}

#[test]
fn without_data_nothing_listens() {
    run(async {
        let authority = Authority::new(DOMAIN);
        let app = App::start(Behaviour::Echo).await;
        let mut db = Running::start(None);
        // The snapshot comes only later; the listener with it.
        let inbound = inbound(app.address, allow("web", "db"));
        let first = ProxySnapshot { inbound, ..snapshot(&authority, "db") };
        assert!(!db.end.is_finished());
        db.snapshots.send_replace(Some(Arc::new(first)));
        TcpStream::connect(db.public().await).await.expect("listens now");
    });
}
