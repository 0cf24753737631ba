//! What breaks: one thing after another, several at a time, each for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::operator::OperatorRequest;
use rand::Rng;
use rand::seq::SliceRandom;
use replica::duty::Liveness;
use replica::{Input, Membership, RequestId};

use super::clock::TRUE_RATE;
use super::network::{Link, Weather};
use super::roster::node_id;
use super::{Cluster, Drift, Event, FaultMix};
use crate::bug::Bug;
use crate::disk::Disk;

/// Most servers at a time, as reliable clusters have.
const SERVERS_MAX: usize = 7;
/// Rates within what leases allow for: the fastest runs 20 percent faster than the slowest.
const RATES_WITHIN: std::ops::Range<u64> = 915_000..1_090_000;
/// Far beyond that, but not so far that twice a time to live is less than one.
const RATES_BEYOND: std::ops::Range<u64> = 600_000..1_700_000;

/// A fault that lasts.
#[derive(Clone, Debug)]
enum Fault {
    Cut(BTreeSet<Link>),
    Weather(Weather),
    SlowDisk(u64),
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    active: BTreeMap<u64, Fault>,
    /// On its way out; one at a time.
    leaving: Option<u64>,
    pub(super) is_over: bool,
}

impl Cluster {
    pub(super) fn draw_fault(&mut self) -> Result<(), String> {
        if self.faults.is_over {
            return Ok(());
        }
        let mean = self.settings.fault_every.as_millis() as u64;
        self.after_millis(mean / 5..2 * mean, Event::Fault);
        self.report.faults += 1;
        let running = self.running();
        let Some(victim) = self.pick(&running) else { return Ok(()) };
        let leader = Some(self.newest_leader.1).filter(|id| running.contains(id));
        let leader = leader.unwrap_or(victim);
        match self.draw_kind() {
            0..25 => self.draw_cut(leader),
            25..32 => {
                let weather = Weather {
                    loss_percent: self.rng.random_range(5..40),
                    duplication_percent: self.rng.random_range(0..20),
                    delay_max: Duration::from_millis(self.rng.random_range(5..250)),
                };
                self.begin(Fault::Weather(weather));
            }
            32..42 => self.crash(victim),
            42..50 => self.crash(leader),
            50..53 => running.into_iter().for_each(|id| self.crash(id)),
            53..60 => self.pause(victim),
            60..66 => self.pause(leader),
            66..71 => return self.step(leader, Input::TransferLeadership { to: None }),
            71..76 => self.begin(Fault::SlowDisk(leader)),
            76..80 => self.draw_rate(victim),
            80..84 => {
                let seconds = self.rng.random_range(-4000..4000);
                if let Some(server) = self.servers.get_mut(&victim) {
                    server.clock.wall_offset += seconds;
                }
            }
            84..88 => self.add_server(),
            88..93 => self.remove_server(leader)?,
            93..96 => {
                self.roster.toggle_voting(victim);
                self.tell_members();
            }
            _ => return self.operate(leader, victim),
        }
        Ok(())
    }

    /// A place in the table of [`Cluster::draw_fault`].
    fn draw_kind(&mut self) -> u32 {
        let kinds = match (self.settings.mix, self.one_in(2)) {
            (FaultMix::Everything, _) => 0..100,
            (FaultMix::Cuts, true) => 0..25,
            (FaultMix::Cuts, false) => 60..66,
            (FaultMix::Crashes, true) => 32..53,
            (FaultMix::SlowDisks, true) => 42..45,
            (FaultMix::Crashes | FaultMix::SlowDisks, false) => 71..76,
            (FaultMix::Clocks, _) => 76..84,
        };
        self.rng.random_range(kinds)
    }

