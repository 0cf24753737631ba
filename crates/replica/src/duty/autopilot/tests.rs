//! Tables of who is let in, out and to vote.

use super::*;

/// A cluster in short: server 1 leads, everybody is found, healthy and current unless told.
struct Case {
    settings: AutopilotConfiguration,
    membership: Membership,
    members: Vec<Member>,
    followers: BTreeMap<u64, Follower>,
    autopilot: Autopilot,
    now: Now,
}

fn server(id: u64) -> Member {
    Member {
        id: format!("uuid-{id}"),
        name: format!("s{id}"),
        address: format!("10.0.0.{id}"),
        server: Some(MemberServer {
            consensus_id: Some(id),
            address: format!("10.0.0.{id}:8300"),
            ..MemberServer::default()
        }),
        ..Member::default()
    }
}

impl Case {
    fn new(voters: &[u64], learners: &[u64]) -> Self {
        let all: Vec<u64> = voters.iter().chain(learners).copied().collect();
        let members: Vec<Member> = all.iter().map(|id| server(*id)).collect();
        let peers = members.iter().zip(&all);
        let peers = peers.map(|(m, id)| (*id, peer(m, m.server.as_ref().unwrap()))).collect();
        let current = Follower { matched: 100, matched_term: 3, ..Follower::default() };
        Self {
            settings: AutopilotConfiguration::default(),
            membership: Membership {
                voters: voters.to_vec(),
                learners: learners.to_vec(),
                peers,
                ..Membership::default()
            },
            members,
            followers: all.into_iter().filter(|id| *id != 1).map(|id| (id, current)).collect(),
            autopilot: Autopilot::default(),
            now: Now::default(),
        }
    }

    fn member(mut self, id: u64, change: impl FnOnce(&mut Member)) -> Self {
        match self.members.iter_mut().find(|member| member.name == format!("s{id}")) {
            Some(member) => change(member),
            None => {
                let mut member = server(id);
                change(&mut member);
                self.members.push(member);
            }
        }
        self
    }

    fn is(self, liveness: Liveness, ids: &[u64]) -> Self {
        ids.iter().fold(self, |case, id| {
            let mut case = case.member(*id, |member| member.liveness = liveness);
            if let Some(follower) = case.followers.get_mut(id) {
                follower.last_contact = Duration::from_secs(60);
            }
            case
        })
    }

