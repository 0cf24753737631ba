//! Faults planted on purpose, each of which some checker must find.

use crate::cluster::FaultMix;

/// One fault in what surrounds the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The log is called durable before it was synced.
    EarlyDurable,
    /// The disk forgets its last synced write in a power cut.
    ForgottenSync,
    /// Now and then nobody is woken for a change.
    LostWakeUp,
    /// The monotonic clock that judges sessions runs three times too fast.
    FastClock,
    /// A server starts from its older snapshot and without the log behind it.
    OldSnapshot,

    /// Votes that were refused are given.
    VoteForAll,
    /// Of the writes under way in a power cut, an earlier one is lost and a later one is not.
    ReorderedWrites,
    /// The log is cut further than the snapshots reach.
    CutTooFar,
    /// A snapshot names an index its state has not come to.
    SnapshotAhead,
    /// A snapshot tells of the servers as they were at the founding.
    SnapshotWithoutMembership,
    /// A received snapshot is called durable and is not.
    SnapshotNotSaved,
    /// A follower is sent an older state than the snapshot says.
    StaleSnapshotSent,
    /// Entries are damaged on their way, and nobody notices.
    DamagedEntry,
    /// A write is acknowledged when it is proposed.
    AcknowledgedEarly,
    /// A write that was overruled is acknowledged.
    OverruledAcknowledged,
    /// A write whose fate is unknown is reported as refused.
    UnknownAsRefused,
    /// A write that was acknowledged is proposed once more, as if the answer had not come.
    ProposedTwice,
    /// Every compare-and-set is said to have succeeded.
    SwapAlwaysSucceeds,
    /// A consistent read is answered without asking whether the leader still leads.
    ReadUnconfirmed,
    /// A read is answered before what was confirmed is applied.
    ReadUnapplied,
    /// A server answers by the lease it had as a leader, for seconds after it was one.
    LeaseKept,
    /// A leader answers by its lease before it has applied what others may know to be committed.
    LeaseBehind,
    /// A server now and then shows readers the state before the present one.
    OldStateShown,
    /// Who waits is woken before the change can be read.
    WakeBeforePublish,
    /// Who waits reads first and registers later, and does not look again.
    RegisteredAfterRead,
    /// A state that came as a snapshot wakes nobody.
    ReplacedSilently,
    /// Everybody is woken, and answered, by any change.
    SpuriousAnswer,
    /// Renewals are confirmed and not passed on to the leader.
    RenewedLocally,
    /// The clock of sessions follows the wall clock and its steps.
    WallClock,
    /// To unlock a key deletes it, and so begins its lock index anew.
    FenceForgotten,
    /// Removed servers come back under their old id, with nothing.
    IdentityReused,
}

impl Bug {
    /// What runs of one server find.
    pub const OF_ONE_SERVER: [Self; 5] = [
        Self::EarlyDurable,
        Self::ForgottenSync,
        Self::LostWakeUp,
        Self::FastClock,
        Self::OldSnapshot,
    ];

    /// What runs of clusters find.
    pub const OF_CLUSTERS: [Self; 30] = [
        Self::EarlyDurable,
        Self::ForgottenSync,
        Self::LostWakeUp,
        Self::FastClock,
        Self::VoteForAll,
        Self::ReorderedWrites,
        Self::CutTooFar,
        Self::SnapshotAhead,
        Self::SnapshotWithoutMembership,
        Self::SnapshotNotSaved,
        Self::StaleSnapshotSent,
        Self::DamagedEntry,
        Self::AcknowledgedEarly,
        Self::OverruledAcknowledged,
        Self::UnknownAsRefused,
        Self::ProposedTwice,
        Self::SwapAlwaysSucceeds,
        Self::ReadUnconfirmed,
        Self::ReadUnapplied,
        Self::LeaseKept,
        Self::LeaseBehind,
        Self::OldStateShown,
        Self::WakeBeforePublish,
        Self::RegisteredAfterRead,
        Self::ReplacedSilently,
        Self::SpuriousAnswer,
        Self::RenewedLocally,
        Self::WallClock,
        Self::FenceForgotten,
        Self::IdentityReused,
    ];

    /// Under which faults of a cluster it shows soonest.
    pub fn mix(self) -> FaultMix {
        match self {
            Self::EarlyDurable | Self::ReorderedWrites => FaultMix::Crashes,
            Self::LeaseKept | Self::UnknownAsRefused => FaultMix::Cuts,
            Self::LeaseBehind => FaultMix::SlowDisks,
            Self::WallClock | Self::RenewedLocally | Self::FastClock => FaultMix::Clocks,
            _ => FaultMix::Everything,
        }
    }
}
