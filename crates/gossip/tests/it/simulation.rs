//! Pools in memory: whom they find, whom they lose, and that a seed tells the whole story.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use gossip::{
    Command, Config, Event, Filter, Key, KeyRequest, Keyring, OperationId, Query, Status,
};

use crate::network::{Network, Weather, address, name};

fn plain(_: &mut Config) {}

fn is_failure(event: &Event) -> bool {
    matches!(event, Event::MemberFailed(_))
}

fn storm() -> Weather {
    Weather {
        loss: 0.2,
        duplication: 0.1,
        delay: Duration::from_millis(1)..Duration::from_millis(60),
        is_tcp_blocked: true,
    }
}

#[test]
fn pools_converge() {
    for (seed, count) in [(1, 3), (2, 20), (3, 200)] {
        let network = Network::pool(seed, count, plain);
        assert_eq!(network.count_events(is_failure), 0, "of {count}");
        let joins = network.count_events(|event| matches!(event, Event::MemberJoin(_)));
        assert_eq!(joins, count * count, "each hears of each once");
    }
}

#[test]
fn nobody_dies_in_fine_weather() {
    let mut network = Network::pool(4, 20, plain);
    network.run_for(Duration::from_secs(300));
    assert_eq!(network.count_events(is_failure), 0);
    for host in network.hosts.values() {
        let counters = host.gossip.counters();
        assert_eq!((counters.probes_failed, counters.suspicions, counters.refutations), (0, 0, 0));
        assert!(counters.probes >= 290, "{counters:?}");
        assert_eq!(counters.packets_refused + counters.messages_refused, 0, "{counters:?}");
        assert_eq!(counters.queue_members, 0, "news have an end: {counters:?}");
        assert_eq!(host.gossip.health_score(), 0);
        assert_eq!(host.gossip.coordinates().len(), 19);
    }
}

#[test]
fn a_dead_node_is_found_and_only_that() {
    for (seed, count) in [(5, 3), (6, 20), (7, 200)] {
        let mut network = Network::pool(seed, count, plain);
        network.kill(1);
        network.run_until("all to miss the dead", 120, |network| {
            network.hosts.values().all(|host| host.statuses(Status::Failed) == 1)
        });
        let deaths = network.count_events(is_failure);
        assert_eq!(deaths, count - 1, "of {count}");
        assert!(network.is_converged());
    }
}

#[test]
fn a_storm_kills_nobody_for_good() {
    let mut network = Network::pool(8, 20, plain);
    network.weather = storm();
    network.run_for(Duration::from_secs(120));
    let suspicions: u64 =
        network.hosts.values().map(|host| host.gossip.counters().suspicions).sum();
    assert!(suspicions > 0, "the storm was no storm");
    network.weather = Weather::fine();
    network.run_until("all to be alive again", 120, Network::is_converged);
}

#[test]
fn the_dead_are_found_in_a_storm() {
    let mut network = Network::pool(9, 20, plain);
    network.weather = storm();
    network.kill(3);
    let dead = name(3);
    network.run_until("all to miss the dead", 120, |network| {
        network.hosts.values().all(|host| {
            host.gossip.member(&dead).is_some_and(|member| member.status == Status::Failed)
        })
    });
}

#[test]
fn without_udp_streams_keep_a_pool_alive() {
    let mut network = Network::pool(10, 3, plain);
    network.weather.loss = 1.0;
    network.run_for(Duration::from_secs(120));
    assert_eq!(network.count_events(is_failure), 0);
    let by_stream: u64 =
        network.hosts.values().map(|host| host.gossip.counters().probes_by_stream).sum();
    assert!(by_stream > 0);
}

#[test]
fn without_streams_packets_keep_a_pool_alive() {
    let mut network = Network::pool(11, 5, plain);
    network.weather.is_tcp_blocked = true;
    network.run_for(Duration::from_secs(120));
    assert_eq!(network.count_events(is_failure), 0);
    network.kill(1);
    network.run_until("the dead to be found", 60, |network| {
        network.hosts.values().all(|host| host.statuses(Status::Failed) == 1)
    });
}

