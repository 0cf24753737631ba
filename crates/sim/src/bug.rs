//! Faults planted on purpose, each of which some checker must find.

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
}

impl Bug {
    pub const ALL: [Self; 5] = [
        Self::EarlyDurable,
        Self::ForgottenSync,
        Self::LostWakeUp,
        Self::FastClock,
        Self::OldSnapshot,
    ];
}
