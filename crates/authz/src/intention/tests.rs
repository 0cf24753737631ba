//! The rule against an evaluator written the other way round, over every small world.

use super::*;

const NAMES: [&str; 3] = ["a", "b", "*"];

fn intention(source: &str, destination: &str, action: IntentionAction) -> Arc<Intention> {
    Arc::new(Intention {
        id: format!("{source}-{destination}"),
        source_namespace: DEFAULT_NAMESPACE.into(),
        source_name: source.into(),
        destination_namespace: DEFAULT_NAMESPACE.into(),
        destination_name: destination.into(),
        precedence: Intention::precedence_of(source, destination),
        action,
        ..Intention::default()
    })
}

/// Independent of the code under test: rate every intention by the questions the documentation asks, in its
/// order, and take the best rated.
fn reference(
    intentions: &[Arc<Intention>],
    source: &str,
    destination: &str,
    default: bool,
) -> bool {
    let mut best: Option<(u32, bool)> = None;
    for intention in intentions {
        let destination_exact = match intention.destination_name.as_str() {
            "*" => false,
            name if name == destination => true,
            _ => continue,
        };
        let source_exact = match intention.source_name.as_str() {
            "*" => false,
            name if name == source => true,
            _ => continue,
        };
        let rating = u32::from(destination_exact) * 2 + u32::from(source_exact);
        if best.is_none_or(|(held, _)| rating > held) {
            best = Some((rating, intention.action.as_str() == "allow"));
        }
    }
    best.map_or(default, |(_, allowed)| allowed)
}

/// Every set of up to three intentions over three names, both actions, in every order of insertion that can matter
/// (forwards and backwards).
fn worlds() -> Vec<Vec<Arc<Intention>>> {
    let mut edges = Vec::new();
    for source in NAMES {
        for destination in NAMES {
            for action in [IntentionAction::Allow, IntentionAction::Deny] {
                edges.push(intention(source, destination, action));
            }
        }
    }
    let mut worlds = vec![Vec::new()];
    for (i, one) in edges.iter().enumerate() {
        worlds.push(vec![one.clone()]);
        for (j, two) in edges.iter().enumerate().skip(i + 1) {
            if one.id == two.id {
                continue;
            }
            worlds.push(vec![one.clone(), two.clone()]);
            for three in edges.iter().skip(j + 1) {
                if three.id != one.id && three.id != two.id {
                    worlds.push(vec![one.clone(), two.clone(), three.clone()]);
                }
            }
        }
    }
    let backwards: Vec<_> =
        worlds.iter().map(|world| world.iter().rev().cloned().collect()).collect();
    worlds.extend(backwards);
    worlds
}

#[test]
fn every_small_world_is_decided_as_the_reference_decides() {
    let worlds = worlds();
    assert_eq!(worlds.len(), 2 * (1 + 18 + 9 * 8 / 2 * 4 + 9 * 8 * 7 / 6 * 8));
    for world in &worlds {
        for destination in ["a", "b", "c"] {
            let table = IntentionTable::new(destination, world.iter().cloned());
            for source in ["a", "b", "c"] {
                for default in [false, true] {
                    let expected = reference(world, source, destination, default);
                    let decided = table.decide(source, default);
                    assert_eq!(decided.allowed, expected, "{source} to {destination}: {world:?}");
                    let by_pair = winning(source, destination, |source, destination| {
                        let is_pair = |intention: &&Arc<Intention>| {
                            intention.source_name == source
                                && intention.destination_name == destination
                        };
                        world.iter().find(is_pair)
                    });
                    let by_pair = decision(by_pair.map(|intention| &**intention), default);
                    assert_eq!(by_pair, decided, "{source} to {destination}: {world:?}");
                    let listed = matching(world, MatchSide::Destination, destination);
                    let first = listed.into_iter().find(|intention| {
                        intention.source_name == source || intention.source_name == "*"
                    });
                    let first = decision(first.map(|intention| &**intention), default);
                    assert_eq!(first, decided, "{source} to {destination}: {world:?}");
                }
            }
        }
    }
}

