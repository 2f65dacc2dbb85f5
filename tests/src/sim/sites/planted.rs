//! Deliberate faults of whoever drives the nodes, for the simulation to find: never in the product.

/// A fault that is there on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Planted {
    /// Nodes are put out while they take their delegations to last: they do not say for how long, and the others do not wait.
    TakeOverEarly,
    /// In mode `sync` replies are sent before the peers have what they promise.
    ReplyBeforeReplication,
    /// Updates are acknowledged as they come, not when they are durable.
    AcknowledgeBeforeDurable,
    /// What one peer has acknowledged is taken for known to all.
    OneForAll,
    /// A peer's clock is taken to show the time half a minute ago, so that its horizons come out later.
    ClockMisread,
    /// A node does not notice that its disk was lost.
    LostDiskUnnoticed,
    /// Who comes back is in at once, before it has been told anything.
    InAtOnce,
}

impl Planted {
    /// All of them, with the names of the command line.
    pub const ALL: [(&'static str, Self); 7] = [
        ("take-over-early", Self::TakeOverEarly),
        ("reply-before-replication", Self::ReplyBeforeReplication),
        ("acknowledge-before-durable", Self::AcknowledgeBeforeDurable),
        ("one-for-all", Self::OneForAll),
        ("clock-misread", Self::ClockMisread),
        ("lost-disk-unnoticed", Self::LostDiskUnnoticed),
        ("in-at-once", Self::InAtOnce),
    ];
}