#[test]
fn halves_of_a_pool_find_together_again() {
    let mut network = Network::pool(12, 10, plain);
    network.split(|n| n % 2);
    network.run_until("each half to miss the other", 120, |network| {
        network.hosts.values().all(|host| host.statuses(Status::Failed) == 5)
    });
    // Long enough for the membership protocol to forget the others: only serf remembers them.
    network.run_for(Duration::from_secs(120));
    network.heal();
    network.run_until("the halves to be one", 300, Network::is_converged);
}

#[test]
fn a_seed_tells_the_whole_story() {
    let run = |seed| {
        let mut network = Network::pool(seed, 20, |config| config.compress = true);
        network.weather = storm();
        network.kill(5);
        network.run_for(Duration::from_secs(30));
        network.trace()
    };
    assert_eq!(run(13), run(13));
    assert_ne!(run(13), run(14));
}

#[test]
fn who_leaves_is_not_failed() {
    let mut network = Network::pool(15, 20, plain);
    network.command(7, Command::Leave);
    network.run_until("the leave to end", 60, |network| {
        network.host(7).events.contains(&Event::LeaveDone)
    });
    network.kill(7);
    network.run_until("all to see it left", 10, |network| {
        network.hosts.values().all(|host| host.statuses(Status::Left) == 1)
    });
    network.run_for(Duration::from_secs(60));
    assert_eq!(network.count_events(is_failure), 0);
    let leaves = network.count_events(|event| matches!(event, Event::MemberLeave(_)));
    assert_eq!(leaves, 19);

    // And may come back, from another address too.
    network.start_at(address(30), 7, plain);
    let addresses = vec![address(0)];
    let command = Command::Join { operation: OperationId(0), addresses };
    network.command(30, command);
    network.run_until("all to be alive", 60, Network::is_converged);
    assert_eq!(network.count_events(is_failure), 0);
}

#[test]
fn a_node_alone_can_leave() {
    let mut network = Network::new(16);
    network.start(0, plain);
    network.command(0, Command::Leave);
    network.run_until("the leave to end", 20, |network| {
        network.host(0).events.contains(&Event::LeaveDone)
    });
}

#[test]
fn a_restarted_node_outbids_its_past() {
    let mut network = Network::pool(17, 5, plain);
    let tags = [("colour".to_owned(), "green".to_owned())];
    network.command(2, Command::SetTags(tags.clone().into()));
    network.run_until("the tag everywhere", 20, |network| {
        let has_tag = |member: &gossip::Member| member.tags == tags.clone().into();
        network.hosts.values().all(|host| host.gossip.member("node-2").is_some_and(has_tag))
    });
    let snapshot = network.host(2).snapshot();
    network.kill(2);
    // At once: nobody has noticed, and what they remember is newer than what it says.
    network.start(2, |config| config.snapshot = snapshot);
    network.run_until("its own word to win", 60, |network| {
        let lost_tag = |member: &gossip::Member| member.tags.is_empty();
        network.is_converged()
            && network.hosts.values().all(|h| h.gossip.member("node-2").is_some_and(lost_tag))
    });
    assert_eq!(network.count_events(is_failure), 0);
    let rejoined = Event::RejoinDone { through: None };
    assert!(!network.host(2).events.contains(&rejoined));
}

#[test]
fn a_name_moves_once_its_bearer_is_dead_long_enough() {
    let mut network = Network::pool(18, 5, plain);
    let elsewhere = address(40);
    network.start_at(elsewhere, 2, plain);
    let addresses = vec![address(0)];
    network.command(40, Command::Join { operation: OperationId(0), addresses });
    network.run_for(Duration::from_secs(10));
    let at = |network: &Network, n: usize| {
        network.host(n).gossip.member("node-2").expect("it is known").address
    };
    assert_eq!(at(&network, 0), address(2));
    assert!(network.host(0).gossip.counters().name_conflicts > 0);
    network.kill(2);
    network.run_until("the name to move", 180, |network| {
        [0, 1, 3, 4].into_iter().all(|n| at(network, n) == elsewhere) && network.is_converged()
    });
}

