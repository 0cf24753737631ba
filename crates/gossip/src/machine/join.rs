//! Ways into a pool: asked for, from the memory of the last run, and back to members that failed.

use std::collections::VecDeque;
use std::net::SocketAddr;

use rand::Rng;
use rand::seq::SliceRandom;

use super::exchange::Purpose;
use super::{Gossip, Step, Timer};
use crate::input::{Event, OperationId, Refusal};
use crate::member::Status;

/// Most addresses of one join: a few names with several addresses each.
const ADDRESSES_MAX: usize = 256;
/// Most joins at once.
const JOINS_MAX: usize = 16;
/// Exchanges of one join at a time: a slow address should not hold up the others.
const PARALLEL_MAX: usize = 4;

/// A join under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joining {
    waiting: VecDeque<SocketAddr>,
    active: usize,
    joined: usize,
    errors: Vec<(SocketAddr, String)>,
}

impl Gossip {
    pub(crate) fn join(
        &mut self,
        operation: OperationId,
        addresses: Vec<SocketAddr>,
        step: &mut Step<'_>,
    ) -> Result<(), Refusal> {
        if addresses.len() > ADDRESSES_MAX
            || self.joins.len() >= JOINS_MAX
            || self.joins.contains_key(&operation)
        {
            return Err(Refusal::Busy);
        }
        let joining = Joining { waiting: addresses.into(), ..Joining::default() };
        self.joins.insert(operation, joining);
        self.go_on_joining(operation, step);
        Ok(())
    }

    fn go_on_joining(&mut self, operation: OperationId, step: &mut Step<'_>) {
        while let Some(joining) = self.joins.get_mut(&operation) {
            if joining.active >= PARALLEL_MAX {
                return;
            }
            if let Some(address) = joining.waiting.pop_front() {
                joining.active += 1;
                self.open_stream(address, Purpose::Join(operation), step);
            } else if joining.active == 0 {
                let Joining { joined, errors, .. } = std::mem::take(joining);
                self.joins.remove(&operation);
                if joined > 0 {
                    self.broadcast_join(step);
                }
                step.event(Event::JoinDone { operation, joined, errors });
            } else {
                return;
            }
        }
    }

    pub(crate) fn join_result(
        &mut self,
        operation: OperationId,
        address: SocketAddr,
        result: Result<(), String>,
        step: &mut Step<'_>,
    ) {
        let Some(joining) = self.joins.get_mut(&operation) else { return };
        joining.active -= 1;
        match result {
            Ok(()) => joining.joined += 1,
            Err(reason) => joining.errors.push((address, reason)),
        }
        self.go_on_joining(operation, step);
    }

    /// Takes up where the last run ended.
    pub(crate) fn resume(&mut self, step: &mut Step<'_>) {
        let snapshot = std::mem::take(&mut self.config.snapshot);
        let serf = &mut self.serf;
        if snapshot.clock > 0 {
            serf.clock.witness(snapshot.clock);
        }
        if snapshot.event_clock > 0 {
            serf.event_clock.witness(snapshot.event_clock);
            serf.event_time_min = snapshot.event_clock.saturating_add(1);
        }
        if snapshot.query_clock > 0 {
            serf.query_clock.witness(snapshot.query_clock);
            serf.query_time_min = snapshot.query_clock.saturating_add(1);
        }
        self.clocks_saved = self.times_seen();
        let own = self.config.address;
        let others = snapshot.alive.iter().filter(|(name, _)| **name != self.config.name);
        let mut addresses: Vec<SocketAddr> =
            others.map(|(_, address)| *address).filter(|address| *address != own).collect();
        addresses.shuffle(&mut self.rng);
        self.rejoin = addresses.into();
        if let Some(address) = self.rejoin.pop_front() {
            self.open_stream(address, Purpose::Rejoin, step);
        }
    }

    pub(crate) fn rejoin_result(
        &mut self,
        address: SocketAddr,
        is_joined: bool,
        step: &mut Step<'_>,
    ) {
        if is_joined {
            self.rejoin.clear();
            self.broadcast_join(step);
            step.event(Event::RejoinDone { through: Some(address) });
            return;
        }
        match self.rejoin.pop_front() {
            Some(next) => self.open_stream(next, Purpose::Rejoin, step),
            None => step.event(Event::RejoinDone { through: None }),
        }
    }

    /// Now and then a failed member is tried: a partition may have healed.
    pub(crate) fn reconnect_tick(&mut self, step: &mut Step<'_>) {
        self.every(self.config.profile.reconnect_interval, Timer::Reconnect, step);
        let failed: Vec<SocketAddr> = self
            .members()
            .filter(|member| member.status == Status::Failed)
            .map(|member| member.address)
            .collect();
        if failed.is_empty() {
            return;
        }
        let alive = self.serf.count(Status::Alive).max(1);
        let probability = failed.len() as f64 / alive as f64;
        if self.rng.random::<f64>() > probability {
            return;
        }
        let address = failed[self.rng.random_range(0..failed.len())];
        self.open_stream(address, Purpose::Reconnect, step);
    }
}
