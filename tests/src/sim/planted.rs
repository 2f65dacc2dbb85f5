//! Deliberate faults, each of a kind that real servers have had, built into the simulator's own node, kernel and store
//! (never into the product): a simulation that does not find them all proves nothing when it finds none.

/// A fault that is there on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Planted {
    /// The kernel is told of leases before they are durable.
    PublishBeforeCommit,
    /// Replies are sent before what they promise is durable.
    ReplyBeforeCommit,
    /// An address is freed at the end of the last grant known, though the kernel may have renewed it unheard.
    ReuseAtExpiry,
    /// A withdrawn entry is taken for unused at once.
    NoGraceWait,
    /// A restart does not read what its predecessor's program renewed.
    LostMark,
    /// The kernel is given horizons beyond the durable ones.
    HorizonExtendedByKernel,
    /// A restarted daemon goes by the wall clock.
    ClockStepShiftsHorizons,
    /// The disk says flushed and has not.
    LyingDisk,
    /// The kernel has changed a frame by the time it passes it on.
    FrameChangedOnPass,
    /// Leases are not withdrawn from the kernel, only forgotten.
    WithdrawIgnored,
    /// The kernel program goes by a clock that stands still while the machine sleeps (`CLOCK_MONOTONIC`).
    ClockStopsInSleep,
    /// Another configuration is taken up while programs over the maps before it may still be answering.
    ReloadWithoutWait,
}

impl Planted {
    /// All of them, with the names of the command line.
    pub const ALL: [(&'static str, Self); 12] = [
        ("publish-before-commit", Self::PublishBeforeCommit),
        ("reply-before-commit", Self::ReplyBeforeCommit),
        ("reuse-at-expiry", Self::ReuseAtExpiry),
        ("no-grace-wait", Self::NoGraceWait),
        ("lost-mark", Self::LostMark),
        ("horizon-extended-by-kernel", Self::HorizonExtendedByKernel),
        ("clock-step-shifts-horizons", Self::ClockStepShiftsHorizons),
        ("lying-disk", Self::LyingDisk),
        ("frame-changed-on-pass", Self::FrameChangedOnPass),
        ("withdraw-ignored", Self::WithdrawIgnored),
        ("clock-stops-in-sleep", Self::ClockStopsInSleep),
        ("reload-without-wait", Self::ReloadWithoutWait),
    ];
}