    fn zones(mut self, zones: &[(u64, &str)]) -> Self {
        self.settings.redundancy_zone_tag = "zone".into();
        zones.iter().fold(self, |case, (id, zone)| {
            case.member(*id, |m| m.server.as_mut().unwrap().zone = Some((*zone).to_owned()))
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Looks at once and again after `seconds`.
    fn plan_after(&mut self, seconds: u64) -> Option<Change> {
        let Self { settings, membership, members, followers, autopilot, now } = self;
        let mut look = |now| {
            autopilot.plan(&Situation {
                settings,
                own: 1,
                last_term: 3,
                last_index: 100,
                membership,
                followers,
                members,
                now,
            })
        };
        look(*now);
        now.mono = now.mono.plus(Duration::from_secs(seconds));
        look(*now)
    }
}

#[track_caller]
fn check(case: Case, expected: Option<Change>) {
    let mut case = case;
    assert_eq!(case.plan_after(40), expected);
}

#[test]
fn a_quiet_cluster_is_left_alone() {
    check(Case::new(&[1], &[]), None);
    check(Case::new(&[1, 2, 3], &[]), None);
    check(Case::new(&[1, 2, 3], &[]).is(Liveness::Leaving, &[2]), None);
    // Only the leader looks, and not in the middle of a change.
    check(Case::new(&[2, 3], &[1, 4]), None);
    let joint = |case: &mut Case| case.membership.voters_outgoing = vec![1, 2];
    check(Case::new(&[1, 2, 3], &[4]).with(joint), None);
}

#[test]
fn newcomers_wait_until_they_are_stable() {
    let peer = |id: u64| {
        let member = server(id);
        peer(&member, member.server.as_ref().unwrap())
    };
    check(Case::new(&[1], &[]).member(2, |_| ()), Some(Change::Add(2, peer(2))));
    check(Case::new(&[1], &[]).is(Liveness::Failed, &[2]), None);
    let foreign = |m: &mut Member| m.server.as_mut().unwrap().consensus_id = None;
    check(Case::new(&[1], &[]).member(2, foreign), None);
    check(Case::new(&[1], &[]).member(2, |m| m.server = None), None);

    let mut waiting = Case::new(&[1], &[2]);
    assert_eq!(waiting.plan_after(9), None);
    assert_eq!(waiting.plan_after(1), Some(Change::Promote(2)));
    let mut founding = Case::new(&[1], &[2]).with(|c| c.membership.founders = [1, 2].into());
    assert_eq!(founding.plan_after(0), Some(Change::Promote(2)));

    let lags = |c: &mut Case| c.settings.max_trailing_logs = 10;
    let behind = |matched, matched_term, last_contact| {
        let follower = Follower { matched, matched_term, last_contact };
        Case::new(&[1], &[2]).with(lags).with(|c| c.followers = [(2, follower)].into())
    };
    check(behind(90, 3, Duration::ZERO), Some(Change::Promote(2)));
    check(behind(89, 3, Duration::ZERO), None);
    check(behind(100, 2, Duration::ZERO), None);
    check(behind(100, 3, Duration::from_millis(201)), None);
}

#[test]
fn read_replicas_never_vote() {
    let replica = |m: &mut Member| m.server.as_mut().unwrap().is_nonvoter = true;
    check(Case::new(&[1, 2, 3], &[4]).member(4, replica), None);
    check(Case::new(&[1, 2, 3], &[]).member(3, replica), Some(Change::Demote(3)));
    // Not when too few would be left to decide.
    check(Case::new(&[1, 2, 3], &[]).member(3, replica).is(Liveness::Failed, &[2]), None);
}

#[test]
fn who_left_goes_at_once_and_who_died_when_it_is_safe() {
    check(Case::new(&[1, 2, 3], &[]).is(Liveness::Left, &[3]), Some(Change::Remove(3)));
    check(Case::new(&[1, 2], &[]).is(Liveness::Left, &[2]), Some(Change::Remove(2)));
    check(Case::new(&[1, 2, 3], &[]).is(Liveness::Left, &[1]), None);
    // One of three is not less than half of what is left to choose from; a replacement makes it so.
    check(Case::new(&[1, 2, 3], &[]).is(Liveness::Failed, &[3]), None);
    check(Case::new(&[1, 2, 3, 4], &[]).is(Liveness::Failed, &[3]), Some(Change::Remove(3)));
    check(Case::new(&[1, 2, 3, 4], &[]).is(Liveness::Failed, &[3, 4]), None);
    check(Case::new(&[1, 2, 3, 4, 5], &[]).is(Liveness::Failed, &[3]), Some(Change::Remove(3)));
    check(Case::new(&[1, 2, 3, 4, 5], &[]).is(Liveness::Failed, &[3, 4]), None);
    check(Case::new(&[1, 2, 3], &[4]).is(Liveness::Failed, &[4]), Some(Change::Remove(4)));

    let five = || Case::new(&[1, 2, 3, 4, 5], &[]).is(Liveness::Failed, &[3]);
    check(five().with(|c| c.settings.min_quorum = 5), None);
    check(five().with(|c| c.settings.min_quorum = 4), Some(Change::Remove(3)));
    check(five().with(|c| c.settings.cleanup_dead_servers = false), None);
    // Gossip says failed, but it answers.
    let answers = |c: &mut Case| c.followers.get_mut(&3).unwrap().last_contact = Duration::ZERO;
    check(five().with(answers), None);
}

#[test]
fn who_is_unknown_goes_after_a_while_and_who_was_replaced_at_once() {
    let forget = |c: &mut Case| c.members.retain(|member| member.name != "s5");
    let silent = |c: &mut Case| {
        c.followers.get_mut(&5).unwrap().last_contact = Duration::from_secs(60);
    };
    let five = || Case::new(&[1, 2, 3, 4, 5], &[]).with(forget);
    check(five().with(silent), Some(Change::Remove(5)));
    assert_eq!(five().with(silent).plan_after(20), None);
    check(five(), None);
    // A wiped server came back under its name.
    let reborn = |c: &mut Case| {
        let mut member = server(6);
        member.name = "s5".into();
        c.members.push(member);
        c.membership.learners = vec![6];
        let known = c.members.last().map(|m| peer(m, m.server.as_ref().unwrap()));
        c.membership.peers.extend(known.map(|peer| (6, peer)));
    };
    assert_eq!(five().with(silent).with(reborn).plan_after(0), Some(Change::Remove(5)));
}

#[test]
fn a_server_is_followed_to_its_new_address() {
    let moved = |m: &mut Member| m.server.as_mut().unwrap().address = "10.9.9.9:8300".into();
    let mut case = Case::new(&[1, 2, 3], &[]).member(2, moved);
    let found = case.plan_after(0);
    assert!(matches!(&found, Some(Change::Readdress(2, peer)) if peer.address == "10.9.9.9:8300"));
}

#[test]
fn one_server_of_each_zone_votes() {
    let zones = [(1, "a"), (2, "b"), (3, "c"), (4, "b")];
    let four = || Case::new(&[1, 2, 3], &[4]).zones(&zones);
    check(four(), None);
    check(four().is(Liveness::Failed, &[3]), None);
    check(four().is(Liveness::Failed, &[2]), Some(Change::Promote(4)));
    // Then the failed one is one of four.
    let replaced = Case::new(&[1, 2, 3, 4], &[]).zones(&zones).is(Liveness::Failed, &[2]);
    check(replaced, Some(Change::Demote(2)));
    // The tag came later than the voters.
    check(Case::new(&[1, 2, 3, 4], &[]).zones(&zones), Some(Change::Demote(4)));
    // Who names no zone stands for itself.
    check(Case::new(&[1, 2, 3], &[4]).zones(&zones[..3]), Some(Change::Promote(4)));
}

#[test]
fn health_shows_what_may_still_fail() {
    let tolerance = |mut case: Case| {
        case.plan_after(0);
        let Case { settings, membership, members, followers, autopilot, now } = &case;
        let (last_term, last_index) = (3, 100);
        let health = autopilot.health(&Situation {
            settings,
            own: 1,
            last_term,
            last_index,
            membership,
            followers,
            members,
            now: *now,
        });
        (health.healthy, health.failure_tolerance, health.servers.len())
    };
    assert_eq!(tolerance(Case::new(&[1], &[])), (true, 0, 1));
    assert_eq!(tolerance(Case::new(&[1, 2, 3], &[4])), (true, 1, 4));
    assert_eq!(tolerance(Case::new(&[1, 2, 3], &[]).is(Liveness::Failed, &[2])), (false, 0, 3));
    assert_eq!(tolerance(Case::new(&[1, 2, 3, 4, 5], &[])), (true, 2, 5));
}