    fn begin(&mut self, fault: Fault) {
        let number = self.number();
        self.trace.note(format_args!("{} fault {number}: {fault:?}", self.now.0));
        match &fault {
            Fault::Cut(links) => self.network.cut(number, links.clone()),
            Fault::Weather(weather) => self.network.change_weather(number, *weather),
            Fault::SlowDisk(id) => self.set_disk_slow(*id, true),
        }
        self.faults.active.insert(number, fault);
        self.after_millis(200..6000, Event::EndFault(number));
    }

    pub(super) fn end_fault(&mut self, number: u64) -> Result<(), String> {
        let Some(fault) = self.faults.active.remove(&number) else { return Ok(()) };
        self.trace.note(format_args!("{} fault {number} is over", self.now.0));
        self.network.end(number);
        match fault {
            Fault::Cut(links) => links.into_iter().for_each(|(one, other)| {
                if !self.network.is_cut(one, other) {
                    self.connect(one, other);
                }
            }),
            Fault::Weather(_) => {}
            Fault::SlowDisk(id) => self.set_disk_slow(id, false),
        }
        Ok(())
    }

    fn set_disk_slow(&mut self, id: u64, is_slow: bool) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.is_disk_slow = is_slow;
        }
    }

    fn draw_cut(&mut self, leader: u64) {
        let mut ids: Vec<u64> = self.servers.keys().copied().collect();
        ids.shuffle(&mut self.rng);
        let both = |one: u64, other: u64| [(one, other), (other, one)];
        let (first, rest) = (ids[0], ids[1..].to_vec());
        let others: Vec<u64> = ids.iter().copied().filter(|id| *id != leader).collect();
        let half = ids.len() / 2;
        let is_leader_alone = self.settings.mix == FaultMix::Cuts && self.one_in(2);
        let shape = if is_leader_alone { 1 } else { self.rng.random_range(0..7) };
        let links: BTreeSet<Link> = match shape {
            // Two sides.
            0 => {
                let (left, right) = ids.split_at(half);
                left.iter().flat_map(|l| right.iter().flat_map(move |r| both(*l, *r))).collect()
            }
            // The leader, or anybody, alone.
            1 => others.iter().flat_map(|other| both(leader, *other)).collect(),
            2 => rest.iter().flat_map(|other| both(first, *other)).collect(),
            // In one direction.
            3 => others.iter().map(|other| (leader, *other)).collect(),
            4 => others.iter().map(|other| (*other, leader)).collect(),
            // Only two do not see each other.
            5 => rest.first().into_iter().flat_map(|other| both(first, *other)).collect(),
            // A ring: everybody sees two.
            _ => {
                let count = ids.len();
                let is_far = |(a, b): &(usize, usize)| {
                    let distance = (a + count - b) % count;
                    distance > 1 && distance < count - 1
                };
                let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
                pairs.filter(is_far).map(|(a, b)| (ids[a], ids[b])).collect()
            }
        };
        self.begin(Fault::Cut(links));
    }

    fn pause(&mut self, id: u64) {
        // Mostly short, now and then longer than a session lives.
        let millis = match self.rng.random_range(0..6) {
            0 => self.rng.random_range(9_000..15_000),
            _ => self.rng.random_range(100..2500),
        };
        self.trace.note(format_args!("{} server {id} stands still for {millis} ms", self.now.0));
        let until = self.now.plus(Duration::from_millis(millis));
        if let Some(server) = self.servers.get_mut(&id) {
            server.paused_until = Some(until);
        }
    }

    pub(super) fn draw_rate(&mut self, id: u64) {
        let rates = match self.settings.drift {
            Drift::Within => RATES_WITHIN,
            Drift::Beyond => RATES_BEYOND,
        };
        let rate = self.rng.random_range(rates);
        self.set_rate(id, rate);
    }

    pub(super) fn set_rate(&mut self, id: u64, rate: u64) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.clock.set_rate(self.now, rate);
        }
    }

    fn add_server(&mut self) {
        if self.roster.staying().len() >= SERVERS_MAX.min(self.settings.servers as usize + 2) {
            return;
        }
        let id = self.roster.add();
        self.trace.note(format_args!("{} server {id} comes", self.now.0));
        let founding = Membership::founded_by(1, self.roster.peers());
        self.install(id, Disk::joining(&founding, self.settings.bug));
        self.tell_members();
    }

    /// Lets one go, the leader too at times, but never so many that the rest could not decide.
    fn remove_server(&mut self, leader: u64) -> Result<(), String> {
        let staying = self.roster.staying();
        if staying.len() <= 3 || self.faults.leaving.is_some() {
            return Ok(());
        }
        let one = self.pick(&staying).unwrap_or(leader);
        let leaves = if self.one_in(3) { leader } else { one };
        self.trace.note(format_args!("{} server {leaves} leaves", self.now.0));
        self.faults.leaving = Some(leaves);
        self.set_liveness(leaves, Liveness::Left);
        self.leave(leaves)
    }

    /// It stays until it is let go: without it the others might not be enough to do so.
    pub(super) fn leave(&mut self, id: u64) -> Result<(), String> {
        // An operator may have let it go before.
        let leader = self.newest_leader.1;
        let replica = self.servers.get(&leader).and_then(|server| server.replica.as_ref());
        let membership = replica.map(|replica| replica.membership().clone());
        if let Some(membership) = membership.filter(|_| self.is_newest_leader(leader)) {
            self.see_off(&membership);
        }
        if self.servers.contains_key(&id) {
            self.after(Duration::from_secs(1), Event::Leave { server: id });
        }
        self.step(id, Input::TransferLeadership { to: None })
    }

    /// The leader has a new membership: who left and is not in it any more is gone for good.
    pub(super) fn see_off(&mut self, membership: &Membership) {
        let Some(id) = self.faults.leaving.filter(|id| !membership.servers().contains(id)) else {
            return;
        };
        self.trace.note(format_args!("{} server {id} is gone", self.now.0));
        self.faults.leaving = None;
        self.roster.servers.remove(&id);
        let gone = self.servers.remove(&id);
        self.report.woken += gone.map_or(0, |server| server.waits.answered());
        self.tell_members();
    }

    /// An operator removes a server that is still there, or moves leadership to it.
    fn operate(&mut self, leader: u64, victim: u64) -> Result<(), String> {
        let operation = match self.rng.random_range(0..2) {
            0 => OperatorRequest::RemovePeerById(node_id(victim)),
            _ => OperatorRequest::TransferLeadership(Some(node_id(victim))),
        };
        self.trace.note(format_args!("{} operator: {operation:?}", self.now.0));
        // Nobody waits for the answer.
        let request = RequestId(self.number());
        self.step(leader, Input::Operate { request, operation })
    }

    pub(super) fn set_liveness(&mut self, id: u64, liveness: Liveness) {
        self.roster.set_liveness(id, liveness);
        self.tell_members();
    }

    fn tell_members(&mut self) {
        for id in self.running() {
            self.after_millis(1..300, Event::Members { server: id });
        }
    }

    /// The end of all faults.
    pub(super) fn end_all_faults(&mut self) {
        self.faults.is_over = true;
        self.faults.active.clear();
        self.network.heal();
        let ids: Vec<u64> = self.servers.keys().copied().collect();
        for id in &ids {
            self.set_rate(*id, TRUE_RATE);
            self.set_disk_slow(*id, false);
            // Those without power have it again before long.
            self.after_millis(0..1000, Event::Restart { server: *id });
        }
        for one in &ids {
            for other in ids.iter().filter(|other| *other > one) {
                self.connect(*one, *other);
            }
        }
        self.tell_members();
    }

    pub(super) fn wipe(&mut self, id: u64) {
        if self.has_bug(Bug::IdentityReused) && self.one_in(2) {
            let founding = Membership::founded_by(1, self.roster.peers());
            if let Some(server) = self.servers.get_mut(&id) {
                server.disk = Disk::joining(&founding, self.settings.bug);
            }
        }
    }
}