#[test]
fn any_to_exact_wins_over_exact_to_any() {
    let world = [
        intention("web", "*", IntentionAction::Allow),
        intention("*", "db", IntentionAction::Deny),
    ];
    let table = IntentionTable::new("db", world);
    let decision = table.decide("web", true);
    assert!(!decision.allowed);
    let reason = "Matched intention: DENY default/* => default/db (ID: *-db, Precedence: 8)";
    assert_eq!(decision.reason.to_string(), reason);
}

#[test]
fn matches_are_listed_most_specific_first_then_by_name() {
    let world: Vec<_> = [("*", "*"), ("web", "*"), ("*", "db"), ("web", "db"), ("api", "db")]
        .map(|(source, destination)| intention(source, destination, IntentionAction::Allow))
        .into();
    let ids = |side, name| -> Vec<String> {
        matching(&world, side, name).iter().map(|intention| intention.id.clone()).collect()
    };
    let for_db = ["api-db", "web-db", "*-db", "web-*", "*-*"];
    assert_eq!(ids(MatchSide::Destination, "db"), for_db);
    assert_eq!(ids(MatchSide::Source, "web"), ["web-db", "*-db", "web-*", "*-*"]);
    assert_eq!(ids(MatchSide::Destination, "other"), ["web-*", "*-*"]);
    assert_eq!(ids(MatchSide::Destination, "*"), ["web-*", "*-*"]);
}

#[test]
fn a_pair_that_occurs_twice_is_denied_in_either_order() {
    let allow = intention("web", "db", IntentionAction::Allow);
    let deny = intention("web", "db", IntentionAction::Deny);
    for world in [[allow.clone(), deny.clone()], [deny, allow]] {
        assert!(!IntentionTable::new("db", world).decide("web", true).allowed);
    }
}

#[test]
fn intentions_of_foreign_namespaces_say_nothing_about_ours() {
    let mut foreign = Intention::clone(&intention("web", "db", IntentionAction::Allow));
    foreign.source_namespace = "team".into();
    let table = IntentionTable::new("db", [Arc::new(foreign)]);
    assert!(table.is_empty());
    assert!(!table.decide("web", false).allowed);
}

#[test]
fn a_hundred_thousand_intentions_leave_one_entry_per_source() {
    let world = (0..100_000).map(|number| {
        let action = if number % 2 == 0 { IntentionAction::Allow } else { IntentionAction::Deny };
        intention(&format!("service-{number}"), "db", action)
    });
    let table = IntentionTable::new("db", world);
    assert_eq!((table.len(), table.exact.len()), (100_000, 100_000));
    assert!(table.decide("service-4242", false).allowed);
    assert!(!table.decide("service-4243", true).allowed);
    assert_eq!(table.decide("stranger", false).reason, Reason::Default);
}

#[test]
#[ignore = "measures: run in release"]
#[expect(clippy::disallowed_methods, reason = "measures")]
fn time_per_decision() {
    for count in [1, 10, 1000, 100_000] {
        let world = (0..count)
            .map(|number| intention(&format!("service-{number}"), "db", IntentionAction::Allow));
        let table = IntentionTable::new("db", world);
        let names: Vec<_> =
            (0..1024).map(|at| format!("service-{}", at * 7919 % (count + 1))).collect();
        let begun = std::time::Instant::now();
        let mut allowed = 0_u64;
        for round in 0..2000 {
            for name in &names {
                allowed += u64::from(table.decide(name, round % 2 == 0).allowed);
            }
        }
        let each = begun.elapsed() / (2000 * 1024);
        println!("{count} intentions: {each:?} ({allowed} allowed)");
    }
}

#[test]
fn letter_case_opens_no_door() {
    let intention = |source: &str, destination: &str| {
        Arc::new(Intention {
            source_name: source.to_owned(),
            destination_name: destination.to_owned(),
            action: IntentionAction::Deny,
            ..Intention::default()
        })
    };
    let check = |written: (&str, &str), asked: (&str, &str)| {
        let table = IntentionTable::new(asked.1, [intention(written.0, written.1)]);
        assert!(!table.decide(asked.0, true).allowed, "{written:?} {asked:?}");
    };
    check(("Web", "Db"), ("web", "db"));
    check(("web", "db"), ("WEB", "DB"));
    check(("Wéb", "DB"), ("wÉb", "db"));
    check(("*", "DB"), ("web", "db"));
    check(("WEB", "*"), ("web", "db"));
}