#[test]
fn a_forced_leave_turns_a_failure_into_a_leave() {
    let mut network = Network::pool(19, 5, plain);
    network.kill(4);
    network.run_until("the dead to be found", 60, |network| {
        network.hosts.values().all(|host| host.statuses(Status::Failed) == 1)
    });
    network.command(0, Command::ForceLeave { node: name(4), prune: false });
    network.run_until("all to see it left", 20, |network| {
        network.hosts.values().all(|host| host.statuses(Status::Left) == 1)
    });
    network.command(1, Command::ForceLeave { node: name(4), prune: true });
    network.run_until("all to forget it", 20, |network| {
        network.hosts.values().all(|host| host.gossip.member("node-4").is_none())
    });
    // Who lives does not let itself be sent away.
    network.command(0, Command::ForceLeave { node: name(1), prune: false });
    network.run_for(Duration::from_secs(20));
    assert!(network.is_converged());
}

#[test]
fn the_gone_are_forgotten_in_time() {
    let mut network = Network::pool(20, 3, |config| {
        config.profile.reconnect_timeout = Duration::from_secs(120);
        config.profile.tombstone_timeout = Duration::from_secs(60);
    });
    network.kill(1);
    network.command(2, Command::Leave);
    network.run_until("the leave to end", 60, |network| {
        network.host(2).events.contains(&Event::LeaveDone)
    });
    network.kill(2);
    network.run_until("both to be forgotten", 300, |network| {
        network.host(0).gossip.members().count() == 1
    });
    let reaps = network.count_events(|event| matches!(event, Event::MemberReap(_)));
    assert_eq!(reaps, 2);
}

#[test]
fn an_event_comes_once_to_each() {
    let mut network = Network::pool(21, 30, plain);
    network.weather = storm();
    let (event, payload) = ("deploy".to_owned(), Bytes::from_static(b"now"));
    let command = Command::UserEvent { name: event, payload, coalesce: false };
    network.command(3, command);
    let is_event =
        |event: &Event| matches!(event, Event::UserEvent { name, .. } if name == "deploy");
    network.run_until("the event everywhere", 120, |network| {
        network.hosts.values().all(|host| host.events.iter().any(is_event))
    });
    network.run_for(Duration::from_secs(30));
    assert_eq!(network.count_events(is_event), 30);

    // Who joins later is not told what is past.
    network.weather = Weather::fine();
    network.start(30, plain);
    network.join(30, 0);
    network.run_until("the newcomer to be in", 60, Network::is_converged);
    network.run_for(Duration::from_secs(90));
    assert_eq!(network.count_events(is_event), 30);
}

#[test]
fn a_query_gathers_answers_of_those_meant() {
    let mut network = Network::pool(22, 20, |config| {
        let colour = if config.name.ends_with('3') { "green" } else { "red" };
        config.tags = [("colour".to_owned(), colour.to_owned())].into();
    });
    let green = Filter::Tag { tag: "colour".into(), expression: "^gr".into() };
    let some = Filter::Nodes([name(1), name(2), name(3)].into());
    for (operation, filters, want) in [
        (1, vec![], 20),
        (2, vec![green.clone()], 2),
        (3, vec![some.clone()], 3),
        (4, vec![green, some], 1),
    ] {
        let operation = OperationId(operation);
        let payload = Bytes::from_static(b"?");
        let query = Query {
            name: "who".into(),
            payload,
            filters,
            wants_ack: true,
            relay_factor: 2,
            timeout: None,
        };
        network.command(5, Command::Query { operation, query });
        let done = Event::QueryDone { operation, acks: want, replies: want };
        network.run_until("all answers", 20, |network| network.host(5).events.contains(&done));
    }
    // With others relaying, answers come although most packets are lost.
    network.weather.loss = 0.4;
    let operation = OperationId(5);
    let filters = vec![Filter::Nodes([name(9)].into())];
    let query = Query { name: "who".into(), filters, relay_factor: 5, ..Query::default() };
    network.command(5, Command::Query { operation, query });
    let done = Event::QueryDone { operation, acks: 0, replies: 1 };
    network.run_until("the answer", 20, |network| network.host(5).events.contains(&done));
}

