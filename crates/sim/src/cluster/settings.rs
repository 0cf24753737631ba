//! What is simulated beside the seed, and what a run came to.

use std::time::Duration;

use crate::bug::Bug;

/// How far the clocks of servers differ in rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// No two further apart than leases allow for.
    Within,
    /// Further. Reads by lease may be stale then, and nothing else may happen.
    Beyond,
}

/// What befalls a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultMix {
    Everything,
    /// Mostly links of leaders that are cut.
    Cuts,
    Crashes,
    /// Disks of leaders that are slow.
    SlowDisks,
    /// Rates and steps of clocks.
    Clocks,
}

#[derive(Clone, Copy, Debug)]
pub struct ClusterSettings {
    /// Who found the cluster. Up to two more come and go.
    pub servers: u64,
    /// Virtual time with faults; then all heals.
    pub duration: Duration,
    /// Mean virtual time between two faults.
    pub fault_every: Duration,
    pub clients: u64,
    /// Entries between two snapshots; small, so that runs meet many.
    pub snapshot_threshold: u64,
    pub drift: Drift,
    pub mix: FaultMix,
    pub bug: Option<Bug>,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            servers: 3,
            duration: Duration::from_secs(30),
            fault_every: Duration::from_millis(1500),
            clients: 5,
            snapshot_threshold: 150,
            drift: Drift::Within,
            mix: FaultMix::Everything,
            bug: None,
        }
    }
}

impl ClusterSettings {
    /// Three to five servers and more or less of everything, as the seed has it.
    pub fn drawn(seed: u64) -> Self {
        Self {
            servers: [3, 5, 3, 4][(seed % 4) as usize],
            fault_every: Duration::from_millis([1500, 700, 3000][(seed % 3) as usize]),
            snapshot_threshold: [150, 40, 1000][(seed / 3 % 3) as usize],
            clients: 3 + seed % 5,
            ..Self::default()
        }
    }
}

/// What a run came to. The more of each, the more was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterReport {
    /// Equal for equal runs.
    pub trace_hash: u64,
    pub simulated: Duration,
    pub faults: u64,
    pub crashes: u64,
    pub elections: u64,
    pub snapshots_sent: u64,
    pub membership_changes: u64,
    /// Operations of clients that were answered.
    pub answered: u64,
    /// Operations of clients whose fate stayed unknown.
    pub unanswered: u64,
    /// Operations in histories that were judged.
    pub judged: u64,
    /// Histories too wide to judge.
    pub undecided: u64,
    pub stale_reads: u64,
    /// Writes that must be there for ever.
    pub records: u64,
    pub acquisitions: u64,
    pub woken: u64,
    pub states_compared: u64,
    /// From healing until all was well again.
    pub converged_after: Duration,
}

impl ClusterReport {
    pub fn add(&mut self, other: &Self) {
        self.simulated += other.simulated;
        self.converged_after = self.converged_after.max(other.converged_after);
        for (total, one) in self.counts().into_iter().zip(other.clone().counts()) {
            *total += *one;
        }
    }

    /// The least of what must not be missing in a run worth anything.
    pub fn least(&self) -> u64 {
        [
            self.faults,
            self.crashes,
            self.elections,
            self.snapshots_sent,
            self.membership_changes,
            self.judged,
            self.stale_reads,
            self.records,
            self.acquisitions,
            self.woken,
            self.states_compared,
        ]
        .into_iter()
        .min()
        .unwrap_or_default()
    }

    fn counts(&mut self) -> [&mut u64; 14] {
        [
            &mut self.faults,
            &mut self.crashes,
            &mut self.elections,
            &mut self.snapshots_sent,
            &mut self.membership_changes,
            &mut self.answered,
            &mut self.unanswered,
            &mut self.judged,
            &mut self.undecided,
            &mut self.stale_reads,
            &mut self.records,
            &mut self.acquisitions,
            &mut self.woken,
            &mut self.states_compared,
        ]
    }
}