#[test]
fn keys_rotate() {
    let key = |byte| Key::new(&[byte; 32]).unwrap();
    let mut network = Network::pool(23, 10, |config| {
        config.keyring = Some(Keyring::new([Key::new(&[1; 32]).unwrap()]).unwrap());
    });
    for (operation, request) in [
        (1, KeyRequest::Install(key(2))),
        (2, KeyRequest::Use(key(2))),
        (3, KeyRequest::Remove(key(1))),
    ] {
        let operation = OperationId(operation);
        network.command(0, Command::Key { operation, request });
        network.run_until("all to have followed", 20, |network| {
            network.host(0).events.iter().any(|event| match event {
                Event::KeyringReport { operation: ended, report } if *ended == operation => {
                    assert_eq!((report.answers, report.errors.len()), (10, 0), "{report:?}");
                    true
                }
                _ => false,
            })
        });
    }
    let ring = Keyring::new([key(2)]).unwrap();
    assert!(network.hosts.values().all(|host| host.gossip.keyring() == Some(&ring)));
    network.run_for(Duration::from_secs(60));
    assert_eq!(network.count_events(is_failure), 0);
    for host in network.hosts.values() {
        assert_eq!(host.gossip.counters().packets_refused, 0);
    }
    // Without the key nobody gets in.
    network.start(10, |config| {
        config.keyring = Some(Keyring::new([Key::new(&[1; 32]).unwrap()]).unwrap());
    });
    network.join(10, 0);
    network.run_for(Duration::from_secs(30));
    assert!(network.host(0).gossip.member("node-10").is_none());
}

#[test]
fn a_pool_moves_to_encryption_without_a_gap() {
    let ring = || Some(Keyring::new([Key::new(&[1; 16]).unwrap()]).unwrap());
    // Half reads both and still speaks plainly, half does all but refuse plain speech.
    let mut network = Network::pool(24, 6, |config| {
        config.keyring = ring();
        config.verify_incoming = false;
        config.verify_outgoing = config.name.ends_with(['1', '3', '5']);
    });
    network.run_for(Duration::from_secs(60));
    assert_eq!(network.count_events(is_failure), 0);
    assert!(network.is_converged());
}

#[test]
fn garbage_from_strangers_changes_nothing() {
    use gossip::{Input, Now, StreamId};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    let mut network = Network::pool(25, 3, plain);
    let mut rng = StdRng::seed_from_u64(25);
    let now = Now { mono: network.now };
    let host = network.hosts.get_mut(&address(0)).expect("it runs");
    let mut effects = Vec::new();
    for round in 0..20_000 {
        let length = rng.random_range(0..200);
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        // Mostly with a type that exists.
        if let Some(first) = bytes.first_mut() {
            *first = rng.random_range(0..14);
        }
        let from = address(99);
        let bytes = Bytes::from(bytes);
        if round % 10 == 0 {
            let id = StreamId::accepted(1_000_000 + round);
            host.gossip.step(Input::StreamAccepted { id, peer: from }, now, &mut effects);
            host.gossip.step(Input::StreamData { id, bytes }, now, &mut effects);
            host.gossip.step(Input::StreamClosed { id }, now, &mut effects);
        } else {
            host.gossip.step(Input::PacketReceived { from, bytes }, now, &mut effects);
        }
    }
    assert_eq!(host.gossip.counters().streams, 0);
    network.run_for(Duration::from_secs(30));
    assert!(network.is_converged());
    assert_eq!(network.count_events(is_failure), 0);
}

/// Lifeguard's case (Dadgar et al., 2018): members that stand still most of the time must not accuse those that run.
#[test]
fn starved_members_do_not_kill_healthy_ones() {
    let mut network = Network::pool(26, 40, plain);
    for n in (0..40).step_by(4) {
        let host = network.hosts.get_mut(&address(n)).expect("it runs");
        host.ration = Some((Duration::from_secs(5), Duration::from_millis(250 + 10 * n as u64)));
    }
    network.run_for(Duration::from_secs(300));
    let starved: BTreeSet<String> = (0..40).step_by(4).map(name).collect();
    let false_deaths = network.count_events(
        |event| matches!(event, Event::MemberFailed(member) if !starved.contains(&member.name)),
    );
    assert_eq!(false_deaths, 0);
    let refutations: u64 =
        network.hosts.values().map(|host| host.gossip.counters().refutations).sum();
    assert!(refutations > 100, "nobody was starved");
    // Nor does a starved one believe that others are at fault for the answers it had no time to read.
    for n in (0..40).step_by(4) {
        assert_eq!(network.host(n).gossip.counters().probes_failed, 0, "{}", name(n));
    }
}
